//! Loops over an axis that carry values from step to step.

use super::{Elaborator, Result, Scope, Val};
use crate::ast::Scan;
use diag::{Code, Diagnostic, Span};
use graph::Value;
use std::rc::Rc;

/// Steps that are written out one after another, at most.
const UNROLLED: i64 = 256;

impl Elaborator<'_> {
    /// A scan over an axis of known size is unrolled; afterwards the carried names hold their last values.
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
        let ty = self.ty(xs);
        let axis = match &scan.along {
            Some(along) => {
                let value = self.expr(along, scope)?;
                self.axis(&value, ty.rank(), along.span)?
            }
            None => self.axis(&Val::int(0), ty.rank(), scan.over.span)?,
        };
        let inner = Scope::inside(scope);
        carried.iter().for_each(|(name, first)| inner.set(&name.text, Val::Tensor(*first)));
        let steps = ty.dims[axis].as_int();
        let count = steps.filter(|n| *n <= UNROLLED).unwrap_or(1);
        let mut stacked = vec![];
        for step in 0..count {
            let at = if scan.reversed { count - 1 - step } else { step };
            let x = self.take_one(xs, axis, at, scan.over.span)?;
            self.match_pattern(&scan.pattern, Val::Tensor(x), &inner)?;
            let value = self.block(&scan.body, &inner)?;
            stacked.push(value);
            for (name, first) in &carried {
                self.keeps_type(&name.text, *first, &inner, name.span)?;
            }
        }
        if steps != Some(count) {
            let size = &ty.dims[axis];
            let error = Diagnostic::new(Code::NOT_YET, span, format!("a scan over {size} steps is not compiled yet"));
            return Err(Box::new(error.help(match size.as_var() {
                Some(name) => format!("with a known length of at most {UNROLLED} it is written out: -D {name}=35"),
                None => format!("a known length of at most {UNROLLED} is written out step by step"),
            })));
        }
        for (name, _) in &carried {
            if let Some(last) = inner.get(&name.text) {
                scope.set(&name.text, last);
            }
        }
        if scan.reversed {
            stacked.reverse();
        }
        self.stack_values(&stacked, axis, scan.body.value_span())
    }

    fn keeps_type(&mut self, name: &str, first: Value, scope: &Rc<Scope>, span: Span) -> Result<()> {
        let Some(now) = scope.get(name) else { return Ok(()) };
        let elem = self.ty(first).elem;
        let value = self.tensor(&now, Some(elem), span)?;
        let (before, after) = (self.ty(first), self.ty(value));
        if before == after {
            scope.set(name, Val::Tensor(value));
            return Ok(());
        }
        let (before, after) = (self.dims_text(&before), self.dims_text(&after));
        let message =
            format!("`{name}` starts as {before} but after one step is {after}; a scan carry keeps its shape");
        self.fail(Code::CARRY, span, message)
    }

    fn dims_text(&self, ty: &graph::TensorType) -> String {
        super::shape::shape_text(&ty.dims)
    }

    /// The values of all steps along one axis; of tuples, each field.
    fn stack_values(&mut self, values: &[Val], axis: usize, span: Span) -> Result<Val> {
        match values.first() {
            None | Some(Val::None) => Ok(Val::None),
            Some(Val::Tuple(fields)) => {
                let mut out = vec![];
                for (i, (name, _)) in fields.iter().enumerate() {
                    let parts: Vec<Val> = values
                        .iter()
                        .filter_map(|v| if let Val::Tuple(f) = v { f.get(i).map(|(_, v)| v.clone()) } else { None })
                        .collect();
                    out.push((name.clone(), self.stack_values(&parts, axis, span)?));
                }
                Ok(Val::Tuple(Rc::new(out)))
            }
            Some(_) => {
                let mut tensors = vec![];
                for value in values {
                    tensors.push(self.tensor(value, None, span)?);
                }
                let rank = self.ty(tensors[0]).rank();
                if axis > rank {
                    return self.fail(
                        Code::SHAPE,
                        span,
                        format!("values of rank {rank} cannot be stacked along axis {axis}"),
                    );
                }
                self.stack(&tensors, axis, span).map(Val::Tensor)
            }
        }
    }
}
