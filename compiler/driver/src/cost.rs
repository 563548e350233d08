//! What a graph costs, before anything is compiled.

use graph::ops::{Kind, Op};
use graph::{Dim, Graph, TensorType, Value};

/// Arithmetic operations of one call, roughly: two for each product that is added up, one for each element that an
/// operator computes. Views and what only moves elements are free.
pub fn operations(graph: &Graph) -> Dim {
    graph.order().into_iter().fold(Dim::int(0), |sum, value| sum + of_node(graph, value))
}

fn of_node(graph: &Graph, value: Value) -> Dim {
    let node = graph.node(value);
    let operand = |i: usize| graph.ty(node.operands[i]);
    let out = elements(&node.types[0]);
    let two = Dim::int(2);
    match &node.op {
        Op::Dot(dot) => two * out * dot.contract_x.iter().map(|a| operand(0).dims[*a].clone()).product(),
        Op::Conv(_) => two * out * operand(1).dims[1..].iter().cloned().product(),
        // Each element of the input meets the kernel of its group's outputs.
        Op::ConvTranspose(_) => two * elements(operand(0)) * operand(1).dims[1..].iter().cloned().product(),
        Op::Pool(pool) => out * pool.kernel.iter().map(|k| Dim::int(*k)).product(),
        Op::Sum(_) | Op::Prod(_) | Op::Max(_) | Op::Min(_) | Op::Argmax(_) | Op::Prefix(_) => elements(operand(0)),
        Op::Reshape(_)
        | Op::Transpose(_)
        | Op::Expand(_)
        | Op::Slice(_)
        | Op::Pad(_)
        | Op::Concat(_)
        | Op::Flip(_)
        | Op::Take(_)
        | Op::Gather(_)
        | Op::SliceAt(_)
        | Op::Full(_)
        | Op::Arange(_)
        | Op::Constant(_)
        | Op::DimValue(_)
        | Op::Cast(_) => Dim::int(0),
        op if op.kind() == Kind::Element => out,
        _ => Dim::int(0),
    }
}

fn elements(ty: &TensorType) -> Dim {
    ty.dims.iter().cloned().product()
}
