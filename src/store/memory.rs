//! Outputs in memory, for tests and for programs that do not write files.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::names::{folder_of, index_path, is_form, journal_of};
use super::sink::{Appending, Draft, Sink, hash};
use crate::checkpoint::{CheckpointError, ErrorKind, Identity};

/// Files in memory, by path. Clones share the same files.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<Files>>);

#[derive(Debug, Default)]
struct Files {
    visible: BTreeMap<PathBuf, Vec<u8>>,
    /// The outputs that sinks have claimed. All forms of an output share one name here.
    claimed: BTreeSet<PathBuf>,
    /// Finished drafts, each with its key, its digest and its bytes.
    finished: BTreeMap<PathBuf, (String, String, Vec<u8>)>,
}

impl Memory {
    /// A sink that writes to these files.
    pub fn sink(&self) -> MemorySink {
        MemorySink { memory: self.clone(), keys: BTreeMap::new() }
    }

    /// The visible files.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        self.lock().visible.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Files> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A sink that writes to memory. Drafts that were finished but not committed can be resumed by a run with the
/// same key, within this process.
#[derive(Debug)]
pub struct MemorySink {
    memory: Memory,
    /// The keys of the claimed outputs; an empty string stands for no key.
    keys: BTreeMap<PathBuf, String>,
}

impl MemorySink {
    /// Claims the output that a file belongs to, and returns its key.
    fn take(&mut self, path: &Path) -> Result<&mut String, CheckpointError> {
        let output = journal_of(path);
        if !self.keys.contains_key(&output) && !self.memory.lock().claimed.insert(output.clone()) {
            return Err(CheckpointError::new(path, ErrorKind::InUse(None)));
        }
        Ok(self.keys.entry(output).or_default())
    }
}

impl Sink for MemorySink {
    /// No input is in memory, so `inputs` is ignored.
    fn claim(
        &mut self,
        anchor: Option<&Path>,
        _outputs: &[&Path],
        _inputs: BTreeSet<Identity>,
    ) -> Result<(), CheckpointError> {
        anchor.map_or(Ok(()), |anchor| self.take(anchor).map(drop))
    }

    fn begin(&mut self, output: &Path, key: Option<&str>) -> Result<PathBuf, CheckpointError> {
        let (index, key) = (index_path(output), key.unwrap_or_default());
        key.clone_into(self.take(&index)?);
        let same = |path: &Path| journal_of(path) == journal_of(&index);
        self.memory.lock().finished.retain(|path, (of, ..)| !same(path) || (of == key && !key.is_empty()));
        Ok(output.to_owned())
    }

    fn create(&mut self, path: &Path, length: u64, _room: u64) -> Result<Box<dyn Draft>, CheckpointError> {
        let key = self.take(path)?.clone();
        let bytes = Mutex::new(vec![0; length as usize]);
        Ok(Box::new(MemoryDraft { path: path.to_owned(), bytes, key, memory: self.memory.clone() }))
    }

    fn resume(
        &mut self,
        path: &Path,
        length: u64,
        header: &[u8],
    ) -> Result<Option<Box<dyn Draft>>, CheckpointError> {
        let found = self.memory.lock().finished.get(path).cloned();
        let Some((key, sha256, bytes)) = found else { return Ok(None) };
        let draft =
            MemoryDraft { path: path.to_owned(), bytes: Mutex::new(bytes), key, memory: self.memory.clone() };
        let same = |(digest, size)| digest == sha256 && size == length && draft.lock().starts_with(header);
        let same = hash(&draft).is_ok_and(same);
        Ok(same.then(|| Box::new(draft) as Box<dyn Draft>))
    }

    fn forms(&self, output: &Path) -> Vec<PathBuf> {
        self.memory
            .lock()
            .visible
            .keys()
            .filter(|path| folder_of(path) == folder_of(output) && is_form(path, output))
            .cloned()
            .collect()
    }

