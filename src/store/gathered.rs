//! Writes of one thread that continue one another, put together. A tensor of a few weights takes longer to
//! write, with a call of the system for each of its parts, than to prune.

use std::sync::{Mutex, PoisonError};

use super::writer::{CheckpointWriter, Slot};
use crate::checkpoint::CheckpointError;

/// Writes of at least so many bytes are never held back.
const LARGE: usize = 1 << 12;
/// How many bytes are held back in one place, and in how many places: the parts of an encoding lie apart.
const HELD: usize = 1 << 16;
const PLACES: usize = 8;

/// Writes to a checkpoint, of which small ones are held back until they are many or this is dropped.
#[derive(Debug)]
pub struct Gathered<'w> {
    writer: &'w CheckpointWriter<'w>,
    failed: &'w Failed,
    /// The place written to last comes first.
    runs: Vec<Run>,
}

/// The first error of writes that were held back until nobody could be told.
#[derive(Debug, Default)]
pub struct Failed(Mutex<Option<CheckpointError>>);

impl Failed {
    /// To be called when everything that writes is dropped.
    ///
    /// # Errors
    /// The error, if there was one.
    pub fn check(self) -> Result<(), CheckpointError> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }
}

/// Bytes that are held back.
#[derive(Debug)]
struct Run {
    file: usize,
    at: u64,
    bytes: Vec<u8>,
}

impl Run {
    fn is_continued(&self, file: usize, at: u64) -> bool {
        (self.file, self.at + self.bytes.len() as u64) == (file, at)
    }

    fn write(&mut self, writer: &CheckpointWriter<'_>) -> Result<(), CheckpointError> {
        let written = writer.write_file(self.file, self.at, &self.bytes);
        self.at += self.bytes.len() as u64;
        self.bytes.clear();
        written
    }
}

impl<'w> Gathered<'w> {
    /// Nothing yet. `failed` is to be checked when this is dropped.
    pub fn new(writer: &'w CheckpointWriter<'_>, failed: &'w Failed) -> Self {
        Self { writer, failed, runs: Vec::new() }
    }

    /// Writes a part of a tensor at this byte offset in its data.
    ///
    /// # Errors
    /// [`crate::checkpoint::ErrorKind::Io`], of these or of earlier bytes.
    ///
    /// # Panics
    /// If the part extends beyond the tensor.
    pub fn write_at(&mut self, slot: Slot, offset: u64, bytes: &[u8]) -> Result<(), CheckpointError> {
        let (file, at) = slot.place(offset, bytes.len());
        if bytes.len() >= LARGE {
            return self.writer.write_file(file, at, bytes);
        }
        let n = match self.runs.iter().position(|run| run.is_continued(file, at)) {
            Some(n) => n,
            None if self.runs.len() < PLACES => {
                self.runs.push(Run { file, at, bytes: Vec::new() });
                self.runs.len() - 1
            }
            None => {
                let last = &mut self.runs[PLACES - 1];
                last.write(self.writer)?;
                (last.file, last.at) = (file, at);
                PLACES - 1
            }
        };
        self.runs[..=n].rotate_right(1);
        let run = &mut self.runs[0];
        run.bytes.extend_from_slice(bytes);
        if run.bytes.len() >= HELD { run.write(self.writer) } else { Ok(()) }
    }
}

