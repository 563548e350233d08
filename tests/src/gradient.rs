//! Scalars whose gradients tests look at.

use graph::{Graph, Origin, Storage, Value, ops};

/// `sum(y w)` over values `y` of a graph, each `w` a new operand of it.
pub fn weighted_sum(graph: &mut Graph, values: &[Value], weight: &mut dyn FnMut(Value)) -> Option<Value> {
    let origin = Origin::default();
    let mut total = None;
    for value in values {
        weight(*value);
        let ty = graph.ty(*value).clone();
        let axes = (0..ty.rank()).collect();
        let name = format!("weight{}", graph.operands.len());
        let w = graph.operand(name, Storage::Input, ty, origin.clone());
        let product = graph.push(ops::Mul {}, &[*value, w], &origin).expect("both have one type");
        let sum = graph.push(ops::Sum { axes, keep: false }, &[product], &origin).expect("all axes are there");
        total = Some(match total {
            None => sum,
            Some(before) => graph.push(ops::Add {}, &[before, sum], &origin).expect("both are scalars"),
        });
    }
    total
}
