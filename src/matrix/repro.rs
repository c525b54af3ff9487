//! Checks that the weights are the same in whichever way they are generated.

use rayon::prelude::*;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::Subject;
use crate::dispatch::InstructionSet;
use crate::init::{Fill, Generator};
use crate::workers::Threads;

/// Number of weights that are compared at once.
const WINDOW: usize = 1 << 20;
/// Number of weights that a thread generates at once.
const BLOCK: usize = 1 << 14;

/// Compares the weights generated in several ways with those generated in blocks on one thread.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reproduction {
    /// SHA-256 of the stored weights' little-endian bytes in storage order, for comparing machines.
    pub sha256: String,
    /// The results, one per way.
    pub ways: Vec<Way>,
}

/// One way of generating the weights.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Way {
    /// Description of the way.
    pub way: String,
    /// Number of weights that differ in any bit before rounding.
    pub differing: u64,
    /// The largest difference; NaN if a NaN is among the differing weights.
    pub largest: f64,
}

impl Reproduction {
    /// Whether no weight differs.
    pub fn holds(&self) -> bool {
        self.ways.iter().all(|way| way.differing == 0)
    }
}

#[derive(Clone, Copy, Debug)]
enum How {
    Blocks,
    Elements,
    Set(InstructionSet),
}

impl How {
    fn fill(self, generator: &Generator, start: usize, out: &mut [f64]) {
        match self {
            Self::Blocks => generator.fill(start, out),
            Self::Elements => {
                let cols = generator.matrix().cols;
                for (n, x) in (start..).zip(out) {
                    *x = generator.weight_at(n / cols, n % cols);
                }
            }
            Self::Set(set) => set.run(Fill { generator, start, out }),
        }
    }

    fn fill_all(self, generator: &Generator, all_threads: bool, start: usize, out: &mut [f64]) {
        if all_threads {
            let blocks = out.par_chunks_mut(BLOCK).enumerate();
            blocks.for_each(|(n, block)| self.fill(generator, start + n * BLOCK, block));
        } else {
            self.fill(generator, start, out);
        }
    }
}

/// Generates the weights in several ways: again on one thread, on all threads of the current pool, element by
/// element on one thread and on all, and with every instruction set of the processor.
pub fn reproduce(subject: &Subject) -> Reproduction {
    let threads = format!("all threads ({})", rayon::current_num_threads());
    let mut ways = vec![
        ("in blocks, one thread, again".to_owned(), How::Blocks, false),
        (format!("in blocks, {threads}"), How::Blocks, true),
        ("element by element, one thread".to_owned(), How::Elements, false),
        (format!("element by element, {threads}"), How::Elements, true),
    ];
    // A matrix that is generated as a whole uses the current instruction set; here it is only copied.
    if subject.fresh_generator().whole().is_none() {
        let sets = InstructionSet::available().into_iter().filter(|set| *set != InstructionSet::current());
        ways.extend(
            sets.map(|set| (format!("in blocks, instruction set {}", set.name()), How::Set(set), true)),
        );
    }
    // One way at a time, so that at most two whole matrices are in memory.
    let reference = subject.fresh_generator();
    let compared = |(way, how, all_threads): (String, How, bool)| {
        let generator = subject.fresh_generator();
        if all_threads {
            generator.whole().into_iter().for_each(|whole| whole.prepare_on(&Threads));
        }
        compare(subject, &reference, way, |start, out| how.fill_all(&generator, all_threads, start, out))
    };
    Reproduction { ways: ways.into_iter().map(compared).collect(), sha256: digest(subject, &reference) }
}

fn compare(subject: &Subject, reference: &Generator, way: String, fill: impl Fn(usize, &mut [f64])) -> Way {
    let mut result = Way { way, differing: 0, largest: 0.0 };
    let (mut expected, mut got) = (Vec::new(), Vec::new());
    for start in (0..subject.weights()).step_by(WINDOW) {
        let len = WINDOW.min(subject.weights() - start);
        for buffer in [&mut expected, &mut got] {
            buffer.clear();
            // A weight that is not filled in stays NaN, and so differs.
            buffer.resize(len, f64::NAN);
        }
        reference.fill(start, &mut expected);
        fill(start, &mut got);
        for (a, b) in expected.iter().zip(&got).filter(|(a, b)| a.to_bits() != b.to_bits()) {
            result.differing += 1;
            let difference = (a - b).abs();
            let largest = result.largest;
            result.largest =
                if difference.is_nan() || largest.is_nan() { f64::NAN } else { largest.max(difference) };
        }
    }
    result
}

fn digest(subject: &Subject, generator: &Generator) -> String {
    let (mut weights, mut bytes) = (Vec::new(), Vec::new());
    let mut hasher = Sha256::new();
    for start in (0..subject.weights()).step_by(WINDOW) {
        weights.resize(WINDOW.min(subject.weights() - start), 0.0);
        How::Blocks.fill_all(generator, true, start, &mut weights);
        bytes.resize(weights.len() * subject.dtype().size(), 0);
        subject.dtype().encode(&weights, &mut bytes);
        hasher.update(&bytes);
    }
    crate::digest::hex(hasher)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::SchemeParams;
    use crate::tensor::{FloatDtype, Layout, Shape};

    fn subject() -> Subject {
        let scheme = SchemeParams::named("he").scheme().unwrap();
        let shape = Shape::new(vec![30, 20]).unwrap();
        Subject::new((42, 3), scheme, (shape, Layout::OutIn), FloatDtype::F32).unwrap()
    }

    #[test]
    fn a_difference_is_found_and_measured() {
        let subject = subject();
        let reference = subject.fresh_generator();
        let with = |change: &(dyn Fn(&mut [f64]) + Sync)| {
            compare(&subject, &reference, "changed".to_owned(), |start, out| {
                reference.fill(start, out);
                change(out);
            })
        };
        let way = |differing, largest| Way { way: "changed".to_owned(), differing, largest };
        assert_eq!(with(&|_| {}), way(0, 0.0));
        let step = |out: &mut [f64]| {
            out[599] = 0.5;
            out[7] = out[7].next_up();
        };
        let last = reference.weight_at(29, 19);
        assert_eq!(with(&step), way(2, (last - 0.5).abs()));
        // These differ in one bit, but not in value.
        let zeros = SchemeParams::named("zeros").scheme().unwrap();
        let zeros = Generator::new(1, 1, &zeros, subject.shape(), Layout::OutIn);
        let negative = compare(&subject, &zeros, "changed".to_owned(), |_, out| out.fill(-0.0));
        assert_eq!(negative, way(600, 0.0));
        let missing = compare(&subject, &reference, "changed".to_owned(), |start, out| {
            reference.fill(start, &mut out[1..]);
            out[1..].rotate_right(1);
            out[0] = f64::NAN;
        });
        assert!(missing.differing > 0 && missing.largest.is_nan());
        assert!(!Reproduction { sha256: String::new(), ways: vec![missing] }.holds());
    }
}
