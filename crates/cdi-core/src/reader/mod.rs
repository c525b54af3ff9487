//! Reads pruned files: opens and checks the whole file, then restores any tensor, or any of its rows, into
//! memory that the caller provides.
//!
//! ```
//! # // A pruned file: of "fc.weight", F32 [2, 4], one weight is stored, the others are initial values.
//! # let description = concat!(
//! #     r#"{"version":1,"noise_version":1,"kind":"pruned","seed":42,"tensors":[{"name":"fc.weight","#,
//! #     r#""dtype":"F32","shape":[2,4],"format":"bitmask","fill":"init","layer_id":0,"#,
//! #     r#""init":{"mode":"he"}}]}"#,
//! # );
//! # let part = |name: &str, dtype: &str, shape: &str, from: usize, to: usize| {
//! #     format!(r#""fc.weight.{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{from},{to}]}}"#)
//! # };
//! # let header = format!(
//! #     r#"{{"__metadata__":{{"cdi_prune":{description:?}}},{},{},{},{}}}"#,
//! #     part("shape", "I64", "[2]", 0, 16),
//! #     part("row_offsets", "I64", "[2]", 16, 32),
//! #     part("compressed", "F32", "[1]", 32, 36),
//! #     part("bitmask", "U8", "[2,1]", 36, 38),
//! # );
//! # let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
//! # bytes.extend(header.bytes());
//! # bytes.extend([2i64, 4, 0, 1].iter().flat_map(|n| n.to_le_bytes()));
//! # bytes.extend(0.5f32.to_le_bytes());
//! # bytes.extend([0b0010, 0b0000]);
//! use cdi_core::reader::{Limits, PrunedReader};
//! use cdi_core::tensor::Dtype;
//!
//! // The memory that a tensor may take: a small file can describe a tensor of any size.
//! let limits = Limits { bytes: 64 << 20, ..Limits::default() };
//! let file = PrunedReader::from_bytes_within(bytes, None, limits)?;
//! for (name, dtype, shape) in file.tensors() {
//!     assert_eq!((name, dtype, shape.dims()), ("fc.weight", Dtype::F32, &[2, 4][..]));
//! }
//! // One row as elements; `read_rows` gives its bytes, and `read_to_vec` those of the whole tensor.
//! let mut row = [0f32; 4];
//! file.read_elements("fc.weight", 0..1, &mut row)?;
//! assert_eq!(row[1], 0.5);
//! // For many reads of one tensor, a handle keeps what one read leaves for the next.
//! let mut tensor = file.tensor_reader("fc.weight")?;
//! tensor.read_elements(1..2, &mut row)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Opening a file finds everything that can be wrong with it, except in the blocks of entropy-coded tensors.
//! Every error names the file and the tensor:
//!
//! ```
//! use cdi_core::checkpoint::{CheckpointError, ErrorKind};
//! use cdi_core::reader::{BaseProblem, BitmaskError, CodeError, CsrError, OpenError, PrunedProblem};
//! use cdi_core::reader::{PrunedReader, RowsError};
//!
//! /// What to do about a file that cannot be opened.
//! fn advice(error: &OpenError) -> &'static str {
//!     match error {
//!         OpenError::Checkpoint(CheckpointError { kind: ErrorKind::Header(_), .. }) => "fetch it again",
//!         OpenError::Checkpoint(_) => "check its path",
//!         OpenError::Base { problem: BaseProblem::Digest { .. }, .. } => "give the base that it was pruned with",
//!         OpenError::Base { .. } => "give its base",
//!         OpenError::Pruned { problem, .. } => match problem {
//!             PrunedProblem::BaseNeeded { .. } => "give its base",
//!             PrunedProblem::Limit { .. } => "raise the limits, if you trust it",
//!             // Parts that contradict each other.
//!             PrunedProblem::Bitmask { error: BitmaskError::RowOffset { .. }, .. }
//!             | PrunedProblem::Csr { error: CsrError::Order { .. }, .. }
//!             | PrunedProblem::Code { error: CodeError::Block(_), .. } => "fetch it again",
//!             _ => "see the message",
//!         },
//!     }
//! }
//!
//! let error = PrunedReader::from_bytes(vec![1, 2, 3], None).unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "in memory: not a safetensors file: 3 bytes, shorter than the 8 bytes of a header length"
//! );
//! assert_eq!(advice(&error), "fetch it again");
//!
//! # let header = r#"{"w":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}"#;
//! # let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
//! # bytes.extend(header.bytes());
//! # bytes.extend([0; 8]);
//! # let file = PrunedReader::from_bytes(bytes, None)?;
//! // `w` is F32 [1, 2] here.
//! let error = file.read_elements("w", 0..2, &mut [0f32; 4]).unwrap_err();
//! assert_eq!(error, RowsError::Beyond { tensor: "w".into(), rows: 1, from: 0, to: 2 });
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | module | holds |
//! | --- | --- |
//! | `file` | the opened file |
//! | `validate` | checks of the description against the tensors |
//! | `parts` | checks of the parts of an encoded tensor against each other |
//! | `decode` | the decoder of encoded tensors, by blocks |
//! | `coded` | tensors whose values are entropy-coded |
//! | `layers` | tensors with the codes of several deltas |
//! | `stored` | how each tensor is stored |
//! | `rows` | reading tensors and rows into the caller's memory |

mod coded;
pub(crate) mod decode;
mod error;
mod file;
#[cfg(feature = "std")]
pub(crate) mod layers;
mod parts;
mod rows;
pub(crate) mod stored;
pub(crate) mod validate;

pub use crate::codec::CodeError;
pub use crate::sparse::DescriptionError;
pub use crate::sparse::bitmask::BitmaskError;
pub use crate::sparse::csr::CsrError;
pub use error::{BaseProblem, OpenError, PrunedProblem, RowsError};
pub use file::{Limits, PrunedReader};
pub use rows::TensorReader;
