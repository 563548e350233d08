//! Takes work out of loops: what every step of a scan computes alike is computed once, and products that need no carry
//! become one product over all steps. What only follows such a product goes with it, as long as it is no larger.

use crate::Cx;
use graph::{Class, Dim, Graph, Op, OpError, Origin, Storage, Value, Verdict, ops};
use std::collections::{BTreeSet, HashMap, HashSet};

pub fn run(graph: &mut Graph, cx: &mut Cx) -> Result<(), OpError> {
    for value in graph.order() {
        let node = graph.node(value).clone();
        let Op::Scan(scan) = node.op else { continue };
        if scan.axis == 0 {
            let hoist = Hoist::of(graph, scan, &node.operands, node.origin)?;
            hoist.finish(value, &node.operands, cx)?;
        }
    }
    graph.remove_dead();
    Ok(())
}

/// One scan, and its values as they are outside of it.
struct Hoist<'g> {
    graph: &'g mut Graph,
    scan: ops::Scan,
    origin: Origin,
    /// The same in every step.
    same: HashMap<Value, Value>,
    /// Those of all steps, along a new axis 0.
    batched: HashMap<Value, Value>,
    /// Worth taking out of the loop.
    heavy: HashSet<Value>,
    /// Values that are the same in every step only because nothing goes into them.
    constant: HashSet<Value>,
}

