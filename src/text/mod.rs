//! Formatting of numbers and names for readers, used by every table, sentence and page.
//!
//! ```
//! use cdi_prune::text::{counted_are, percentage, printable, shape, significant, thousands};
//!
//! assert_eq!(thousands(272_512), "272,512");
//! assert_eq!(counted_are(1, "weight"), "1 weight is");
//! // A part never looks like nothing or like the whole.
//! assert_eq!([percentage(0.001), percentage(22.7), percentage(99.99)], ["<0.1", "22.7", ">99.9"]);
//! assert_eq!(significant(1.0 / 3.0, 3), "0.333");
//! assert_eq!(shape(&[64, 1024]), "64x1024");
//! // Names come from files, and a terminal must not obey them.
//! assert_eq!(printable("fc1\u{1b}[2J"), "fc1\\u{1b}[2J");
//! ```

mod names;
mod numbers;
pub mod page;

pub use names::{is_unseen, printable, shortened};
pub use numbers::{
    counted, counted_are, exponential, percentage, ratio, scientific, shape, signed, significant, thousands,
};
