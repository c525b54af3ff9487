//! Objects: what is there, and ranges of its content.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use object_store::path::Path as Key;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt};

use crate::error::{not_found, of};
use crate::location::Location;
use crate::runtime::{handle, requests, store};

/// Maximum number of bytes of one request.
pub const RANGE: u64 = 8 << 20;
/// Number of attempts to read a range whose beginning came.
const ATTEMPTS: u32 = 5;

/// What a store calls the content of an object: most give an ETag, Google a generation too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The ETag.
    pub tag: Option<String>,
    /// The generation, or whatever else the store counts.
    pub number: Option<String>,
}

/// An object as it was when it was found. If it is replaced afterwards, reading it is an error.
#[derive(Clone, Debug)]
pub struct Object {
    location: Location,
    meta: ObjectMeta,
}

pub fn key(location: &Location) -> io::Result<Key> {
    Key::parse(&location.key).map_err(|error| of(error.into()))
}

impl Object {
    /// The object at this location.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`], [`io::ErrorKind::PermissionDenied`]; others in the store's words.
    pub fn find(location: &Location) -> io::Result<Self> {
        Self::find_all(std::slice::from_ref(location)).pop().expect("one for each")
    }

    /// The objects at these locations, which are asked for at the same time.
    pub fn find_all(locations: &[Location]) -> Vec<io::Result<Self>> {
        let asked = |location: &Location| {
            let (store, key) = (store(location)?, key(location)?);
            if key.as_ref().is_empty() {
                return Err(not_found());
            }
            Ok::<_, io::Error>((store, key, location.clone()))
        };
        let asked: Vec<io::Result<_>> = locations.iter().map(asked).collect();
        let handle = match handle() {
            Ok(handle) => handle,
            Err(error) => {
                let again = || io::Error::new(error.kind(), error.to_string());
                return locations.iter().map(|_| Err(again())).collect();
            }
        };
        let find = |asked: io::Result<(Arc<dyn ObjectStore>, Key, Location)>| async {
            let (store, key, location) = asked?;
            let meta = store.head(&key).await.map_err(of)?;
            Ok(Self { location, meta })
        };
        let mut found = Vec::with_capacity(asked.len());
        let mut asked = asked.into_iter().peekable();
        while asked.peek().is_some() {
            let some: Vec<_> = asked.by_ref().take(32).map(find).collect();
            found.extend(handle.block_on(join_all(some)));
        }
        found
    }

    /// Its length in bytes.
    pub fn size(&self) -> u64 {
        self.meta.size
    }

    /// What the store calls this version of it, if it says.
    pub fn tag(&self) -> Option<&str> {
        self.meta.e_tag.as_deref()
    }

    /// Its version, as far as the store says.
    pub fn version(&self) -> Version {
        Version { tag: self.meta.e_tag.clone(), number: self.meta.version.clone() }
    }

    /// Reads a range of at most [`RANGE`] bytes on another thread, and gives it to `done` there.
    ///
    /// # Errors
    /// If no thread can be started. Errors in reading go to `done`.
    pub fn fetch(
        &self,
        range: Range<u64>,
        done: impl FnOnce(io::Result<Bytes>) + Send + 'static,
    ) -> io::Result<()> {
        // Looked for each time, because a process that was forked has connections of its own.
        let (object, store, requests) = (self.clone(), store(&self.location)?, requests()?);
        handle()?.spawn(async move {
            let _permit = requests.acquire().await;
            done(object.get(&*store, range).await);
        });
        Ok(())
    }

    /// Reads a range of at most [`RANGE`] bytes.
    ///
    /// # Errors
    /// Those of the store, after a few attempts if they may pass.
    pub fn read(&self, range: Range<u64>) -> io::Result<Bytes> {
        let store = store(&self.location)?;
        handle()?.block_on(self.get(&*store, range))
    }

