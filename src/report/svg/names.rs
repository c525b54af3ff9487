//! File names made of tensor names.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

const LONGEST: usize = 120;

/// A file name for each of these tensors, all different, on systems that do not tell capitals apart as well:
/// `heatmap_NAME.svg`. A name with other characters than letters, digits, `.`, `_` and `-`, one that is too
/// long, and one that another is in capitals, has `~` and the beginning of its SHA-256 behind it.
pub fn heat_map_names<'n>(names: impl IntoIterator<Item = &'n str>) -> Vec<String> {
    let safe: Vec<(String, &str)> = names.into_iter().map(|name| (safe(name), name)).collect();
    let mut alike: BTreeMap<String, usize> = BTreeMap::new();
    for (safe, _) in &safe {
        *alike.entry(safe.to_lowercase()).or_default() += 1;
    }
    let file = |(safe, name): (String, &str)| {
        if safe == name && alike.get(&safe.to_lowercase()) == Some(&1) {
            return format!("heatmap_{safe}.svg");
        }
        // `~` is in no safe name, so this is none of those above.
        let digest = Sha256::digest(name.as_bytes());
        let digest: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("heatmap_{safe}~{digest}.svg")
    };
    safe.into_iter().map(file).collect()
}

fn safe(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' };
    name.chars().map(plain).take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_and_all_different() {
        let long = "x".repeat(300);
        let names = ["fc1.weight", "a/b", "a_b", "../a", "Fc2", "fc2", &long, ""];
        let files = heat_map_names(names);
        assert_eq!(files[0], "heatmap_fc1.weight.svg");
        // The digests are those of `printf %s NAME | sha256sum`.
        assert_eq!(files[1], "heatmap_a_b~c14cddc033f64b9d.svg");
        assert_eq!(files[2], "heatmap_a_b~648fa9b31bc7ff7e.svg");
        assert_eq!(files[3], "heatmap_.._a~61b4c98bfb92bdc9.svg");
        assert_eq!(
            (files[4].as_str(), files[5].as_str()),
            ("heatmap_Fc2~cd36cd5aecd8d1ae.svg", "heatmap_fc2~45125bb70317d674.svg")
        );
        assert_eq!(files[6], format!("heatmap_{}~0d4e2ca9e9cbced7.svg", "x".repeat(120)));
        assert_eq!(files[7], "heatmap_.svg");
        let mut folded: Vec<String> = files.iter().map(|file| file.to_lowercase()).collect();
        folded.sort();
        folded.dedup();
        assert_eq!(folded.len(), names.len());
    }
}
