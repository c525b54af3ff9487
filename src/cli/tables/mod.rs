//! Tables and sentences on standard output.

mod bar;
mod compare;
mod delta;
mod inventory;
mod parts;
mod plan;
mod report;
mod sheet;

pub use compare::comparison;
pub use delta::delta;
pub use inventory::inventory;
pub use parts::parts;
pub use plan::{plan, time, undivided};
pub use report::report;
pub use sheet::{blank, terminal_width};
