//! Tensors: element type, shape, and the matrix view.

mod axes;
mod cast;
mod dtype;
mod element;
mod layout;
pub(crate) mod narrow;
mod shape;

pub use axes::Axes;
pub use cast::cast;
pub use dtype::{Decode, Encode, FloatDtype, Round};
pub use element::Element;
pub(crate) use element::{load, store};
pub use half::{bf16, f16};
pub use layout::{Layout, LayoutMismatch, Role, Roles, RolesError};
pub use safetensors::Dtype;
pub(crate) use shape::{Dims, bytes_of};
pub use shape::{MAX_RANK, Matrix, Shape, ShapeError};
