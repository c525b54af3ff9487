//! Tables of frequencies: built from histograms, written and read.

use super::rans::TOTAL;
use super::rans::Table;
use super::rawbits::BitReader;
use super::rawbits::BitWriter;

/// How often each symbol occurs.
pub type Histogram = [u32; 256];

/// `-log2(f / 2048)` in units of 2^-16 bits, for frequencies `f` from 1 to 2048.
fn price(frequency: u16) -> u64 {
    // The logarithms must have the same bits on every machine, because the output depends on them.
    fn price(frequency: u16) -> u64 {
        libm::round((11.0 - libm::log2(f64::from(frequency.max(1)))) * 65536.0) as u64
    }
    #[cfg(feature = "std")]
    {
        use std::sync::LazyLock;
        use std::vec::Vec;

        static PRICES: LazyLock<Vec<u64>> = LazyLock::new(|| (0..=TOTAL as u16).map(price).collect());
        PRICES[usize::from(frequency)]
    }
    #[cfg(not(feature = "std"))]
    price(frequency)
}

/// Frequencies that sum to [`TOTAL`], as nearly proportional to a histogram as possible, and at least 1 for
/// every symbol that occurs. If none occurs, symbol 0 has the whole total.
pub fn frequencies(histogram: &Histogram) -> [u16; 256] {
    let mut frequencies = [0; 256];
    let sum: u64 = histogram.iter().map(|n| u64::from(*n)).sum();
    if sum == 0 {
        frequencies[0] = TOTAL as u16;
        return frequencies;
    }
    for (frequency, &n) in frequencies.iter_mut().zip(histogram) {
        let share = (u64::from(n) * u64::from(TOTAL) + sum / 2) / sum;
        *frequency = if n == 0 { 0 } else { share.max(1) as u16 };
    }
    // Frequencies change by one at a time, for the symbol where this costs the fewest bits; the
    // first one if equal.
    loop {
        let got: u32 = frequencies.iter().map(|f| u32::from(*f)).sum();
        if got == TOTAL {
            return frequencies;
        }
        let cost = |n: usize, to: u16| {
            let (now, then) = (price(frequencies[n]) as i64, price(to) as i64);
            (then - now) * i64::from(histogram[n])
        };
        let candidates = (0..256).filter(|n| histogram[*n] > 0);
        let chosen = if got > TOTAL {
            let n = candidates.filter(|n| frequencies[*n] > 1).min_by_key(|n| cost(*n, frequencies[*n] - 1));
            n.map(|n| (n, frequencies[n] - 1))
        } else {
            let n = candidates.filter(|n| frequencies[*n] < TOTAL as u16);
            let n = n.min_by_key(|n| cost(*n, frequencies[*n] + 1));
            n.map(|n| (n, frequencies[n] + 1))
        };
        // The total is 2048 and there are at most 256 symbols, so one can always be found.
        let Some((n, to)) = chosen else { return frequencies };
        frequencies[n] = to;
    }
}

/// Bits of symbols that occur so often, coded with their own frequencies.
pub fn entropy(counts: impl Iterator<Item = u32>, sum: u64) -> f64 {
    // The logarithm of 1 is 0.
    let several = counts.filter(|n| *n > 1);
    sum as f64 * log2(sum) - several.map(|n| f64::from(n) * log2(u64::from(n))).sum::<f64>()
}

/// Has the same bits on every machine. The logarithms of small numbers are cached.
fn log2(n: u64) -> f64 {
    #[cfg(feature = "std")]
    {
        use std::sync::LazyLock;
        use std::vec::Vec;

        static SMALL: LazyLock<Vec<f64>> =
            LazyLock::new(|| (0..4096).map(|n| libm::log2(f64::from(n.max(1)))).collect());
        if let Some(log2) = SMALL.get(n as usize) {
            return *log2;
        }
    }
    libm::log2(n.max(1) as f64)
}

/// The order of the exponential Golomb code for the next frequency, which depends on the previous one.
fn order(previous: u16) -> u32 {
    (u16::BITS - previous.leading_zeros()).saturating_sub(2)
}

