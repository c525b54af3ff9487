//! The source from which the values of a checkpoint are predicted.

use std::path::Path;

use super::bytes::Bytes;
use super::code::ToCode;
use crate::checkpoint::{Checkpoint, TensorRef};
use crate::codec::Choice;
use crate::config::InitSource;
use crate::init::Initial;
use crate::pipeline::coding::Coding;
use crate::pipeline::error::Error;
use crate::pipeline::plan::initial_values;
use crate::pipeline::resolve::Resolved;
use crate::pipeline::task::TensorTask;
use crate::sparse::{Format, InBase, InitialValues, PrunedTensor, Unknown};
use crate::tensor::{FloatDtype, Layout, Shape};

/// The checkpoint to pack, and the source from which its values are predicted.
#[derive(Clone, Copy, Debug)]
pub enum PredictFrom<'a> {
    /// Nothing: each value is coded alone.
    Nothing(&'a Checkpoint),
    /// The tensors of the same name and shape in a base checkpoint, which comes second.
    Base(&'a Checkpoint, &'a Checkpoint),
    /// The initial values of the trained checkpoint that a config describes.
    Config(&'a Resolved<'a>),
}

impl<'a> PredictFrom<'a> {
    pub(super) fn checkpoint(&self) -> Result<&'a Checkpoint, Error> {
        match *self {
            Self::Nothing(checkpoint) | Self::Base(checkpoint, _) => Ok(checkpoint),
            Self::Config(resolved) => Ok(resolved.trained()?.0),
        }
    }

    fn initial(&self, name: &str, shape: &Shape) -> Option<Initial<'a>> {
        match *self {
            Self::Nothing(_) => None,
            Self::Base(_, base) => {
                let tensor = base.tensor(name).filter(|tensor| tensor.shape == shape)?;
                Some(Initial::Stored { data: tensor.data, dtype: tensor.float()?, stored_as: None })
            }
            Self::Config(resolved) => resolved.initial(name, resolved.trained.as_ref()?.get(name)?),
        }
    }

    /// The description of a tensor's initial values for the file: layer id, source, layout, type.
    fn describe(
        &self,
        name: &str,
    ) -> Result<(Option<u64>, InitialValues, Layout, Option<FloatDtype>), Error> {
        match *self {
            Self::Nothing(_) => Ok((None, InitialValues::Unknown(Unknown::None), Layout::default(), None)),
            Self::Base(..) => Ok((None, InitialValues::InBase(InBase::Base), Layout::default(), None)),
            Self::Config(resolved) => {
                let tensor = &resolved.trained()?.1[name];
                let init = initial_values(resolved, name, tensor)?;
                let Some(origin) = &tensor.origin else { return Ok((None, init, Layout::default(), None)) };
                let drawn = !matches!(origin.source, InitSource::From(_));
                Ok((origin.layer, init, origin.layout, origin.stored_as.filter(|_| drawn)))
            }
        }
    }

    /// The base checkpoint, if there is one without a config.
    pub(super) fn base(&self) -> Option<&'a Checkpoint> {
        if let Self::Base(_, base) = *self { Some(base) } else { None }
    }

    /// What describing the source of a tensor's predictions takes, in bytes.
    pub(super) fn described_bytes(&self) -> u64 {
        if self.base().is_some() { Coding::IN_BASE } else { Coding::ELSEWHERE }
    }

    /// The seed of drawn initial values; 0 without a config.
    pub(super) fn seed(&self) -> u64 {
        if let Self::Config(resolved) = self { resolved.settings.seed } else { 0 }
    }

    /// Every input file with its role.
    pub(super) fn inputs(&self) -> Result<Vec<(String, &'a Path)>, Error> {
        if let Self::Config(resolved) = *self {
            return Ok(resolved.inputs().into_iter().map(|(kind, path)| (kind.to_string(), path)).collect());
        }
        let files = self.checkpoint()?.files().chain(self.base().into_iter().flat_map(Checkpoint::files));
        Ok(files.map(|path| ("the checkpoint to pack or its base".to_owned(), path)).collect())
    }

    /// The tasks for the floating-point tensors among these.
    pub(super) fn tasks(
        &self,
        tensors: impl Iterator<Item = (&'a str, TensorRef<'a>)>,
    ) -> Vec<TensorTask<'a>> {
        let floats = tensors.filter(|(_, tensor)| tensor.float().is_some() && tensor.shape.elements() > 0);
        let task = |(n, (name, tensor)): (usize, (&'a str, TensorRef<'a>))| {
            TensorTask::unruled(n, name, tensor, self.initial(name, tensor.shape))
        };
        floats.enumerate().filter_map(task).collect()
    }

    /// Those of the other tensors that can be coded.
    pub(super) fn others(
        &self,
        tensors: impl Iterator<Item = (&'a str, TensorRef<'a>)>,
    ) -> impl Iterator<Item = ToCode<'a>> {
        let base = |name: &str| match *self {
            Self::Nothing(_) => None,
            Self::Base(_, base) => base.tensor(name),
            Self::Config(resolved) => {
                let tensor = resolved.trained.as_ref()?.get(name)?;
                resolved.base_of_bytes(name, tensor).map(|(_, base)| base)
            }
        };
        let described = self.described_bytes();
        tensors.enumerate().filter_map(move |(n, (name, tensor))| {
            Bytes::new((n, name), tensor, base(name), described).map(ToCode::Bytes)
        })
    }

    /// The description that is needed to restore a coded tensor.
    pub(super) fn described(&self, tensor: &ToCode<'_>, choice: &Choice) -> Result<PrunedTensor, Error> {
        let prediction = choice.prediction();
        let (layer_id, init, layout, initial_dtype) = match prediction {
            Some(_) => self.describe(tensor.name())?,
            None => (None, InitialValues::Unknown(Unknown::None), Layout::default(), None),
        };
        Ok(PrunedTensor {
            layer_id,
            init,
            layout,
            initial_dtype,
            prediction,
            ..PrunedTensor::new(tensor.name(), tensor.dtype(), tensor.shape(), Format::Coded)
        })
    }
}
