//! Numbers and names as people read them: every table, sentence and page takes them from here.

mod names;
mod numbers;
pub mod page;

pub use names::{is_unseen, printable, shortened};
pub use numbers::{
    counted, counted_are, percentage, ratio, scientific, shape, signed, significant, thousands,
};
