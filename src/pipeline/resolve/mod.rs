//! Applies the rules of the config to the tensors of real files: the source of their initial values, and how
//! they are pruned. Reads headers only.

mod beside;
mod open;
mod rules;
mod tensors;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::error::{Error, RuleProblem};
use super::inputs::InputKind;
use super::kept::Kept;
use super::origin::{Action, Origin, Tensor};
use super::outputs::{Output, outputs};
use super::patterns::patterns_match;
use crate::checkpoint::{Checkpoint, Identity, Mapped, OpenOptions, TensorRef, identity};
use crate::config::{Decay, InitSource, KeyPath, Settings};
use crate::digest;
use crate::init::Initial;
use crate::prune::Criterion;
use crate::store::{SmallFile, beside as small_files_beside};
use cdi_core::internal::base_tensor;
pub(super) use open::refuse_pruned;
pub(super) use rules::undivided_lane;

/// The config with its files opened and every tensor assigned to a rule.
#[derive(Debug)]
pub struct Resolved<'s> {
    /// The config.
    pub settings: &'s Settings,
    /// The tensors of the model, which are to be initialised, in name order.
    pub model: BTreeMap<String, Tensor>,
    /// The tensors of the trained checkpoint in name order; `None` if it does not exist yet.
    pub trained: Option<BTreeMap<String, Tensor>>,
    options: OpenOptions,
    like: Option<Checkpoint>,
    trained_file: Option<Checkpoint>,
    bases: BTreeMap<PathBuf, Checkpoint>,
    scores: OnceLock<BTreeMap<PathBuf, Checkpoint>>,
    calibrations: OnceLock<BTreeMap<PathBuf, Checkpoint>>,
    /// The small files to copy from the folder of the trained checkpoint to that of the pruned one.
    small_files: Vec<SmallFile>,
    /// SHA-256 of the data of tensors in bases, as far as they are known, by name.
    base_digests: Mutex<BTreeMap<String, String>>,
    /// SHA-256 and bytes of input files, as far as they are known, by their role and path.
    input_digests: Mutex<BTreeMap<InputFile, (String, u64)>>,
    /// What the candidates of a search have in common, if this is one.
    kept: Option<Arc<Kept>>,
}

