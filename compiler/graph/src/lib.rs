//! The tensor IR: a graph of operators over types with symbolic dims, its text, its reference interpreter.

pub mod array;
pub mod classes;
pub mod compute;
pub mod dim;
pub mod error;
pub mod facts;
pub mod gradient;
pub mod interpret;
mod nodes;
pub mod ops;
mod text;
pub mod types;

pub use array::Array;
pub use classes::{Class, space};
pub use compute::{Compute, Source};
pub use dim::Dim;
pub use error::OpError;
pub use facts::{Fact, Facts, Verdict};
pub use gradient::{Grad, GradientError, Vjp, gradients};
pub use nodes::{Call, Graph, Group, GroupKind, Guard, Node, Operand, Origin, Storage, Use, Value};
pub use ops::Op;
pub use tensor::Elem;
pub use text::TextError;
pub use types::TensorType;
