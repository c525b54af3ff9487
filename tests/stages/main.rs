//! What the stages make of checkpoints: what is read, what is found in it, and what is written.

#[path = "../common/mod.rs"]
mod common;

mod block_results;
mod blocks;
mod cancel;
mod checkpoints;
mod coded;
mod decay;
mod decisions;
mod formats;
mod headers;
mod orthogonal;
mod pack;
mod parts;
mod pipeline;
mod remove;
mod report_html;
mod report_json;
mod report_text;
mod sinks;
mod slices;
mod start;
mod steps;
mod vectors;
mod verdicts;
