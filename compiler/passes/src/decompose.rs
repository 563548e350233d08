//! Replaces what no kernel computes directly by what kernels do compute.

use crate::Cx;
use graph::{Dim, Elem, Graph, Op, OpError, Origin, Value, ops};

type Rule = fn(&mut Graph, Value) -> Result<Option<Value>, OpError>;

const RULES: &[(&str, Rule)] = &[("argmax", argmax), ("strided conv_transpose", strided_conv_transpose)];

pub fn run(graph: &mut Graph, cx: &mut Cx) -> Result<(), OpError> {
    for value in graph.order() {
        for (name, rule) in RULES {
            // Without these a graph does not compile, so they cost no fuel.
            if let Some(new) = rule(graph, value)? {
                cx.rewrites.push(name);
                graph.replace(value, new);
                break;
            }
        }
    }
    graph.remove_dead();
    Ok(())
}

/// The least index of an element that is the largest, or that is NaN: then the largest is NaN and equals nothing.
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
    if ty.elem.is_float() {
        let number = push(ops::Eq {}.into(), &[x, x])?;
        places = push(ops::Where {}.into(), &[number, places, index])?;
    }
    push(ops::Min { axes: vec![axis], keep: false }.into(), &[places]).map(Some)
}

/// With zeros between its elements, windows over `x` move by one.
fn strided_conv_transpose(graph: &mut Graph, value: Value) -> Result<Option<Value>, OpError> {
    let node = graph.node(value).clone();
    let Op::ConvTranspose(mut conv) = node.op else { return Ok(None) };
    if conv.stride.iter().all(|s| *s == 1) {
        return Ok(None);
    }
    let mut x = node.operands[0];
    for (i, stride) in conv.stride.iter_mut().enumerate() {
        x = interleave(graph, x, i + 2, *stride, &node.origin)?;
        // The zeros after the last element lead to windows that are not wanted.
        conv.pad[i].1 += *stride - 1;
        *stride = 1;
    }
    graph.push(conv, &[x, node.operands[1]], &node.origin).map(Some)
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
