//! Applies the rules to the tensors of a model and of its trained checkpoint.

use std::collections::{BTreeMap, BTreeSet};

use safetensors::Dtype;

use super::rules::{action, origin};
use crate::checkpoint::{Checkpoint, TensorRef, without_components};
use crate::config::{KeyPath, Settings};
use crate::pipeline::error::{Error, Mismatch, RuleProblem};
use crate::pipeline::origin::{Action, Tensor};
use crate::pipeline::patterns::beyond_dots;
use crate::pipeline::wrappers::wrappers_in;
use crate::tensor::{FloatDtype, Shape};

/// The tensors of the model. `trained` may provide the shapes of other tensors.
pub(super) fn of_model(
    settings: &Settings,
    like: Option<&Checkpoint>,
    trained: Option<&Checkpoint>,
) -> Result<BTreeMap<String, Tensor>, Error> {
    let of_like = like.iter().flat_map(|like| like.tensors()).map(|(name, t)| (name, (t.dtype, t.shape)));
    let mut forms: BTreeMap<&str, (Dtype, &Shape)> = of_like.collect();
    if let Some(model) = &settings.model {
        let given = model.tensors.iter();
        forms.extend(given.map(|(name, (shape, dtype))| (name.as_str(), (dtype.dtype(), shape))));
    }
    let mut tensors = Vec::with_capacity(forms.len());
    let mut unmatched = Vec::new();
    let shape_of = |name: &str| forms.get(name).map(|(_, shape)| *shape).or_else(|| shape_in(trained, name));
    for (name, (dtype, shape)) in &forms {
        let mut tensor =
            Tensor { dtype: *dtype, shape: (*shape).clone(), origin: None, action: Action::PassThrough };
        if FloatDtype::of(*dtype).is_some() {
            tensor.origin = origin(settings, name, shape, shape_of)?;
            tensor.action = action(settings, name, shape, tensor.origin.as_ref());
            if tensor.origin.is_none() {
                unmatched.push((*name).to_owned());
            }
        }
        tensors.push(((*name).to_owned(), tensor));
    }
    // Collected from a list, a map is half as large as one that grows in name order.
    let tensors = tensors.into_iter().collect();
    if unmatched.is_empty() {
        return Ok(tensors);
    }
    let problem = RuleProblem::Unmatched { hint: beyond_dots(settings, &unmatched), tensors: unmatched };
    Err(problem.at(settings, &KeyPath::root().key("rules")))
}

/// The tensors of the trained checkpoint, which must be those of the model.
pub(super) fn of_trained(
    settings: &Settings,
    model: &BTreeMap<String, Tensor>,
    file: &Checkpoint,
) -> Result<BTreeMap<String, Tensor>, Error> {
    let mut mismatch = Mismatch { path: file.path().to_owned(), ..Mismatch::default() };
    let mut tensors = Vec::with_capacity(file.len());
    let shape_of = |name: &str| model.get(name).map(|t| &t.shape).or_else(|| shape_in(Some(file), name));
    for (name, TensorRef { dtype, shape, .. }) in file.tensors() {
        let mut tensor = Tensor { dtype, shape: shape.clone(), origin: None, action: Action::PassThrough };
        let float = FloatDtype::of(dtype);
        if let Some(float) = float {
            tensor.origin = origin(settings, name, shape, shape_of)?;
            tensor.action = action(settings, name, shape, tensor.origin.as_ref());
            match &mut tensor.origin {
                None => mismatch.unmatched.push(name.to_owned()),
                Some(origin) => {
                    let model = model.get(name).and_then(|m| FloatDtype::of(m.dtype));
                    origin.stored_as = model.filter(|model| !model.holds(float));
                }
            }
        }
        if let Some(model) = model.get(name) {
            if model.shape != *shape {
                mismatch.different.push(format!("`{name}` has shape {shape}, expected {}", model.shape));
            }
            if FloatDtype::of(model.dtype).is_some() != float.is_some() {
                mismatch.different.push(format!("`{name}` is {dtype}, expected {}", model.dtype));
            }
        }
        tensors.push((name.to_owned(), tensor));
    }
    let tensors: BTreeMap<String, Tensor> = tensors.into_iter().collect();
    mismatch.missing = model.keys().filter(|name| !tensors.contains_key(*name)).cloned().collect();
    if mismatch.is_empty() {
        return Ok(tensors);
    }
    mismatch.wrappers = wrappers(settings, model, file, &mismatch);
    // A wrapper explains more than a pattern that would match its name.
    if mismatch.wrappers.is_empty() {
        mismatch.hint = beyond_dots(settings, &mismatch.unmatched);
    }
    Err(Box::new(mismatch).into())
}

/// Wrapper names whose removal would make a tensor of the trained checkpoint one that the config contains.
fn wrappers(
    settings: &Settings,
    model: &BTreeMap<String, Tensor>,
    file: &Checkpoint,
    mismatch: &Mismatch,
) -> Vec<&'static str> {
    let names = file.tensors().map(|(name, _)| name);
    let mut found = BTreeSet::new();
    for name in names.filter(|name| !model.contains_key(*name)) {
        let used = wrappers_in(name);
        if used.is_empty() {
            continue;
        }
        let short = without_components(name, |part| used.contains(&part));
        let known = settings.rules.find(&short).is_some();
        let unmatched = || mismatch.unmatched.iter().any(|other| other == name);
        if mismatch.missing.contains(&short) || (model.is_empty() && known && unmatched()) {
            found.extend(used);
        }
    }
    found.into_iter().collect()
}

fn shape_in<'c>(checkpoint: Option<&'c Checkpoint>, name: &str) -> Option<&'c Shape> {
    checkpoint?.tensor(name).map(|tensor| tensor.shape)
}
