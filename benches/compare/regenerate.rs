//! The time of regenerating weights alone, to which `benches/compare/run.py` relates the program's stages:
//! `regenerate ELEMENTS DTYPE THREADS` prints the seconds for that many He weights, in rows of 4096, rounded
//! to the type. With `ROUNDS` as a fourth number the least of as many.

use std::time::Instant;

use cdi_core::init::{Generator, SchemeParams};
use cdi_core::internal::dispatch::InstructionSet;
use cdi_core::tensor::{FloatDtype, Layout, Shape};
use rayon::prelude::*;

/// Weights that a thread takes at once, and of these those that stay in its fastest memory.
const BLOCK: usize = 1 << 16;
const PIECE: usize = 1024;
const COLUMNS: usize = 4096;

fn main() {
    InstructionSet::choose().expect("an instruction set of this processor");
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    // Run without arguments, it shows that it works.
    let number = |n: usize, default: usize| args.get(n).map_or(default, |arg| arg.parse().expect("a number"));
    let (elements, threads, rounds) = (number(0, 1 << 20), number(2, 2), number(3, 1));
    let dtype = match args.get(1).map(String::as_str) {
        None | Some("f32") => FloatDtype::F32,
        Some("bf16") => FloatDtype::Bf16,
        Some("f16") => FloatDtype::F16,
        Some("f64") => FloatDtype::F64,
        Some(other) => panic!("{other} is none of f64, f32, f16, bf16"),
    };
    assert!(elements.is_multiple_of(COLUMNS), "whole rows of {COLUMNS}");
    let shape = Shape::new(vec![elements / COLUMNS, COLUMNS]).expect("a shape");
    let he = SchemeParams::named("he").scheme().expect("a scheme");
    let generator = Generator::new(7, 0, &he, &shape, Layout::OutIn);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
    let mut times: Vec<f64> = (0..rounds)
        .map(|_| {
            let begun = Instant::now();
            let sums: Vec<f64> = pool.install(|| {
                (0..elements.div_ceil(BLOCK))
                    .into_par_iter()
                    .map_init(
                        || vec![0.0; PIECE],
                        |values, block| {
                            let mut last = 0.0;
                            let end = elements.min((block + 1) * BLOCK);
                            for start in (block * BLOCK..end).step_by(PIECE) {
                                generator.fill(start, values);
                                dtype.round_slice(values);
                                last = values[PIECE - 1];
                            }
                            last
                        },
                    )
                    .collect()
            });
            let time = begun.elapsed().as_secs_f64();
            let last = generator.weight_at(elements / COLUMNS - 1, COLUMNS - 1);
            assert_eq!(sums.last().copied(), Some(dtype.round(last)));
            time
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("{:.6}", times[0]);
}
