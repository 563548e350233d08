//! Replaces what no kernel computes directly by what kernels do compute.

use crate::Cx;
use graph::{Dim, Elem, Graph, Op, OpError, Origin, Value, ops};
use std::collections::HashMap;

type Rule = fn(&mut Graph, Value) -> Result<Option<Value>, OpError>;

const RULES: &[(&str, Rule)] = &[
    ("size as a number", size_as_number),
    ("argmax", argmax),
    ("conv_transpose of a point", conv_transpose_of_a_point),
    ("conv_transpose", conv_transpose),
    ("conv of groups", conv_of_groups),
    ("scan of one step", scan_of_one_step),
    ("scan along an inner axis", scan_along),
];

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

/// A size is there for its name; who wants the number reads what the size is of.
fn size_as_number(graph: &mut Graph, value: Value) -> Result<Option<Value>, OpError> {
    if !matches!(graph.op(value), Op::Size(_)) || !graph.is_used(value) {
        return Ok(None);
    }
    let node = graph.node(value);
    let (x, origin) = (node.operands[0], node.origin.clone());
    graph.push(ops::Cast { to: Elem::I64 }, &[x], &origin).map(Some)
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

/// One of the places that elements of the result take between those of `x`: for places as far apart as the stride, the
/// same taps of the kernel meet neighbours in `x`, so that they are a convolution.
struct Phase {
    /// The first of its taps, how far apart they are, how many.
    first: i64,
    step: i64,
    count: i64,
    pad: (i64, i64),
    dilation: i64,
}

/// The phases of an axis with `taps` taps, `None` for one that no tap meets, and how many more elements each has than `x`.
///
/// Element `o` of the result has part in `x[i] w[k]` where `o + before = i stride + k dilation`.
fn phases(stride: i64, dilation: i64, (before, after): (i64, i64), taps: i64) -> (Vec<Option<Phase>>, i64) {
    let more = (dilation * (taps - 1) - before - after).div_euclid(stride);
    let common = gcd(stride, dilation);
    let phase = |place: i64| {
        let (start, rest) = ((place + before).div_euclid(stride), (place + before).rem_euclid(stride));
        let first = (0..taps).find(|k| k * dilation % stride == rest)?;
        let (step, apart) = (stride / common, dilation / common);
        let count = (taps - 1 - first) / step + 1;
        let reach = apart * (count - 1);
        let cut = reach + (first * dilation - rest) / stride - start;
        Some(Phase { first, step, count, pad: (cut, more - cut + reach), dilation: apart })
    };
    ((0..stride).map(phase).collect(), more)
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Where each channel has one element, that is multiplied with the whole kernel: a product of matrices.
fn conv_transpose_of_a_point(graph: &mut Graph, value: Value) -> Result<Option<Value>, OpError> {
    let node = graph.node(value).clone();
    let Op::ConvTranspose(conv) = &node.op else { return Ok(None) };
    let (x, w, origin) = (node.operands[0], node.operands[1], &node.origin);
    let (from, kernel) = (graph.ty(x).dims.clone(), graph.ty(w).dims.clone());
    let is_point = from[2..].iter().all(|n| *n == Dim::int(1));
    if !is_point || conv.groups != 1 || conv.dilation.iter().any(|n| *n != 1) {
        return Ok(None);
    }
    let columns = vec![kernel[0].clone(), kernel[1..].iter().cloned().product()];
    let x = graph.push(ops::Reshape { shape: from[..2].to_vec() }, &[x], origin)?;
    let w = graph.push(ops::Reshape { shape: columns }, &[w], origin)?;
    let dot = ops::Dot { contract_x: vec![1], contract_y: vec![0], batch_x: vec![], batch_y: vec![] };
    let y = graph.push(dot, &[x, w], origin)?;
    let y = graph.push(ops::Reshape { shape: [&from[..1], &kernel[1..]].concat() }, &[y], origin)?;
    if conv.pad.iter().all(|pad| *pad == (0, 0)) {
        return Ok(Some(y));
    }
    // The pads of a transposed convolution are what is left out.
    let side = |of: fn(&(i64, i64)) -> i64| [0, 0].into_iter().chain(conv.pad.iter().map(|pad| -of(pad))).collect();
    graph.push(ops::Pad { before: side(|pad| pad.0), after: side(|pad| pad.1), value: 0.0 }, &[y], origin).map(Some)
}

/// A convolution for each phase of each axis, their results put together by turns.
fn conv_transpose(graph: &mut Graph, value: Value) -> Result<Option<Value>, OpError> {
    let node = graph.node(value).clone();
    let Op::ConvTranspose(conv) = &node.op else { return Ok(None) };
    if !graph.is_opaque(value) {
        return Ok(None);
    }
    let (x, w, origin) = (node.operands[0], node.operands[1], &node.origin);
    let (from, out) = (graph.ty(x).clone(), node.types[0].dims.clone());
    let axes = conv.stride.len();
    let mut each = vec![];
    for i in 0..axes {
        let Some(taps) = graph.ty(w).dims[i + 2].as_int() else { return Ok(None) };
        each.push(phases(conv.stride[i], *conv.dilation.get(i).unwrap_or(&1), conv.pad[i], taps));
    }
    let Some(w) = inputs_and_outputs_change(graph, w, conv.groups, origin)? else { return Ok(None) };
    let mut dims = [&from.dims[..1], &out[1..2]].concat();
    dims.extend((0..axes).map(|i| from.dims[i + 2].clone() + Dim::int(each[i].1)));
    // Row-major over the axes' phases.
    let mut parts = vec![];
    for number in 0..conv.stride.iter().product::<i64>() {
        let mut rest = number;
        let mut chosen: Vec<Option<&Phase>> = vec![];
        for i in (0..axes).rev() {
            chosen.insert(0, each[i].0[(rest % conv.stride[i]) as usize].as_ref());
            rest /= conv.stride[i];
        }
        parts.push(match chosen.into_iter().collect::<Option<Vec<_>>>() {
            Some(chosen) => phase(graph, x, w, &chosen, conv.groups, origin)?,
            None => {
                let zeros = ops::Full { shape: dims.clone(), value: 0.0, elem: from.elem };
                graph.push(zeros, &[], origin)?
            }
        });
    }
    for i in (0..axes).rev() {
        let by_turns = |parts: &[Value]| alternate(graph, parts, i + 2, &out[i + 2], origin);
        parts = parts.chunks(conv.stride[i] as usize).map(by_turns).collect::<Result<_, _>>()?;
    }
    Ok(Some(parts[0]))
}

/// `w: [g C, O, ..]` as `[g O, C, ..]`.
fn inputs_and_outputs_change(
    graph: &mut Graph,
    w: Value,
    groups: i64,
    origin: &Origin,
) -> Result<Option<Value>, OpError> {
    let dims = graph.ty(w).dims.clone();
    let groups = Dim::int(groups);
    let Some(part) = dims[0].div(&groups) else { return Ok(None) };
    let apart = [&[groups.clone(), part.clone()], &dims[1..]].concat();
    let order = [0, 2, 1].into_iter().chain(3..apart.len()).collect();
    let joined = [&[groups * dims[1].clone(), part], &dims[2..]].concat();
    let w = graph.push(ops::Reshape { shape: apart }, &[w], origin)?;
    let w = graph.push(ops::Transpose { order }, &[w], origin)?;
    graph.push(ops::Reshape { shape: joined }, &[w], origin).map(Some)
}

/// The convolution of one phase on each axis, its taps turned around.
fn phase(
    graph: &mut Graph,
    x: Value,
    mut w: Value,
    axes: &[&Phase],
    groups: i64,
    origin: &Origin,
) -> Result<Value, OpError> {
    for (i, phase) in axes.iter().enumerate() {
        let stop = phase.first + (phase.count - 1) * phase.step + 1;
        let (start, stop) = (Dim::int(phase.first), Dim::int(stop));
        w = graph.push(ops::Slice { axis: i + 2, start, stop, step: phase.step }, &[w], origin)?;
    }
    w = graph.push(ops::Flip { axes: (2..axes.len() + 2).collect() }, &[w], origin)?;
    let conv = ops::Conv {
        stride: vec![1; axes.len()],
        pad: axes.iter().map(|p| p.pad).collect(),
        dilation: axes.iter().map(|p| p.dilation).collect(),
        groups,
        apart: false,
    };
    let conv = graph.push(conv, &[x, w], origin)?;
    Ok(conv_of_groups(graph, conv)?.unwrap_or(conv))
}

/// Elements of `parts` by turns along an axis, the first `size` of them.
fn alternate(graph: &mut Graph, parts: &[Value], axis: usize, size: &Dim, origin: &Origin) -> Result<Value, OpError> {
    if let [part] = parts {
        return Ok(*part);
    }
    let mut whole = graph.ty(parts[0]).dims.clone();
    let mut apart = whole.clone();
    whole[axis] = whole[axis].times((parts.len() as i64).into());
    apart.insert(axis + 1, Dim::int(1));
    let mut turns = vec![];
    for part in parts {
        turns.push(graph.push(ops::Reshape { shape: apart.clone() }, &[*part], origin)?);
    }
    let all = graph.push(ops::Concat { axis: axis + 1 }, &turns, origin)?;
    let joined = graph.push(ops::Reshape { shape: whole.clone() }, &[all], origin)?;
    if whole[axis] == *size {
        return Ok(joined);
    }
    graph.push(ops::Slice { axis, start: Dim::int(0), stop: size.clone(), step: 1 }, &[joined], origin)
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

/// One step is no loop.
fn scan_of_one_step(graph: &mut Graph, value: Value) -> Result<Option<Value>, OpError> {
    let node = graph.node(value).clone();
    let Op::Scan(scan) = &node.op else { return Ok(None) };
    if scan.steps != Dim::int(1) {
        return Ok(None);
    }
    let [_, scanned, _] = scan.operands();
    let mut known = HashMap::new();
    for (i, x) in node.operands.iter().enumerate() {
        let shape = scan.body.ty(scan.inner(i)).dims.clone();
        let own = if scanned.contains(&i) { graph.push(ops::Reshape { shape }, &[*x], &node.origin)? } else { *x };
        known.insert(scan.inner(i), own);
    }
    let outputs = graph.inline(&scan.body, known);
    let mut results = vec![];
    for (output, ty) in outputs.into_iter().zip(&node.types) {
        results.push(graph.push(ops::Reshape { shape: ty.dims.clone() }, &[output], &node.origin)?);
    }
    for (old, new) in graph.results(value).into_iter().zip(&results) {
        graph.replace(old, *new);
    }
    Ok(results.first().copied())
}

/// Slices and what is stacked are parts of memory in one piece: steps become axis 0.
fn scan_along(graph: &mut Graph, value: Value) -> Result<Option<Value>, OpError> {
    let node = graph.node(value).clone();
    let Op::Scan(scan) = node.op else { return Ok(None) };
    if scan.axis == 0 {
        return Ok(None);
    }
    let axis = scan.axis;
    let turned = |graph: &mut Graph, value: Value, from: usize, to: usize| {
        let order = ops::moved(graph.ty(value).rank(), from, to);
        transposed(graph, value, order)
    };
    let mut operands = node.operands;
    let [_, scanned, _] = scan.operands();
    for x in &mut operands[scanned] {
        *x = turned(graph, *x, axis, 0)?;
    }
    let carries = scan.carries;
    let first = graph.push(ops::Scan { axis: 0, ..scan }, &operands, &node.origin)?;
    for (i, (old, new)) in graph.results(value).into_iter().zip(graph.results(first)).enumerate().skip(1) {
        let new = if i < carries { new } else { turned(graph, new, 0, axis)? };
        graph.replace(old, new);
    }
    if carries > 0 { Ok(Some(first)) } else { turned(graph, first, 0, axis).map(Some) }
}

/// The transpose of a value, as near to what it is made from as can be: a product whose rows are in another order is one of
/// other rows, and those lie in memory one after the other.
fn transposed(graph: &mut Graph, value: Value, order: Vec<usize>) -> Result<Value, OpError> {
    let node = graph.node(value).clone();
    let permuted = |dims: &[Dim]| order.iter().map(|a| dims[*a].clone()).collect::<Vec<_>>();
    let stays = |mut axes: std::ops::Range<usize>| axes.all(|a| order[a] == a);
    let (rank, alone) = (order.len(), graph.users(value).len() <= 1 && graph.leaving().all(|v| v != value));
    let (op, operands): (Op, Vec<Value>) = match &node.op {
        Op::Transpose(t) => {
            let order: Vec<usize> = order.iter().map(|a| t.order[*a]).collect();
            if order.is_sorted() {
                return Ok(node.operands[0]);
            }
            (ops::Transpose { order }.into(), node.operands.clone())
        }
        Op::Full(full) => (ops::Full { shape: permuted(&full.shape), ..full.clone() }.into(), vec![]),
        Op::Expand(e) if stays(rank - graph.ty(node.operands[0]).rank()..rank) => {
            (ops::Expand { shape: permuted(&e.shape) }.into(), node.operands.clone())
        }
        op if alone && (op.attributes().is_empty() && op.kind() == ops::Kind::Element || matches!(op, Op::Cast(_))) => {
            let operands = node.operands.iter().map(|x| transposed(graph, *x, order.clone()));
            (node.op.clone(), operands.collect::<Result<_, _>>()?)
        }
        Op::Dot(dot) if alone => {
            let all: Vec<usize> = (0..graph.ty(node.operands[0]).rank()).collect();
            let is_row = |a: &usize| !dot.contract_x.contains(a) && !dot.batch_x.contains(a);
            let rows: Vec<usize> = all.iter().copied().filter(is_row).collect();
            let first = dot.batch_x.len();
            if !(stays(0..first) && stays(first + rows.len()..rank)) {
                return graph.push(ops::Transpose { order }, &[value], &node.origin);
            }
            let mut inner = all;
            rows.iter().enumerate().for_each(|(i, row)| inner[*row] = rows[order[first + i] - first]);
            (node.op.clone(), vec![transposed(graph, node.operands[0], inner)?, node.operands[1]])
        }
        // Rows of a table, by indices in another order.
        Op::Take(take) if alone && take.axis == 0 => {
            let indices = graph.ty(node.operands[1]).rank();
            if !stays(indices..rank) {
                return graph.push(ops::Transpose { order }, &[value], &node.origin);
            }
            let inner = order[..indices].to_vec();
            (node.op.clone(), vec![node.operands[0], transposed(graph, node.operands[1], inner)?])
        }
        _ => (ops::Transpose { order }.into(), vec![value]),
    };
    graph.push(op, &operands, &node.origin)
}
