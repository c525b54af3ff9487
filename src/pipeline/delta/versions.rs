//! The folders of versions that serving engines (SGLang, slime, miles, ModelExpress) read from a
//! trainer: `weight_v000001/` with shards whose tensors are differences, compressed by zstd, and an
//! index that says how.
//!
//! Sources: slime, `docs/en/advanced/delta-weight-sync.md` and pull request 2181 (the folder of a version,
//! checksums, full versions that begin a chain anew); SGLang, pull request 30367 (`/pull_weights`);
//! ModelExpress, `docs/S3_DELTA_WEIGHT_REFIT.md` (the index). `docs/deltas.md` describes the form.

use crate::place;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The name of an index.
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// How a tensor's difference is stored, before it is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// The new bytes, each combined with the old one by exclusive or.
    Xor,
    /// The number of bytes that differ (U32), their positions (U32 each), and the new bytes.
    Overwrite,
}

/// The checksum of a tensor's new bytes, in hexadecimal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Checksum {
    /// XXH3 of 128 bits.
    #[default]
    #[serde(rename = "xxh3-128")]
    Xxh3,
    /// BLAKE3 of 256 bits.
    #[serde(rename = "blake3")]
    Blake3,
    /// Adler-32 (RFC 1950).
    #[serde(rename = "adler32")]
    Adler32,
}

impl Checksum {
    /// Of these bytes.
    pub fn of(self, bytes: &[u8]) -> String {
        match self {
            Self::Xxh3 => format!("{:032x}", xxhash_rust::xxh3::xxh3_128(bytes)),
            Self::Blake3 => blake3::hash(bytes).to_hex().to_string(),
            Self::Adler32 => format!("{:08x}", adler2::adler32_slice(bytes)),
        }
    }
}

/// As in an index.
impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Xxh3 => "xxh3-128",
            Self::Blake3 => "blake3",
            Self::Adler32 => "adler32",
        })
    }
}

/// What an index says about a delta.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Meta {
    pub version: String,
    pub base_version: String,
    pub delta_encoding: Encoding,
    pub compression_format: Zstd,
    pub checksum_format: Checksum,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Zstd {
    Zstd,
}

impl Encoding {
    /// The difference from `old` to `new`, which have the same length.
    pub(super) fn encode(self, old: &[u8], new: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        out.clear();
        match self {
            Self::Xor => out.extend(old.iter().zip(new).map(|(old, new)| old ^ new)),
            Self::Overwrite => {
                if u32::try_from(new.len()).is_err() {
                    return Err(format!(
                        "positions of 32 bits do not reach its {} bytes; use xor-zstd",
                        new.len()
                    ));
                }
                let differ = || old.iter().zip(new).enumerate().filter(|(_, (old, new))| old != new);
                out.extend((differ().count() as u32).to_le_bytes());
                differ().for_each(|(at, _)| out.extend((at as u32).to_le_bytes()));
                out.extend(differ().map(|(_, (_, new))| new));
            }
        }
        Ok(())
    }

    /// The most bytes that the difference of a tensor has.
    pub(super) fn most(self, bytes: usize) -> usize {
        match self {
            Self::Xor => bytes,
            Self::Overwrite => 4 + 5 * bytes,
        }
    }

    /// Changes `bytes` as a difference says.
    pub(super) fn apply(self, difference: &[u8], bytes: &mut [u8]) -> Result<(), String> {
        match self {
            Self::Xor if difference.len() == bytes.len() => {
                bytes.iter_mut().zip(difference).for_each(|(byte, difference)| *byte ^= difference);
                Ok(())
            }
            Self::Xor => {
                Err(format!("its difference has {} bytes, expected {}", difference.len(), bytes.len()))
            }
            Self::Overwrite => {
                let (count, rest) = difference.split_first_chunk::<4>().ok_or("its difference is cut off")?;
                let count = u32::from_le_bytes(*count) as usize;
                if rest.len() as u64 != 5 * count as u64 {
                    return Err(format!(
                        "its difference has {} bytes, expected {} for {count} changes",
                        difference.len(),
                        4 + 5 * count as u64
                    ));
                }
                let (positions, values) = rest.split_at(4 * count);
                for (at, value) in positions.as_chunks::<4>().0.iter().zip(values) {
                    let at = u32::from_le_bytes(*at) as usize;
                    let len = bytes.len();
                    *bytes.get_mut(at).ok_or_else(|| format!("a change at byte {at} of {len}"))? = *value;
                }
                Ok(())
            }
        }
    }
}

/// The index of a version, of which the folder or the index itself is given.
pub(super) fn index_of(path: &Path) -> PathBuf {
    if place::is_folder(path) { path.join(INDEX) } else { path.to_owned() }
}

/// The metadata in the index of a version; `None` if there is no such index.
pub(super) fn meta(path: &Path) -> Option<Value> {
    let index = index_of(path);
    if index.extension() != Some("json".as_ref()) {
        return None;
    }
    let json: Value = serde_json::from_slice(&place::read(&index, 1 << 29).ok()?).ok()?;
    let metadata = json.get("metadata")?;
    metadata.get("version").is_some().then(|| metadata.clone())
}
