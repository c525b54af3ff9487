//! The config's rules applied to the tensors of real files: who each tensor is, where its initial values come from and
//! what pruning may do with it. Reads headers only.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cdi_core::internal::base_tensor;
use safetensors::Dtype;

use super::error::{Error, Mismatch, RuleProblem};
use super::origin::{Action, Origin, Slice, Tensor};
use super::patterns::patterns_match;
use super::run::outputs;
use super::wrappers::wrappers_in;
use crate::checkpoint::{Checkpoint, CheckpointError, ErrorKind, Mapped, TensorRef, without_components};
use crate::config::{
    ConfigErrorKind, FormatChoice, InitRule, InitSource, KeyPath, LayerRule, PruneSettings, Settings,
};
use crate::init::{FanIn, Initial, Scheme, slice_shape, slice_sizes};
use crate::prune::{Criterion, Decision, Lane, Structure};
use crate::rules::{Match, RuleSet};
use crate::sparse::{FileMetadata, Fill, Format, Kind};
use crate::store::{README, SmallFile, beside, folder_of, identity, with_readme};
use crate::tensor::{Axes, FloatDtype, Layout, Role, Roles, Shape};

/// The config with its files opened and every tensor assigned to a rule.
#[derive(Debug)]
pub struct Resolved<'s> {
    /// The config.
    pub settings: &'s Settings,
    /// The model's tensors in name order: those to initialise.
    pub model: BTreeMap<String, Tensor>,
    /// The trained checkpoint's tensors in name order, `None` where there is no such file yet.
    pub trained: Option<BTreeMap<String, Tensor>>,
    like: Option<Checkpoint>,
    trained_file: Option<Checkpoint>,
    bases: BTreeMap<PathBuf, Checkpoint>,
    scores: OnceLock<BTreeMap<PathBuf, Checkpoint>>,
    /// Those beside the trained checkpoint that go beside the pruned one.
    small_files: Vec<SmallFile>,
}

impl<'s> Resolved<'s> {
    /// Opens the files that the config names and applies its rules.
    ///
    /// # Errors
    /// What the files and the config contradict each other in; nothing has been written then.
    pub fn new(settings: &'s Settings) -> Result<Self, Error> {
        Self::open(settings, false)
    }

    /// The same for writing the initial checkpoint, which no trained one stands in the way of: where that cannot be
    /// used, it counts as not there yet.
    ///
    /// # Errors
    /// As for [`Self::new`], but for what is wrong with the trained checkpoint.
    pub fn for_init(settings: &'s Settings) -> Result<Self, Error> {
        Self::open(settings, true)
    }

    fn open(settings: &'s Settings, for_init: bool) -> Result<Self, Error> {
        let like =
            settings.model.as_ref().and_then(|m| m.like.as_deref()).map(Checkpoint::open).transpose()?;
        let (trained_file, mut unusable) = match open_trained(settings) {
            Err(_) if for_init => (None, true),
            opened => (opened?, false),
        };
        let mut resolved = Self {
            settings,
            model: BTreeMap::new(),
            trained: None,
            like,
            trained_file,
            bases: BTreeMap::new(),
            scores: OnceLock::new(),
            small_files: Vec::new(),
        };
        resolved.model = resolved.resolve_model()?;
        resolved.trained = match resolved.resolve_trained() {
            Err(_) if for_init => {
                unusable = true;
                None
            }
            trained => trained?,
        };
        if unusable {
            resolved.trained_file = None;
        }
        if let (None, true, Some(trained), false) =
            (&resolved.trained, resolved.model.is_empty(), &settings.trained, for_init)
        {
            // Nothing is known that a rule could be about.
            return Err(Error::TrainedMissing { path: trained.path.clone(), initial: None });
        }
        // Of a trained checkpoint that cannot be read it is not known what rules match there.
        if !unusable {
            patterns_match(settings, &resolved.names())?;
        }
        resolved.check_layer_ids()?;
        resolved.open_bases()?;
        resolved.small_files = resolved.find_small_files()?;
        Ok(resolved)
    }

    fn find_small_files(&self) -> Result<Vec<SmallFile>, Error> {
        let wanted = self.settings.prune.as_ref().is_some_and(|prune| prune.folder);
        let Some(trained) = self.trained_file.as_ref().filter(|_| wanted) else { return Ok(Vec::new()) };
        // What an earlier run of this config wrote there is no part of the model.
        let except = outputs(self).iter().map(|(_, path)| identity(path)).collect();
        Ok(beside(trained.path(), &except)?)
    }

