//! The reference interpreter: a whole graph by `eval` of its operators, in f64.

use crate::array::Array;
use crate::error::OpError;
use crate::nodes::{Graph, Operand, Value};
use crate::ops::{Op, Sizes};
use std::collections::HashMap;

/// Outputs of a graph, given its operands in order. Named sizes are read off the operands' shapes.
pub fn run(graph: &Graph, operands: &[Array]) -> Result<Vec<Array>, OpError> {
    let values = values(graph, operands)?;
    Ok(graph.outputs.iter().map(|(_, v)| values[v].clone()).collect())
}

/// Every value of a graph. Named sizes are read off the operands' shapes.
pub fn values(graph: &Graph, operands: &[Array]) -> Result<HashMap<Value, Array>, OpError> {
    let sizes = sizes(graph, graph.operands.iter().zip(operands.iter().map(|array| &array.shape[..])));
    values_of_sizes(graph, operands, &|name| sizes.get(name).copied())
}

/// Named sizes, read off the shapes that operands have.
pub fn sizes<'a>(graph: &Graph, shapes: impl IntoIterator<Item = (&'a Operand, &'a [usize])>) -> HashMap<String, i64> {
    let mut sizes = HashMap::new();
    for (operand, shape) in shapes {
        let named = graph.ty(operand.value).dims.iter().zip(shape);
        sizes.extend(named.filter_map(|(dim, n)| Some((dim.as_var()?.to_string(), *n as i64))));
    }
    sizes
}

/// Every value of a graph, where sizes are known but for those that the graph itself names.
pub fn values_of_sizes(graph: &Graph, operands: &[Array], sizes: Sizes) -> Result<HashMap<Value, Array>, OpError> {
    let given = graph.operands.iter().map(|o| o.value).zip(operands.iter().cloned());
    let mut values: HashMap<Value, Array> = given.collect();
    let mut named: HashMap<&str, i64> = HashMap::new();
    for value in graph.order() {
        let node = graph.node(value);
        if matches!(node.op, Op::Operand(_)) {
            continue;
        }
        let operands: Vec<Array> = node.operands.iter().map(|v| values[v].clone()).collect();
        let results = node.op.eval(&operands, &|name| named.get(name).copied().or_else(|| sizes(name)))?;
        if let Op::Size(size) = &node.op {
            named.insert(&size.name, results[0].data[0] as i64);
        }
        values.extend(graph.results(value).into_iter().zip(results));
    }
    Ok(values)
}
