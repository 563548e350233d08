//! Why an operator refuses its operands, in a form that a front end can put into its own words.

use crate::dim::Dim;
use std::fmt;
use tensor::Elem;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpError {
    /// Contracted axes of a product have different sizes.
    Contract {
        left: Dim,
        right: Dim,
    },
    /// Sizes of one axis that must be equal and are not, or might not be.
    Sizes {
        axis: usize,
        left: Dim,
        right: Dim,
        refuted: bool,
    },
    Rank {
        operand: usize,
        expected: String,
        got: usize,
    },
    Elem {
        operand: usize,
        expected: String,
        got: Elem,
    },
    /// A reshape that changes the number of elements.
    Elements {
        from: Dim,
        to: Dim,
    },
    /// A condition that the operator needs and that does not hold, or cannot be shown.
    Condition(String),
    /// An attribute is missing or of the wrong kind.
    Attribute {
        name: String,
        expected: String,
    },
}

impl fmt::Display for OpError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            OpError::Contract { left, right } => write!(f, "contracted axes differ: {left} and {right}"),
            OpError::Sizes { axis, left, right, refuted: true } => {
                write!(f, "axis {axis} is {left} and {right}")
            }
            OpError::Sizes { axis, left, right, .. } => {
                write!(f, "cannot show that axis {axis} is equal: {left} and {right}")
            }
            OpError::Rank { operand, expected, got } => {
                write!(f, "operand {operand} has rank {got}; expected {expected}")
            }
            OpError::Elem { operand, expected, got } => {
                write!(f, "operand {operand} is {got}; expected {expected}")
            }
            OpError::Elements { from, to } => {
                write!(f, "reshape must keep the number of elements: {from} here, {to} there")
            }
            OpError::Condition(text) => f.write_str(text),
            OpError::Attribute { name, expected } => write!(f, "attribute `{name}` must be {expected}"),
        }
    }
}

impl std::error::Error for OpError {}