    /// The small files beside the trained checkpoint that go beside the pruned one.
    pub(super) fn small_files(&self) -> &[SmallFile] {
        &self.small_files
    }

    /// With these in their place.
    pub(super) fn with_small_files(self, small_files: Vec<SmallFile>) -> Self {
        Self { small_files, ..self }
    }

    /// Whether the folder of the pruned checkpoint gets a README that says to restore it; `None` where it is no such folder.
    fn folder_with_readme(&self) -> Option<(&PruneSettings, bool)> {
        let prune =
            self.settings.prune.as_ref().filter(|prune| prune.folder && self.trained_file.is_some())?;
        Some((prune, prune.format != FormatChoice::Fixed(Format::Dense)))
    }

    /// What they are called there.
    pub(super) fn small_names_out(&self) -> BTreeSet<&str> {
        let Some((_, readme)) = self.folder_with_readme() else { return BTreeSet::new() };
        self.small_files.iter().map(|file| file.name.as_str()).chain(readme.then_some(README)).collect()
    }

    /// What they are there.
    pub(super) fn small_files_out(&self) -> Vec<SmallFile> {
        let Some((prune, readme)) = self.folder_with_readme() else { return Vec::new() };
        let files = self.small_files.clone();
        if !readme {
            return files;
        }
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let base = self.settings.base().filter(|_| prune.fill != Fill::Zero).map(name);
        with_readme(files, folder_of(&prune.output), &name(&prune.output), base.as_deref())
    }

    fn resolve_model(&self) -> Result<BTreeMap<String, Tensor>, Error> {
        let mut forms: BTreeMap<String, (Dtype, Shape)> = BTreeMap::new();
        if let Some(like) = &self.like {
            forms.extend(like.tensors().map(|(name, t)| (name.to_owned(), (t.dtype, t.shape.clone()))));
        }
        if let Some(model) = &self.settings.model {
            forms.extend(
                model
                    .tensors
                    .iter()
                    .map(|(name, (shape, dtype))| (name.clone(), (dtype.dtype(), shape.clone()))),
            );
        }
        let mut tensors = BTreeMap::new();
        let mut unmatched = Vec::new();
        let shape_of =
            |name: &str| forms.get(name).map(|(_, shape)| shape).or_else(|| self.trained_shape(name));
        for (name, (dtype, shape)) in &forms {
            let (dtype, shape) = (*dtype, shape.clone());
            let mut tensor = Tensor { dtype, shape, origin: None, action: Action::PassThrough };
            if FloatDtype::of(dtype).is_some() {
                tensor.origin = self.origin(name, &tensor.shape, shape_of)?;
                tensor.action = self.action(name, &tensor.shape, tensor.origin.as_ref());
                if tensor.origin.is_none() {
                    unmatched.push(name.clone());
                }
            }
            tensors.insert(name.clone(), tensor);
        }
        if unmatched.is_empty() {
            return Ok(tensors);
        }
        Err(self.wrong(&KeyPath::root().key("rules"), RuleProblem::Unmatched { tensors: unmatched }))
    }

    /// An error about the rules, at their place in the config.
    pub(super) fn wrong(&self, key: &KeyPath, problem: RuleProblem) -> Error {
        self.settings.source.error(key, ConfigErrorKind::Stage(Box::new(problem))).into()
    }

