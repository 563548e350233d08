//! The language: text to syntax tree to graphs.

pub mod ast;
pub mod parse;

pub use parse::parse;
