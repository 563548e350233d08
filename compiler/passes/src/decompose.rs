//! Replaces what no kernel computes directly by what kernels do compute.

use crate::Cx;
use graph::{Dim, Elem, Graph, Op, OpError, Origin, Value, ops};

type Rule = fn(&mut Graph, Value) -> Result<Option<Value>, OpError>;

const RULES: &[(&str, Rule)] =
    &[("argmax", argmax), ("conv_transpose", conv_transpose), ("conv of groups", conv_of_groups)];

pub fn run(graph: &mut Graph, cx: &mut Cx) -> Result<(), OpError> {
    let mut todo = graph.order();
    while let Some(value) = todo.pop() {
        for (name, rule) in RULES {
            // Without these a graph does not compile, so they cost no fuel.
            if let Some(new) = rule(graph, value)? {
                cx.rewrites.push(name);
                graph.replace(value, new);
                todo.push(new);
                break;
            }
        }
    }
    graph.remove_dead();
    Ok(())
}

/// The least index of an element that is the largest, or that is NaN. The largest passes over NaN, whose indices are
/// therefore made to come before all others by the sign, which is taken off at the end.
fn argmax(graph: &mut Graph, value: Value) -> Result<Option<Value>, OpError> {
    let node = graph.node(value).clone();
    let Op::Argmax(ops::Argmax { axis }) = node.op else { return Ok(None) };
    let (x, origin) = (node.operands[0], &node.origin);
    let ty = graph.ty(x).clone();
    let mut push = |op: Op, operands: &[Value]| graph.push(op, operands, origin);
    let largest = push(ops::Max { axes: vec![axis], keep: true }.into(), &[x])?;
    let largest = push(ops::Expand { shape: ty.dims.clone() }.into(), &[largest])?;
    let mut along = vec![Dim::int(1); ty.rank()];
    along[axis] = ty.dims[axis].clone();
    let index = push(ops::Arange { n: ty.dims[axis].clone() }.into(), &[])?;
    let index = push(ops::Reshape { shape: along }.into(), &[index])?;
    let index = push(ops::Expand { shape: ty.dims.clone() }.into(), &[index])?;
    let beyond = ops::Full { shape: ty.dims.clone(), value: i32::MAX as f64, elem: Elem::I32 };
    let beyond = push(beyond.into(), &[])?;
    let chosen = push(ops::Eq {}.into(), &[x, largest])?;
    let mut places = push(ops::Where {}.into(), &[chosen, index, beyond])?;
    let least = ops::Min { axes: vec![axis], keep: false };
    if !ty.elem.is_float() {
        return push(least.into(), &[places]).map(Some);
    }
    let mut sign = |dims: &[Dim]| {
        let sign = ops::Full { shape: dims.to_vec(), value: i32::MIN as f64, elem: Elem::I32 };
        push(sign.into(), &[])
    };
    let (negative, sign) = (sign(&ty.dims)?, sign(&node.types[0].dims)?);
    let mut push = |op: Op, operands: &[Value]| graph.push(op, operands, origin);
    let number = push(ops::Eq {}.into(), &[x, x])?;
    let before = push(ops::BitXor {}.into(), &[index, negative])?;
    places = push(ops::Where {}.into(), &[number, places, before])?;
    let least = push(least.into(), &[places])?;
    let zero = ops::Full { shape: node.types[0].dims.clone(), value: 0.0, elem: Elem::I32 };
    let zero = push(zero.into(), &[])?;
    let is_before = push(ops::Lt {}.into(), &[least, zero])?;
    let unsigned = push(ops::BitXor {}.into(), &[least, sign])?;
    push(ops::Where {}.into(), &[is_before, unsigned, least]).map(Some)
}

