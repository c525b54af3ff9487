//! How a pruned tensor is stored.
mod settings;

pub use settings::{Fill, Format};
