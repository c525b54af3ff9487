//! The threads that talk to stores. They are started when a store is first used.

use std::collections::HashMap;
use std::io;
use std::process;
use std::sync::{Arc, Mutex, PoisonError};

use object_store::ObjectStore;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Semaphore;

use crate::location::{Location, Scheme};
use crate::stores;

/// Number of threads. They wait most of the time; with encryption, one of them receives about 1 GB/s.
const THREADS: usize = 2;
/// Number of requests for content at the same time. With [`crate::RANGE`], this bounds the memory.
const REQUESTS: usize = 8;

/// What belongs to one process.
struct Process {
    id: u32,
    handle: Handle,
    requests: Arc<Semaphore>,
    stores: HashMap<(Scheme, String), Arc<dyn ObjectStore>>,
}

/// Threads do not survive a fork, so a child has others.
static PROCESS: Mutex<Option<Process>> = Mutex::new(None);

fn process<R>(use_it: impl FnOnce(&mut Process) -> io::Result<R>) -> io::Result<R> {
    let mut process = PROCESS.lock().unwrap_or_else(PoisonError::into_inner);
    if process.as_ref().is_none_or(|process| process.id != process::id()) {
        // Fails only if the program has installed another one, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime: &'static Runtime = Box::leak(Box::new(
            Builder::new_multi_thread()
                .worker_threads(THREADS)
                .thread_name("cdi-objects")
                .enable_all()
                .build()?,
        ));
        *process = Some(Process {
            id: process::id(),
            handle: runtime.handle().clone(),
            requests: Arc::new(Semaphore::new(REQUESTS)),
            stores: HashMap::new(),
        });
    }
    use_it(process.as_mut().expect("set above"))
}

/// The threads.
pub fn handle() -> io::Result<Handle> {
    process(|process| Ok(process.handle.clone()))
}

/// Whoever holds a permit may transfer content.
pub fn requests() -> io::Result<Arc<Semaphore>> {
    process(|process| Ok(process.requests.clone()))
}

/// The store of a bucket.
pub fn store(location: &Location) -> io::Result<Arc<dyn ObjectStore>> {
    let key = (location.scheme, location.bucket.clone());
    let (known, handle) = process(|process| Ok((process.stores.get(&key).cloned(), process.handle.clone())))?;
    if let Some(known) = known {
        return Ok(known);
    }
    let store = handle.block_on(stores::connect(location))?;
    process(|process| Ok(process.stores.entry(key).or_insert(store).clone()))
}
