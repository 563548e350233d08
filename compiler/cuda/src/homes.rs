//! Where each buffer lives.

use crate::access::accesses;
use crate::shape::Shape;
use crate::{Unsupported, unsupported};
use kernel::scheduled::{LoopKind, Place, Stmt};
use kernel::{Affine, BufferId, Extent, Scheduled, VarId};

/// Shared memory that the largest device gives a block.
const MOST_SHARED: usize = 227 * 1024;

/// Boundary of buffers in shared memory, for vector accesses.
const ALIGN: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    Argument,
    /// Shared by a block's threads, at this offset in bytes.
    Shared {
        offset: usize,
    },
    /// An array of each thread, of so many elements.
    Thread {
        len: i64,
    },
}

/// The home of each buffer, and bytes of shared memory.
pub(crate) fn homes(kernel: &Scheduled, shape: &Shape) -> Result<(Vec<Home>, usize), Unsupported> {
    let all = accesses(kernel, &kernel.body, &[]);
    let mut shared: usize = 0;
    let mut homes = vec![];
    for (i, storage) in kernel.storage.iter().enumerate() {
        let buffer = BufferId(i as u32);
        let own = || all.iter().filter(move |a| a.buffer == buffer);
        let len = storage.len.unwrap_or(0);
        homes.push(match storage.place {
            Place::Argument => Home::Argument,
            Place::Register => {
                let last = own().filter_map(|a| Some(reach(kernel, &in_thread(kernel, a.at.as_ref()?)))).max();
                Home::Thread { len: last.unwrap_or(0) + 1 }
            }
            Place::Scratch { .. } => {
                let stored = |threads: &Vec<VarId>| own().any(|a| a.store && a.threads == *threads);
                let private = own().all(|a| a.store || stored(&a.threads)) && shape.block != [1; 3];
                if private && own().all(|a| !a.threads.is_empty()) {
                    Home::Thread { len }
                } else {
                    let offset = shared;
                    shared = (shared + len as usize * storage.elem.size()).next_multiple_of(ALIGN);
                    Home::Shared { offset }
                }
            }
        });
        if matches!(homes[i], Home::Shared { .. }) {
            let stores = own().filter(|a| a.store);
            let mut lost = stores.flat_map(|a| a.threads.iter().map(move |v| (*v, a.at.as_ref())));
            if let Some((var, _)) = lost.find(|(v, at)| at.is_none_or(|at| !at.uses(*v)) && several(kernel, *v)) {
                let (name, var) = (&storage.name, &kernel.loops[var.index()].name);
                return unsupported(format!(
                    "`{name}` written by all threads of `{var}` at once: its layout must not be local to `{var}`"
                ));
            }
        }
    }
    if shared > MOST_SHARED {
        return unsupported(format!("{shared} bytes of shared memory for a block, of which there are {MOST_SHARED}"));
    }
    check_blocks(kernel, &kernel.body, &homes, shape)?;
    Ok((homes, shared))
}

/// The part of an address that one thread sees of its registers.
pub(crate) fn in_thread(kernel: &Scheduled, at: &Affine) -> Affine {
    let thread = |v: &VarId| matches!(kernel.loops[v.index()].kind, LoopKind::Thread(_));
    at.vars().filter(thread).fold(at.clone(), |a, v| a.without(v))
}

/// The largest value of an address over constant loops.
fn reach(kernel: &Scheduled, at: &Affine) -> i64 {
    let most = |v: VarId| match kernel.loops[v.index()].extent {
        Extent::Const(n) => n - 1,
        Extent::Size(s) => kernel.sizes[s.index()].max.unwrap_or(kernel.lanes) - 1,
    };
    at.constant + at.vars().map(|v| at.coefficient(v).unwrap_or(0).max(0) * most(v).max(0)).sum::<i64>()
}

fn several(kernel: &Scheduled, var: VarId) -> bool {
    kernel.loops[var.index()].extent != Extent::Const(1)
}

/// Blocks run in any order, so what one of them writes no other may read.
fn check_blocks(kernel: &Scheduled, stmts: &[Stmt], homes: &[Home], shape: &Shape) -> Result<(), Unsupported> {
    if shape.is_one_block() || !stmts.iter().any(|s| has_blocks(kernel, s)) {
        return Ok(());
    }
    let touched: Vec<_> = stmts.iter().map(|s| accesses(kernel, std::slice::from_ref(s), &[])).collect();
    let stores = |i: usize, b: BufferId| touched[i].iter().any(|a| a.store && a.buffer == b);
    for (reader, reads) in touched.iter().enumerate() {
        for read in reads.iter().filter(|a| !a.store && !stores(reader, a.buffer)) {
            let other = |w: &usize| {
                // Memory of a block is filled by each block where no block loop stands around the store.
                let own = matches!(homes[read.buffer.index()], Home::Shared { .. }) && !has_blocks(kernel, &stmts[*w]);
                stores(*w, read.buffer) && !own
            };
            if (0..reader).any(|w| !matches!(homes[read.buffer.index()], Home::Thread { .. }) && other(&w)) {
                let name = &kernel.storage[read.buffer.index()].name;
                return unsupported(format!("`{name}` passed from block to block inside one kernel"));
            }
        }
    }
    stmts.iter().try_for_each(|s| match s {
        Stmt::Loop { body, .. } => check_blocks(kernel, body, homes, shape),
        Stmt::Set { .. } => Ok(()),
    })
}

pub(crate) fn has_blocks(kernel: &Scheduled, stmt: &Stmt) -> bool {
    match stmt {
        Stmt::Loop { var, body } => {
            matches!(kernel.loops[var.index()].kind, LoopKind::Block(_)) || body.iter().any(|s| has_blocks(kernel, s))
        }
        Stmt::Set { .. } => false,
    }
}
