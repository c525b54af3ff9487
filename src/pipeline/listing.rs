//! The command `plan`: how a config applies to each tensor, without reading data.

use std::collections::BTreeSet;

use serde::Serialize;

use super::origin::{Action, Tensor};
use super::resolve::Resolved;
use crate::codec;
use crate::init::Initial;
use crate::tensor::FloatDtype;

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
    /// Bytes of its data in the smallest pruned file, if all its weights slept.
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
    let action = resolved.settings.prune.is_some().then_some(tensor.action);
    let dense_bytes = (tensor.shape.elements() * tensor.dtype.bitsize() / 8) as u64;
    let smallest_bytes = match (action, FloatDtype::of(tensor.dtype)) {
        (Some(Action::Prune), Some(dtype)) => {
            let parts = crate::sparse::bitmask::parts(name, dtype, &tensor.shape, 0);
            let bitmask = parts.into_array().iter().map(|p| p.bytes()).sum::<u64>();
            let codes = resolved.settings.prune.as_ref().is_some_and(|prune| prune.format.codes());
            let least = if codes { codec::least_bytes(tensor.shape.matrix()) } else { u64::MAX };
            least.min(bitmask).min(dense_bytes)
        }
        _ => dense_bytes,
    };
    PlanRow {
        name: name.to_owned(),
        dtype: tensor.dtype.to_string(),
        shape: tensor.shape.dims().to_vec(),
        rule: origin.map(|o| o.rule.clone()),
        layer_id: origin.and_then(|o| o.layer),
        init: origin.map(|o| o.init_text()),
        layout: origin.map(|o| o.layout.to_string()),
        layout_told: origin.is_some_and(|o| o.layout_told),
        action: action.map(Action::name),
        dense_bytes,
        smallest_bytes,
        whole_bytes: initial.as_ref().and_then(Initial::whole).map(|whole| whole.bytes() as u64),
    }
}
