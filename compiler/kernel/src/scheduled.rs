//! The scheduled level: explicit loops over flat memory, register tiles, vector lanes. Back ends read only this.
//!
//! A loop variable runs from 0 to its extent; everything else about an index stands in the address. Registers are
//! small buffers whose addresses are constants once unrolled loops are written out. A `Lanes` loop is the vector: its
//! variable has coefficient 0, 1 or another constant in every address below it.

use crate::affine::{Affine, BufferId, ExprId, Extent, SizeId, VarId};
use crate::expr::{Combine, Exprs};
use tensor::Elem;

/// A size of a scheduled kernel: an argument, or derived from arguments once per call. Never negative.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizeInfo {
    pub name: String,
    pub value: SizeValue,
    pub min: i64,
    pub max: Option<i64>,
}

/// Affines here hold sizes and constants only.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SizeValue {
    Argument,
    /// The first task of this call, and the one after its last: a parallel loop runs a part of its tasks at a time.
    TaskBegin,
    TaskEnd,
    Linear(Affine),
    /// `floor(a / b)`, b positive.
    Floor(Affine, i64),
    Product(SizeId, SizeId),
    Min(Affine, Affine),
    Max(Affine, Affine),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LoopKind {
    Serial,
    /// Iterations are tasks; a call runs those from `TaskBegin` to `TaskEnd`.
    Parallel,
    /// Written out; equal loads are shared between iterations.
    Unroll,
    /// Written out; loads are not shared between iterations, which bounds live registers.
    UnrollFresh,
    /// The lanes of vectors.
    Lanes,
    /// CUDA: the index of the block in grid dimension 0 to 2, of the thread in block dimension 0 to 2.
    Block(u8),
    Thread(u8),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoopVar {
    pub name: String,
    pub extent: Extent,
    pub kind: LoopKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// Passed by the caller.
    Argument,
    /// Private memory of one task, at this offset in bytes of its scratch area.
    Scratch {
        offset: usize,
    },
    Register,
}

/// Flat storage of one buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    pub name: String,
    pub elem: Elem,
    pub place: Place,
    /// Elements, where that is a constant; always for scratch and registers.
    pub len: Option<i64>,
    pub written: bool,
    /// A load also fetches what lies this many elements further into the caches; 0 if not.
    pub prefetch: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stmt {
    Loop {
        var: VarId,
        body: Vec<Stmt>,
    },
    /// `target[at] = value`, or combined with what is there.
    Set {
        target: BufferId,
        at: Affine,
        combine: Option<Combine>,
        value: ExprId,
        stream: bool,
    },
}

/// A kernel ready for a back end. Loads have one affine subscript, the element offset, and at most one from data, in
/// elements too. Guards hold only ranges that are not known to hold.
#[derive(Clone, Debug, Default)]
pub struct Scheduled {
    pub name: String,
    pub sizes: Vec<SizeInfo>,
    pub loops: Vec<LoopVar>,
    pub storage: Vec<Storage>,
    pub exprs: Exprs,
    pub body: Vec<Stmt>,
    /// How many tasks the parallel loop has: constants and sizes only. 1 if there is none.
    pub tasks: Affine,
    /// Bytes of scratch a task needs.
    pub scratch: usize,
    /// Lanes of a vector.
    pub lanes: i64,
}

impl Scheduled {
    /// The values of all sizes, given the arguments in order.
    pub fn sizes(&self, arguments: &[i64], begin: i64, end: i64) -> Vec<i64> {
        let mut values: Vec<i64> = Vec::with_capacity(self.sizes.len());
        let mut arguments = arguments.iter();
        for info in &self.sizes {
            let at = |a: &Affine| a.evaluate(&|_| 0, &|s| values[s.index()]);
            let value = match &info.value {
                SizeValue::Argument => *arguments.next().expect("one value for each argument"),
                SizeValue::TaskBegin => begin,
                SizeValue::TaskEnd => end,
                SizeValue::Linear(a) => at(a),
                SizeValue::Floor(a, b) => at(a).div_euclid(*b),
                SizeValue::Product(a, b) => values[a.index()] * values[b.index()],
                SizeValue::Min(a, b) => at(a).min(at(b)),
                SizeValue::Max(a, b) => at(a).max(at(b)),
            };
            values.push(value);
        }
        values
    }
}
