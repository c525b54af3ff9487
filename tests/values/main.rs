//! Every initial weight, to the bit: against independent programs, on every instruction set, alone and in
//! runs. The library alone; `.ci/emulated` runs parts of it on other processors.

mod addressing;
mod exact;
mod initialisers;
mod instruction_sets;
mod noise_vectors;
mod orthogonal;
