//! Computes once what is computed twice.

use crate::Cx;
use graph::{Graph, Op, OpError, Value};
use std::collections::HashMap;

pub fn run(graph: &mut Graph, cx: &mut Cx) -> Result<(), OpError> {
    let mut seen: HashMap<(&'static str, Vec<Value>), Vec<Value>> = HashMap::new();
    for value in graph.order() {
        let node = graph.node(value);
        if matches!(node.op, Op::Operand(_)) {
            continue;
        }
        let known = seen.entry((node.op.name(), node.operands.clone())).or_default();
        match known.iter().find(|v| graph.same(**v, value)).copied() {
            Some(first) if cx.spend("common") => {
                for (old, new) in graph.results(value).into_iter().zip(graph.results(first)) {
                    graph.replace(old, new);
                }
            }
            Some(_) => return Ok(()),
            None => known.push(value),
        }
    }
    Ok(())
}
