//! Finds which of two values a pruned weight takes with `fill: nearest`.

use crate::encoder::PIECE;
use crate::sparse::fillmask;
use crate::tensor::FloatDtype;

/// Which elements of a block take their initial value: one bit per element, without padding of rows.
#[derive(Default)]
pub(super) struct Nearer {
    trained: Vec<f64>,
    initial: Vec<f64>,
    bits: Vec<u8>,
}

impl Nearer {
    /// For a block's weights and their initial values (times the decay factor), both of type `dtype`.
    pub fn find(&mut self, trained: &[u8], initial: &[u8], dtype: FloatDtype) -> &[u8] {
        let Self { trained: w, initial: w0, bits } = self;
        let size = dtype.size();
        bits.clear();
        bits.resize((trained.len() / size).div_ceil(8), 0);
        let pieces = trained.chunks(PIECE * size).zip(initial.chunks(PIECE * size));
        for ((trained, initial), bits) in pieces.zip(bits.chunks_mut(PIECE / 8)) {
            w.resize(trained.len() / size, 0.0);
            w0.resize(trained.len() / size, 0.0);
            dtype.decode(trained, w);
            dtype.decode(initial, w0);
            for (n, (w, w0)) in w.iter().zip(&*w0).enumerate() {
                bits[n / 8] |= u8::from(fillmask::takes_initial(*w, *w0)) << (n % 8);
            }
        }
        bits
    }
}
