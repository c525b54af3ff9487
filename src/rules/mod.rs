//! Patterns for tensor names, and ordered sets of rules in which the first match wins.
//!
//! ```
//! use cdi_prune::rules::{Pattern, Rule, RuleSet};
//!
//! let rules = RuleSet::new(vec![
//!     Rule { patterns: vec![Pattern::new("fc*.weight")?], value: "weights" },
//!     Rule { patterns: vec![Pattern::new("**.bias")?], value: "biases" },
//! ]);
//! let found = rules.find("fc12.weight").unwrap();
//! assert_eq!((*found.value, found.captures.get(1)), ("weights", Some("12")));
//! assert!(rules.find("blocks.0.norm.weight").is_none());
//! # Ok::<(), cdi_prune::rules::PatternError>(())
//! ```

mod fault;
mod glob;
mod pattern;
mod set;

pub use fault::{PatternError, PatternFault};
pub use pattern::{Captures, Pattern};
pub use set::{Match, Rule, RuleSet};
