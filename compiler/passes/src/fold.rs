//! Computes what is known when compiling, by the reference interpreter.

use crate::Cx;
use graph::{Array, Graph, Op, OpError, Value, ops};
use std::collections::HashMap;

/// Larger results stay computed: they would cost more to store than to make.
const LARGEST: i64 = 4096;

pub fn run(graph: &mut Graph, cx: &mut Cx) -> Result<(), OpError> {
    let mut known: HashMap<Value, Array> = HashMap::new();
    for value in graph.order() {
        let node = graph.node(value);
        let sizes = node.types.iter().map(|t| t.elements().as_int());
        let small = sizes.map(|n| n.is_some_and(|n| n <= LARGEST)).all(|small| small);
        if matches!(node.op, Op::Operand(_)) || !small || node.types.len() != 1 {
            continue;
        }
        let Some(operands) = node.operands.iter().map(|v| known.get(v).cloned()).collect::<Option<Vec<_>>>() else {
            continue;
        };
        // What cannot be computed here, an integer division by zero for one, is left to fail where it would.
        let Ok(results) = node.op.eval(&operands, &|_| None) else { continue };
        let [result] = &results[..] else { continue };
        known.insert(value, result.clone());
        // A view costs nothing; its elements in memory would.
        if graph.is_view(value) || matches!(node.op, Op::Constant(_)) {
            continue;
        }
        // f32 arithmetic rounds: what folds is what the kernel would have computed, rounded once.
        let rounded = Array { data: result.data.iter().map(|x| round(*x, result.elem)).collect(), ..result.clone() };
        let (origin, shape) = (node.origin.clone(), node.types[0].dims.clone());
        if !cx.spend("fold") {
            return Ok(());
        }
        let op: Op = match rounded.data[..] {
            [first, ref rest @ ..] if rest.iter().all(|x| *x == first) => {
                ops::Full { shape, value: first, elem: rounded.elem }.into()
            }
            _ => ops::Constant { value: rounded.clone() }.into(),
        };
        let constant = graph.push(op, &[], &origin)?;
        graph.replace(value, constant);
        known.insert(constant, rounded);
    }
    Ok(())
}

fn round(x: f64, elem: graph::Elem) -> f64 {
    if elem == graph::Elem::F32 { x as f32 as f64 } else { x }
}
