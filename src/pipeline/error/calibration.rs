//! Errors in the second moments of layers' inputs.

use safetensors::Dtype;

use crate::prune::MomentsError;
use crate::tensor::Shape;

/// Why the second moments of a layer's inputs cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CalibrationProblem {
    /// The trained checkpoint has no tensor of this name.
    #[error(
        "is not the name of a tensor of the trained checkpoint; second moments have the names of the weights that \
         read the inputs"
    )]
    Unknown,
    /// None of the tensors that are rounded is there.
    #[error("is not there, nor is any other tensor that is rounded with this calibration")]
    Nothing,
    /// Not numbers that can be added up.
    #[error("is {0} there, expected F32 or F64")]
    Dtype(Dtype),
    /// Not one number for each pair of inputs.
    #[error("has shape {got} there, expected [{inputs}, {inputs}]: the tensor is {shape}, outputs {place}")]
    Shape {
        /// Number of inputs of the tensor.
        inputs: usize,
        /// Shape of the tensor.
        shape: Shape,
        /// Shape of the second moments.
        got: Shape,
        /// Whether the outputs are the `first` or the `last` dimension.
        place: &'static str,
    },
    /// The tensor has no inputs.
    #[error(
        "is {0}, which has no inputs: only tensors of two or more dimensions are rounded with a calibration"
    )]
    Rank(Shape),
    /// The layout of the tensor is a list of roles.
    #[error(
        "has the layout {0}, but rounding can compensate its errors only with the layouts out_in and in_out; \
         set `rounding: nearest` for it in a prune rule"
    )]
    Layout(String),
    /// They cannot be second moments.
    #[error("cannot be second moments: {0}")]
    Moments(#[from] MomentsError),
}
