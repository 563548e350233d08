//! Statements.

use super::run_time::indexed_name;
use super::shape::{Place, What};
use super::{Elaborator, Result, Scope, Val};
use crate::ast::{Bind, Block, Else, Expr, ExprKind, Pattern, Stmt, StmtKind};
use diag::{Code, Diagnostic};
use graph::Fact;
use std::rc::Rc;

impl Elaborator<'_> {
    pub(super) fn stmt(&mut self, stmt: &Stmt, scope: &Rc<Scope>) -> Result<Val> {
        match &stmt.kind {
            StmtKind::Storage(s) => self.storage(s, scope)?,
            StmtKind::Bind(b) => self.bind(b, scope)?,
            StmtKind::Expr(e) => return self.expr(e, scope),
            StmtKind::For { pattern, over, body } => {
                let items = self.items_of(over, scope)?;
                let depth = self.frames.last().map_or(0, |f| f.loops.len());
                if let (Some(frame), Pattern::Name(name)) = (self.frames.last_mut(), pattern) {
                    frame.loops.push((name.clone(), items.len()));
                }
                let mut rounds = items.into_iter();
                let result = rounds.try_for_each(|item| {
                    self.match_pattern(pattern, item, scope)?;
                    self.block(body, scope).map(|_| ())
                });
                if let Some(frame) = self.frames.last_mut() {
                    frame.loops.truncate(depth);
                }
                result?;
            }
            StmtKind::Update { target, value } => self.update(target, value, scope)?,
        }
        Ok(Val::None)
    }

    pub(super) fn bind(&mut self, b: &Bind, scope: &Rc<Scope>) -> Result<()> {
        let mut value = self.expr(&b.value, scope)?;
        if let Some(op) = b.op {
            let Pattern::Name(name) = &b.pattern else {
                return self.fail(Code::SYNTAX, b.pattern.span(), "`+=` and its like take one name");
            };
            let old = self.name(&name.text, name.span, scope)?;
            value = match (old, value) {
                (Val::List(a), Val::List(b)) => Val::list(a.iter().chain(b.iter()).cloned()),
                (old, value) => {
                    let old = self.read_stored(old);
                    self.binary(op, (old, name.span), (value, b.value.span), name.span.to(b.value.span))?
                }
            };
        }
        if let Some(ty) = &b.ty {
            let name = self.quote(b.pattern.span());
            let place = Place { what: What::Name(&name), ty, span: b.value.span };
            self.match_type(&value, ty, &place, scope)?;
        }
        self.match_pattern(&b.pattern, value, scope)
    }

    pub(super) fn match_pattern(&mut self, pattern: &Pattern, value: Val, scope: &Rc<Scope>) -> Result<()> {
        match pattern {
            Pattern::Name(name) if name.text == "_" => Ok(()),
            Pattern::Name(name) => {
                let value = self.settle_value(value, &name.text);
                scope.set(&name.text, value);
                Ok(())
            }
            Pattern::Tuple(parts, span) => {
                let items: Vec<Val> = match &value {
                    Val::List(items) => items.to_vec(),
                    Val::Tuple(fields) => fields.iter().map(|(_, v)| v.clone()).collect(),
                    other => {
                        return self.fail(
                            Code::STATIC_TYPE,
                            *span,
                            format!("expected {} values, got {}", parts.len(), other.kind()),
                        );
                    }
                };
                if items.len() != parts.len() {
                    let message = format!("{} names for {} values", parts.len(), items.len());
                    let error = Diagnostic::new(Code::STATIC_TYPE, *span, message);
                    return Err(Box::new(error.help("a value that is not needed is called `_`: (a, _) = …")));
                }
                parts.iter().zip(items).try_for_each(|(p, v)| self.match_pattern(p, v, scope))
            }
        }
    }

    fn update(&mut self, target: &Expr, value: &Expr, scope: &Rc<Scope>) -> Result<()> {
        let name = match (&target.kind, indexed_name(target)) {
            (ExprKind::Name(name), _) => name,
            (_, Some((name, _))) => name,
            _ => return self.fail(Code::SYNTAX, target.span, "`:=` updates a name, or a part of one: keys[0..n] := k"),
        };
        let Val::Stored(full) = self.name(name, target.span, scope)? else {
            return self.not_updatable(name, target.span);
        };
        if self.stored[self.index[&*full]].storage == graph::Storage::Param {
            let message = format!("`{name}` is a parameter; only `state` and `cache` are updated while running");
            let help = format!("declare it as `state {name}`, or give the new value another name");
            return self.advise(Code::STATIC_TYPE, target.span, message, help);
        }
        let new = match indexed_name(target) {
            Some((name, items)) => self.update_part(name, items, value, target.span, scope)?,
            None => {
                let new = self.expr(value, scope)?;
                let old = self.read(&full);
                let new = self.tensor(&new, Some(self.ty(old).elem), value.span)?;
                let (old, new_type) = (self.ty(old), self.ty(new));
                if old != new_type {
                    let message = format!("`{name}` is {old}; it cannot become {new_type}");
                    return self.fail(Code::SHAPE, value.span, message);
                }
                new
            }
        };
        self.set_version(&full, new);
        Ok(())
    }

    /// The items of a list or range.
    pub(super) fn items_of(&mut self, over: &Expr, scope: &Rc<Scope>) -> Result<Vec<Val>> {
        match self.expr(over, scope)? {
            Val::List(items) => Ok(items.to_vec()),
            other => {
                let message = format!("expected a list or a range, got {}", other.kind());
                let error = Diagnostic::new(Code::STATIC_TYPE, over.span, message);
                Err(Box::new(match other {
                    Val::Tensor(_) => error.help("a tensor is read step by step with scan (h = h0) for x in xs { … }"),
                    Val::Num(_) => error.help("to repeat n times write for i in 0..n"),
                    _ => error,
                }))
            }
        }
    }

    pub(super) fn if_(
        &mut self,
        condition: &Expr,
        then: &Block,
        otherwise: Option<&Else>,
        scope: &Rc<Scope>,
    ) -> Result<Val> {
        if self.condition(condition, scope)? {
            return self.block(then, scope);
        }
        match otherwise {
            None => Ok(Val::None),
            Some(Else::If(e)) => self.expr(e, scope),
            Some(Else::Block(b)) => self.block(b, scope),
        }
    }

    fn condition(&mut self, condition: &Expr, scope: &Rc<Scope>) -> Result<bool> {
        let value = self.expr(condition, scope)?;
        let text = self.quote(condition.span);
        match value {
            Val::Bool(b) => Ok(b),
            Val::Fact(fact) => {
                let (a, b) = match &*fact {
                    Fact::Eq(a, b) | Fact::Le(a, b) | Fact::Divides { divisor: a, of: b } => (a, b),
                };
                let mut names: Vec<String> = a.vars().iter().chain(&b.vars()).map(|n| n.to_string()).collect();
                names.sort();
                names.dedup();
                let is = if names.len() == 1 { "is" } else { "are" };
                let message = format!(
                    "`if {text}` must be decided when compiling, but {} {is} chosen by the caller",
                    names.join(" and ")
                );
                let fix = names.first().map_or(String::new(), |n| format!(", or fix it with -D {n}=1"));
                let error = Diagnostic::new(Code::RUN_TIME_CONDITION, condition.span, message);
                let error = self.with_sizes(error, &[a, b]);
                Err(Box::new(error.help(format!("use where(…) on tensors, write a second entry{fix}"))))
            }
            Val::Tensor(_) => {
                let message = format!("`if {text}` must be decided when compiling, but it is a tensor");
                let error = Diagnostic::new(Code::RUN_TIME_CONDITION, condition.span, message);
                Err(Box::new(error.help("use where(condition, a, b)")))
            }
            other => self.fail(
                Code::STATIC_TYPE,
                condition.span,
                format!("a condition is true or false, not {}", other.kind()),
            ),
        }
    }
}
