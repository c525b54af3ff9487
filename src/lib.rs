//! lib
pub mod analysis;
pub mod checkpoint;
pub mod init;
pub mod near;
pub mod noise;
pub mod sparse;
pub mod tensor;
