//! Outputs and inputs in which every weight sleeps, in any layout.

use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use crate::tensor::{Axes, Role};

/// The outputs and inputs of one tensor in which some weight has changed, collected by any number of
/// threads, in any order. For layouts whose outputs and inputs are not the rows and columns of the matrix
/// view. Each expert has its own.
#[derive(Debug)]
pub struct AwakeUnits {
    axes: Axes,
    outputs: Box<[AtomicBool]>,
    inputs: Box<[AtomicBool]>,
}

/// Numbers of outputs and inputs in which every weight sleeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SleepingUnits {
    /// Outputs: neurons, filters, embedding rows.
    pub outputs: u64,
    /// Inputs; for convolutions, input channels.
    pub inputs: u64,
    /// Weights between a sleeping input and a sleeping output.
    pub crossed: u64,
}

impl AwakeUnits {
    /// Nothing has changed. For a tensor without weights, which may have more outputs than fit into
    /// memory, nothing is stored.
    pub fn new(axes: Axes) -> Self {
        let flags = |n: usize| std::iter::repeat_with(|| AtomicBool::new(false)).take(n).collect();
        let experts = if axes.elements_of_one() == 0 { 0 } else { axes.experts };
        let (outputs, inputs) = (experts * axes.outputs, experts * axes.inputs);
        Self { axes, outputs: flags(outputs), inputs: flags(inputs) }
    }

    /// Marks the outputs and inputs of the changed weights among `len` elements from `start` on; `changed`
    /// has one bit per element.
    pub fn wake(&self, start: usize, len: usize, changed: &[u8]) {
        let (innermost, size) =
            self.axes.stored().into_iter().rfind(|(_, size)| *size != 1).unwrap_or((Role::Kernel, 1));
        let is_awake = |n: usize| changed[n / 8] >> (n % 8) & 1 == 1;
        // Most are marked early. Reading before writing keeps the cache line shared.
        let set = |flag: &AtomicBool| {
            if !flag.load(Ordering::Relaxed) {
                flag.store(true, Ordering::Relaxed);
            }
        };
        let mut at = 0;
        while at < len {
            let place = start + at;
            let run = (size - place % size).min(len - at);
            let [expert, output, input, _] = self.axes.split(place);
            let (output, input) = (expert * self.axes.outputs + output, expert * self.axes.inputs + input);
            // Which of the two changes along the run, and which stays the same.
            let (many, one) = match innermost {
                Role::Out => (Some(&self.outputs[output..]), [Some(&self.inputs[input]), None]),
                Role::In => (Some(&self.inputs[input..]), [Some(&self.outputs[output]), None]),
                _ => (None, [Some(&self.outputs[output]), Some(&self.inputs[input])]),
            };
            let mut any = false;
            for n in (0..run).filter(|n| is_awake(at + n)) {
                any = true;
                match many {
                    Some(flags) => set(&flags[n]),
                    None => break,
                }
            }
            if any {
                one.into_iter().flatten().for_each(set);
            }
            at += run;
        }
    }

    /// Outputs and inputs in which nothing has changed. Without weights, nothing can sleep.
    pub fn sleeping(&self) -> SleepingUnits {
        let mut found = SleepingUnits::default();
        if self.axes.elements_of_one() == 0 {
            return found;
        }
        let asleep =
            |flags: &[AtomicBool]| flags.iter().filter(|flag| !flag.load(Ordering::Relaxed)).count() as u64;
        let experts = self.outputs.chunks(self.axes.outputs).zip(self.inputs.chunks(self.axes.inputs));
        for (outputs, inputs) in experts {
            let (outputs, inputs) = (asleep(outputs), asleep(inputs));
            found.outputs += outputs;
            found.inputs += inputs;
            found.crossed += outputs * inputs * self.axes.kernel as u64;
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Role::{Expert, In, Kernel, Out};
    use crate::tensor::{Layout, Roles, Shape};

    /// Every place but those of some outputs and inputs has changed, in runs of any length.
    #[test]
    fn units_of_any_layout() {
        for (list, dims) in [
            (&[Expert, Out, In][..], &[3, 4, 5][..]),
            (&[Expert, In, Out], &[3, 5, 4]),
            (&[In, Out, Kernel, Kernel], &[5, 4, 2, 3]),
            (&[Out, Kernel, In], &[4, 3, 5]),
            (&[Expert, Out, In, Kernel], &[2, 4, 5, 3]),
            (&[Kernel, Out, In], &[3, 4, 5]),
            (&[Expert, Out, In], &[2, 4, 1]),
        ] {
            let shape = Shape::new(dims.to_vec()).unwrap();
            let axes = Axes::new(&shape, Layout::Roles(Roles::new(list).unwrap()));
            // Output 1 of every expert, input 2 of expert 0, and input 0 of the last one.
            let asleep = |place: usize| {
                let [expert, output, input, _] = axes.split(place);
                output == 1
                    || (expert, input) == (0, 2)
                    || (expert > 0 && (expert, input) == (axes.experts - 1, 0))
            };
            for run in [1, 7, shape.elements()] {
                let units = AwakeUnits::new(axes);
                for start in (0..shape.elements()).step_by(run) {
                    let len = run.min(shape.elements() - start);
                    let mut changed = vec![0; len.div_ceil(8)];
                    (0..len).filter(|n| !asleep(start + n)).for_each(|n| changed[n / 8] |= 1 << (n % 8));
                    units.wake(start, len, &changed);
                }
                let (mut outputs, mut inputs, mut crossed) = (vec![true; 12], vec![true; 15], 0);
                for place in (0..shape.elements()).filter(|place| !asleep(*place)) {
                    let [expert, output, input, _] = axes.split(place);
                    outputs[expert * axes.outputs + output] = false;
                    inputs[expert * axes.inputs + input] = false;
                }
                for place in 0..shape.elements() {
                    let [expert, output, input, _] = axes.split(place);
                    let both =
                        outputs[expert * axes.outputs + output] && inputs[expert * axes.inputs + input];
                    crossed += u64::from(both);
                }
                let count = |flags: &[bool], n: usize| flags[..n].iter().filter(|f| **f).count() as u64;
                let expected = SleepingUnits {
                    outputs: count(&outputs, axes.experts * axes.outputs),
                    inputs: count(&inputs, axes.experts * axes.inputs),
                    crossed,
                };
                assert_eq!(units.sleeping(), expected, "{list:?} in runs of {run}");
                assert!(expected.outputs as usize >= axes.experts);
            }
        }
    }
}
