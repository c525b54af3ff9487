//! Initial weights: schemes, and generators with access to every element.
//!
//! A [`Scheme`] is an initialisation, such as `he` or `normal`. With a seed, a layer id, a shape and a
//! layout, it makes a [`Generator`]. The generator gives the weight at any `(i, j)`, or any run of a tensor's
//! elements: as unrounded binary64, or as elements of a stored type ([`Generator::fill_elements`]).
//!
//! ```
//! use cdi_core::init::{Distribution, Fan, FanIn, Generator, Nonlinearity, Scheme, SchemeParams, VarianceRule};
//! use cdi_core::init::{gaussian, init_weight};
//! use cdi_core::tensor::{Layout, Shape};
//!
//! // A mode with parameters, as in a config …
//! let params = SchemeParams {
//!     fan: Some(Fan::Out),
//!     nonlinearity: Some(Nonlinearity::Tanh),
//!     ..SchemeParams::named("he")
//! };
//! let scheme = params.scheme()?;
//! // … is checked and completed.
//! let rule = VarianceRule::He { fan: Fan::Out, activation: Some((Nonlinearity::Tanh, 0.0)) };
//! let distribution = Distribution::Normal;
//! assert_eq!(scheme, Scheme::Scaled { rule, distribution, gain: 1.0, zero_mean: false });
//! assert_eq!(scheme.to_string(), "he(fan=out, nonlinearity=tanh)");
//! // PyTorch's default, for a bias: the fan-in is that of its layer.
//! let bias = SchemeParams { fan_in: Some(784), ..SchemeParams::named("torch_default") }.scheme()?;
//! assert_eq!(bias, Scheme::TorchDefault { fan_in: FanIn::Given(784) });
//!
//! let (seed, layer, shape) = (42, 0, Shape::new(vec![256, 784])?);
//! scheme.check_shape(&shape, Layout::OutIn)?;
//! let generator = Generator::new(seed, layer, &scheme, &shape, Layout::OutIn);
//! // The tenth weight of the third row, without any other.
//! let weight = generator.weight_at(2, 9);
//! let (fan_in, fan_out) = shape.fans(Layout::OutIn);
//! assert_eq!(weight, rule.std(fan_in, fan_out) * gaussian(seed, layer, 2, 9));
//! assert_eq!(weight as f32, init_weight(seed, layer, (2, 9), shape.dims(), &scheme)?);
//! // A run of elements.
//! let mut row = vec![0.0; 784];
//! generator.fill(2 * 784, &mut row);
//! assert_eq!(row[9], weight);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Parameters that make no scheme are errors, and so are schemes that do not fit a shape:
//!
//! ```
//! use cdi_core::init::{MODE_NAMES, SchemeError, SchemeParams, ShapeMismatch};
//! use cdi_core::tensor::{Layout, Shape};
//!
//! let error = SchemeParams { std: Some(0.02), ..SchemeParams::named("he") }.scheme().unwrap_err();
//! assert_eq!(error, SchemeError::DoesNotApply { mode: "he", parameter: "std" });
//! assert!(MODE_NAMES.contains(&"orthogonal"));
//! let eye = SchemeParams::named("eye").scheme()?;
//! let ShapeMismatch { expected, .. } = eye.check_shape(&Shape::new(vec![8])?, Layout::OutIn).unwrap_err();
//! assert_eq!(expected, "two dimensions");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Fused tensors consist of slices along their output dimension, each initialised like a separate tensor.
//! Orthogonal matrices are drawn as a whole ([`Whole`]):
//!
//! ```
//! use cdi_core::init::{Generator, SchemeParams, SliceError, Whole, slice_shape, slice_sizes};
//! use cdi_core::tensor::{Layout, Shape};
//!
//! // Query, key and value of an attention layer in one tensor.
//! let (layout, fused) = (Layout::OutIn, Shape::new(vec![192, 64])?);
//! let sizes = slice_sizes(&fused, layout, &[None, None, None])?;
//! assert_eq!(sizes, [64, 64, 64]);
//! assert_eq!(slice_sizes(&fused, layout, &[Some(100)]), Err(SliceError::Sum { size: 192, sum: 100 }));
//! let orthogonal = SchemeParams::named("orthogonal").scheme()?;
//! let slice = |(layer, size)| {
//!     (size, Generator::new(1, layer, &orthogonal, &slice_shape(&fused, layout, size), layout))
//! };
//! let generator = Generator::sliced(&fused, layout, (0..).zip(sizes).map(slice).collect());
//! // Three matrices of 64 x 64 take memory until they are released.
//! assert_eq!(generator.whole().map(Whole::bytes), Some(3 * 64 * 64 * 8));
//! let first = generator.weight_at(0, 0);
//! generator.whole().into_iter().for_each(Whole::release);
//! assert_eq!(generator.weight_at(0, 0), first);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod alias;
mod api;
mod check;
mod distribution;
mod draw;
mod elements;
pub(crate) mod encoder;
pub(crate) mod exact;
mod gain;
pub(crate) mod generator;
mod householder;
pub(crate) mod initial;
mod mode;
mod orthogonal;
mod params;
mod scheme;
mod sliced;
mod slices;
mod special;
mod structure;
mod truncated;

pub use api::init_weight;
pub use check::SchemeError;
pub use distribution::{Distribution, Fan};
pub use gain::Nonlinearity;
pub use generator::Generator;
pub(crate) use initial::Initial;
pub use mode::MODE_NAMES;
pub(crate) use orthogonal::Held;
pub use orthogonal::Whole;
pub use params::SchemeParams;
pub use scheme::{FanIn, Scheme, ShapeMismatch, VarianceRule};
pub use slices::{SliceError, slice_shape, slice_sizes};

pub use crate::noise::gaussian;
