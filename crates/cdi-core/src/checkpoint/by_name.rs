//! Name order, and maps of what is in it already.

use alloc::collections::BTreeMap;

use crate::prelude::*;

/// A map of entries that come in the order of their names.
pub fn by_name<T>(sorted: impl Iterator<Item = (String, T)>) -> BTreeMap<String, T> {
    // Collecting builds full trees, and brings code that sorts, which a small program does without.
    #[cfg(feature = "std")]
    return sorted.collect();
    #[cfg(not(feature = "std"))]
    {
        let mut map = BTreeMap::new();
        map.extend(sorted);
        map
    }
}

/// Sorts by name.
pub fn sort_by_name<T>(entries: &mut [(String, T)]) {
    // Most files are in name order, or in runs of it (`layers.9` before `layers.10`). A stable sort finds
    // these, but takes more code, which a small program does without.
    #[cfg(feature = "std")]
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    #[cfg(not(feature = "std"))]
    entries.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
}