/// With zeros between the elements of `x`, the windows of a convolution by the kernel turned around.
fn conv_transpose(graph: &mut Graph, value: Value) -> Result<Option<Value>, OpError> {
    let node = graph.node(value).clone();
    let Op::ConvTranspose(conv) = &node.op else { return Ok(None) };
    if !graph.is_opaque(value) {
        return Ok(None);
    }
    let (mut x, w, origin) = (node.operands[0], node.operands[1], &node.origin);
    let mut pad = vec![];
    for (i, stride) in conv.stride.iter().enumerate() {
        let Some(taps) = graph.ty(w).dims[i + 2].as_int() else { return Ok(None) };
        x = interleave(graph, x, i + 2, *stride, origin)?;
        let reach = (taps - 1) * conv.dilation.get(i).unwrap_or(&1);
        // The zeros after the last element lead to windows that are not wanted.
        pad.push((reach - conv.pad[i].0, reach - conv.pad[i].1 - (stride - 1)));
    }
    // [g C, O, ..] becomes [g O, C, ..].
    let dims = graph.ty(w).dims.clone();
    let groups = Dim::int(conv.groups);
    let Some(part) = dims[0].div(&groups) else { return Ok(None) };
    let apart = [&[groups.clone(), part.clone()], &dims[1..]].concat();
    let rest = 3..apart.len();
    let joined = [&[groups * dims[1].clone(), part], &dims[2..]].concat();
    let mut push = |op: Op, operands: &[Value]| graph.push(op, operands, origin);
    let w = push(ops::Reshape { shape: apart }.into(), &[w])?;
    let w = push(ops::Transpose { order: [0, 2, 1].into_iter().chain(rest.clone()).collect() }.into(), &[w])?;
    let w = push(ops::Flip { axes: rest.collect() }.into(), &[w])?;
    let w = push(ops::Reshape { shape: joined }.into(), &[w])?;
    let stride = vec![1; pad.len()];
    let conv = ops::Conv { stride, pad, dilation: conv.dilation.clone(), groups: conv.groups, apart: false };
    push(conv.into(), &[x, w]).map(Some)
}

/// Groups become an axis of their own.
fn conv_of_groups(graph: &mut Graph, value: Value) -> Result<Option<Value>, OpError> {
    let node = graph.node(value).clone();
    let Op::Conv(conv) = &node.op else { return Ok(None) };
    if !graph.is_opaque(value) {
        return Ok(None);
    }
    let split = |graph: &mut Graph, value: Value, at: usize| {
        let mut shape = graph.ty(value).dims.clone();
        let groups = Dim::int(conv.groups);
        let Some(part) = shape[at].div(&groups) else { return Ok(None) };
        shape.splice(at..=at, [groups, part]);
        graph.push(ops::Reshape { shape }, &[value], &node.origin).map(Some)
    };
    let (Some(x), Some(w)) = (split(graph, node.operands[0], 1)?, split(graph, node.operands[1], 0)?) else {
        return Ok(None);
    };
    let apart = graph.push(ops::Conv { apart: true, ..conv.clone() }, &[x, w], &node.origin)?;
    graph.push(ops::Reshape { shape: node.types[0].dims.clone() }, &[apart], &node.origin).map(Some)
}

/// Each element along an axis followed by `step - 1` zeros.
fn interleave(graph: &mut Graph, x: Value, axis: usize, step: i64, origin: &Origin) -> Result<Value, OpError> {
    if step == 1 {
        return Ok(x);
    }
    let mut dims = graph.ty(x).dims.clone();
    let mut joined = dims.clone();
    joined[axis] = dims[axis].times(step.into());
    dims.insert(axis + 1, Dim::int(1));
    let (before, mut after) = (vec![0; dims.len()], vec![0; dims.len()]);
    after[axis + 1] = step - 1;
    let apart = graph.push(ops::Reshape { shape: dims }, &[x], origin)?;
    let padded = graph.push(ops::Pad { before, after, value: 0.0 }, &[apart], origin)?;
    graph.push(ops::Reshape { shape: joined }, &[padded], origin)
}