impl Drop for Gathered<'_> {
    fn drop(&mut self) {
        for run in &mut self.runs {
            if let Err(error) = run.write(self.writer) {
                self.failed.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::io::{self, Write};
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use super::super::group::Group;
    use super::super::set::OutputSet;
    use super::super::sink::{Draft, Sink};
    use super::*;
    use crate::checkpoint::{Identity, TensorSpec};
    use crate::tensor::{Dtype, Shape};

    /// A file that notes each write.
    #[derive(Clone, Debug, Default)]
    struct Noted(Arc<Mutex<Notes>>);

    #[derive(Debug, Default)]
    struct Notes {
        content: Vec<u8>,
        /// Positions and lengths.
        writes: Vec<(u64, usize)>,
        is_full: bool,
    }

    impl Sink for Noted {
        fn claim(
            &mut self,
            _: Option<&Path>,
            _: &[&Path],
            _: BTreeSet<Identity>,
        ) -> Result<(), CheckpointError> {
            Ok(())
        }

        fn begin(&mut self, output: &Path, _: Option<&str>) -> Result<PathBuf, CheckpointError> {
            Ok(output.to_owned())
        }

        fn create(&mut self, _: &Path, length: u64, _: u64) -> Result<Box<dyn Draft>, CheckpointError> {
            self.0.lock().unwrap().content.resize(length as usize, 0);
            Ok(Box::new(self.clone()))
        }

        fn forms(&self, _: &Path) -> Vec<PathBuf> {
            Vec::new()
        }

        fn commit(&mut self, _: Vec<Box<dyn Draft>>, _: Vec<PathBuf>) -> Result<(), CheckpointError> {
            Ok(())
        }
    }

    impl Draft for Noted {
        fn path(&self) -> &Path {
            Path::new("noted.safetensors")
        }

        fn size(&self) -> io::Result<u64> {
            Ok(self.0.lock().unwrap().content.len() as u64)
        }

        fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<()> {
            unreachable!("nothing is read")
        }

        fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
            let mut notes = self.0.lock().unwrap();
            if notes.is_full {
                return Err(io::ErrorKind::StorageFull.into());
            }
            notes.writes.push((offset, bytes.len()));
            notes.content[offset as usize..][..bytes.len()].copy_from_slice(bytes);
            Ok(())
        }

        fn finish(&self) -> Result<(), CheckpointError> {
            Ok(())
        }

        fn stream(&self) -> Box<dyn Write + '_> {
            unreachable!("nothing is streamed")
        }
    }

    /// A file of ten tensors of these many bytes, `a0` to `a9`, and the length of its header.
    fn noted(bytes: usize, work: impl FnOnce(&CheckpointWriter<'_>, &Noted)) {
        let noted = Noted::default();
        let mut set = OutputSet::on(Box::new(noted.clone()));
        let spec = |n| TensorSpec {
            name: format!("a{n}"),
            dtype: Dtype::U8,
            shape: Shape::new(vec![bytes]).unwrap(),
        };
        let groups: Vec<Group> = (0..10).map(|n| Group::single(spec(n))).collect();
        let no_key = || Ok::<_, CheckpointError>(None);
        let writer = CheckpointWriter::resume(
            &mut set,
            Path::new("noted.safetensors"),
            &groups,
            None,
            |_| BTreeMap::new(),
            no_key,
        );
        noted.0.lock().unwrap().writes.clear();
        work(&writer.unwrap(), &noted);
    }

    #[test]
    fn writes_that_continue_one_another_are_one() {
        noted(100_000, |writer, noted| {
            let failed = Failed::default();
            let mut out = Gathered::new(writer, &failed);
            let (first, second) = (writer.slot("a1"), writer.slot("a3"));
            // In turn to two places, and a large one to a third.
            for at in (0..90_000u64).step_by(30) {
                out.write_at(first, at, &[(at % 251) as u8; 30]).unwrap();
                out.write_at(second, 5 + at, &[(at % 241) as u8; 30]).unwrap();
            }
            out.write_at(writer.slot("a2"), 7, &[9; LARGE]).unwrap();
            let begin = first.place(0, 0).1;
            let held = HELD.next_multiple_of(30);
            let so_far = [(begin, held), (begin + 200_005, held), (begin + 100_007, LARGE)];
            assert_eq!(noted.0.lock().unwrap().writes, so_far);
            drop(out);
            failed.check().unwrap();
            let notes = noted.0.lock().unwrap();
            let mut last = notes.writes[3..].to_vec();
            last.sort_unstable();
            let rest = |at| (at + held as u64, 90_000 - held);
            assert_eq!(last, [rest(begin), rest(begin + 200_005)]);
            for (start, modulus) in [(begin as usize, 251), (begin as usize + 200_005, 241)] {
                let found = notes.content[start..].iter().step_by(30).take(3000);
                assert!(found.zip((0..).step_by(30)).all(|(byte, at)| *byte == (at % modulus) as u8));
            }
        });
    }

    #[test]
    fn more_places_than_are_held_are_written_all_the_same() {
        noted(40, |writer, noted| {
            let failed = Failed::default();
            let mut out = Gathered::new(writer, &failed);
            for at in [0, 30] {
                for n in 0..10 {
                    out.write_at(writer.slot(&format!("a{n}")), at, &[n + 1; 10]).unwrap();
                }
            }
            drop(out);
            failed.check().unwrap();
            let notes = noted.0.lock().unwrap();
            let data = &notes.content[notes.content.len() - 400..];
            for (n, tensor) in (1..).zip(data.chunks(40)) {
                assert_eq!(tensor, [[n; 10], [0; 10], [0; 10], [n; 10]].concat());
            }
        });
    }

    #[test]
    fn what_fails_late_is_told() {
        noted(40, |writer, noted| {
            let failed = Failed::default();
            let mut out = Gathered::new(writer, &failed);
            out.write_at(writer.slot("a0"), 0, &[1]).unwrap();
            noted.0.lock().unwrap().is_full = true;
            drop(out);
            let message = failed.check().unwrap_err().to_string();
            assert!(message.starts_with("noted.safetensors: cannot write"), "{message}");
        });
    }

    #[test]
    #[should_panic(expected = "a write beyond its tensor")]
    fn nothing_is_written_beyond_a_tensor() {
        noted(40, |writer, _| {
            let failed = Failed::default();
            let _ = Gathered::new(writer, &failed).write_at(writer.slot("a0"), 39, &[1, 2]);
        });
    }
}
