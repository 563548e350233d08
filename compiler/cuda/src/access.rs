//! Which memory the statements of a kernel touch, and under which thread loops.

use kernel::scheduled::{LoopKind, Stmt};
use kernel::{Affine, BufferId, Expr, Extent, Scheduled, VarId};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    pub buffer: BufferId,
    pub store: bool,
    /// Open thread loops, outermost first.
    pub threads: Vec<VarId>,
    /// `None` if data takes part in the address.
    pub at: Option<Affine>,
}

/// All accesses of `stmts`, which stand inside the loops `threads`.
pub(crate) fn accesses(kernel: &Scheduled, stmts: &[Stmt], threads: &[VarId]) -> Vec<Access> {
    let mut out = vec![];
    collect(kernel, stmts, &mut threads.to_vec(), &mut out);
    out
}

fn collect(kernel: &Scheduled, stmts: &[Stmt], threads: &mut Vec<VarId>, out: &mut Vec<Access>) {
    for stmt in stmts {
        match stmt {
            Stmt::Loop { var, body } => {
                let thread = matches!(kernel.loops[var.index()].kind, LoopKind::Thread(_));
                if thread {
                    threads.push(*var);
                }
                collect(kernel, body, threads, out);
                if thread {
                    threads.pop();
                }
            }
            Stmt::Set { target, at, combine, value, .. } => {
                let mut push = |buffer: BufferId, store: bool, at: Option<&Affine>| {
                    out.push(Access { buffer, store, threads: threads.clone(), at: at.cloned() });
                };
                kernel.exprs.walk(*value, &mut |_, e| {
                    if let Expr::Load { buffer, at, .. } = e {
                        let plain = if at.len() == 1 { at[0].as_affine() } else { None };
                        push(*buffer, false, plain);
                    }
                });
                if combine.is_some() {
                    push(*target, false, Some(at));
                }
                push(*target, true, Some(at));
            }
        }
    }
}

/// Whether different values of the variables give different addresses, as far as coefficients show it: each is larger
/// than all that smaller ones add up to.
pub(crate) fn is_injective(kernel: &Scheduled, a: &Affine) -> bool {
    let mut terms: Vec<(i64, i64)> = vec![];
    for var in a.vars() {
        match (a.coefficient(var), kernel.loops[var.index()].extent) {
            (Some(c), Extent::Const(n)) => terms.push((c.abs(), n)),
            _ => return false,
        }
    }
    terms.sort();
    let mut reach = 0;
    terms.into_iter().all(|(c, n)| {
        let apart = c > reach;
        reach += c * (n - 1);
        apart
    })
}
