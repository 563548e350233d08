//! Graph to graph. The order of passes is the table in [`pipeline`]; each is a function in a file of its own.

mod channels;
pub mod common;
pub mod dead;
pub mod decompose;
pub mod fold;
pub mod fuse;
pub mod hoist;
pub mod padding;
pub mod pipeline;
pub mod simplify;
pub mod sink;

pub use pipeline::{Cx, Level, PIPELINE, Pass, PassError, run};
