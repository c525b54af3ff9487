//! What the crate `cdi-prune` needs of this one's insides. No promise of stability goes with it: other
//! programs use what the crate's page names.

#[cfg(feature = "std")]
pub use crate::checkpoint::open::leads_out;
pub use crate::reader::decode::{Decoder, Link, ReadBlocks};
#[cfg(feature = "std")]
pub use crate::reader::layers::LayerDecoder;
pub use crate::reader::stored::CodedLayer;
pub use crate::reader::validate::base_tensor;

/// Bits of many elements.
pub mod bits {
    pub use crate::bits::*;
}

/// Work in blocks.
pub mod blocks {
    pub use crate::blocks::*;
}

/// Checkpoints: their headers, and how they are mapped.
pub mod checkpoint {
    #[cfg(feature = "std")]
    pub use crate::checkpoint::find::UPDATING;
    pub use crate::checkpoint::header::{Header, TensorInfo};
    #[cfg(feature = "std")]
    pub use crate::checkpoint::mapped_ranges::file_at;
    pub use crate::checkpoint::mmap::{MappedFile, release};
    pub use crate::checkpoint::reader::without_components;
    pub use crate::checkpoint::spec::TensorSpec;
    #[cfg(feature = "std")]
    pub use crate::checkpoint::view::{View, growth};
}

/// Coded tensors.
pub mod codec {
    pub use crate::codec::*;
}

/// Instruction sets and the loops compiled for each.
pub mod dispatch {
    pub use crate::dispatch::*;
}

/// Initial values as bytes.
pub mod encoder {
    pub use crate::init::encoder::*;
}

/// Initial values: their exact distribution, their kernel, and those of any source.
pub mod init {
    pub use crate::init::exact::ExactDistribution;
    pub use crate::init::generator::Fill;
    pub use crate::init::initial::Initial;
}

/// Things that are used again.
pub mod spare {
    pub use crate::lock::{Spare, Taken};
}

/// The parts of the noise function.
pub mod noise {
    /// Runs of draws.
    pub mod block {
        pub use crate::noise::block::*;
    }

    /// Keys and raw draws.
    pub mod hash {
        pub use crate::noise::hash::*;
    }

    /// The logarithm, and sine and cosine of turns.
    pub mod math {
        pub use crate::noise::math::*;
    }

    /// Single draws.
    pub mod scalar {
        pub use crate::noise::scalar::*;
    }
}

/// SHA-256.
pub mod digest {
    pub use crate::digest::*;
}

/// Files and folders, on this machine or in an object store.
#[cfg(feature = "std")]
pub mod place {
    pub use crate::place::*;
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

/// Encodings of pruned tensors, and how files describe them.
pub mod sparse {
    pub use crate::sparse::*;
}

/// Near misses of names.
pub mod suggest {
    pub use crate::suggest::*;
}

/// Digests of all tensors.
#[cfg(feature = "std")]
pub mod state {
    pub use crate::state::*;
}

/// Tensors: their axes, and conversions of their elements.
pub mod tensor {
    pub use crate::tensor::axes::Axes;
    pub use crate::tensor::cast::cast;
    pub use crate::tensor::dtype::{Decode, Encode, Round};
}
