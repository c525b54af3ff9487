//! Initial weights: the draws of a scheme, their scale, and access to every single element.
//!
//! A [`Scheme`] is what a rule names (`he`, `normal`, …). With a seed, a layer id, a shape and a layout it
//! makes a [`Generator`], which gives the weight at any `(i, j)`, or any run of a tensor's elements, as
//! unrounded binary64; [`crate::tensor::FloatDtype`] then rounds them into the stored type.

mod alias;
mod api;
mod check;
mod distribution;
mod draw;
mod elements;
pub(crate) mod encoder;
mod exact;
mod gain;
mod generator;
mod householder;
mod initial;
mod mode;
mod orthogonal;
mod params;
mod scheme;
mod sliced;
mod slices;
mod special;
mod structure;
mod truncated;

pub use api::{gaussian, init_weight};
pub use check::SchemeError;
pub use distribution::{Distribution, Fan};
pub use exact::ExactDistribution;
pub use gain::Nonlinearity;
pub use generator::{Fill, Generator};
pub use initial::Initial;
pub use mode::MODE_NAMES;
pub(crate) use orthogonal::Held;
pub use orthogonal::Whole;
pub use params::SchemeParams;
pub use scheme::{FanIn, Scheme, ShapeMismatch, VarianceRule};
pub use slices::{SliceError, slice_shape, slice_sizes};