/// Writes frequencies: the first and the last symbol that occur, 8 bits each, then the frequencies from the
/// first symbol to the one before the last. Each is in an exponential Golomb code, whose order depends on the
/// previous frequency.
pub fn write(frequencies: &[u16; 256], out: &mut BitWriter) {
    let first = frequencies.iter().position(|f| *f > 0).unwrap_or_default();
    let last = frequencies.iter().rposition(|f| *f > 0).unwrap_or_default();
    out.put(first as u64, 8);
    out.put(last as u64, 8);
    let mut previous = 0;
    for &frequency in &frequencies[first..last] {
        let k = order(previous);
        let number = u64::from(frequency) + (1 << k);
        let length = 64 - number.leading_zeros();
        // A zero for each bit beyond the code's shortest number, then the leading one.
        out.put(1 << (length - 1 - k), length - k);
        out.put(number & ((1 << (length - 1)) - 1), length - 1);
        previous = frequency;
    }
}

/// Bits of a frequency in the code of this order.
fn golomb_length(frequency: u16, k: u32) -> u64 {
    let length = 64 - (u64::from(frequency) + (1 << k)).leading_zeros();
    u64::from(2 * length - k - 1)
}

/// Bits of the frequencies that [`write`] writes for a table of these symbols, which ascend.
pub fn golomb_bits(mut frequencies: impl Iterator<Item = (u8, u16)>) -> u64 {
    let Some((mut symbol, mut frequency)) = frequencies.next() else { return 0 };
    let (mut bits, mut previous) = (0, 0);
    for (next, of_next) in frequencies {
        bits += golomb_length(frequency, order(previous));
        previous = frequency;
        let zeros = u64::from(next - symbol - 1);
        if zeros > 0 {
            // After a zero, another one takes one bit.
            bits += golomb_length(0, order(previous)) + zeros - 1;
            previous = 0;
        }
        (symbol, frequency) = (next, of_next);
    }
    bits
}

/// Reads what [`write`] wrote: a table of symbols from 0 to `last_symbol`. `None` if it is invalid.
pub fn read(bits: &mut BitReader<'_>, last_symbol: u8) -> Option<Table> {
    let (first, last) = (bits.take(8) as usize, bits.take(8) as usize);
    if last < first || last > usize::from(last_symbol) {
        return None;
    }
    let mut frequencies = [0; 256];
    let (mut previous, mut left) = (0, super::rans::TOTAL as u16);
    for frequency in &mut frequencies[first..last] {
        let k = order(previous);
        let mut longer = 0;
        while bits.take(1) == 0 {
            longer += 1;
            if longer > 11 {
                return None;
            }
        }
        let length = k + longer + 1;
        let number = 1 << (length - 1) | bits.take(length - 1);
        *frequency = u16::try_from(number - (1 << k)).ok()?;
        left = left.checked_sub(*frequency)?;
        previous = *frequency;
    }
    frequencies[last] = left;
    Table::new(&frequencies)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prelude::*;

    #[test]
    fn the_bits_of_frequencies_are_those_written() {
        let tables: [&[(u8, u16)]; 6] = [
            &[(7, 2048)],
            &[(0, 1), (255, 2047)],
            &[(3, 1024), (4, 1), (5, 1000), (6, 23)],
            &[(10, 2000), (12, 40), (13, 1), (90, 7)],
            &[(0, 1), (1, 1), (2, 1), (3, 2045)],
            &[(100, 700), (101, 600), (103, 500), (107, 248)],
        ];
        for table in tables {
            let mut frequencies = [0; 256];
            table.iter().for_each(|(symbol, frequency)| frequencies[usize::from(*symbol)] = *frequency);
            assert_eq!(frequencies.iter().sum::<u16>(), 2048);
            let (mut written, mut out) = (BitWriter::default(), Vec::new());
            write(&frequencies, &mut written);
            written.finish(&mut out);
            // Two symbols of 8 bits, and no byte more than needed.
            let bits = 16 + golomb_bits(table.iter().copied());
            assert_eq!(out.len() as u64, bits.div_ceil(8), "{table:?}");
        }
    }
}
