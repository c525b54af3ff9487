//! What a tensor is to this crate: its element type, its shape, and the matrix that both stand for.

mod dtype;
mod narrow;
mod shape;

pub use dtype::{Decode, Encode, FloatDtype, Round};
pub use safetensors::Dtype;
pub use shape::{Layout, Matrix, Shape, ShapeError};
