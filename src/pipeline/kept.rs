//! What the candidates of a search have in common, computed once.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::codes::{CodeKey, Coded};
use super::error::Error;
use super::spool::Spool;
use crate::prune::Moments;

/// Bytes of factored moments that are kept. Those beyond are computed for each candidate.
const MOST_BYTES: usize = 1 << 30;
/// Bytes of codes that are kept on disk. With more, all are forgotten.
const MOST_CODES: u64 = 4 << 30;

/// What is kept while a search goes on. Inputs do not change meanwhile.
#[derive(Debug, Default)]
pub(super) struct Kept {
    moments: Mutex<Factored>,
    codes: Mutex<KnownCodes>,
}

/// The codes of tensors that are not pruned.
#[derive(Debug, Default)]
struct KnownCodes {
    spool: Option<Arc<Spool>>,
    /// Where the codes end in the spool.
    end: u64,
    known: HashMap<CodeKey, Coded>,
}

#[derive(Debug, Default)]
struct Factored {
    /// By the file of second moments and the name of the tensor.
    moments: BTreeMap<(PathBuf, String), Arc<Moments>>,
    bytes: usize,
}

impl Kept {
    /// The factored second moments of a tensor in this file, which `factor` computes if they are not kept.
    ///
    /// # Errors
    /// Those of `factor`.
    pub fn moments(
        &self,
        file: &Path,
        tensor: &str,
        factor: impl FnOnce() -> Result<Moments, Error>,
    ) -> Result<Arc<Moments>, Error> {
        let key = (file.to_owned(), tensor.to_owned());
        let lock = || self.moments.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(moments) = lock().moments.get(&key) {
            return Ok(Arc::clone(moments));
        }
        let moments = Arc::new(factor()?);
        let mut kept = lock();
        if kept.bytes + moments.bytes() <= MOST_BYTES {
            kept.bytes += moments.bytes();
            kept.moments.insert(key, Arc::clone(&moments));
        }
        Ok(moments)
    }

    /// The codes of tensors with these keys, in a spool. `code` codes those with these indexes from this
    /// position of the spool on, and tells where they end; it is called for those that are not known,
    /// and for those without a key, whose codes are overwritten when the next candidate is coded.
    /// `spool` creates one.
    ///
    /// # Errors
    /// Those of `spool` and `code`.
    pub fn codes(
        &self,
        keys: Vec<Option<CodeKey>>,
        spool: impl FnOnce() -> Result<Spool, Error>,
        mut code: impl FnMut(&[usize], (&Spool, u64)) -> Result<(Vec<Coded>, u64), Error>,
    ) -> Result<(Vec<Coded>, Arc<Spool>), Error> {
        let mut codes = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        if codes.end > MOST_CODES {
            *codes = KnownCodes::default();
        }
        let KnownCodes { spool: kept, end, known } = &mut *codes;
        let spool = match kept {
            Some(spool) => Arc::clone(spool),
            None => Arc::clone(kept.insert(Arc::new(spool()?))),
        };
        let known_of =
            |key: &Option<CodeKey>, known: &HashMap<CodeKey, Coded>| known.get(key.as_ref()?).cloned();
        let mut found: Vec<Option<Coded>> = keys.iter().map(|key| known_of(key, known)).collect();
        for has_key in [true, false] {
            let new: Vec<usize> =
                (0..keys.len()).filter(|n| found[*n].is_none() && keys[*n].is_some() == has_key).collect();
            if new.is_empty() {
                continue;
            }
            let (coded, behind) = code(&new, (&spool, *end))?;
            for (n, coded) in new.into_iter().zip(coded) {
                if let Some(key) = &keys[n] {
                    known.insert(key.clone(), coded.clone());
                }
                found[n] = Some(coded);
            }
            if has_key {
                *end = behind;
            }
        }
        Ok((found.into_iter().flatten().collect(), spool))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Choice, Lines, Model, Over};
    use crate::workers::Alone;

    #[test]
    fn moments_are_factored_once() {
        let kept = Kept::default();
        let mut times = 0;
        let mut of = |file: &str, tensor: &str| {
            let found = kept.moments(Path::new(file), tensor, || {
                times += 1;
                Ok(Moments::new(&[4.0, 2.0, 2.0, 5.0], 2, &Alone).unwrap())
            });
            (found.unwrap().inputs(), times)
        };
        let asked = [("a", "x"), ("a", "x"), ("a", "y"), ("b", "x"), ("b", "x"), ("a", "y")];
        assert_eq!(
            asked.map(|(file, tensor)| of(file, tensor)),
            [(2, 1), (2, 1), (2, 2), (2, 3), (2, 3), (2, 3)]
        );
    }

    fn key(name: &str, step: f64) -> CodeKey {
        let steps = Some((step.to_bits(), Over::Zero));
        CodeKey { name: name.to_owned(), steps, is_compensated: false, written: None, predicts: false }
    }

    #[test]
    fn only_what_is_new_is_coded() {
        let kept = Kept::default();
        let folder = tempfile::tempdir().unwrap();
        let mut spools = 0;
        let mut calls = Vec::new();
        let mut candidate = |keys: &[Option<CodeKey>]| {
            let spool = || {
                spools += 1;
                Ok(Spool::within(folder.path())?)
            };
            // Each code has ten bytes.
            let (codes, _) = kept
                .codes(keys.to_vec(), spool, |new, (_, from)| {
                    calls.push((new.to_vec(), from));
                    let at = |n: u64| from + 10 * n..from + 10 * (n + 1);
                    let one = |n: u64| Coded {
                        choice: Choice {
                            model: Model::Difference,
                            scale: 1.0,
                            lines: Lines::default(),
                            bits: 0.0,
                        },
                        head: Vec::new(),
                        blocks: at(n),
                        overflowed: 0,
                        rounded: None,
                    };
                    Ok(((0..new.len() as u64).map(one).collect(), from + 10 * new.len() as u64))
                })
                .unwrap();
            codes.into_iter().map(|code| code.blocks.start).collect::<Vec<u64>>()
        };
        let [x, y, longer] = [key("x", 0.5), key("y", 0.5), key("x", 0.75)].map(Some);
        assert_eq!(candidate(&[x.clone(), y.clone()]), [0, 10]);
        // One step is longer, and one tensor is pruned: its code is behind what is kept.
        assert_eq!(candidate(&[longer.clone(), None, y.clone()]), [20, 30, 10]);
        // Another mask: its code is in the same place.
        assert_eq!(candidate(&[x, None, y]), [0, 30, 10]);
        assert_eq!(candidate(&[longer]), [20]);
        assert_eq!(calls, [(vec![0, 1], 0), (vec![0], 20), (vec![1], 30), (vec![1], 30)]);
        assert_eq!(spools, 1);
    }
}
