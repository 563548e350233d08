//! What fusion and lowering ask of operators: what they do to index spaces, and roughly what an element costs.

use crate::dim::Dim;
use crate::nodes::{Graph, Value};
use crate::ops::Op;

/// What a node does to index spaces.
#[derive(Clone, Debug, PartialEq)]
pub enum Class {
    /// Each element of the result from the operands' elements at one place.
    Pointwise,
    /// Over these axes of the operand.
    Reduce(Vec<usize>),
    /// A product, a convolution, a window.
    Contract,
}

impl Op {
    pub fn class(&self) -> Class {
        match self {
            Op::Sum(r) => Class::Reduce(r.axes.clone()),
            Op::Prod(r) => Class::Reduce(r.axes.clone()),
            Op::Max(r) => Class::Reduce(r.axes.clone()),
            Op::Min(r) => Class::Reduce(r.axes.clone()),
            Op::Dot(_) | Op::Conv(_) | Op::Pool(_) => Class::Contract,
            _ => Class::Pointwise,
        }
    }

    /// Whether the node only says where elements are read, so that every user computes it for itself.
    pub fn is_view(&self) -> bool {
        match self {
            Op::Reshape(_)
            | Op::Transpose(_)
            | Op::Expand(_)
            | Op::Slice(_)
            | Op::Flip(_)
            | Op::Full(_)
            | Op::Arange(_)
            | Op::DimValue(_)
            | Op::StopGradient(_)
            | Op::Cast(_) => true,
            Op::Constant(c) => c.value.data.len() == 1,
            _ => false,
        }
    }

    /// Cycles, roughly, for a vector of elements.
    pub fn cost(&self) -> usize {
        match self {
            _ if self.is_view() => 0,
            Op::Exp(_) | Op::Sigmoid(_) | Op::Log(_) | Op::Rsqrt(_) | Op::Sqrt(_) | Op::Div(_) => 12,
            Op::Tanh(_) | Op::Erf(_) | Op::Sin(_) | Op::Cos(_) | Op::Atan(_) | Op::Expm1(_) | Op::Log1p(_) => 20,
            Op::Pow(_) => 40,
            Op::Take(_) | Op::Gather(_) => 8,
            Op::Dot(_) | Op::Conv(_) | Op::Pool(_) => 1000,
            _ => 1,
        }
    }
}

impl Graph {
    pub fn is_view(&self, value: Value) -> bool {
        self.op(value).is_view()
    }

    /// Whether a value lies in memory before any kernel runs.
    pub fn is_given(&self, value: Value) -> bool {
        match self.op(value) {
            Op::Operand(_) => true,
            Op::Constant(c) => c.value.data.len() != 1,
            _ => false,
        }
    }

    /// The value whose memory `value` shares: reshaping moves nothing.
    pub fn owner(&self, value: Value) -> Value {
        match self.op(value) {
            Op::Reshape(_) => self.owner(self.node(value).operands[0]),
            _ => value,
        }
    }

    /// The number that every element of a value is, if that is known.
    pub fn uniform(&self, value: Value) -> Option<f64> {
        let node = self.node(value);
        match &node.op {
            Op::Full(full) => Some(full.value),
            Op::Constant(c) => match c.value.data[..] {
                [x] => Some(x),
                _ => None,
            },
            Op::Expand(_) | Op::Reshape(_) | Op::Transpose(_) | Op::Slice(_) => self.uniform(node.operands[0]),
            Op::Cast(cast) if cast.to.is_float() => self.uniform(node.operands[0]),
            _ => None,
        }
    }
}

/// Dims that are not literally 1.
pub fn space(dims: &[Dim]) -> Vec<Dim> {
    dims.iter().filter(|d| **d != Dim::int(1)).cloned().collect()
}
