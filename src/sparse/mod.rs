//! How a pruned tensor is stored: encodings, their sizes, and the description that restoring needs.

pub mod bitmask;
mod choice;
mod metadata;
mod settings;

pub use choice::smallest;
pub use metadata::{FileMetadata, InitialValues, Kind, PrunedTensor, SliceValues, Unknown, VERSION};
pub use settings::{Fill, Format};
