//! Where threads of a block wait for each other.
//!
//! Since the last barrier some memory was read and some was written. A statement that reads what another thread may
//! have written, or writes what another thread may have read, needs a barrier before it; the outermost statement is
//! asked first, so barriers stand as far outside as they can, unless the statement is a loop that has to wait in each
//! iteration anyway.
//!
//! Two accesses are of one thread if the same thread loops are open around both and bind every dimension of the block:
//! iterations of thread loops are independent. What a run-time loop accesses counts as accessed before it, by an earlier
//! iteration; a thread loop inside may give that element to another thread then, unless both accesses have the same
//! address and it tells all threads apart.

use crate::access::{Access, is_injective};
use crate::shape::Shape;
use kernel::scheduled::LoopKind;
use kernel::{Scheduled, VarId};

#[derive(Clone)]
pub(crate) struct Pending<'a> {
    kernel: &'a Scheduled,
    block: [u32; 3],
    /// Accesses since the last barrier; `true` for those of an earlier iteration.
    accesses: Vec<(Access, bool)>,
}

impl<'a> Pending<'a> {
    pub fn new(kernel: &'a Scheduled, shape: &Shape) -> Pending<'a> {
        Pending { kernel, block: shape.block, accesses: vec![] }
    }

    /// A barrier stands here.
    pub fn clear(&mut self) {
        self.accesses.clear();
    }

    pub fn merge(&mut self, other: Pending) {
        self.accesses.extend(other.accesses);
    }

    pub fn add(&mut self, accesses: Vec<Access>) {
        self.accesses.extend(accesses.into_iter().map(|a| (a, false)));
    }

    /// Adds what the body of a loop under `threads` accesses in the iteration before.
    pub fn add_carried(&mut self, accesses: Vec<Access>, threads: &[VarId]) {
        self.accesses.extend(accesses.into_iter().map(|a| {
            let carried = a.threads != threads;
            (a, carried)
        }));
    }

    /// Whether one of `next` must not run before all threads are through with what is pending.
    pub fn conflicts(&self, next: &[Access]) -> bool {
        self.block != [1; 3]
            && self.accesses.iter().any(|(before, carried)| {
                next.iter().any(|a| {
                    a.buffer == before.buffer && a.store != before.store && !self.one_thread(before, *carried, a)
                })
            })
    }

    fn one_thread(&self, before: &Access, carried: bool, next: &Access) -> bool {
        let same_place = || before.at == next.at && next.at.as_ref().is_some_and(|at| is_injective(self.kernel, at));
        before.threads == next.threads && self.binds_block(&next.threads) && (!carried || same_place())
    }

    /// Whether these loops tell apart all threads of the block.
    fn binds_block(&self, threads: &[VarId]) -> bool {
        let binds = |d: usize| threads.iter().any(|v| self.kernel.loops[v.index()].kind == LoopKind::Thread(d as u8));
        (0..3).all(|d| self.block[d] == 1 || binds(d))
    }
}
