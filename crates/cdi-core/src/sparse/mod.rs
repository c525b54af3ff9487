//! Storage of pruned tensors: encodings, their sizes, and the description that restoring needs.

pub mod bitmask;
mod choice;
pub mod csr;
pub mod fillmask;
mod metadata;
mod parts;
mod settings;

pub use choice::{parts, smallest, suffixes};
pub use metadata::{FileMetadata, InitialValues, Kind, PrunedTensor, SliceValues, Unknown, VERSION};
pub use parts::{BitmaskParts, CsrParts, EncodingParts, Parts};
pub use settings::{Fill, Format};
