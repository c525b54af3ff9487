//! The `*.safetensors.index.json` of a sharded checkpoint, which maps tensors to files.
//!
//! Every shard is looked up when the index first names it, so that reading can stop early if all shards are
//! missing. Names are not copied from the index's text.

use alloc::borrow::Cow;
use core::cell::RefCell;
use core::fmt;
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::error::ErrorKind;

use crate::place;
use crate::prelude::*;

/// Reading an index stops after this many missing shards.
const MANY: usize = 100;
/// Maximum number of missing shards that an error names.
const NAMED: usize = 3;

/// An index whose shards are in the same folder.
#[derive(Debug, Default)]
pub(super) struct Index<'a> {
    /// The shards, in the order in which they are first named.
    pub shards: Vec<Cow<'a, str>>,
    /// Each tensor's shard.
    pub tensors: HashMap<Cow<'a, str>, u32>,
}

impl<'a> Index<'a> {
    /// Reads the text of an index in this folder. Shards may be links out of the folder
    /// only if `follow_links`.
    ///
    /// # Errors
    /// [`ErrorKind::BadIndex`], [`ErrorKind::ShardOutside`], [`ErrorKind::ShardLink`],
    /// [`ErrorKind::ShardsAbsent`]. A single missing shard is not an error here, but opening it is.
    pub fn parse(text: &'a [u8], folder: &Path, follow_links: bool) -> Result<Self, ErrorKind> {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let looks = Looks {
            folder,
            // An error is that of opening a shard.
            names: place::is_distant(folder).then(|| place::list(folder).ok()).flatten(),
            real: (!follow_links).then(|| place::canonical(folder).ok()).flatten(),
            follow_links,
            wrong: RefCell::default(),
            missing: RefCell::default(),
        };
        let mut json = serde_json::Deserializer::from_slice(text);
        let read = IndexFile(&looks).deserialize(&mut json).and_then(|index| json.end().map(|()| index));
        if let Some(wrong) = looks.wrong.take() {
            return Err(wrong);
        }
        let mut missing = looks.missing.take();
        let many = missing.len() >= MANY;
        if many || (missing.len() > 1 && read.is_ok()) {
            let more = missing.len().saturating_sub(NAMED);
            missing.truncate(NAMED);
            return Err(ErrorKind::ShardsAbsent { first: missing, more, many });
        }
        read.map_err(|error| ErrorKind::BadIndex(error.to_string()))
    }
}

/// Checks the shards in the folder of the index.
struct Looks<'f> {
    folder: &'f Path,
    /// What is in the folder, if that is in a store.
    names: Option<Vec<OsString>>,
    /// The folder with links resolved; not needed if links may be followed.
    real: Option<PathBuf>,
    follow_links: bool,
    /// The error that stopped reading.
    wrong: RefCell<Option<ErrorKind>>,
    missing: RefCell<Vec<String>>,
}

impl Looks<'_> {
    /// Checks a shard that is named for the first time. An error stops the reading.
    fn at(&self, tensor: &str, shard: &str) -> Result<(), ()> {
        let stop = |kind| {
            *self.wrong.borrow_mut() = Some(kind);
            Err(())
        };
        let mut parts = Path::new(shard).components();
        if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {
            return stop(ErrorKind::ShardOutside { tensor: tensor.to_owned(), shard: shard.to_owned() });
        }
        let path = self.folder.join(shard);
        let found = match &self.names {
            Some(names) if names.iter().any(|name| name == shard) => Ok(None),
            Some(_) => Err(io::ErrorKind::NotFound.into()),
            // Who may read a store may not always list what is in it.
            None if place::is_distant(self.folder) => Ok(None),
            None if self.follow_links => fs::metadata(&path).map(|_| None),
            None => self.leads_out(&path),
        };
        match found {
            Ok(None) => Ok(()),
            Ok(Some(to)) => stop(ErrorKind::ShardLink { shard: shard.to_owned(), to }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut missing = self.missing.borrow_mut();
                missing.push(shard.to_owned());
                if missing.len() < MANY { Ok(()) } else { Err(()) }
            }
            // Opening the shard reports other errors.
            Err(_) => Ok(()),
        }
    }

    /// The target of a shard that is a link out of the folder.
    fn leads_out(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        let real = fs::canonicalize(path)?;
        let inside = real.parent().is_some() && real.parent() == self.real.as_deref();
        Ok((!inside).then_some(real))
    }
}

/// The whole file. Keys other than `weight_map` are ignored.
struct IndexFile<'l, 'f>(&'l Looks<'f>);

impl<'de> DeserializeSeed<'de> for IndexFile<'_, '_> {
    type Value = Index<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Index<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for IndexFile<'_, '_> {
    type Value = Index<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("struct Index")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Index<'de>, A::Error> {
        let mut index = None;
        while let Some(Name(key)) = map.next_key()? {
            if key != "weight_map" {
                map.next_value::<IgnoredAny>()?;
            } else if index.is_some() {
                return Err(de::Error::duplicate_field("weight_map"));
            } else {
                index = Some(map.next_value_seed(WeightMap(self.0))?);
            }
        }
        index.ok_or_else(|| de::Error::missing_field("weight_map"))
    }
}

struct WeightMap<'l, 'f>(&'l Looks<'f>);

impl<'de> DeserializeSeed<'de> for WeightMap<'_, '_> {
    type Value = Index<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Index<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for WeightMap<'_, '_> {
    type Value = Index<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Index<'de>, A::Error> {
        let mut index = Index::default();
        let mut numbers: HashMap<Cow<'de, str>, u32> = HashMap::new();
        while let Some((Name(tensor), Name(shard))) = map.next_entry()? {
            let number = match numbers.get(&shard) {
                Some(number) => *number,
                None => {
                    self.0.at(&tensor, &shard).map_err(|()| de::Error::custom("stopped"))?;
                    // An index of less than a gigabyte cannot name 2^32 shards.
                    let number = index.shards.len() as u32;
                    numbers.insert(shard.clone(), number);
                    index.shards.push(shard);
                    number
                }
            };
            match index.tensors.entry(tensor) {
                std::collections::hash_map::Entry::Vacant(place) => {
                    place.insert(number);
                }
                std::collections::hash_map::Entry::Occupied(place) => {
                    return Err(de::Error::custom(format_args!("`{}` occurs twice", place.key())));
                }
            }
        }
        Ok(index)
    }
}

/// A string that is borrowed from the text, and copied only if it has escapes.
#[derive(PartialEq, Eq, Hash)]
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}
