//! Takes sums out of loops: a carry to which every step only adds is, after the loop, the sum of what they add. Where that
//! are products, as in the gradients of weights, one product over all steps sums them; the steps leave its operands.

use crate::Cx;
use graph::{Graph, Op, OpError, Origin, Value, ops};
use std::collections::{HashMap, HashSet};

pub fn run(graph: &mut Graph, cx: &mut Cx) -> Result<(), OpError> {
    for value in graph.order() {
        let node = graph.node(value).clone();
        if let Op::Scan(scan) = node.op
            && scan.axis == 0
        {
            sink(graph, value, scan, &node.operands, &node.origin, cx)?;
        }
    }
    graph.remove_dead();
    Ok(())
}

fn sink(
    graph: &mut Graph,
    value: Value,
    scan: ops::Scan,
    operands: &[Value],
    origin: &Origin,
    cx: &mut Cx,
) -> Result<(), OpError> {
    let body = &scan.body;
    let [_, scanned, _] = scan.operands();
    let changing: Vec<Value> = body.operands[..scanned.end].iter().map(|o| o.value).collect();
    let mut parts = Parts { body, varying: body.reached(&changing), wanted: vec![] };
    let sums: Vec<(usize, Value)> = (0..scan.carries).filter_map(|i| Some((i, added(&scan, i)?))).collect();
    // What products need may be summed otherwise too; nothing else is worth stacking.
    parts.wanted.extend(body.outputs[scan.carries..].iter().map(|(_, v)| *v));
    parts.wanted.extend(&changing[scan.carries..]);
    let products: Vec<_> = sums.iter().copied().filter(|(_, v)| parts.of_products(*v)).collect();
    let others = sums.iter().filter(|s| !products.contains(s)).copied();
    let others: Vec<_> = others.filter(|(_, v)| parts.of_sums(*v)).collect();
    let sunk = [products, others].concat();
    if sunk.is_empty() || !cx.spend("sink") {
        return Ok(());
    }
    let wanted = parts.wanted;
    let mut body = scan.body.clone();
    let kept: Vec<usize> = (0..body.outputs.len()).filter(|i| sunk.iter().all(|(s, _)| s != i)).collect();
    body.outputs = kept.iter().map(|i| body.outputs[*i].clone()).collect();
    let slices = &changing[scan.carries..];
    for v in wanted.iter().filter(|v| !slices.contains(v)) {
        if !body.outputs[scan.carries - sunk.len()..].iter().any(|(_, output)| output == v) {
            let names = (0..).map(|n| format!("part{n}"));
            let name = names.into_iter().find(|name| body.outputs.iter().all(|(other, _)| other != name));
            body.set_output(name.expect("numbers do not end"), *v);
        }
    }
    let stays = |i: &usize| sunk.iter().all(|(s, _)| s != i);
    let inner: Vec<usize> = (0..operands.len()).filter(stays).collect();
    body.operands = inner.iter().map(|i| body.operands[*i].clone()).collect();
    body.remove_dead();
    let outside: Vec<Value> = inner.iter().map(|i| operands[*i]).collect();
    let outputs: Vec<Value> = body.outputs.iter().map(|(_, v)| *v).collect();
    let carries = scan.carries - sunk.len();
    let new = graph.push(ops::Scan { carries, body, ..scan.clone() }, &outside, origin)?;
    let (old, new) = (graph.results(value), graph.results(new));
    let stacked = outputs.into_iter().zip(new.iter().copied()).skip(carries);
    let all: HashMap<Value, Value> = slices.iter().copied().zip(operands[scanned].to_vec()).chain(stacked).collect();
    for (i, new) in kept.into_iter().zip(&new) {
        graph.replace(old[i], *new);
    }
    for (i, v) in sunk {
        let total = total(graph, &scan.body, v, &all, origin)?;
        let last = graph.push(ops::Add {}, &[operands[i], total], origin)?;
        graph.replace(old[i], last);
    }
    Ok(())
}

/// What each step adds to a carry that has no other use.
fn added(scan: &ops::Scan, carry: usize) -> Option<Value> {
    let (body, next) = (&scan.body, scan.body.outputs[carry].1);
    let own = scan.inner(carry);
    let Op::Add(_) = body.op(next) else { return None };
    let [x, y] = body.node(next).operands[..] else { return None };
    let outputs = body.outputs.iter().filter(|(_, v)| *v == next || *v == own).count();
    let alone = body.users(own) == [next] && body.users(next).is_empty() && outputs == 1;
    match (x == own, y == own) {
        (true, false) if alone => Some(y),
        (false, true) if alone => Some(x),
        _ => None,
    }
}

/// The values of each step that sums over all steps are made of.
struct Parts<'g> {
    body: &'g Graph,
    varying: HashSet<u32>,
    wanted: Vec<Value>,
}

impl Parts<'_> {
    /// Whether a value is made of products; if so, their operands are wanted.
    fn of_products(&mut self, value: Value) -> bool {
        let before = self.wanted.len();
        let found = self.collect(value, &|_, op| matches!(op, Op::Dot(_)));
        if !found {
            self.wanted.truncate(before);
        }
        found
    }

    /// Whether a value is made of sums of what is wanted already.
    fn of_sums(&mut self, value: Value) -> bool {
        self.collect(value, &|parts, op| match op {
            Op::Dot(_) | Op::Sum(_) => parts,
            _ => false,
        })
    }

    /// Goes through what a sum passes through, to operators that `sums` accepts; whether it found nothing else. It is told
    /// whether all operands are wanted.
    fn collect(&mut self, value: Value, sums: &dyn Fn(bool, &Op) -> bool) -> bool {
        let node = self.body.node(value);
        match &node.op {
            Op::Transpose(_) | Op::Reshape(_) | Op::Add(_) => node.operands.iter().all(|x| self.collect(*x, sums)),
            op => {
                let there = node.operands.iter().all(|x| self.wanted.contains(x));
                let varying = node.operands.iter().all(|x| self.varying.contains(&x.node));
                if !varying || !sums(there, op) {
                    return false;
                }
                let new: Vec<Value> = node.operands.iter().copied().filter(|x| !self.wanted.contains(x)).collect();
                self.wanted.extend(new);
                true
            }
        }
    }
}

/// The sum of a value over all steps; `all` has the wanted values of all of them.
fn total(
    graph: &mut Graph,
    body: &Graph,
    value: Value,
    all: &HashMap<Value, Value>,
    origin: &Origin,
) -> Result<Value, OpError> {
    let node = body.node(value);
    let first = |axes: &[usize]| axes.iter().map(|a| a + 1).collect::<Vec<_>>();
    let steps_and = |axes: &[usize]| [&[0], &first(axes)[..]].concat();
    match &node.op {
        Op::Dot(dot) => {
            let over_steps = ops::Dot {
                contract_x: steps_and(&dot.contract_x),
                contract_y: steps_and(&dot.contract_y),
                batch_x: first(&dot.batch_x),
                batch_y: first(&dot.batch_y),
            };
            graph.push(over_steps, &[all[&node.operands[0]], all[&node.operands[1]]], origin)
        }
        Op::Sum(sum) => {
            let shape = node.types[0].dims.clone();
            let whole = ops::Sum { axes: steps_and(&sum.axes), keep: false };
            let whole = graph.push(whole, &[all[&node.operands[0]]], origin)?;
            graph.push(ops::Reshape { shape }, &[whole], origin)
        }
        op => {
            let totals = node.operands.iter().map(|x| total(graph, body, *x, all, origin));
            let totals = totals.collect::<Result<Vec<_>, _>>()?;
            graph.push(op.clone(), &totals, origin)
        }
    }
}