    fn commit(&mut self, drafts: Vec<Box<dyn Draft>>, stale: Vec<PathBuf>) -> Result<(), CheckpointError> {
        let mut files = self.memory.lock();
        for draft in drafts {
            let draft =
                (draft as Box<dyn Any>).downcast::<MemoryDraft>().expect("drafts of this kind of sink");
            let MemoryDraft { path, bytes, .. } = *draft;
            files.finished.remove(&path);
            files.visible.insert(path, bytes.into_inner().unwrap_or_else(PoisonError::into_inner));
        }
        stale.iter().for_each(|path| drop(files.visible.remove(path)));
        Ok(())
    }
}

impl Drop for MemorySink {
    fn drop(&mut self) {
        let mut files = self.memory.lock();
        files.claimed.retain(|output| !self.keys.contains_key(output));
    }
}

#[derive(Debug)]
struct MemoryDraft {
    path: PathBuf,
    bytes: Mutex<Vec<u8>>,
    key: String,
    memory: Memory,
}

impl MemoryDraft {
    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Draft for MemoryDraft {
    fn path(&self) -> &Path {
        &self.path
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.lock().len() as u64)
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let all = self.lock();
        let from = all.get(offset as usize..).and_then(|rest| rest.get(..bytes.len()));
        bytes.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let (mut all, end) = (self.lock(), offset as usize + bytes.len());
        if all.len() < end {
            all.resize(end, 0);
        }
        all[offset as usize..end].copy_from_slice(bytes);
        Ok(())
    }

    fn finish(&self) -> Result<(), CheckpointError> {
        let (sha256, _) = hash(self).map_err(CheckpointError::io(&self.path, "finish"))?;
        let noted = (self.key.clone(), sha256, self.lock().clone());
        self.memory.lock().finished.insert(self.path.clone(), noted);
        Ok(())
    }

    fn stream(&self) -> Box<dyn Write + '_> {
        Box::new(Appending::to(self))
    }
}

#[cfg(test)]
mod tests {
    use safetensors::Dtype;

    use super::super::group::Group;
    use super::super::local::LocalSink;
    use super::super::set::OutputSet;
    use super::super::writer::CheckpointWriter;
    use super::*;
    use crate::checkpoint::TensorSpec;
    use crate::tensor::Shape;

    /// A test for every kind of sink: the first function makes a new sink, the second lists the visible
    /// files below a folder.
    type Test = fn(&Path, &dyn Fn() -> Box<dyn Sink>, &dyn Fn() -> BTreeMap<PathBuf, Vec<u8>>);

    fn on_each_kind(test: Test) {
        let memory = Memory::default();
        test(Path::new("/folder"), &|| Box::new(memory.sink()), &|| memory.files());
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().canonicalize().unwrap();
        let files = || {
            let entries = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
            let visible =
                entries.filter(|path| !path.file_name().unwrap().as_encoded_bytes().starts_with(b"."));
            visible.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
        };
        test(&folder, &|| Box::new(LocalSink::default()), &files);
    }

    /// Writes two tensors of 8 bytes, each filled with one of these numbers.
    fn write(set: &mut OutputSet, output: &Path, most: Option<u64>, numbers: [u8; 2]) -> Vec<PathBuf> {
        let spec = |name: &str| {
            let shape = Shape::new(vec![8]).unwrap();
            Group::single(TensorSpec { name: name.to_owned(), dtype: Dtype::U8, shape })
        };
        let groups = [spec("a"), spec("b")];
        let (metadata, key) = (|_: &[Group]| BTreeMap::new(), || Ok::<_, CheckpointError>(None));
        let writer = CheckpointWriter::resume(set, output, &groups, most, metadata, key).unwrap();
        for (name, number) in ["b", "a"].into_iter().zip(numbers) {
            writer.write_at(writer.slot(name), 0, &[number; 8]).unwrap();
        }
        writer.stage(set).unwrap()
    }

