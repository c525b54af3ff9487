//! Writing objects.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use object_store::{Error, MultipartUpload, ObjectStoreExt, PutMode, PutOptions, PutPayload, UpdateVersion};

use crate::error::of;
use crate::location::Location;
use crate::object::{RANGE, Version, key};
use crate::runtime::{handle, store};

/// Stores accept at most 10,000 parts; a few less, to be safe.
const MOST_PARTS: u64 = 9_000;
/// Number of parts that are sent at the same time.
const AT_ONCE: usize = 4;

/// How long a program that ends waits for its uploads to be taken back.
const LAST: Duration = Duration::from_secs(5);

fn abandoned() -> io::Error {
    io::ErrorKind::Interrupted.into()
}

/// What must be at a location for it to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Before {
    /// Whatever is there is replaced.
    Anything,
    /// Nothing.
    Nothing,
    /// This version.
    Version(Version),
}

impl Before {
    /// What is there now, to be replaced only if it has not changed until then.
    ///
    /// # Errors
    /// Those of the store.
    pub fn now(location: &Location) -> io::Result<Self> {
        match crate::Object::find(location) {
            Ok(object) => Ok(Self::Version(object.version())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::Nothing),
            Err(error) => Err(error),
        }
    }
}

/// Writes a whole object in one request, if what `before` says is still so.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if something else is there now.
pub fn put(location: &Location, bytes: Vec<u8>, before: &Before) -> io::Result<()> {
    let (store, key) = (store(location)?, key(location)?);
    let payload = PutPayload::from(bytes);
    let put = |mode: PutMode| {
        let options = PutOptions { mode, ..PutOptions::default() };
        Ok::<_, io::Error>(handle()?.block_on(store.put_opts(&key, payload.clone(), options)))
    };
    let wanted = match before {
        Before::Anything => PutMode::Overwrite,
        Before::Nothing => PutMode::Create,
        Before::Version(Version { tag: None, number: None }) => PutMode::Overwrite,
        Before::Version(Version { tag, number }) => {
            PutMode::Update(UpdateVersion { e_tag: tag.clone(), version: number.clone() })
        }
    };
    match put(wanted)? {
        Ok(_) => Ok(()),
        Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Err(replaced()),
        // Not every store compares before it writes.
        Err(Error::NotImplemented { .. } | Error::NotSupported { .. }) => {
            put(PutMode::Overwrite)?.map(drop).map_err(of)
        }
        Err(error) => Err(of(error)),
    }
}

/// The error for an object that is not what it was.
pub fn replaced() -> io::Error {
    let message =
        "something else wrote this object meanwhile, so it was left as it is; run again to replace it";
    io::Error::new(io::ErrorKind::AlreadyExists, message)
}

/// Removes an object. It need not exist.
///
/// # Errors
/// Those of the store.
pub fn remove(location: &Location) -> io::Result<()> {
    let (store, key) = (store(location)?, key(location)?);
    match handle()?.block_on(store.delete(&key)) {
        Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(of(error)),
    }
}

/// An object whose content was sent in parts. Nobody sees it before [`Self::complete`]; dropping it takes the
/// parts back.
#[derive(Debug)]
pub struct Upload(Arc<Begun>);

/// An upload until it is completed or taken back.
type Begun = Mutex<Option<Box<dyn MultipartUpload>>>;

/// All uploads, for [`abandon`].
static BEGUN: Mutex<Vec<Weak<Begun>>> = Mutex::new(Vec::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes back the parts of all uploads that are not completed, for a program that ends on a signal. Stores
/// keep parts until then, or until a rule of theirs removes them.
pub fn abandon() {
    let begun: Vec<_> =
        lock(&BEGUN).drain(..).filter_map(|upload| lock(&*upload.upgrade()?).take()).collect();
    if let (Ok(handle), false) = (handle(), begun.is_empty()) {
        let abort = |mut upload: Box<dyn MultipartUpload>| async move { upload.abort().await };
        let all = join_all(begun.into_iter().map(abort));
        let _ = handle.block_on(async { tokio::time::timeout(LAST, all).await });
    }
}

impl Upload {
    /// Sends `size` bytes, which `read` gives by their position.
    ///
    /// # Errors
    /// Those of `read` and of the store; what was sent is taken back.
    pub fn send(
        location: &Location,
        size: u64,
        mut read: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
    ) -> io::Result<Self> {
        let (store, key) = (store(location)?, key(location)?);
        let part = RANGE.max(size.div_ceil(MOST_PARTS).next_multiple_of(1 << 20));
        // An answer that was cut short is not asked for again by the client itself. What
        // it began has no parts.
        let begin = || Ok::<_, io::Error>(handle()?.block_on(store.put_multipart(&key)));
        let inner = match begin()? {
            Err(Error::Generic { .. }) => begin()?.map_err(of)?,
            begun => begun.map_err(of)?,
        };
        let upload = Self(Arc::new(Mutex::new(Some(inner))));
        let mut begun = lock(&BEGUN);
        begun.retain(|upload| upload.strong_count() > 0);
        begun.push(Arc::downgrade(&upload.0));
        drop(begun);
        let mut at = 0;
        while at < size {
            let mut sent = Vec::new();
            while at < size && sent.len() < AT_ONCE {
                let mut bytes = vec![0; part.min(size - at) as usize];
                read(at, &mut bytes)?;
                at += bytes.len() as u64;
                let mut inner = lock(&upload.0);
                let inner = inner.as_mut().ok_or_else(abandoned)?;
                sent.push(inner.put_part(PutPayload::from(bytes)));
            }
            handle()?.block_on(try_join_all(sent)).map_err(of)?;
        }
        Ok(upload)
    }

    /// Makes the object visible, in place of what was there.
    ///
    /// # Errors
    /// Those of the store.
    pub fn complete(self) -> io::Result<()> {
        let mut inner = lock(&self.0).take().ok_or_else(abandoned)?;
        match handle()?.block_on(inner.complete()) {
            Ok(_) => Ok(()),
            Err(error) => {
                *lock(&self.0) = Some(inner);
                Err(of(error))
            }
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let (Some(mut inner), Ok(handle)) = (lock(&self.0).take(), handle()) {
            let _ = handle.block_on(inner.abort());
        }
    }
}