/// The role of an input file, and its path.
type InputFile = (&'static str, PathBuf);

impl<'s> Resolved<'s> {
    /// Opens the files of the config and applies its rules.
    ///
    /// # Errors
    /// If the files do not fit the config. Nothing has been written then.
    pub fn new(settings: &'s Settings) -> Result<Self, Error> {
        Self::with(settings, OpenOptions::default())
    }

    /// Like [`Self::new`], but opens the checkpoints with these options, including those
    /// that are opened later.
    ///
    /// # Errors
    /// As for [`Self::new`].
    pub fn with(settings: &'s Settings, options: OpenOptions) -> Result<Self, Error> {
        Self::open(settings, options, false)
    }

    /// Like [`Self::new`], for writing the initial checkpoint. A trained checkpoint that cannot be
    /// used counts as missing.
    ///
    /// # Errors
    /// As for [`Self::new`], except errors about the trained checkpoint.
    pub fn for_init(settings: &'s Settings, options: OpenOptions) -> Result<Self, Error> {
        Self::open(settings, options, true)
    }

    fn open(settings: &'s Settings, options: OpenOptions, for_init: bool) -> Result<Self, Error> {
        let like = settings.model.as_ref().and_then(|model| model.like.as_deref());
        let like = like.map(|like| Checkpoint::open_with(like, options)).transpose()?;
        let (mut trained_file, mut unusable) = match open::open_trained(settings, options) {
            Err(_) if for_init => (None, true),
            opened => (opened?, false),
        };
        let model = tensors::of_model(settings, like.as_ref(), trained_file.as_ref())?;
        let trained = trained_file.as_ref().map(|file| tensors::of_trained(settings, &model, file));
        let trained = match trained.transpose() {
            Err(_) if for_init => {
                unusable = true;
                None
            }
            trained => trained?,
        };
        if unusable {
            trained_file = None;
        }
        if let (None, true, Some(wanted), false) = (&trained, model.is_empty(), &settings.trained, for_init) {
            // Without any tensor names, rules cannot be checked.
            return Err(Error::TrainedMissing { path: wanted.path.clone(), initial: None });
        }
        let mut resolved = Self {
            settings,
            model,
            trained,
            options,
            like,
            trained_file,
            bases: BTreeMap::new(),
            scores: OnceLock::new(),
            calibrations: OnceLock::new(),
            small_files: Vec::new(),
            base_digests: Mutex::default(),
            input_digests: Mutex::default(),
            kept: None,
        };
        // If the trained checkpoint cannot be read, it is unknown which rules match its tensors.
        if !unusable {
            patterns_match(settings, &resolved.names())?;
        }
        rules::check_layer_ids(settings, resolved.model.iter().chain(resolved.trained.iter().flatten()))?;
        resolved.open_bases()?;
        resolved.small_files = resolved.find_small_files()?;
        Ok(resolved)
    }

    fn find_small_files(&self) -> Result<Vec<SmallFile>, Error> {
        let wanted = self.settings.prune.as_ref().is_some_and(|prune| prune.folder);
        let Some(trained) = self.trained_file.as_ref().filter(|_| wanted) else { return Ok(Vec::new()) };
        // Files that an earlier run of this config wrote there do not belong to the model.
        let except = self.outputs().iter().map(|output| identity(&output.path)).collect();
        Ok(small_files_beside(trained.path(), &except, self.options)?)
    }

    /// The options for opening checkpoints.
    pub(super) fn options(&self) -> OpenOptions {
        self.options
    }

    /// As a candidate of the search with these findings.
    pub(super) fn with_kept(self, kept: &Arc<Kept>) -> Self {
        Self { kept: Some(Arc::clone(kept)), ..self }
    }

    /// What the candidates of the search have in common, if this is one.
    pub(super) fn kept(&self) -> Option<&Kept> {
        self.kept.as_deref()
    }

    /// The small files to copy from the folder of the trained checkpoint to that of the pruned one.
    pub(super) fn small_files(&self) -> &[SmallFile] {
        &self.small_files
    }

    /// Replaces the small files.
    pub(super) fn with_small_files(self, small_files: Vec<SmallFile>) -> Self {
        Self { small_files, ..self }
    }

    /// Contents of the small files next to the pruned checkpoint.
    pub(super) fn small_files_out(&self) -> Vec<SmallFile> {
        beside::files_out(self.settings, &self.small_files)
    }

    /// All paths that the config writes or removes.
    pub(super) fn outputs(&self) -> Vec<Output<'s>> {
        let names = self.trained.iter().flatten().map(|(name, _)| name.as_str());
        let small_files = match self.trained_file {
            Some(_) => beside::names_out(self.settings, &self.small_files),
            None => BTreeSet::new(),
        };
        outputs(self.settings, names, &small_files)
    }

    /// An error about a rule, with its position in the config.
    pub(super) fn wrong(&self, key: &KeyPath, problem: RuleProblem) -> Error {
        problem.at(self.settings, key)
    }

    /// All names that rules can match.
    fn names(&self) -> BTreeSet<&str> {
        self.model.keys().chain(self.trained.iter().flat_map(BTreeMap::keys)).map(String::as_str).collect()
    }

    fn open_bases(&mut self) -> Result<(), Error> {
        let mut bases = BTreeMap::new();
        for (name, tensor) in self.model.iter().chain(self.trained.iter().flatten()) {
            let Some(Origin { source: InitSource::From(path), .. }) = &tensor.origin else { continue };
            if !bases.contains_key(path) {
                bases.insert(path.clone(), Checkpoint::open_with(path, self.options)?);
            }
            base_tensor(&bases[path], name, &tensor.shape)?;
        }
        self.bases = bases;
        Ok(())
    }

    /// The initial values of a tensor; `None` if they are unknown or the tensor is passed through.
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
                Some(Initial::Stored { data: base.data, dtype: base.float()?, stored_as: origin.stored_as })
            }
            InitSource::None => None,
        }
    }

    /// The decay factor of a tensor from the config; `None` to infer it from the weights.
    pub(super) fn decay(&self, tensor: &Tensor) -> Option<f64> {
        let rule = tensor.origin.as_ref().map(|origin| &self.settings.rules.rules()[origin.rule_index].value);
        match rule.and_then(|rule| rule.decay).unwrap_or(self.settings.analyze.decay) {
            Decay::Fixed(decay) => Some(decay),
            Decay::Auto => None,
        }
    }

    /// The opened checkpoint of a rule's `{from: path}`.
    pub fn base(&self, path: &Path) -> Option<&Checkpoint> {
        self.bases.get(path)
    }

    /// The base in which a rule places the initial values of a tensor, and the tensor there, for one that is
    /// not floating point; `None` if it has no tensor of the same name, type and shape. Such a tensor alone
    /// does not require that the base is opened.
    pub(super) fn base_of_bytes(&self, name: &str, tensor: &Tensor) -> Option<(&Path, TensorRef<'_>)> {
        let rule = self.settings.rules.find(name).filter(|_| tensor.origin.is_none())?;
        let InitSource::From(path) = &rule.value.init else { return None };
        let found = self.bases.get(path)?.tensor(name)?;
        (found.dtype == tensor.dtype && *found.shape == tensor.shape).then_some((path, found))
    }

    /// SHA-256 of the data of the base of a tensor. It is computed once.
    pub(super) fn base_digest(&self, name: &str, data: Mapped<'_>) -> String {
        let known = || self.base_digests.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known().get(name).cloned();
        found.unwrap_or_else(|| {
            let sha256 = digest::of_mapped(data);
            known().insert(name.to_owned(), sha256.clone());
            sha256
        })
    }

    /// SHA-256 and bytes of an input file, which `hash` computes if they are not known.
    pub(super) fn input_digest<E>(
        &self,
        role: &'static str,
        path: &Path,
        hash: impl FnOnce() -> Result<(String, u64), E>,
    ) -> Result<(String, u64), E> {
        let known = || self.input_digests.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (role, path.to_owned());
        let found = known().get(&key).cloned();
        match found {
            Some(found) => Ok(found),
            None => {
                let hashed = hash()?;
                known().insert(key, hashed.clone());
                Ok(hashed)
            }
        }
    }

    /// Takes in the SHA-256 and bytes of an input file.
    pub(super) fn know_input_digest(&self, role: &'static str, path: &Path, digest: (String, u64)) {
        let mut known = self.input_digests.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert((role, path.to_owned()), digest);
    }

    /// Takes in digests that other processes have computed, by the names of the tensors.
    pub(super) fn know_base_digests(&self, known: BTreeMap<String, String>) {
        self.base_digests.lock().unwrap_or_else(PoisonError::into_inner).extend(known);
    }

    /// Opens the files of scores for pruning and of second moments for rounding, unless they are open. Not
    /// done earlier, because a program may write them after the other stages.
    ///
    /// # Errors
    /// Errors when a checkpoint is opened.
    pub(super) fn open_files_of_pruning(&self) -> Result<(), Error> {
        let Some(prune) = self.settings.prune.as_ref().filter(|_| self.calibrations.get().is_none()) else {
            return Ok(());
        };
        let mut opened = BTreeMap::new();
        for (name, tensor) in self.trained.iter().flatten() {
            let decision = prune.decision(name).filter(|_| tensor.action == Action::Prune);
            if let Some(Criterion::Scores(path)) = decision.map(|decision| &decision.criterion)
                && !opened.contains_key(path)
            {
                opened.insert(path.clone(), Checkpoint::open_with(path, self.options)?);
            }
        }
        let _ = self.scores.set(opened);
        let mut opened = BTreeMap::new();
        for path in prune.calibrations() {
            opened.insert(path.to_owned(), Checkpoint::open_with(path, self.options)?);
        }
        let _ = self.calibrations.set(opened);
        Ok(())
    }

    /// The opened file of second moments at this path.
    pub(super) fn calibration(&self, path: &Path) -> Option<&Checkpoint> {
        self.calibrations.get()?.get(path)
    }

    /// The opened file of scores at this path.
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
    /// [`Error::TrainedMissing`] if it does not exist yet.
    pub fn trained(&self) -> Result<(&Checkpoint, &BTreeMap<String, Tensor>), Error> {
        match (&self.trained_file, &self.trained) {
            (Some(file), Some(tensors)) => Ok((file, tensors)),
            _ => Err(Error::TrainedMissing {
                path: self.settings.trained.as_ref().map(|t| t.path.clone()).unwrap_or_default(),
                initial: self.settings.init.as_ref().map(|i| i.output.clone()),
            }),
        }
    }

    /// Every checkpoint that is read.
    pub(super) fn checkpoints(&self) -> impl Iterator<Item = (InputKind, &Checkpoint)> {
        let like = self.like.iter().map(|c| (InputKind::Like, c));
        let trained = self.trained_file.iter().map(|c| (InputKind::Trained, c));
        let bases = self.bases.values().map(|c| (InputKind::Base, c));
        let scores = self.scores.get().into_iter().flat_map(BTreeMap::values);
        let calibrations = self.calibrations.get().into_iter().flat_map(BTreeMap::values);
        let scores = scores.map(|c| (InputKind::Scores, c));
        let calibrations = calibrations.map(|c| (InputKind::Calibration, c));
        like.chain(trained).chain(bases).chain(scores).chain(calibrations)
    }

    /// The identities of all files that are read: of the opened files, and of the files at their paths now.
    pub(super) fn identities(&self) -> BTreeSet<Identity> {
        let opened = self.checkpoints().flat_map(|(_, checkpoint)| checkpoint.identities().cloned());
        opened.chain(self.inputs().into_iter().map(|(_, path)| identity(path))).collect()
    }

    /// Every input file with its role.
    pub(super) fn inputs(&self) -> Vec<(InputKind, &Path)> {
        let mut inputs = vec![(InputKind::Config, self.settings.source.file())];
        for (kind, checkpoint) in self.checkpoints() {
            inputs.extend(checkpoint.files().map(|file| (kind, file)));
        }
        inputs.extend(self.small_files.iter().map(|file| (InputKind::Beside, file.path.as_path())));
        // No output may be written to the path of a trained checkpoint, even if that does not exist yet.
        inputs.extend(self.settings.trained.iter().map(|t| (InputKind::Trained, t.path.as_path())));
        inputs
    }
}
