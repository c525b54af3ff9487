//! The `*.safetensors.index.json` of a sharded checkpoint, which maps tensors to files.
//!
//! Every shard is opened where the index first names it, so an index with only missing shards is not read to
//! its end. Names are not copied out of the index's text.

use alloc::borrow::Cow;
use core::cell::RefCell;
use core::fmt;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::error::ErrorKind;

use crate::prelude::*;

/// Shards that are not there, behind which an index is read no further.
const MANY: usize = 100;
/// How many of them are named.
const NAMED: usize = 3;

/// An index whose shards lie beside it.
#[derive(Debug, Default)]
pub(super) struct Index<'a> {
    /// The shards, in the order in which they are named first.
    pub shards: Vec<Cow<'a, str>>,
    /// Each tensor's shard.
    pub tensors: HashMap<Cow<'a, str>, u32>,
}

impl<'a> Index<'a> {
    /// Reads the text of an index in this folder. Shards may be links out of it only if `follow_links`.
    ///
    /// # Errors
    /// [`ErrorKind::BadIndex`], [`ErrorKind::ShardOutside`], [`ErrorKind::ShardLink`],
    /// [`ErrorKind::ShardsAbsent`]. A single shard that is missing is left to whoever opens it.
    pub fn parse(text: &'a [u8], folder: &Path, follow_links: bool) -> Result<Self, ErrorKind> {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let looks = Looks {
            folder,
            real: (!follow_links).then(|| fs::canonicalize(folder).ok()).flatten(),
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

/// What is looked at beside the index.
struct Looks<'f> {
    folder: &'f Path,
    /// The folder without links; of no interest where they may be followed.
    real: Option<PathBuf>,
    follow_links: bool,
    /// Why reading stopped.
    wrong: RefCell<Option<ErrorKind>>,
    missing: RefCell<Vec<String>>,
}

impl Looks<'_> {
    /// Looks at a shard that is named for the first time. Errors stop the reading.
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
        let found = if self.follow_links { fs::metadata(&path).map(|_| None) } else { self.leads_out(&path) };
        match found {
            Ok(None) => Ok(()),
            Ok(Some(to)) => stop(ErrorKind::ShardLink { shard: shard.to_owned(), to }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut missing = self.missing.borrow_mut();
                missing.push(shard.to_owned());
                if missing.len() < MANY { Ok(()) } else { Err(()) }
            }
            // Another error is told by opening it.
            Err(_) => Ok(()),
        }
    }

    /// Where a shard leads that is a link out of the folder.
    fn leads_out(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        let real = fs::canonicalize(path)?;
        let inside = real.parent().is_some() && real.parent() == self.real.as_deref();
        Ok((!inside).then_some(real))
    }
}

/// The whole file; keys other than `weight_map` are other tools' business.
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
                    // An index of less than a gigabyte names fewer.
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

/// A string as it stands in the text, copied only where it has escapes.
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
