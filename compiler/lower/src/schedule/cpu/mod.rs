//! Schedules for cores with vectors, and threads that share the outermost loop.

mod attention;
mod contraction;
mod convolution;
mod pointwise;
mod rows;

use super::{Shape, StageShape, ceil_div, local, shape};
pub use contraction::{Roles, roles};
use graph::GroupKind;
use kernel::{Buffer, Role};
pub use rows::{common_axes, leaves, temporary};

/// What a schedule needs to know of a core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vectors {
    /// Elements of 32 bits in a vector.
    pub lanes: i64,
    /// Vector registers.
    pub registers: i64,
}

/// A guess for extents without a maximum, when it comes to which loop threads share: most calls have small batches.
const BATCH: i64 = 4;

pub fn text(shape: &Shape, kind: GroupKind, target: &Vectors) -> Option<String> {
    match kind {
        GroupKind::Attention => attention::text(shape, target),
        GroupKind::Contraction => contraction::text(shape, target),
        GroupKind::Row => rows::text(shape, target),
        GroupKind::Pointwise | GroupKind::Scan => pointwise::text(shape, target),
    }
}

/// Splits of one axis into vectors: loops over blocks of `unroll` vectors, vectors, lanes. The names are derived from
/// the axis.
fn vectors(shape: &Shape, axis: kernel::VarId, unroll: i64, target: &Vectors) -> String {
    let (name, lanes) = (shape.name(axis), target.lanes);
    let block = lanes * unroll;
    let policy = match shape.extent(axis) {
        kernel::Extent::Const(_) => block.to_string(),
        kernel::Extent::Size(_) if unroll > 1 => format!("chain {block}+{lanes}+mask"),
        kernel::Extent::Size(_) => format!("chain {block}+mask"),
    };
    format!("split {name} {policy} {name}o {name}t; split {name}t {lanes} {name}v {name}l; ")
}

/// Results of this many bytes leave the caches before anybody reads them, so they are stored past them.
const STREAMED: i64 = 8 << 20;

/// `stream …` for the large results that are stored by whole vectors.
fn streams(shape: &Shape, target: &Vectors) -> String {
    let large = |s: &&StageShape| {
        let buffer = shape.target(s);
        let vectors = buffer.dims.last().and_then(|d| d.as_const()).is_some_and(|n| n % target.lanes == 0);
        s.role == Role::Out && vectors && bytes(buffer).is_some_and(|n| n >= STREAMED)
    };
    shape.stages.iter().filter(large).map(|s| format!("stream {}; ", s.name)).collect()
}

/// Size of a buffer, where it is known.
fn bytes(buffer: &Buffer) -> Option<i64> {
    let extents = buffer.dims.iter().map(|d| d.as_const());
    extents.product::<Option<i64>>().map(|n| n * buffer.elem.size() as i64)
}

/// How many vectors to take together of an axis: four, or fewer where that leaves less of the last block unused.
fn unroll_of(shape: &Shape, axis: kernel::VarId, target: &Vectors) -> i64 {
    match shape.extent(axis) {
        kernel::Extent::Const(n) => ceil_div(n, target.lanes).clamp(1, 4),
        kernel::Extent::Size(_) => 4,
    }
}

/// Loops over `axes`, outermost first; the largest of them, by guess, is shared by threads.
fn outer_loops(shape: &Shape, axes: &[kernel::VarId]) -> String {
    let tasks = |a: kernel::VarId| match shape.bounded(a) {
        true => shape.guess(a),
        false => BATCH,
    };
    let largest = axes.iter().rev().max_by_key(|a| tasks(**a)).copied();
    let mark = |a: &kernel::VarId| if Some(*a) == largest && tasks(*a) > 1 { "|" } else { "" };
    axes.iter().map(|a| format!("{}{}", shape.name(*a), mark(a))).collect::<Vec<_>>().join(" ")
}