    fn resolve_trained(&self) -> Result<Option<BTreeMap<String, Tensor>>, Error> {
        let Some(file) = &self.trained_file else { return Ok(None) };
        let mut mismatch = Mismatch { path: file.path().to_owned(), ..Mismatch::default() };
        let mut tensors = BTreeMap::new();
        let shape_of =
            |name: &str| self.model.get(name).map(|t| &t.shape).or_else(|| self.trained_shape(name));
        for (name, TensorRef { dtype, shape, .. }) in file.tensors() {
            let mut tensor =
                Tensor { dtype, shape: shape.clone(), origin: None, action: Action::PassThrough };
            let float = FloatDtype::of(dtype);
            if let Some(float) = float {
                tensor.origin = self.origin(name, shape, shape_of)?;
                tensor.action = self.action(name, shape, tensor.origin.as_ref());
                match &mut tensor.origin {
                    None => mismatch.unmatched.push(name.to_owned()),
                    Some(origin) => {
                        let model = self.model.get(name).and_then(|m| FloatDtype::of(m.dtype));
                        origin.stored_as = model.filter(|model| !model.holds(float));
                    }
                }
            }
            if let Some(model) = self.model.get(name) {
                if model.shape != *shape {
                    mismatch.different.push(format!("`{name}` has shape {shape}, expected {}", model.shape));
                }
                if FloatDtype::of(model.dtype).is_some() != float.is_some() {
                    mismatch.different.push(format!("`{name}` is {dtype}, expected {}", model.dtype));
                }
            }
            tensors.insert(name.to_owned(), tensor);
        }
        mismatch.missing = self.model.keys().filter(|name| !tensors.contains_key(*name)).cloned().collect();
        if mismatch.is_empty() {
            return Ok(Some(tensors));
        }
        mismatch.wrappers = self.wrappers(&mismatch);
        Err(mismatch.into())
    }

