//! What the crate `cdi-prune` needs of this one's insides. No promise of stability goes with it: other
//! programs use what the crate's page names.

#[cfg(feature = "std")]
pub use crate::checkpoint::open::leads_out;
pub use crate::reader::decode::{Decoder, ReadBlocks};
pub use crate::reader::validate::base_tensor;

/// Bits of many elements.
pub mod bits {
    pub use crate::bits::*;
}

/// Work in blocks.
pub mod blocks {
    pub use crate::blocks::*;
}

/// Coded tensors.
pub mod codec {
    pub use crate::codec::*;
}

/// Initial values as bytes.
pub mod encoder {
    pub use crate::init::encoder::*;
}

/// SHA-256.
pub mod digest {
    pub use crate::digest::*;
}

/// Reading at a position.
#[cfg(feature = "std")]
pub mod positioned {
    pub use crate::positioned::*;
}

/// Regular files.
#[cfg(feature = "std")]
pub mod regular_file {
    pub use crate::regular_file::*;
}

/// Near misses of names.
pub mod suggest {
    pub use crate::suggest::*;
}
