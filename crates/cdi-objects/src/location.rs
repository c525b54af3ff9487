//! Where an object is: `s3://BUCKET/KEY`, `gs://BUCKET/KEY`, `az://CONTAINER/KEY`.

use std::fmt;
use std::path::Path;

/// The kind of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// Amazon S3, and whatever speaks its protocol.
    S3,
    /// Google Cloud Storage.
    Gs,
    /// Azure Blob Storage.
    Az,
}

impl Scheme {
    const ALL: [Self; 3] = [Self::S3, Self::Gs, Self::Az];

    /// `s3`, `gs` or `az`.
    pub fn word(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Gs => "gs",
            Self::Az => "az",
        }
    }
}

/// An object in a store, or the beginning of the names of several, which is then called a folder.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Location {
    /// The kind of the store.
    pub scheme: Scheme,
    /// The bucket, which Azure calls a container.
    pub bucket: String,
    /// The name within the bucket, without a slash at either end.
    pub key: String,
}

/// The rest of `text` after `SCHEME:/`. A path that Python's `pathlib` has normalised has one slash only.
fn after<'t>(text: &'t str, scheme: &str) -> Option<&'t str> {
    text.strip_prefix(scheme)?.strip_prefix(":/")
}

impl Location {
    /// What a path stands for; `None` if it is one of this machine.
    ///
    /// ```
    /// use cdi_objects::{Location, Scheme};
    /// let location = Location::of("s3://models/llama/model.safetensors".as_ref()).unwrap();
    /// assert_eq!((location.scheme, &*location.bucket), (Scheme::S3, "models"));
    /// assert_eq!(location.key, "llama/model.safetensors");
    /// assert_eq!(location.to_string(), "s3://models/llama/model.safetensors");
    /// assert_eq!(Location::of("models/s3".as_ref()), None);
    /// ```
    pub fn of(path: &Path) -> Option<Self> {
        let text = path.to_str()?;
        let (scheme, rest) =
            Scheme::ALL.into_iter().find_map(|scheme| Some((scheme, after(text, scheme.word())?)))?;
        let rest = rest.trim_start_matches('/');
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        Some(Self { scheme, bucket: bucket.to_owned(), key: key.trim_matches('/').to_owned() })
    }

    /// The location in this folder.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        let key = if self.key.is_empty() { name.to_owned() } else { format!("{}/{name}", self.key) };
        Self { key, ..self.clone() }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}/{}", self.scheme.word(), self.bucket, self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_stores_and_of_this_machine() {
        let shown = |path: &str| Location::of(Path::new(path)).map(|location| location.to_string());
        assert_eq!(shown("s3://b/k").as_deref(), Some("s3://b/k"));
        // As Python's pathlib normalises it, and as a folder.
        assert_eq!(shown("s3:/b/k/").as_deref(), Some("s3://b/k"));
        assert_eq!(shown("gs://b").as_deref(), Some("gs://b/"));
        assert_eq!(shown("az://c/x/y.json").as_deref(), Some("az://c/x/y.json"));
        for local in ["./s3://b/k", "s3", "s3:", "/s3://b", "file:///a", "S3://b/k", "https://b/k"] {
            assert_eq!(shown(local), None, "{local}");
        }
        let folder = Location::of(Path::new("s3://b/")).unwrap();
        assert_eq!(folder.join("x").join("y").to_string(), "s3://b/x/y");
    }
}