    /// Wrappers' names without which a tensor of the trained checkpoint would be one that the config knows.
    fn wrappers(&self, mismatch: &Mismatch) -> Vec<&'static str> {
        let names = self.trained_file.iter().flat_map(Checkpoint::tensors).map(|(name, _)| name);
        let mut found = BTreeSet::new();
        for name in names.filter(|name| !self.model.contains_key(*name)) {
            let used = wrappers_in(name);
            if used.is_empty() {
                continue;
            }
            let short = without_components(name, |part| used.contains(&part));
            let known = self.settings.rules.find(&short).is_some();
            let unmatched = || mismatch.unmatched.iter().any(|other| other == name);
            if mismatch.missing.contains(&short) || (self.model.is_empty() && known && unmatched()) {
                found.extend(used);
            }
        }
        found.into_iter().collect()
    }

    fn trained_shape(&self, name: &str) -> Option<&Shape> {
        self.trained_file.as_ref()?.tensor(name).map(|t| t.shape)
    }

    /// What the rules say about a tensor; `shape_of` knows the shapes of the others.
    fn origin<'t>(
        &self,
        name: &str,
        shape: &Shape,
        shape_of: impl Fn(&str) -> Option<&'t Shape>,
    ) -> Result<Option<Origin>, Error> {
        let Some(found) = self.settings.rules.find(name) else { return Ok(None) };
        let InitRule { layer, init, slices, .. } = found.value;
        let (layout, layout_told) = layout_of(found.value, name, shape);
        let rule = KeyPath::root().key("rules").index(found.rule);
        let layout = layout.for_shape(shape).map_err(|error| {
            self.wrong(&rule.key("layout"), RuleProblem::Roles { tensor: name.to_owned(), error })
        })?;
        let mut source = init.clone();
        let layer = match &mut source {
            InitSource::Scheme(_) if !slices.is_empty() => None,
            InitSource::Scheme(scheme) => {
                let wrong = |problem| self.wrong(&rule.key("init"), problem);
                self.find_fan_in(scheme, &found, name, &shape_of).map_err(wrong)?;
                scheme
                    .check_shape(shape, layout)
                    .map_err(|error| wrong(RuleProblem::Shape { tensor: name.to_owned(), error }))?;
                Some(layer.id(name, &found.captures).map_err(|error| {
                    self.wrong(&rule.key("layer"), RuleProblem::Layer { tensor: name.to_owned(), error })
                })?)
            }
            InitSource::From(_) | InitSource::None => None,
        };
        Ok(Some(Origin {
            rule: pattern_text(&self.settings.rules, &found),
            rule_index: found.rule,
            layer,
            layout,
            layout_told,
            source,
            slices: self.slices(name, shape, layout, &found, &shape_of)?,
            stored_as: None,
        }))
    }

    /// The slices of a tensor that the rule cuts.
    fn slices<'t>(
        &self,
        name: &str,
        shape: &Shape,
        layout: Layout,
        found: &Match<'_, '_, InitRule>,
        shape_of: impl Fn(&str) -> Option<&'t Shape>,
    ) -> Result<Vec<Slice>, Error> {
        let InitRule { layer, slices, .. } = found.value;
        if slices.is_empty() {
            return Ok(Vec::new());
        }
        let rule = KeyPath::root().key("rules").index(found.rule);
        let key = rule.key("slices");
        let tensor = name.to_owned();
        let given: Vec<Option<usize>> = slices.iter().map(|slice| slice.size).collect();
        let sizes = slice_sizes(shape, layout, &given)
            .map_err(|error| self.wrong(&key, RuleProblem::Slices { tensor: tensor.clone(), error }))?;
        let mut all = Vec::with_capacity(slices.len());
        for (n, (slice, size)) in slices.iter().zip(sizes).enumerate() {
            let wrong = |problem| self.wrong(&key.index(n), problem);
            let mut scheme = slice.scheme.clone();
            self.find_fan_in(&mut scheme, found, name, &shape_of).map_err(wrong)?;
            let full_name = format!("{name}.{}", slice.name);
            scheme
                .check_shape(&slice_shape(shape, layout, size), layout)
                .map_err(|error| wrong(RuleProblem::Shape { tensor: full_name.clone(), error }))?;
            let id = match (&slice.layer, layer) {
                (Some(layer), _) | (None, layer @ LayerRule::Auto) => layer.id(&full_name, &found.captures),
                (None, layer) => layer.id_after(n as u64, name, &found.captures),
            };
            let layer = id.map_err(|error| {
                self.wrong(&rule.key("layer"), RuleProblem::Layer { tensor: full_name.clone(), error })
            })?;
            all.push(Slice { name: slice.name.clone(), size, layer, scheme });
        }
        Ok(all)
    }

    /// Puts the number in place of the tensor that `fan_in_of` names.
    fn find_fan_in<'t>(
        &self,
        scheme: &mut Scheme,
        found: &Match<'_, '_, InitRule>,
        name: &str,
        shape_of: impl Fn(&str) -> Option<&'t Shape>,
    ) -> Result<(), RuleProblem> {
        let Scheme::TorchDefault { fan_in: fan_in @ FanIn::Of(_) } = scheme else { return Ok(()) };
        let FanIn::Of(template) = &*fan_in else { return Ok(()) };
        // Each star stands for what the pattern's groups matched, in their order.
        let mut weight = String::new();
        let mut group = 0;
        for (n, part) in template.split('*').enumerate() {
            if n > 0 {
                group += 1;
                weight += found.captures.get(group).unwrap_or("*");
            }
            weight += part;
        }
        let Some(shape) = shape_of(&weight) else {
            return Err(RuleProblem::NoWeight { tensor: name.to_owned(), weight });
        };
        let rule = self.settings.rules.find(&weight);
        let (layout, _) = layout_of(rule.as_ref().map_or(found.value, |rule| rule.value), &weight, shape);
        let layout = layout.for_shape(shape).unwrap_or_default();
        match Axes::new(shape, layout).torch_fan_in() as u64 {
            // No input, no bound: as in PyTorch the bias stays 0.
            0 => *scheme = Scheme::Constant(0.0),
            inputs => *fan_in = FanIn::Given(inputs),
        }
        Ok(())
    }

    fn action(&self, name: &str, shape: &Shape, origin: Option<&Origin>) -> Action {
        let default = Decision::default();
        let decision = match &self.settings.prune {
            Some(prune) => prune.decision(name),
            None => Some(&default),
        };
        let (Some(decision), Some(origin)) = (decision, origin) else { return Action::Keep };
        let unknown = origin.source == InitSource::None && decision.criterion.needs_initial();
        let small = (shape.elements() as u64) < decision.min_elements;
        let undivided = undivided_lane(decision, shape, origin.layout).is_some();
        if unknown || small || undivided { Action::Keep } else { Action::Prune }
    }

    /// Every name that a rule may be about.
    fn names(&self) -> BTreeSet<&str> {
        self.model.keys().chain(self.trained.iter().flat_map(BTreeMap::keys)).map(String::as_str).collect()
    }

    fn check_layer_ids(&self) -> Result<(), Error> {
        let mut first: BTreeMap<u64, (String, usize)> = BTreeMap::new();
        let all = self.model.iter().chain(self.trained.iter().flatten());
        for (name, tensor) in all {
            let Some(Origin { layer, slices, rule_index, .. }) = &tensor.origin else { continue };
            let slices = slices.iter().map(|slice| (format!("{name}.{}", slice.name), slice.layer));
            for (name, layer) in layer.map(|layer| (name.clone(), layer)).into_iter().chain(slices) {
                let Some((other, other_rule)) = first.insert(layer, (name.clone(), *rule_index)) else {
                    continue;
                };
                let shared = |rule: usize| self.settings.rules.rules()[rule].value.shared;
                if other != name && !(shared(*rule_index) && shared(other_rule)) {
                    let problem = RuleProblem::SameLayer { first: other, second: name, layer };
                    return Err(self.wrong(&KeyPath::root().key("rules").index(*rule_index), problem));
                }
            }
        }
        Ok(())
    }

    fn open_bases(&mut self) -> Result<(), Error> {
        let mut bases = BTreeMap::new();
        for (name, tensor) in self.model.iter().chain(self.trained.iter().flatten()) {
            let Some(Origin { source: InitSource::From(path), .. }) = &tensor.origin else { continue };
            if !bases.contains_key(path) {
                bases.insert(path.clone(), Checkpoint::open(path)?);
            }
            base_tensor(&bases[path], name, &tensor.shape)?;
        }
        self.bases = bases;
        Ok(())
    }

    /// The initial values of a tensor, `None` where they are not known or it is passed through.
    pub fn initial(&self, name: &str, tensor: &Tensor) -> Option<Initial<'_>> {
        let origin = tensor.origin.as_ref()?;
        match &origin.source {
            InitSource::Scheme(scheme) => Some(Initial::Generated {
                generator: origin.generator(self.settings.seed, scheme, &tensor.shape),
                stored_as: origin.stored_as,
            }),
            InitSource::From(path) => {
                // Checked when the base was opened.
                let base = self.bases.get(path)?.tensor(name)?;
                let (bytes, dtype) = (base.bytes(), base.float()?);
                Some(Initial::Stored { bytes, dtype, stored_as: origin.stored_as })
            }
            InitSource::None => None,
        }
    }

    /// The part of a file that a tensor's initial values are read from, where they are.
    pub fn initial_data(&self, name: &str, tensor: &Tensor) -> Option<(Mapped<'_>, FloatDtype)> {
        let InitSource::From(path) = &tensor.origin.as_ref()?.source else { return None };
        let base = self.bases.get(path)?.tensor(name)?;
        Some((base.data, base.float()?))
    }

    /// The opened checkpoint that a rule's `{from: path}` names.
    pub fn base(&self, path: &Path) -> Option<&Checkpoint> {
        self.bases.get(path)
    }

    /// Opens the files of scores that pruning the trained checkpoint takes. Not done before: they may come from a program
    /// that runs after the other stages.
    ///
    /// # Errors
    /// Those of opening a checkpoint.
    pub(super) fn open_scores(&self) -> Result<(), Error> {
        let mut opened = BTreeMap::new();
        let Some(prune) = &self.settings.prune else { return Ok(()) };
        for (name, tensor) in self.trained.iter().flatten() {
            let decision = prune.decision(name).filter(|_| tensor.action == Action::Prune);
            if let Some(Criterion::Scores(path)) = decision.map(|decision| &decision.criterion)
                && !opened.contains_key(path)
            {
                opened.insert(path.clone(), Checkpoint::open(path)?);
            }
        }
        let _ = self.scores.set(opened);
        Ok(())
    }

    /// The opened file of scores of this path.
    pub(super) fn scores(&self, path: &Path) -> Option<&Checkpoint> {
        self.scores.get()?.get(path)
    }

    /// A tensor's data in the model's skeleton.
    pub fn skeleton(&self, name: &str) -> Option<Mapped<'_>> {
        self.like.as_ref()?.tensor(name).map(|t| t.data)
    }

    /// The trained checkpoint with its tensors.
    ///
    /// # Errors
    /// [`Error::TrainedMissing`] where it does not exist yet.
    pub fn trained(&self) -> Result<(&Checkpoint, &BTreeMap<String, Tensor>), Error> {
        match (&self.trained_file, &self.trained) {
            (Some(file), Some(tensors)) => Ok((file, tensors)),
            _ => Err(Error::TrainedMissing {
                path: self.settings.trained.as_ref().map(|t| t.path.clone()).unwrap_or_default(),
                initial: self.settings.init.as_ref().map(|i| i.output.clone()),
            }),
        }
    }

    /// Every checkpoint that is read, with the key that names it, or what it is.
    pub(super) fn checkpoints(&self) -> Vec<(&'static str, &Checkpoint)> {
        let like = self.like.iter().map(|c| ("model.like", c));
        let trained = self.trained_file.iter().map(|c| ("trained.path", c));
        let bases = self.bases.values().map(|c| ("base", c));
        let scores = self.scores.get().into_iter().flat_map(BTreeMap::values).map(|c| ("scores", c));
        like.chain(trained).chain(bases).chain(scores).collect()
    }

    /// Every file that is read, with what it is for.
    pub fn inputs(&self) -> Vec<(String, &Path)> {
        let mut inputs = vec![("the config".to_owned(), self.settings.source.file())];
        for (role, checkpoint) in self
            .like
            .iter()
            .map(|c| ("`model.like`", c))
            .chain(self.trained_file.iter().map(|c| ("`trained.path`", c)))
        {
            inputs.extend(checkpoint.files().map(|file| (role.to_owned(), file)));
        }
        let small = self.small_files.iter();
        inputs.extend(small.map(|file| ("a file beside `trained.path`".to_owned(), file.path.as_path())));
        // Where a trained checkpoint is yet to come, no output may take its place.
        inputs.extend(self.settings.trained.iter().map(|t| ("`trained.path`".to_owned(), t.path.as_path())));
        for base in self.bases.values() {
            inputs
                .extend(base.files().map(|file| ("a checkpoint that `init: {from}` names".to_owned(), file)));
        }
        for scores in self.scores.get().into_iter().flat_map(BTreeMap::values) {
            inputs.extend(scores.files().map(|file| ("the scores of `prune`".to_owned(), file)));
        }
        inputs
    }
}

