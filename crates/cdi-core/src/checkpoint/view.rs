//! Tensors of a checkpoint under other names, and with one dimension longer: as the next version
//! of a model has them.

use super::error::CheckpointError;
use super::mmap::{Mapped, MappedFile};
use super::reader::{Checkpoint, Place};
use super::source::MemoryFile;
use crate::prelude::*;
use crate::tensor::Shape;

/// How a shape becomes another one in which one dimension is longer: elements come in runs, which become
/// longer. Returns the length of a run before and after, the number of elements if the shapes are equal.
/// `None` if the shapes differ otherwise.
pub fn growth(old: &Shape, new: &Shape) -> Option<(usize, usize)> {
    if old == new {
        return Some((old.elements(), new.elements()));
    }
    let (old, new) = (old.dims(), new.dims());
    let at = old.iter().zip(new).position(|(old, new)| old != new)?;
    let fits = old.len() == new.len() && old[at] < new[at] && old[at + 1..] == new[at + 1..];
    let rest: usize = new[at + 1..].iter().product();
    fits.then_some((old[at] * rest, new[at] * rest))
}

/// A tensor to be seen under another name or with another shape.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// The name under which it is seen.
    pub name: &'a str,
    /// Its name in the checkpoint.
    pub from: &'a str,
    /// The shape with which it is seen, see [`growth`]. Elements that it does not have are zeros.
    pub shape: &'a Shape,
}

/// What views hide.
#[derive(Debug)]
pub struct Hidden(Vec<(String, Option<Place>)>);

impl Checkpoint {
    /// Adds views. A tensor that has the name of a view is hidden by it. What cannot be seen that way (there
    /// is no such tensor, or it differs otherwise) is left out. Grown tensors are in memory.
    ///
    /// Returns what they hide, for [`Self::unview`].
    ///
    /// # Errors
    /// The tensor that there is no memory for, and the bytes that it needs. Nothing has changed then.
    pub fn view<'v>(&mut self, views: impl Iterator<Item = View<'v>>) -> Result<Hidden, (String, u64)> {
        let mut seen = Vec::new();
        for View { name, from, shape } in views {
            let Some(place) = self.tensors.get(from) else { continue };
            let mut place = Place { file: place.file, info: place.info.clone() };
            let (old, bits) = (&place.info.shape, place.info.dtype.bitsize());
            let Some((was, is)) = growth(old, shape) else { continue };
            if old != shape {
                if !bits.is_multiple_of(8) {
                    continue;
                }
                let (was, is) = (was * bits / 8, is * bits / 8);
                let no_memory = |bytes| (name.to_owned(), bytes);
                let len = shape.bytes(bits).ok_or_else(|| no_memory(u64::MAX))?;
                let mut bytes = Vec::new();
                bytes.try_reserve_exact(len).map_err(|_| no_memory(len as u64))?;
                bytes.resize(len, 0);
                let data = Mapped::new(&self.files[place.file], place.info.bytes.clone()).bytes();
                if was > 0 {
                    for (from, to) in data.chunks(was).zip(bytes.chunks_mut(is)) {
                        to[..was].copy_from_slice(from);
                    }
                }
                let source = MemoryFile::new(self.path.clone(), bytes);
                let file = MappedFile::open(Box::new(source), false);
                self.files.push(file.map_err(|_: CheckpointError| no_memory(len as u64))?);
                self.metadata.push(Default::default());
                place.file = self.files.len() - 1;
                place.info.bytes = 0..len;
                place.info.shape = shape.clone();
            }
            seen.push((name.to_owned(), place));
        }
        let hidden = seen.into_iter().map(|(name, place)| (name.clone(), self.tensors.insert(name, place)));
        Ok(Hidden(hidden.collect()))
    }

    /// Takes views away again.
    pub fn unview(&mut self, Hidden(hidden): Hidden) {
        for (name, place) in hidden {
            match place {
                Some(place) => self.tensors.insert(name, place),
                None => self.tensors.remove(&name),
            };
        }
    }
}
