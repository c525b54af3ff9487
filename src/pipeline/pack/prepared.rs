//! What the encoder gets of a block.

use crate::codec::BlockInput;

/// A block that can be coded.
pub(super) struct Prepared<'s> {
    /// Its values before rounding compensated its errors.
    pub trained: &'s [u8],
    /// The values to be coded, and which of them are pruned.
    pub input: BlockInput<'s>,
    /// The same for the encoder's passes: pruned weights may be zero steps instead of symbols of their own.
    pub coded: BlockInput<'s>,
}