/// What groups of n of m do not divide, where they leave such a tensor as it is.
pub(super) fn undivided_lane(decision: &Decision, shape: &Shape, layout: Layout) -> Option<(usize, Lane)> {
    let Structure::OfM { m, along, where_divisible: true, .. } = decision.structure else { return None };
    Lane::new(along, shape, layout).filter(|lane| !lane.size.is_multiple_of(m)).map(|lane| (m, lane))
}

fn pattern_text(rules: &RuleSet<InitRule>, found: &Match<'_, '_, InitRule>) -> String {
    rules.rules()[found.rule].patterns[found.pattern].as_str().to_owned()
}

/// The layout of a tensor by its rule, and whether its name had to tell: three dimensions of `experts` are never a convolution,
/// where the config does not say so.
fn layout_of(rule: &InitRule, name: &str, shape: &Shape) -> (Layout, bool) {
    let stacked = shape.rank() == 3 && name.split('.').any(|part| part == "experts");
    if rule.layout_given || !stacked || rule.layout != Layout::OutIn {
        return (rule.layout, false);
    }
    let roles = Roles::new(&[Role::Expert, Role::Out, Role::In]).expect("an order that roles may have");
    (Layout::Roles(roles), true)
}

/// The trained checkpoint, `None` if its path does not exist.
fn open_trained(settings: &Settings) -> Result<Option<Checkpoint>, Error> {
    let Some(trained) = &settings.trained else { return Ok(None) };
    let mut checkpoint = match Checkpoint::open(&trained.path) {
        Ok(checkpoint) => checkpoint,
        Err(error) if is_absent(&error, &trained.path) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    refuse_pruned(&checkpoint)?;
    checkpoint.strip_components(&trained.strip)?;
    checkpoint.strip_prefixes(&trained.strip_prefix)?;
    Ok(Some(checkpoint))
}

/// Refuses a checkpoint that is a pruned or packed file: its tensors are parts of others.
pub(super) fn refuse_pruned(checkpoint: &Checkpoint) -> Result<(), Error> {
    let pruned =
        |metadata| matches!(FileMetadata::find(metadata), Some(Ok(FileMetadata { kind: Kind::Pruned, .. })));
    if checkpoint.metadata().iter().any(pruned) {
        return Err(Error::AlreadyPruned { path: checkpoint.path().to_owned() });
    }
    Ok(())
}

/// Whether it is the path itself that does not exist, rather than a shard that an index names.
fn is_absent(error: &CheckpointError, path: &Path) -> bool {
    let ErrorKind::Io { error: io_error, .. } = &error.kind else { return false };
    io_error.kind() == io::ErrorKind::NotFound && *error.path == *path
}