    #[test]
    fn all_is_visible_at_once_and_nothing_before() {
        on_each_kind(|folder, sink, files| {
            let [a, b] = ["a.bin", "b.bin"].map(|name| folder.join(name));
            let mut set = OutputSet::on(sink());
            set.claim(Some(&a), &[&a, &b], BTreeSet::new()).unwrap();
            set.add_text(&a, "one").unwrap();
            set.add_with(&b, |file| (0..3).try_for_each(|n| write!(file, "{n}"))).unwrap();
            let hashes: Vec<_> = set.files().map(|draft| hash(draft).unwrap()).collect();
            // SHA-256 of `one`, by sha256sum.
            let one = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed";
            assert_eq!((hashes[0].0.as_str(), hashes[0].1, hashes[1].1), (one, 3, 3));
            assert_eq!(files(), BTreeMap::new());
            assert_eq!(set.commit().unwrap(), [a.clone(), b.clone()]);
            assert_eq!(files(), [(a.clone(), b"one".to_vec()), (b.clone(), b"012".to_vec())].into());
            // A set that is not committed disappears, and the old file stays.
            let mut set = OutputSet::on(sink());
            set.add_text(&a, "two").unwrap();
            drop(set);
            assert_eq!(files()[&a], b"one");
        });
    }

    #[test]
    fn an_output_has_one_sink_at_a_time() {
        on_each_kind(|folder, sink, files| {
            let output = folder.join("m.safetensors");
            let mut first = OutputSet::on(sink());
            write(&mut first, &output, Some(8), [1, 2]);
            let mut second = OutputSet::on(sink());
            let refused = |result: Result<PathBuf, CheckpointError>| {
                matches!(result.unwrap_err().kind, ErrorKind::InUse(_))
            };
            assert!(refused(second.sink().begin(&output, None)));
            // The output is claimed under the name of any of its files.
            assert!(refused(second.add_bytes(&folder.join("m-00001-of-00002.safetensors"), b"x")));
            second.add_bytes(&folder.join("m2.safetensors"), b"x").unwrap();
            drop(first);
            write(&mut second, &output, None, [3, 4]);
            second.commit().unwrap();
            assert_eq!(files().len(), 2);
        });
    }

    #[test]
    fn another_form_of_a_checkpoint_goes() {
        on_each_kind(|folder, sink, files| {
            let output = folder.join("m.safetensors");
            let names = || -> Vec<String> {
                files().keys().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
            };
            let shards =
                ["m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors", "m.safetensors.index.json"];
            for (most, expected) in
                [(Some(8), &shards[..]), (None, &["m.safetensors"][..]), (Some(8), &shards[..])]
            {
                let mut set = OutputSet::on(sink());
                write(&mut set, &output, most, [1, 2]);
                set.commit().unwrap();
                assert_eq!(names(), expected);
            }
            let first = &files()[&folder.join(shards[0])];
            assert_eq!(first[first.len() - 8..], [2; 8]);
        });
    }

    #[test]
    fn what_was_finished_is_taken_over_under_the_same_key() {
        let memory = Memory::default();
        let path = Path::new("m-00001-of-00002.safetensors");
        let finish = |key| {
            let mut sink = memory.sink();
            sink.begin(Path::new("m.safetensors"), Some(key)).unwrap();
            let draft = sink.create(path, 4, 4).unwrap();
            draft.write_at(0, b"abcd").unwrap();
            draft.finish().unwrap();
        };
        let resumed = |key, length, header: &[u8]| {
            let mut sink = memory.sink();
            sink.begin(Path::new("m.safetensors"), key).unwrap();
            sink.resume(path, length, header).unwrap().is_some()
        };
        finish("1");
        assert!(resumed(Some("1"), 4, b"ab") && resumed(Some("1"), 4, b""));
        assert!(!resumed(Some("1"), 5, b"ab") && !resumed(Some("1"), 4, b"b"));
        // With another key, or none, the finished draft is gone for good.
        assert!(!resumed(Some("2"), 4, b"ab") && !resumed(Some("1"), 4, b"ab"));
        finish("1");
        assert!(!resumed(None, 4, b"ab") && !resumed(Some("1"), 4, b"ab"));
    }
}
