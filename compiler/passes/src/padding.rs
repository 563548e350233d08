//! Takes the padding out of convolutions: the padded image is a tensor of its own, made once for all convolutions of an
//! image, and every tap of every window reads inside it. Convolutions with one channel to a group keep theirs: a copy would
//! cost as much as they do.

use crate::Cx;
use graph::{Dim, Graph, Op, OpError, Value, ops};
use std::collections::HashMap;

pub fn run(graph: &mut Graph, cx: &mut Cx) -> Result<(), OpError> {
    let convs: Vec<(Value, ops::Conv)> =
        graph.order().into_iter().filter_map(|value| Some((value, padded(graph, value)?))).collect();
    // As they are now: an image may be what another convolution becomes.
    let images: Vec<Value> = convs.iter().map(|(value, _)| graph.node(*value).operands[0]).collect();
    // Of each image the most that a convolution needs around it.
    let mut most: HashMap<Value, Vec<(i64, i64)>> = HashMap::new();
    for ((_, conv), image) in convs.iter().zip(&images) {
        let most = most.entry(*image).or_insert_with(|| conv.pad.clone());
        for (most, own) in most.iter_mut().zip(&conv.pad) {
            *most = (most.0.max(own.0), most.1.max(own.1));
        }
    }
    for ((value, conv), image) in convs.into_iter().zip(&images) {
        if !cx.spend("padding") {
            continue;
        }
        let (node, most) = (graph.node(value).clone(), &most[image]);
        // Batch and channels stay as they are.
        let ends = |pick: fn(&(i64, i64)) -> i64| [0, 0].into_iter().chain(most.iter().map(pick)).collect();
        let pad = ops::Pad { before: ends(|p| p.0), after: ends(|p| p.1), value: 0.0 };
        let mut image = graph.push(pad, &node.operands[..1], &node.origin)?;
        for (i, (most, own)) in most.iter().zip(&conv.pad).enumerate().filter(|(_, (most, own))| most != own) {
            let axis = i + 2;
            let (start, less) = (Dim::int(most.0 - own.0), Dim::int(most.1 - own.1));
            let stop = graph.ty(image).dims[axis].clone() - less;
            image = graph.push(ops::Slice { axis, start, stop, step: 1 }, &[image], &node.origin)?;
        }
        let bare = ops::Conv { pad: vec![(0, 0); conv.pad.len()], ..conv };
        let new = graph.push(bare, &[image, node.operands[1]], &node.origin)?;
        if graph.ty(new) == graph.ty(value) {
            graph.replace(value, new);
        }
    }
    graph.remove_dead();
    Ok(())
}

/// A convolution whose padding is to be taken out.
fn padded(graph: &Graph, value: Value) -> Option<ops::Conv> {
    match graph.op(value) {
        Op::Conv(conv) if conv.groups == 1 && conv.pad.iter().any(|p| *p != (0, 0)) => Some(conv.clone()),
        _ => None,
    }
}
