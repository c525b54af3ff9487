//! Objects of Amazon S3, Google Cloud Storage and Azure Blob Storage for programs that are not asynchronous:
//! read in ranges, several at the same time, and uploaded in parts that nobody sees before all are there.
//!
//! Credentials and endpoints come from the environment variables of the stores' usual tools. Requests that
//! fail for a passing reason are repeated.
//!
//! | module | holds |
//! | --- | --- |
//! | `error` | errors of stores as errors of input and output |
//! | `location` | where an object is |
//! | `object` | what is there, and ranges of its content |
//! | `profile` | the profile of the AWS command line |
//! | `runtime` | the threads that talk to stores |
//! | `stores` | how a store is reached |
//! | `upload` | writing objects |

mod error;
mod location;
mod object;
mod profile;
mod runtime;
mod stores;
mod upload;

pub use location::{Location, Scheme};
pub use object::{Object, RANGE, Version, list};
pub use upload::{Before, Upload, abandon, put, remove, replaced};
