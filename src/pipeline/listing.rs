//! The command `plan`: how a config applies to each tensor, without reading data.

use std::collections::BTreeSet;
use std::slice;

use safetensors::Dtype;
use serde::Serialize;

use super::origin::{Action, Tensor};
use super::plan::may_be_coded;
use super::resolve::Resolved;
use crate::checkpoint::TensorSpec;
use crate::codec;
use crate::config::{FormatChoice, PruneSettings};
use crate::init::Initial;
use crate::sparse::{Fill, Format, csr, parts};
use crate::tensor::{FloatDtype, Shape};

/// What the names of a layer's tensors end with, of those that become smaller with its units.
const PARTS: [&str; 4] = [".weight", ".bias", ".running_mean", ".running_var"];

/// One tensor of the model or the trained checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlanRow {
    /// Its name.
    pub name: String,
    /// Its type, as safetensors spells it: that in the trained checkpoint if it exists,
    /// else that in the model.
    pub dtype: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// The pattern that matches it; `None` for types that are passed through.
    pub rule: Option<String>,
    /// The layer id of its noise.
    pub layer_id: Option<u64>,
    /// Its initial values.
    pub init: Option<String>,
    /// Its layout: a word, or a list of roles; `None` for types that are passed through.
    pub layout: Option<String>,
    /// Whether the layout was recognised by the name of the tensor, because the config gives none.
    #[serde(skip)]
    pub layout_told: bool,
    /// `pruned`, `kept` or `passed_through`; `None` if the config does not prune.
    pub action: Option<&'static str>,
    /// Bytes of its data when stored dense.
    pub dense_bytes: u64,
    /// The fewest bytes of data that it can have in the pruned file, whatever its values are.
    pub smallest_bytes: u64,
    /// Bytes of memory for its initial values, if they can only be generated as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub whole_bytes: Option<u64>,
}

/// The tensors of the model and of the trained checkpoint, in name order.
pub fn listing(resolved: &Resolved<'_>) -> Vec<PlanRow> {
    let trained = resolved.trained.as_ref();
    let names: BTreeSet<&String> =
        resolved.model.keys().chain(trained.iter().flat_map(|t| t.keys())).collect();
    let find = |name: &String| trained.and_then(|t| t.get(name)).or_else(|| resolved.model.get(name));
    names.into_iter().filter_map(|name| Some(row(resolved, name, find(name)?))).collect()
}

fn row(resolved: &Resolved<'_>, name: &str, tensor: &Tensor) -> PlanRow {
    let origin = tensor.origin.as_ref();
    let initial = resolved.initial(name, tensor);
    let dense_bytes = bytes_of(tensor.dtype, &tensor.shape);
    let prune = resolved.settings.prune.as_ref();
    let action = prune.map(|_| tensor.action.name());
    let smallest_bytes = prune.map_or(dense_bytes, |prune| smallest(resolved, prune, name, tensor));
    PlanRow {
        name: name.to_owned(),
        dtype: tensor.dtype.to_string(),
        shape: tensor.shape.dims().to_vec(),
        rule: origin.map(|o| o.rule.clone()),
        layer_id: origin.and_then(|o| o.layer),
        init: origin.map(|o| o.init_text()),
        layout: origin.map(|o| o.layout.to_string()),
        layout_told: origin.is_some_and(|o| o.layout_told),
        action,
        dense_bytes,
        smallest_bytes,
        whole_bytes: initial.as_ref().and_then(Initial::whole).map(|whole| whole.bytes() as u64),
    }
}

fn bytes_of(dtype: Dtype, shape: &Shape) -> u64 {
    (shape.elements() * dtype.bitsize() / 8) as u64
}

/// The fewest bytes of data that pruning may leave of a tensor: if all its weights are pruned, or if it is
/// coded and all its values are as predicted.
fn smallest(resolved: &Resolved<'_>, prune: &PruneSettings, name: &str, tensor: &Tensor) -> u64 {
    let Tensor { dtype, shape, .. } = tensor;
    let matrix = shape.matrix();
    let tensors = resolved.trained.as_ref().unwrap_or(&resolved.model);
    let code = may_be_coded(prune, tensors, name, tensor).then(|| codec::least_bytes(matrix));
    let written = FloatDtype::of(*dtype).map(|dtype| prune.dtype.unwrap_or(dtype));
    let least = match (tensor.action, written) {
        (Action::Prune, Some(written)) => {
            let bytes = |format: &Format| match format {
                Format::Coded => code,
                Format::Csr if !csr::can_hold(matrix) => None,
                _ => {
                    let parts = parts(*format, name, written, shape, 0, prune.fill == Fill::Nearest);
                    Some(parts.iter().map(TensorSpec::bytes).sum())
                }
            };
            let formats = match &prune.format {
                FormatChoice::Fixed(format) => slice::from_ref(format),
                FormatChoice::Sparse => &[Format::Dense, Format::Bitmask, Format::Csr],
                FormatChoice::Auto => &[Format::Dense, Format::Bitmask, Format::Csr, Format::Coded],
            };
            formats.iter().filter_map(bytes).min().unwrap_or_default()
        }
        _ => code.unwrap_or(u64::MAX).min(bytes_of(*dtype, shape)),
    };
    match written {
        // At least one unit of a layer is left.
        Some(written) if shape.elements() > 0 && may_lose_units(prune, name) => {
            least.min(written.size() as u64)
        }
        _ => least,
    }
}

/// Whether a tensor belongs to a layer from which units may be removed.
fn may_lose_units(prune: &PruneSettings, name: &str) -> bool {
    let mut layers = prune.chains.iter().flat_map(|chain| &chain.layers);
    layers.any(|layer| PARTS.iter().any(|part| name.strip_prefix(layer.as_str()) == Some(part)))
}