    /// All of it, if it has at most `most` bytes.
    ///
    /// # Errors
    /// [`io::ErrorKind::FileTooLarge`]; those of reading.
    pub fn read_all(&self, most: u64) -> io::Result<Vec<u8>> {
        if self.size() > most {
            let message = format!("more than {most} bytes, too many for a file of this kind");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < self.size() {
            let start = bytes.len() as u64;
            let range = start..self.size().min(start + RANGE);
            bytes.extend(self.read(range)?);
        }
        Ok(bytes)
    }

    /// Gives all of it to `take`, piece by piece and in order. A few pieces are read before they are needed.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_in_order(&self, mut take: impl FnMut(&[u8])) -> io::Result<()> {
        const AHEAD: usize = 4;
        let mut coming = VecDeque::new();
        let mut next = 0;
        loop {
            while next < self.size() && coming.len() < AHEAD {
                let range = next..self.size().min(next + RANGE);
                next = range.end;
                let (sender, receiver) = mpsc::channel();
                // Nobody waits for it if an earlier one failed.
                self.fetch(range, move |read| drop(sender.send(read)))?;
                coming.push_back(receiver);
            }
            let Some(receiver) = coming.pop_front() else { return Ok(()) };
            take(&receiver.recv().map_err(|_| io::Error::other("the threads that read it ended"))??);
        }
    }

    async fn get(&self, store: &dyn ObjectStore, range: Range<u64>) -> io::Result<Bytes> {
        let mut attempt = 1;
        loop {
            match self.get_once(store, range.clone()).await {
                Err(Failed::Passing(_)) if attempt < ATTEMPTS => {
                    tokio::time::sleep(Duration::from_millis(200 << attempt)).await;
                    attempt += 1;
                }
                Err(Failed::Passing(error)) => {
                    let message = format!("{error} (in {attempt} attempts)");
                    return Err(io::Error::new(error.kind(), message));
                }
                Err(Failed::For(error)) => return Err(error),
                Ok(bytes) => return Ok(bytes),
            }
        }
    }

    async fn get_once(&self, store: &dyn ObjectStore, range: Range<u64>) -> Result<Bytes, Failed> {
        let options = GetOptions {
            range: Some(GetRange::Bounded(range.clone())),
            if_match: self.meta.e_tag.clone(),
            ..GetOptions::default()
        };
        // A request without an answer was repeated already.
        let failed = |error: object_store::Error| match &error {
            object_store::Error::Precondition { .. } => Failed::For(changed()),
            _ => Failed::For(of(error)),
        };
        let found = store.get_opts(&self.meta.location, options).await.map_err(failed)?;
        let same = found.meta.size == self.meta.size
            && found.meta.e_tag == self.meta.e_tag
            && (self.meta.e_tag.is_some() || found.meta.last_modified == self.meta.last_modified);
        if !same {
            return Err(Failed::For(changed()));
        }
        let bytes = found.bytes().await.map_err(|error| match &error {
            object_store::Error::Generic { .. } => Failed::Passing(of(error)),
            _ => failed(error),
        })?;
        let wanted = range.end - range.start;
        if bytes.len() as u64 != wanted {
            let message = format!("{} bytes came instead of {wanted}", bytes.len());
            return Err(Failed::Passing(io::Error::new(io::ErrorKind::UnexpectedEof, message)));
        }
        Ok(bytes)
    }
}

/// Why an attempt failed: for a reason that may pass, or for good.
enum Failed {
    Passing(io::Error),
    For(io::Error),
}

fn changed() -> io::Error {
    io::Error::other("the object was replaced while it was being read; run again to read the new one")
}

/// Names and sizes of the objects directly in a folder, in name order. Empty if there is none.
///
/// # Errors
/// Those of the store.
pub fn list(folder: &Location) -> io::Result<Vec<(String, u64)>> {
    let (store, prefix) = (store(folder)?, key(folder)?);
    let prefix = Some(prefix).filter(|prefix| !prefix.as_ref().is_empty());
    let found = handle()?.block_on(store.list_with_delimiter(prefix.as_ref())).map_err(of)?;
    let named = |meta: ObjectMeta| Some((meta.location.filename()?.to_owned(), meta.size));
    let mut names: Vec<(String, u64)> = found.objects.into_iter().filter_map(named).collect();
    names.sort();
    Ok(names)
}