impl Hoist<'_> {
    /// Computes all that can be computed outside of the loop; most of it is not used.
    fn of<'g>(graph: &'g mut Graph, scan: ops::Scan, operands: &[Value], origin: Origin) -> Result<Hoist<'g>, OpError> {
        let [_, scanned, same] = scan.operands();
        let outside = |range: std::ops::Range<usize>| range.map(|i| (scan.inner(i), operands[i])).collect();
        let (same, batched) = (outside(same), outside(scanned));
        let (heavy, constant) = (HashSet::new(), HashSet::new());
        let mut hoist = Hoist { graph, scan, origin, same, batched, heavy, constant };
        let body = hoist.scan.body.clone();
        let carries: Vec<Value> = body.operands[..hoist.scan.carries].iter().map(|o| o.value).collect();
        let carried = body.reached(&carries);
        for value in body.order() {
            let node = body.node(value);
            if carried.contains(&value.node) || matches!(node.op, Op::Operand(_)) {
                continue;
            }
            if node.operands.iter().all(|x| hoist.same.contains_key(x)) {
                hoist.graph.copy(&body, value, &mut hoist.same);
                if node.operands.iter().all(|x| hoist.constant.contains(x)) {
                    hoist.constant.extend(body.results(value));
                }
            } else if let Some(batched) = hoist.batch(&body, value)? {
                hoist.batched.insert(value, batched);
                if hoist.is_heavy(&body, value) {
                    hoist.heavy.insert(value);
                }
            }
        }
        Ok(hoist)
    }

    fn is_heavy(&self, body: &Graph, value: Value) -> bool {
        let no_larger = |x: &Value| {
            let (own, before) = (body.ty(value).elements(), body.ty(*x).elements());
            self.heavy.contains(x) && body.facts.le(&own, &before) == Verdict::Proved
        };
        // Without carries the loop is one operation after another over all steps.
        let alone = self.scan.carries == 0;
        alone || body.op(value).class() == Class::Contract || body.node(value).operands.iter().any(no_larger)
    }

    /// A value for all steps, `None` if it takes more than the same operator.
    fn batch(&mut self, body: &Graph, value: Value) -> Result<Option<Value>, OpError> {
        let node = body.node(value);
        let known = |x: &Value| self.batched.contains_key(x) || self.same.contains_key(x);
        if node.types.len() != 1 || !node.operands.iter().all(known) {
            return Ok(None);
        }
        let x = &node.operands;
        let first = |axes: &[usize]| axes.iter().map(|a| a + 1).collect::<Vec<_>>();
        let ends = |ends: &[i64]| [&[0], ends].concat();
        let shape = |shape: &[Dim]| [std::slice::from_ref(&self.scan.steps), shape].concat();
        let op: Op = match &node.op {
            Op::Dot(dot) => return self.dot(dot, [x[0], x[1]]).map(Some),
            Op::Take(take) => return self.take(take, [x[0], x[1]]),
            Op::Expand(expand) => {
                let new = expand.shape.len() - body.ty(x[0]).rank();
                let shape = shape(&expand.shape);
                let mut apart = self.graph.ty(self.batched[&x[0]]).dims.clone();
                apart.splice(1..1, vec![Dim::int(1); new]);
                let apart = self.push(ops::Reshape { shape: apart }, &[self.batched[&x[0]]])?;
                return self.push(ops::Expand { shape }, &[apart]).map(Some);
            }
            Op::Reshape(r) => ops::Reshape { shape: shape(&r.shape) }.into(),
            Op::Transpose(t) => ops::Transpose { order: [&[0], &first(&t.order)[..]].concat() }.into(),
            Op::Slice(s) => ops::Slice { axis: s.axis + 1, ..s.clone() }.into(),
            Op::Flip(f) => ops::Flip { axes: first(&f.axes) }.into(),
            Op::Pad(p) => ops::Pad { before: ends(&p.before), after: ends(&p.after), value: p.value }.into(),
            Op::Concat(c) => ops::Concat { axis: c.axis + 1 }.into(),
            Op::Sum(r) => ops::Sum { axes: first(&r.axes), keep: r.keep }.into(),
            Op::Prod(r) => ops::Prod { axes: first(&r.axes), keep: r.keep }.into(),
            Op::Max(r) => ops::Max { axes: first(&r.axes), keep: r.keep }.into(),
            Op::Min(r) => ops::Min { axes: first(&r.axes), keep: r.keep }.into(),
            Op::Cast(_) => node.op.clone(),
            // What has no attributes works on each element.
            op if op.kind() == ops::Kind::Element && op.attributes().is_empty() => op.clone(),
            _ => return Ok(None),
        };
        let operands = x.iter().map(|x| self.all_steps(*x)).collect::<Result<Vec<_>, _>>()?;
        self.push(op, &operands).map(Some)
    }

    fn push(&mut self, op: impl Into<Op>, operands: &[Value]) -> Result<Value, OpError> {
        self.graph.push(op, operands, &self.origin)
    }

    /// A value for all steps, repeated if it is the same in each.
    fn all_steps(&mut self, x: Value) -> Result<Value, OpError> {
        if let Some(batched) = self.batched.get(&x) {
            return Ok(*batched);
        }
        let same = self.same[&x];
        let shape = [std::slice::from_ref(&self.scan.steps), &self.graph.ty(same).dims].concat();
        self.push(ops::Expand { shape }, &[same])
    }

    /// Steps are rows of a product with what is the same in each, and a batch where both sides differ.
    fn dot(&mut self, dot: &ops::Dot, [x, y]: [Value; 2]) -> Result<Value, OpError> {
        let sides = [self.batched.contains_key(&x), self.batched.contains_key(&y)];
        let outside = |x| self.batched.get(&x).unwrap_or_else(|| &self.same[&x]);
        let operands = [*outside(x), *outside(y)];
        let shifted = |axes: &[usize], batched: bool| axes.iter().map(|a| a + batched as usize).collect::<Vec<_>>();
        let mut all = ops::Dot {
            contract_x: shifted(&dot.contract_x, sides[0]),
            contract_y: shifted(&dot.contract_y, sides[1]),
            batch_x: shifted(&dot.batch_x, sides[0]),
            batch_y: shifted(&dot.batch_y, sides[1]),
        };
        let rows = self.graph.ty(operands[0]).rank() - all.contract_x.len();
        let at = match sides {
            [true, true] => {
                all.batch_x.insert(0, 0);
                all.batch_y.insert(0, 0);
                0
            }
            [true, false] => dot.batch_x.len(),
            _ => rows,
        };
        let product = self.push(all, &operands)?;
        self.to_front(product, at)
    }

    fn to_front(&mut self, value: Value, axis: usize) -> Result<Value, OpError> {
        match axis {
            0 => Ok(value),
            _ => self.push(ops::Transpose { order: ops::moved(self.graph.ty(value).rank(), axis, 0) }, &[value]),
        }
    }

    /// Rows of one table for all steps.
    fn take(&mut self, take: &ops::Take, [x, indices]: [Value; 2]) -> Result<Option<Value>, OpError> {
        let (Some(x), Some(indices)) = (self.same.get(&x), self.batched.get(&indices)) else { return Ok(None) };
        let (x, indices) = (*x, *indices);
        let taken = self.push(take.clone(), &[x, indices])?;
        self.to_front(taken, take.axis).map(Some)
    }

    /// The scan with what was taken out of it as operands, in the place of the old one.
    fn finish(mut self, value: Value, operands: &[Value], cx: &mut Cx) -> Result<(), OpError> {
        let [_, scanned, _] = self.scan.operands();
        let mut body = std::mem::take(&mut self.scan.body);
        // Outputs that need no loop.
        let (mut replaced, mut kept) = (vec![], vec![]);
        for (i, (_, output)) in body.outputs.iter().enumerate() {
            match self.batched.get(output).filter(|_| i >= self.scan.carries && self.heavy.contains(output)) {
                Some(all) => replaced.push((i, *all)),
                None => kept.push(i),
            }
        }
        let roots: Vec<Value> = kept.iter().map(|i| body.outputs[*i].1).collect();
        let (same, batched) = self.frontier(&body, roots);
        if replaced.is_empty() && same.is_empty() && batched.is_empty() || !cx.spend("hoist") {
            return Ok(());
        }
        let old = self.graph.results(value);
        replaced.iter().for_each(|(i, all)| self.graph.replace(old[*i], *all));
        if kept.is_empty() {
            return Ok(());
        }
        let mut outputs = std::mem::take(&mut body.outputs).into_iter().enumerate();
        body.outputs = outputs.by_ref().filter(|(i, _)| kept.contains(i)).map(|(_, output)| output).collect();
        let mut operands = operands.to_vec();
        let mut inside: Vec<Value> = body.operands.iter().map(|o| o.value).collect();
        let mut at = scanned.end;
        for (values, outside) in [(&batched, &self.batched), (&same, &self.same)] {
            for v in values {
                let name = body.fresh_name(body.op(*v).name());
                let (ty, origin) = (body.ty(*v).clone(), body.node(*v).origin.clone());
                let operand = body.operand(name, Storage::Input, ty, origin);
                body.replace(*v, operand);
                inside.insert(at, operand);
                operands.insert(at, outside[v]);
                at += 1;
            }
            // After all that is scanned comes what stays the same.
            at = operands.len();
        }
        body.operands.sort_by_key(|o| inside.iter().position(|v| *v == o.value));
        body.remove_dead();
        let scan = ops::Scan { scanned: self.scan.scanned + batched.len(), body, ..self.scan.clone() };
        let new = self.push(scan, &operands)?;
        for (i, new) in kept.into_iter().zip(self.graph.results(new)) {
            self.graph.replace(old[i], new);
        }
        Ok(())
    }

    /// Values that outputs need and that are taken out of the loop: the same in every step, and those of all steps.
    fn frontier(&self, body: &Graph, outputs: Vec<Value>) -> (BTreeSet<Value>, BTreeSet<Value>) {
        let (mut same, mut batched) = (BTreeSet::new(), BTreeSet::new());
        let (mut stack, mut seen) = (outputs, HashSet::new());
        while let Some(value) = stack.pop() {
            if !seen.insert(value) || matches!(body.op(value), Op::Operand(_)) {
                continue;
            }
            // Views cost nothing where they are read.
            let view = body.is_view(value);
            if !view && self.same.contains_key(&value) && !self.constant.contains(&value) {
                same.insert(value);
            } else if !view && self.heavy.contains(&value) {
                batched.insert(value);
            } else {
                stack.extend(&body.node(value).operands);
            }
        }
        (same, batched)
    }
}
