//! Loops over an axis that carry values from step to step.

use super::{Elaborator, Result, Scope, Val};
use crate::ast::{Pattern, Scan};
use diag::{Code, Diagnostic, Span};
use graph::{Op, Value};
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
        let xs = self.tensor(&over, None, scan.over.span)?;
        let mut slice = self.ty(xs);
        let axis = match &scan.along {
            Some(along) => {
                let value = self.expr(along, scope)?;
                self.axis(&value, slice.rank(), along.span)?
            }
            None => self.axis(&Val::int(0), slice.rank(), scan.over.span)?,
        };
        let steps = slice.dims.remove(axis);

        let inner = Scope::inside(scope);
        let mut operands = vec![];
        for (name, first) in &carried {
            let carry = self.graph.placeholder(name.text.clone(), self.ty(*first), self.origin(name.span));
            inner.set(&name.text, Val::Tensor(carry));
            operands.push(carry);
        }
        let place = self.graph.placeholder(pattern_name(&scan.pattern), slice, self.origin(scan.over.span));
        operands.push(place);
        self.match_pattern(&scan.pattern, Val::Tensor(place), &inner)?;
        let before: HashSet<Value> = self.graph.order().into_iter().collect();
        let versions: HashMap<String, Value> = self.versions.iter().map(|(n, v)| (n.clone(), v.value)).collect();
        let value = self.block(&scan.body, &inner)?;
        let mut outputs = vec![];
        for (name, first) in &carried {
            outputs.push((name.text.clone(), self.keeps_type(&name.text, *first, &inner, name.span)?));
        }
        let value_span = scan.body.value_span();
        self.stacked_values(&value, axis, value_span, &mut outputs)?;
        self.leaves_only_carries(&versions, &before, span)?;

        let (body, captures) = self.graph.enclose("body", &operands, &outputs);
        let firsts = carried.iter().map(|(_, first)| *first);
        let operands: Vec<Value> = firsts.chain([xs]).chain(captures).collect();
        let (carries, reversed, body) = (carried.len(), scan.reversed, body.into());
        if outputs.is_empty() {
            return Ok(Val::None);
        }
        let scan = graph::ops::Scan { steps, axis, reversed, carries, scanned: 1, body };
        let results = self.push(scan, &operands, span)?;
        let mut results = self.graph.results(results).into_iter();
        for ((name, _), last) in carried.iter().zip(results.by_ref()) {
            scope.set(&name.text, Val::Tensor(last));
        }
        Ok(with_tensors(&value, &mut results))
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

    /// Steps have only carries to leave something to each other, and the same numbers in each step are not random.
    fn leaves_only_carries(
        &self,
        versions: &HashMap<String, Value>,
        before: &HashSet<Value>,
        span: Span,
    ) -> Result<()> {
        let updated = |(name, v): &(&String, &super::Version)| v.updated && versions.get(*name) != Some(&v.value);
        if let Some((name, _)) = self.versions.iter().find(updated) {
            let message =
                format!("`{name}` is updated in every step of a scan; make it a carry and update it afterwards");
            return self.fail(Code::NOT_YET, span, message);
        }
        let new: Vec<Value> = self.graph.order().into_iter().filter(|v| !before.contains(v)).collect();
        if let Some(value) = new.iter().find(|v| matches!(self.graph.op(**v), Op::Size(_))) {
            let message = "a size that data chooses in the body of a scan is not compiled yet";
            return self.fail(Code::NOT_YET, self.graph.node(*value).origin.span, message);
        }
        match new.iter().find(|v| matches!(self.graph.op(**v), Op::RandomBits(_))) {
            None => Ok(()),
            Some(value) => {
                let message = "random numbers in the body of a scan are not compiled yet";
                let error = Diagnostic::new(Code::NOT_YET, self.graph.node(*value).origin.span, message);
                let error = error.other(span, "the scan");
                Err(Box::new(error.help("make them before the scan, for all steps at once, and scan over them too")))
            }
        }
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
