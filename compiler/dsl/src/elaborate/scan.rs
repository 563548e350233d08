//! Loops over an axis that carry values from step to step.

use super::{Elaborator, Result, Scope, Val};
use crate::ast::{Pattern, Scan};
use diag::{Code, Diagnostic, Span};
use graph::{Dim, Op, Value, Verdict};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

impl Elaborator<'_> {
    /// The body is elaborated once, on placeholders for the carries and for one place of the axis; what it computes from
    /// them becomes the body of a `scan`. Afterwards the carried names hold their last values.
    pub(super) fn scan(&mut self, scan: &Scan, span: Span, scope: &Rc<Scope>) -> Result<Val> {
        let mut carried = vec![];
        for arg in &scan.carry {
            let Some(name) = &arg.name else {
                return self.fail(
                    Code::SYNTAX,
                    arg.value.span,
                    "a carry has a name and a first value: scan (h = h0) …",
                );
            };
            let value = self.expr(&arg.value, scope)?;
            let first = self.tensor(&value, None, arg.value.span)?;
            carried.push((name.clone(), first));
        }
        let over = self.expr(&scan.over, scope)?;
        let (mut scanned, axis, steps) = self.scanned(&over, scan, scope)?;

        let inner = Scope::inside(scope);
        let mut operands = vec![];
        for (name, first) in &carried {
            let carry = self.graph.placeholder(name.text.clone(), self.ty(*first), self.origin(name.span));
            inner.set(&name.text, Val::Tensor(carry));
            operands.push(carry);
        }
        let mut places = vec![];
        for x in &scanned {
            let mut slice = self.ty(*x);
            slice.dims.remove(axis);
            places.push(self.graph.placeholder(pattern_name(&scan.pattern), slice, self.origin(scan.over.span)));
        }
        operands.extend(&places);
        self.match_pattern(&scan.pattern, with_tensors(&over, &mut places.into_iter()), &inner)?;
        let before: HashSet<Value> = self.graph.order().into_iter().collect();
        let versions: HashMap<String, Value> = self.versions.iter().map(|(n, v)| (n.clone(), v.value)).collect();
        let value = self.block(&scan.body, &inner)?;
        let mut outputs = vec![];
        for (name, first) in &carried {
            outputs.push((name.text.clone(), self.keeps_type(&name.text, *first, &inner, name.span)?));
        }
        let value_span = scan.body.value_span();
        self.stacked_values(&value, axis, value_span, &mut outputs)?;
        let own: Vec<Value> = self.graph.order().into_iter().filter(|v| !before.contains(v)).collect();
        self.leaves_only_carries(&versions, &own, span)?;
        for value in own {
            if let Some((all, place)) = self.random_of_all_steps(value, axis, &steps, span)? {
                scanned.push(all);
                operands.push(place);
                outputs.iter_mut().filter(|(_, v)| *v == value).for_each(|(_, v)| *v = place);
            }
        }

        let (body, captures) = self.graph.enclose("body", &operands, &outputs);
        let firsts = carried.iter().map(|(_, first)| *first);
        let operands: Vec<Value> = firsts.chain(scanned.iter().copied()).chain(captures).collect();
        let (carries, reversed, body) = (carried.len(), scan.reversed, body.into());
        if outputs.is_empty() {
            return Ok(Val::None);
        }
        let scan = graph::ops::Scan { steps, axis, reversed, carries, scanned: scanned.len(), body };
        let results = self.push(scan, &operands, span)?;
        let mut results = self.graph.results(results).into_iter();
        for ((name, _), last) in carried.iter().zip(results.by_ref()) {
            scope.set(&name.text, Val::Tensor(last));
        }
        Ok(with_tensors(&value, &mut results))
    }

    /// The tensors that a loop goes over at once, the axis, and how many steps that makes.
    fn scanned(&mut self, over: &Val, scan: &Scan, scope: &Rc<Scope>) -> Result<(Vec<Value>, usize, Dim)> {
        let parts: Vec<Val> = match over {
            Val::Tuple(fields) => fields.iter().map(|(_, value)| value.clone()).collect(),
            one => vec![one.clone()],
        };
        let along = scan.along.as_ref().map_or(Ok(Val::int(0)), |along| self.expr(along, scope))?;
        let place = scan.along.as_ref().map_or(scan.over.span, |along| along.span);
        let (mut scanned, mut steps): (Vec<Value>, Option<(usize, Dim)>) = (vec![], None);
        for part in parts {
            let x = self.tensor(&part, None, scan.over.span)?;
            let dims = self.ty(x).dims;
            let axis = self.axis(&along, dims.len(), place)?;
            match &steps {
                None => steps = Some((axis, dims[axis].clone())),
                Some((first, size)) if *first != axis || self.graph.facts.eq(size, &dims[axis]) != Verdict::Proved => {
                    let message = format!(
                        "a scan goes over axis {first} of {size} places and axis {axis} of {} at once",
                        dims[axis]
                    );
                    let help = "what is scanned together has the same axis with the same size";
                    return self.advise(Code::SHAPE, scan.over.span, message, help);
                }
                Some(_) => {}
            }
            scanned.push(x);
        }
        match steps {
            Some((axis, size)) => Ok((scanned, axis, size)),
            None => {
                self.fail(Code::STATIC_TYPE, scan.over.span, "a scan goes over a tensor, or over several of one length")
            }
        }
    }

    /// Random numbers of a body, made for all steps before the loop, which then goes over them too: all of them, and those
    /// of one step.
    fn random_of_all_steps(
        &mut self,
        value: Value,
        axis: usize,
        steps: &Dim,
        span: Span,
    ) -> Result<Option<(Value, Value)>> {
        let node = self.graph.node(value).clone();
        let Op::RandomBits(bits) = node.op else { return Ok(None) };
        let mut shape = bits.shape.clone();
        if axis > shape.len() {
            let message = format!("random numbers of rank {} in a scan along axis {axis}", shape.len());
            let error = Diagnostic::new(Code::SHAPE, node.origin.span, message).other(span, "the scan");
            return Err(Box::new(
                error.help("make them before the scan, for all steps at once, and scan over them too"),
            ));
        }
        shape.insert(axis, steps.clone());
        let all = self.push(graph::ops::RandomBits { shape, ..bits }, &node.operands, node.origin.span)?;
        let place = self.graph.placeholder("random", node.types[0].clone(), node.origin);
        self.graph.replace(value, place);
        Ok(Some((all, place)))
    }

    /// The value of a carry after one step, which has the type of the first.
    fn keeps_type(&mut self, name: &str, first: Value, scope: &Rc<Scope>, span: Span) -> Result<Value> {
        let elem = self.ty(first).elem;
        let now = self.name(name, span, scope)?;
        let value = self.tensor(&now, Some(elem), span)?;
        let (before, after) = (self.ty(first), self.ty(value));
        if before == after {
            return Ok(value);
        }
        let (before, after) = (self.dims_text(&before), self.dims_text(&after));
        let message =
            format!("`{name}` starts as {before} but after one step is {after}; a scan carry keeps its shape");
        let help = format!("give `{name}` the same shape at the start and after each step");
        self.advise(Code::CARRY, span, message, help)
    }

    fn dims_text(&self, ty: &graph::TensorType) -> String {
        super::shape::shape_text(&ty.dims)
    }

    /// Adds the tensors of a value, those of tuples and lists one by one, to what a body gives.
    fn stacked_values(
        &mut self,
        value: &Val,
        axis: usize,
        span: Span,
        outputs: &mut Vec<(String, Value)>,
    ) -> Result<()> {
        match value {
            Val::None => Ok(()),
            Val::Tuple(fields) => fields.iter().try_for_each(|(_, v)| self.stacked_values(v, axis, span, outputs)),
            Val::List(items) => items.iter().try_for_each(|v| self.stacked_values(v, axis, span, outputs)),
            value => {
                let tensor = self.tensor(value, None, span)?;
                let rank = self.ty(tensor).rank();
                if axis > rank {
                    let message = format!("values of rank {rank} cannot be stacked along axis {axis}");
                    let help = "leave `along` out, or let the body end in a value of higher rank";
                    return self.advise(Code::SHAPE, span, message, help);
                }
                let number = (1..).map(|n| format!("y{n}")).find(|name| outputs.iter().all(|(n, _)| n != name));
                outputs.push((number.expect("numbers do not end"), tensor));
                Ok(())
            }
        }
    }

    /// Steps have only carries to leave something to each other.
    fn leaves_only_carries(&self, versions: &HashMap<String, Value>, own: &[Value], span: Span) -> Result<()> {
        let updated = |(name, v): &(&String, &super::Version)| v.updated && versions.get(*name) != Some(&v.value);
        if let Some((name, _)) = self.versions.iter().find(updated) {
            let message =
                format!("`{name}` is updated in every step of a scan; make it a carry and update it afterwards");
            return self.fail(Code::NOT_YET, span, message);
        }
        if let Some(value) = own.iter().find(|v| matches!(self.graph.op(**v), Op::Size(_))) {
            let message = "a size that data chooses in the body of a scan is not compiled yet";
            return self.fail(Code::NOT_YET, self.graph.node(*value).origin.span, message);
        }
        Ok(())
    }
}

/// A name for one place of what is scanned.
fn pattern_name(pattern: &Pattern) -> String {
    match pattern {
        Pattern::Name(name) if name.text != "_" => name.text.clone(),
        _ => "x".into(),
    }
}

/// A value like another, with the next of `tensors` in the place of each.
fn with_tensors(value: &Val, tensors: &mut impl Iterator<Item = Value>) -> Val {
    match value {
        Val::None => Val::None,
        Val::Tuple(fields) => {
            let fields = fields.iter().map(|(name, v)| (name.clone(), with_tensors(v, tensors)));
            Val::Tuple(Rc::new(fields.collect()))
        }
        Val::List(items) => Val::list(items.iter().map(|v| with_tensors(v, tensors)).collect::<Vec<_>>()),
        _ => tensors.next().map_or(Val::None, Val::Tensor),
    }
}
