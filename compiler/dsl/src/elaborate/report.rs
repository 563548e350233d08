//! Mistakes: each statement has at most one, and what follows from one is not said again.

use super::instance::Instance;
use super::{Elaborator, Result, Scope, Val};
use crate::ast::{Block, Else, Expr, ExprKind, Pattern, Stmt, StmtKind};
use diag::{Code, Diagnostic, Span};
use std::rc::Rc;

/// Calls that a message names, at most.
const USES: usize = 8;

/// Mistakes of one file that are told, at most.
const MISTAKES: usize = 20;

/// The code of what stands for a mistake that was reported before.
const REPORTED: Code = Code(0);

/// A call that is under way.
pub(super) struct Use {
    pub span: Span,
    pub of: UseOf,
}

pub(super) enum UseOf {
    Function(String),
    Lambda,
    Layer(Rc<Instance>),
}

/// Fails silently: the reason has been told.
pub(super) fn reported<T>() -> Result<T> {
    Err(Box::new(Diagnostic::new(REPORTED, Span::default(), "")))
}

impl Elaborator<'_> {
    /// Notes a mistake, with the calls that led to it.
    pub(super) fn report(&mut self, mut error: Diagnostic) {
        if error.code == REPORTED {
            return;
        }
        for i in (0..self.uses.len()).rev() {
            self.add_use(&mut error, &self.uses[i]);
        }
        self.stopped |= matches!(error.code, Code::TOO_DEEP | Code::TOO_LONG | Code::RECURSION);
        // The same place again, or another use of what is unknown or has a wrong size.
        let one_cause = matches!(error.code, Code::UNKNOWN_NAME | Code::SHAPE);
        let told = |e: &Diagnostic| {
            e.code == error.code && (e.primary.span == error.primary.span || one_cause && e.message == error.message)
        };
        if !self.errors.iter().any(told) {
            self.errors.push(error);
        }
        self.stopped |= self.errors.len() >= MISTAKES;
    }

    /// Reports the mistake of one part, so that others have their say.
    pub(super) fn told<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|e| self.report(*e)).ok()
    }

    /// Says that a mistake was found inside this call.
    pub(super) fn add_use(&self, error: &mut Diagnostic, use_: &Use) {
        if error.code == REPORTED || error.primary.span == use_.span {
            return;
        }
        // Of a long chain, the innermost calls and the outermost one.
        if error.uses.len() == USES {
            error.uses.pop();
        }
        let note = match &use_.of {
            UseOf::Function(name) => format!("in {name}, called"),
            UseOf::Lambda => "in a function, called".into(),
            UseOf::Layer(instance) => self.use_note(instance),
        };
        error.uses.push((use_.span, note));
    }

    /// Runs a block; its value is that of the last statement, if that is an expression. A statement with a mistake does
    /// not keep the next ones from being checked; what it would have named is not looked at again.
    pub(super) fn block(&mut self, block: &Block, scope: &Rc<Scope>) -> Result<Val> {
        let mut value = Ok(Val::None);
        for stmt in &block.stmts {
            value = self.stmt(stmt, scope);
            if let Err(e) = value {
                self.report(*e);
                bound(stmt, &mut |name| scope.set(name, Val::Error));
                value = reported();
            }
            if self.stopped {
                return reported();
            }
        }
        value
    }

    /// Runs `f` to see whether it works; its mistakes are forgotten.
    pub(super) fn attempt<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let (told, stopped) = (self.errors.len(), self.stopped);
        let result = f(self);
        let clean = self.errors.len() == told;
        self.errors.truncate(told);
        self.stopped = stopped;
        if clean { result } else { reported() }
    }
}

/// Every name that a statement would bind.
fn bound(stmt: &Stmt, set: &mut dyn FnMut(&str)) {
    match &stmt.kind {
        StmtKind::Storage(s) => set(&s.name.text),
        StmtKind::Bind(b) => {
            bound_by_pattern(&b.pattern, set);
            bound_inside(&b.value, set);
        }
        StmtKind::For { pattern, body, .. } => {
            bound_by_pattern(pattern, set);
            body.stmts.iter().for_each(|s| bound(s, set));
        }
        StmtKind::Expr(e) => bound_inside(e, set),
        StmtKind::Update { .. } => {}
    }
}

pub(super) fn bound_by_pattern(pattern: &Pattern, set: &mut dyn FnMut(&str)) {
    match pattern {
        Pattern::Name(name) => set(&name.text),
        Pattern::Tuple(parts, _) => parts.iter().for_each(|p| bound_by_pattern(p, set)),
    }
}

/// Names that the branches of an `if` bind, and the carries of a `scan`.
fn bound_inside(e: &Expr, set: &mut dyn FnMut(&str)) {
    match &e.kind {
        ExprKind::If { then, otherwise, .. } => {
            then.stmts.iter().for_each(|s| bound(s, set));
            match otherwise.as_deref() {
                Some(Else::If(e)) => bound_inside(e, set),
                Some(Else::Block(b)) => b.stmts.iter().for_each(|s| bound(s, set)),
                None => {}
            }
        }
        ExprKind::Scan(scan) => {
            scan.carry.iter().flat_map(|a| &a.name).for_each(|n| set(&n.text));
        }
        _ => {}
    }
}
