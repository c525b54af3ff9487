//! Tensors: element types, shapes, and the matrix view.
//!
//! ```
//! use cdi_core::tensor::{FloatDtype, Layout, Matrix, Role, Roles, Shape};
//!
//! // The kernels of a convolution: 64 output channels, 32 input channels, 3 x 3.
//! let shape = Shape::new(vec![64, 32, 3, 3])?;
//! assert_eq!(shape.elements(), 18_432);
//! // As a matrix, a row for each output channel.
//! assert_eq!(shape.matrix(), Matrix { rows: 64, cols: 288 });
//! // How many inputs feed an output, and how many outputs an input feeds.
//! assert_eq!(shape.fans(Layout::OutIn), (288, 576));
//! // Flax stores the same dimensions in another order, which roles can state.
//! let roles = Layout::Roles(Roles::new(&[Role::Kernel, Role::Kernel, Role::In, Role::Out])?);
//! assert_eq!(Shape::new(vec![3, 3, 32, 64])?.fans(roles), (288, 576));
//!
//! // A value as BF16 stores it, and its bytes.
//! assert_eq!(FloatDtype::Bf16.round(0.1), 0.10009765625);
//! let mut bytes = [0; 2];
//! FloatDtype::Bf16.encode(&[0.1], &mut bytes);
//! assert_eq!(bytes, [0xCD, 0x3D]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Sizes that no tensor can have, and lists of roles that no layout can be, are errors:
//!
//! ```
//! use cdi_core::tensor::{Layout, LayoutMismatch, MAX_RANK, Role, Roles, RolesError, Shape, ShapeError};
//!
//! assert_eq!(Shape::new(vec![1; MAX_RANK + 1]), Err(ShapeError::Rank(65)));
//! assert_eq!(Roles::new(&[Role::In]), Err(RolesError::NoOut));
//!
//! let (matrix, kernels) = (Roles::new(&[Role::Out, Role::In])?, Shape::new(vec![8, 4, 3])?);
//! let mismatch = LayoutMismatch { shape: kernels.clone(), layout: matrix };
//! assert_eq!(Layout::Roles(matrix).for_shape(&kernels), Err(mismatch));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub(crate) mod axes;
pub(crate) mod cast;
pub(crate) mod dtype;
mod element;
mod layout;
mod narrow;
mod shape;

pub(crate) use axes::Axes;
pub(crate) use cast::cast;
pub use dtype::FloatDtype;
pub use element::Element;
pub(crate) use element::{load, store};
pub use half::{bf16, f16};
pub use layout::{Layout, LayoutMismatch, Role, Roles, RolesError};
pub use safetensors::Dtype;
pub(crate) use shape::{Dims, bytes_of};
pub use shape::{MAX_RANK, Matrix, Shape, ShapeError};
