//! Maps of what is in name order already.

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
