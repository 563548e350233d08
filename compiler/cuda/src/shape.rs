//! How many blocks and threads a kernel takes.

use crate::{Unsupported, unsupported};
use kernel::scheduled::{LoopKind, Stmt};
use kernel::{Affine, Extent, Scheduled};

/// No device runs a larger block.
const MOST_THREADS: u32 = 1024;

pub(crate) const AXES: [char; 3] = ['x', 'y', 'z'];

#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub grid: [Affine; 3],
    pub block: [u32; 3],
}

impl Shape {
    pub fn of(kernel: &Scheduled) -> Result<Shape, Unsupported> {
        check_nesting(kernel, &kernel.body, &[])?;
        let mut block = [1; 3];
        for info in &kernel.loops {
            let LoopKind::Thread(d) = info.kind else { continue };
            let bound = match info.extent {
                Extent::Const(n) => Some(n),
                Extent::Size(s) => kernel.sizes[s.index()].max,
            };
            match bound.and_then(|n| u32::try_from(n).ok()).filter(|n| *n <= MOST_THREADS) {
                Some(n) => block[d as usize] = n.max(block[d as usize]),
                None => {
                    let count = bound.map_or("a number of threads without a bound".into(), |n| format!("{n} threads"));
                    return unsupported(format!("{count} for `{}`: split the loop", info.name));
                }
            }
        }
        let threads: u32 = block.iter().product();
        if threads > MOST_THREADS {
            return unsupported(format!("{threads} threads in a block, of which there are {MOST_THREADS} at most"));
        }
        let grid = [0, 1, 2].map(|d| blocks(kernel, &kernel.body, d).map(|n| n.unwrap_or(Affine::constant(1))));
        let [x, y, z] = grid;
        Ok(Shape { grid: [x?, y?, z?], block })
    }

    /// Whether there is one block only.
    pub fn is_one_block(&self) -> bool {
        self.grid.iter().all(|n| n.as_constant() == Some(1))
    }
}

/// Blocks stand outside, threads inside, and no dimension is used twice on a path.
fn check_nesting(kernel: &Scheduled, stmts: &[Stmt], open: &[LoopKind]) -> Result<(), Unsupported> {
    for stmt in stmts {
        let Stmt::Loop { var, body } = stmt else { continue };
        let info = &kernel.loops[var.index()];
        let blocks_only = open.iter().all(|k| matches!(k, LoopKind::Block(_)));
        match info.kind {
            LoopKind::Parallel => return unsupported(format!("tasks: bind `{}` to blocks or threads", info.name)),
            LoopKind::Block(_) if !blocks_only => {
                return unsupported(format!("blocks inside another loop: `{}`", info.name));
            }
            kind @ (LoopKind::Block(_) | LoopKind::Thread(_)) if open.contains(&kind) => {
                return unsupported(format!("`{}` inside a loop over the same dimension", info.name));
            }
            _ => {}
        }
        check_nesting(kernel, body, &[open, &[info.kind]].concat())?;
    }
    Ok(())
}

/// Blocks in dimension `d`: loops that follow each other add up, those inside other loops are the same blocks.
pub(crate) fn blocks(kernel: &Scheduled, stmts: &[Stmt], d: u8) -> Result<Option<Affine>, Unsupported> {
    let mut sum: Option<Affine> = None;
    let mut inside: Option<Affine> = None;
    for stmt in stmts {
        let Stmt::Loop { var, body } = stmt else { continue };
        let info = &kernel.loops[var.index()];
        if info.kind == LoopKind::Block(d) {
            sum = Some(sum.unwrap_or_default() + Affine::from(info.extent));
        } else if let Some(n) = blocks(kernel, body, d)? {
            inside = Some(match inside {
                None => n,
                Some(m) => larger(m, n)?,
            });
        }
    }
    match (sum, inside) {
        (Some(a), Some(b)) => larger(a, b).map(Some),
        (a, b) => Ok(a.or(b)),
    }
}

fn larger(a: Affine, b: Affine) -> Result<Affine, Unsupported> {
    match (a.as_constant(), b.as_constant()) {
        _ if a == b => Ok(a),
        (Some(x), Some(y)) => Ok(Affine::constant(x.max(y))),
        _ => unsupported("numbers of blocks that differ from place to place and are known only when running"),
    }
}
