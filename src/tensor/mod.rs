//! What a tensor is to this crate: its element type, its shape, and the matrix that both stand for.

mod dtype;
mod shape;

pub use dtype::FloatDtype;
pub use safetensors::Dtype;
pub use shape::{Layout, Matrix, Shape, ShapeError};
