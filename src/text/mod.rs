//! Formatting of numbers and names for readers, used by every table, sentence and page.

mod names;
mod numbers;
pub mod page;

pub use names::{is_unseen, printable, shortened};
pub use numbers::{
    counted, counted_are, exponential, percentage, ratio, scientific, shape, signed, significant, thousands,
};
