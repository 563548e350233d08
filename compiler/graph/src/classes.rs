//! What fusion and lowering ask of operators: what they do to index spaces, and roughly what an element costs.

use crate::compute::{Compute, Source};
use crate::dim::Dim;
use crate::nodes::{Graph, Value};
use crate::ops::{Kind, Op, Routine};
use crate::types::TensorType;
use kernel::{Elem, ExprId, Extent, Kernel, Literal, Subscript};

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
            Op::Dot(_) | Op::Conv(_) | Op::ConvTranspose(_) | Op::Pool(_) => Class::Contract,
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

    /// Whether this operand is read beyond its borders, or at places read from data: then it must lie in memory.
    pub fn reads_memory(&self, operand: usize) -> bool {
        match self {
            // Routines know nothing but memory.
            _ if self.kind() != Kind::Element && self.kind() != Kind::Structural => true,
            Op::Concat(_) | Op::Scan(_) | Op::Size(_) => true,
            Op::Pad(_) | Op::Conv(_) | Op::ConvTranspose(_) | Op::Pool(_) => operand == 0,
            Op::Take(_) | Op::Gather(_) | Op::SliceAt(_) => operand == 0,
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
            Op::Dot(_) | Op::Conv(_) | Op::ConvTranspose(_) | Op::Pool(_) => 1000,
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

    /// Whether a value is neither there nor an expression over elements of operands, so that no kernel computes it.
    pub fn is_opaque(&self, value: Value) -> bool {
        let node = self.node(value);
        if self.is_view(value) || self.is_given(value) {
            return false;
        }
        let operands: Vec<TensorType> = node.operands.iter().map(|v| self.ty(*v).clone()).collect();
        let (mut kernel, output) = (Kernel::new(node.op.name()), self.ty(value));
        let mut indices = vec![];
        for dim in &output.dims {
            let extent = Probe(&operands).extent(&mut kernel, dim);
            indices.push(Subscript::from(kernel.axis("i", extent)));
        }
        let mut source = Probe(&operands);
        let mut compute = Compute { kernel: &mut kernel, source: &mut source, indices, operands: &operands, output };
        node.op.compute(&mut compute).is_none()
    }

    /// The engine's routine that computes a node, if one does.
    pub fn routine(&self, node: Value) -> Option<Routine> {
        let node = self.node(node);
        let operands: Vec<TensorType> = node.operands.iter().map(|v| self.ty(*v).clone()).collect();
        node.op.routine(&operands, &node.types)
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

/// Gives every operand a value, to see whether an operator has one.
struct Probe<'a>(&'a [TensorType]);

impl Source for Probe<'_> {
    fn load(&mut self, kernel: &mut Kernel, operand: usize, _: Vec<Subscript>, _: Option<Literal>) -> Option<ExprId> {
        let elem: Elem = self.0[operand].elem;
        Some(kernel.exprs.constant(elem, 1.0))
    }

    fn extent(&mut self, kernel: &mut Kernel, dim: &Dim) -> Extent {
        dim.as_int().map_or_else(|| kernel.size("n", 0, None).into(), Extent::Const)
    }
}

/// Dims that are not literally 1.
pub fn space(dims: &[Dim]) -> Vec<Dim> {
    dims.iter().filter(|d| **d != Dim::int(1)).cloned().collect()
}
