//! Removes what nothing that leaves the graph needs: nodes, and operands and results of scans.

use crate::Cx;
use graph::{Graph, Op, OpError, Value, ops};
use std::collections::HashSet;

pub fn run(graph: &mut Graph, _: &mut Cx) -> Result<(), OpError> {
    graph.remove_dead();
    for value in graph.order().into_iter().rev() {
        if let Op::Scan(scan) = graph.op(value).clone() {
            narrow(graph, value, scan)?;
        }
    }
    graph.remove_dead();
    Ok(())
}

/// A scan without carries and stacked values that are not used, and without operands that its body then does not need.
fn narrow(graph: &mut Graph, value: Value, scan: ops::Scan) -> Result<(), OpError> {
    let results = graph.results(value);
    let used: Vec<bool> = results.iter().map(|r| graph.is_used(*r)).collect();
    let body = &scan.body;
    // A carry is needed by what is used, or by a carry that is.
    let mut needed: HashSet<Value> = HashSet::new();
    let mut outputs: Vec<usize> = (0..results.len()).filter(|i| used[*i]).collect();
    let mut next = 0;
    while next < outputs.len() {
        let mut stack = vec![body.outputs[outputs[next]].1];
        while let Some(v) = stack.pop() {
            if needed.insert(v) {
                stack.extend(&body.node(v).operands);
            }
        }
        let carries = (0..scan.carries).filter(|i| needed.contains(&scan.inner(*i)));
        let more: Vec<usize> = carries.filter(|i| !outputs.contains(i)).collect();
        outputs.extend(more);
        next += 1;
    }
    outputs.sort();
    let [carries, scanned, same] = scan.operands();
    let carries: Vec<usize> = carries.filter(|i| outputs.contains(i)).collect();
    let keep = |i: &usize| needed.contains(&scan.inner(*i));
    let scanned: Vec<usize> = scanned.filter(keep).collect();
    let operands = [&carries[..], &scanned, &same.filter(keep).collect::<Vec<_>>()].concat();
    if outputs.is_empty() || operands.len() == body.operands.len() && outputs.len() == results.len() {
        return Ok(());
    }
    let mut body = body.clone();
    body.outputs = outputs.iter().map(|i| body.outputs[*i].clone()).collect();
    body.operands = operands.iter().map(|i| body.operands[*i].clone()).collect();
    body.remove_dead();
    let node = graph.node(value).clone();
    let operands: Vec<Value> = operands.iter().map(|i| node.operands[*i]).collect();
    let scan = ops::Scan { carries: carries.len(), scanned: scanned.len(), body, ..scan };
    let new = graph.push(scan, &operands, &node.origin)?;
    for (i, new) in outputs.into_iter().zip(graph.results(new)) {
        graph.replace(results[i], new);
    }
    Ok(())
}
