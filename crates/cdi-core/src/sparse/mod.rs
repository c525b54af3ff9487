//! Storage of pruned tensors: encodings, their sizes, and the description from which files are restored.

pub mod bitmask;
mod choice;
pub mod csr;
mod deflated;
pub mod fillmask;
mod metadata;
pub mod offsets;
mod parts;
mod settings;

pub use choice::{parts, smallest, suffixes};
pub use deflated::DescriptionError;
pub use metadata::{
    Base, Delta, FileMetadata, InBase, InitialValues, Kind, Layer, PrunedTensor, SHARED_CODES, SHARED_LIMIT,
    SliceValues, Unknown, VERSION, base_digest,
};
pub use parts::{BitmaskParts, CsrParts, EncodingParts, Parts};
pub use settings::{Fill, Format};
