//! The key of outputs: one digest of everything that determines their bytes.
//!
//! Every check of whether a run would write the same bytes again uses this key. The journal of a killed run
//! has it: its finished shards are reused if the key is the same. The manifest has it: it shows that an
//! up-to-date run can be skipped. The measurements of `tune` have another key, the digest of the measured
//! file itself, because that file is all that the evaluation command sees.

use crate::digest;
use crate::noise::NOISE_VERSION;

/// What determines the outputs of a run besides its inputs. Another version of the tool may write other bytes
/// from the same config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decided<'a> {
    /// Version of the tool.
    pub tool_version: &'a str,
    /// Version of the noise function.
    pub noise_version: u32,
    /// SHA-256 of the config with the overrides of the command line.
    pub config_sha256: &'a str,
    /// The seed.
    pub seed: u64,
}

/// An input: its role, its length in bytes, and its SHA-256.
pub type Input<'a> = (&'a str, u64, &'a str);

impl<'a> Decided<'a> {
    /// For a run by this version of the tool.
    pub fn now(config_sha256: &'a str, seed: u64) -> Self {
        Self { tool_version: env!("CARGO_PKG_VERSION"), noise_version: NOISE_VERSION, config_sha256, seed }
    }

    /// The key of outputs that depend on these inputs, in this order, and on decisions made during the run,
    /// given as a digest (empty if there are none). The headers of the files are added by `with_headers`.
    pub fn key(&self, inputs: impl IntoIterator<Item = Input<'a>>, decisions: &str) -> String {
        let Self { tool_version, noise_version, config_sha256, seed } = self;
        let mut text = format!("{tool_version} {noise_version} {config_sha256} {seed} {decisions}");
        for (role, size, sha256) in inputs {
            text += &format!("\n{role} {size} {sha256}");
        }
        digest::of_pieces([text.as_bytes()])
    }
}

/// The key of files with these headers and lengths in bytes.
pub(super) fn with_headers(key: &str, files: &[(&[u8], u64)]) -> String {
    let length =
        |(header, length): &(&[u8], u64)| (u128::from(*length) << 64 | header.len() as u128).to_le_bytes();
    let lengths: Vec<[u8; 16]> = files.iter().map(length).collect();
    let headers = files.iter().zip(&lengths).flat_map(|((header, _), length)| [&length[..], header]);
    digest::of_pieces([key.as_bytes()].into_iter().chain(headers))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECIDED: Decided<'_> =
        Decided { tool_version: "0.1.0", noise_version: 1, config_sha256: "c0", seed: 7 };

    /// With other keys, the journals of earlier runs would no longer be recognised.
    #[test]
    fn keys_stay_as_they_are() {
        // printf '0.1.0 1 c0 7 d1\nbase 12 ab\ntrained.path 34 cd' | sha256sum
        let key = DECIDED.key([("base", 12, "ab"), ("trained.path", 34, "cd")], "d1");
        assert_eq!(key, "6d0e19ce0946c811f84b33100facd86656f02ca74e9700b318d2ac6cf3cd0202");
        // printf '0.1.0 1 c0 7 ' | sha256sum
        assert_eq!(DECIDED.key([], ""), "d8f7b9a358096233861ddfa6b77d15e647c313162d851af78467e7627d78be22");
        // printf 'k\x02\0\0\0\0\0\0\0\x0a\0\0\0\0\0\0\0ab\x01\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0c' | sha256sum
        assert_eq!(
            with_headers("k", &[(b"ab", 10), (b"c", 5)]),
            "f28be821e6a4236080dfe64448917d2aae60edfaade59664bb4eacfeb3d37ca4"
        );
    }

    #[test]
    fn everything_makes_another_key() {
        let inputs = [("base", 12, "ab")];
        let others = [
            DECIDED.key(inputs, "d"),
            Decided { tool_version: "0.2.0", ..DECIDED }.key(inputs, "d"),
            Decided { noise_version: 2, ..DECIDED }.key(inputs, "d"),
            Decided { config_sha256: "c1", ..DECIDED }.key(inputs, "d"),
            Decided { seed: 8, ..DECIDED }.key(inputs, "d"),
            DECIDED.key([], "d"),
            DECIDED.key([("like", 12, "ab")], "d"),
            DECIDED.key([("base", 13, "ab")], "d"),
            DECIDED.key([("base", 12, "ac")], "d"),
            DECIDED.key(inputs, "e"),
            with_headers(&DECIDED.key(inputs, "d"), &[]),
            with_headers(&DECIDED.key(inputs, "d"), &[(b"a", 2)]),
            with_headers(&DECIDED.key(inputs, "d"), &[(b"a", 3)]),
            with_headers(&DECIDED.key(inputs, "d"), &[(b"b", 2)]),
        ];
        let distinct: std::collections::BTreeSet<&String> = others.iter().collect();
        assert_eq!(distinct.len(), others.len());
    }
}
