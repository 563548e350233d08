//! Takes the padding out of convolutions: the padded image is a tensor of its own, made once, and every tap of every
//! window reads inside it. Convolutions with one channel to a group keep theirs: a copy would cost as much as they do.

use crate::Cx;
use graph::{Graph, Op, OpError, ops};

pub fn run(graph: &mut Graph, cx: &mut Cx) -> Result<(), OpError> {
    for value in graph.order() {
        let node = graph.node(value).clone();
        let Op::Conv(conv) = &node.op else { continue };
        let padded = conv.pad.iter().any(|p| *p != (0, 0));
        if !padded || conv.groups != 1 || !cx.spend("padding") {
            continue;
        }
        // Batch and channels stay as they are.
        let ends = |pick: fn(&(i64, i64)) -> i64| [0, 0].into_iter().chain(conv.pad.iter().map(pick)).collect();
        let pad = ops::Pad { before: ends(|p| p.0), after: ends(|p| p.1), value: 0.0 };
        let image = graph.push(pad, &node.operands[..1], &node.origin)?;
        let bare = ops::Conv { pad: vec![(0, 0); conv.pad.len()], ..conv.clone() };
        let new = graph.push(bare, &[image, node.operands[1]], &node.origin)?;
        if graph.ty(new) == graph.ty(value) {
            graph.replace(value, new);
        }
    }
    graph.remove_dead();
    Ok(())
}
