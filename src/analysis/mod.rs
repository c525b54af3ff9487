//! What training changed: the trained weights beside their initial values.
mod threshold;

pub use threshold::Threshold;
