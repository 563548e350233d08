//! Loads at a stride, where an unrolled loop around the vector moves along memory: as many vectors as there are lanes
//! are loaded along memory and transposed in registers, and each iteration takes its own. Stores at a stride of two: the
//! vectors of two iterations are stored together, their elements by turns.

use super::address::Split;
use super::expr::memory;
use super::{Active, Binding, Lower, Unsupported, unsupported};
use crate::vir::{Memory, Op, Unit, Value};
use kernel::{Affine, BufferId, Extent, VarId};

/// The vector of the first of two iterations.
pub(super) struct Waiting {
    pub var: VarId,
    pub target: BufferId,
    dynamic: Affine,
    constant: i64,
    value: Value,
}

impl Lower<'_> {
    /// The vector at `split` as one column of a square that iterations of an unrolled loop share; `flat` is its address
    /// in all of them. `None` where no such loop is open.
    pub(super) fn load_transposed(
        &mut self,
        buffer: BufferId,
        split: &Split,
        memory: Memory,
        flat: &Affine,
    ) -> Option<Value> {
        if memory.size() != 4 {
            return None;
        }
        let lanes = self.kernel.lanes;
        let rows = match self.lane?.active {
            Active::All => lanes,
            Active::First(n) => n,
            Active::Run(_) => return None,
        };
        let column = self.column(flat)?;
        let mut loaded = vec![];
        for row in 0..rows {
            let constant = split.constant - column + row * split.lane;
            let at = Split { constant, lane: 1, dynamic: split.dynamic.clone() };
            let (pointer, disp) = self.place(buffer, &at);
            loaded.push(self.pure(Op::Load { memory, disp }, &[pointer]));
        }
        // Lanes that are off hold anything.
        loaded.resize(lanes as usize, *loaded.last()?);
        Some(self.transposed(loaded)[column as usize])
    }

    /// The vector of elements that lie two apart: of two vectors along memory every second element. `bits` are the lanes
    /// that are read; the others are 0.
    pub(super) fn load_every_second(&mut self, buffer: BufferId, split: &Split, memory: Memory, bits: u32) -> Value {
        let lanes = self.kernel.lanes;
        let mut half = |from: i64| {
            let spread = (0..lanes / 2).filter(|i| bits >> (from + i) & 1 == 1).fold(0u32, |m, i| m | 1 << (2 * i));
            if spread == 0 {
                return self.splat(0);
            }
            let at = Split { constant: split.constant + 2 * from, lane: 1, dynamic: split.dynamic.clone() };
            let (pointer, disp) = self.place(buffer, &at);
            let mask = self.pure(Op::MaskConst(spread), &[]);
            self.pure(Op::Load { memory, disp }, &[pointer, mask])
        };
        let (low, high) = (half(0), half(lanes / 2));
        let mut unzip = |unit, odd, x: [Value; 2]| self.pure(Op::Unzip { unit, odd }, &x);
        // Elements are taken within blocks of four, so that blocks which follow each other are brought to one place.
        let pair = match lanes {
            4 => [low, high],
            _ => [unzip(Unit::Block, false, [low, high]), unzip(Unit::Block, true, [low, high])],
        };
        unzip(Unit::Lane, false, pair)
    }

    /// Stores a vector whose elements lie two apart: with the one that lies between them.
    pub(super) fn store_by_turns(
        &mut self,
        target: BufferId,
        at: &Affine,
        split: &Split,
        value: Value,
    ) -> Result<(), Unsupported> {
        let memory = memory(self.kernel.storage[target.index()].elem)?;
        let lanes = self.kernel.lanes;
        let count = match self.lane.map(|l| l.active) {
            Some(Active::All) => lanes,
            Some(Active::First(n)) => n,
            _ => return unsupported("stores by turns of a number of elements known when running"),
        };
        let Some((var, turn, turns)) = self.moving_by_one(at).next() else {
            return unsupported("stores at stride 2: stage them through a layout");
        };
        let (2, 4) = (turns, memory.size()) else {
            return unsupported("stores at stride 2 by more than two turns");
        };
        let (constant, dynamic) = (split.constant - turn, split.dynamic.clone());
        if turn == 0 {
            self.waiting.push(Waiting { var, target, dynamic, constant, value });
            return Ok(());
        }
        let first = |w: &Waiting| w.target == target && w.constant == constant && w.dynamic == dynamic;
        let Some(first) = self.waiting.iter().position(first) else {
            return unsupported("the second of two stores by turns without the first");
        };
        let first = self.waiting.remove(first).value;
        for high in [false, true] {
            let begin = if high { lanes } else { 0 };
            let count = (2 * count - begin).min(lanes);
            if count <= 0 {
                continue;
            }
            let both = self.pure(Op::Zip { high }, &[first, value]);
            let place = Split { constant: constant + begin, lane: 1, dynamic: dynamic.clone() };
            let (pointer, disp) = self.place(target, &place);
            let mask = (count < lanes).then(|| self.pure(Op::MaskConst((1u32 << count) - 1), &[]));
            let operands: Vec<Value> = [pointer, both].into_iter().chain(mask).collect();
            self.b.effect(Op::Store { memory, disp }, &operands);
        }
        self.forget_loads_of(target);
        Ok(())
    }

    /// The place of this iteration in a whole square of an unrolled loop that moves along memory by one.
    fn column(&self, flat: &Affine) -> Option<i64> {
        let lanes = self.kernel.lanes;
        self.moving_by_one(flat).find(|(_, i, n)| i / lanes * lanes + lanes <= *n).map(|(_, i, _)| i % lanes)
    }

    /// Unrolled loops whose iterations move an address by one element: their variables, iterations and extents.
    fn moving_by_one(&self, at: &Affine) -> impl Iterator<Item = (VarId, i64, i64)> {
        at.terms().iter().filter(|t| t.factor == 1 && t.size.is_none()).filter_map(|term| {
            let var = term.var.filter(|v| self.unrolled.contains(v))?;
            match (self.bindings[var.index()], self.kernel.loops[var.index()].extent) {
                (Binding::Const(i), Extent::Const(n)) => Some((var, i, n)),
                _ => None,
            }
        })
    }

    /// Columns of the square whose rows are given: elements within blocks of four lanes, then the blocks.
    fn transposed(&mut self, rows: Vec<Value>) -> Vec<Value> {
        let lanes = rows.len();
        let fours: Vec<[Value; 4]> =
            rows.chunks_exact(4).map(|r| self.four(Unit::Lane, [r[0], r[1], r[2], r[3]])).collect();
        let mut columns = vec![rows[0]; lanes];
        for within in 0..4 {
            match fours[..] {
                [a] => columns[within] = a[within],
                [a, b] => {
                    for (block, odd) in [(0, false), (1, true)] {
                        let op = Op::Unzip { unit: Unit::Block, odd };
                        columns[4 * block + within] = self.pure(op, &[a[within], b[within]]);
                    }
                }
                [a, b, c, d] => {
                    let blocks = self.four(Unit::Block, [a[within], b[within], c[within], d[within]]);
                    blocks.iter().enumerate().for_each(|(block, v)| columns[4 * block + within] = *v);
                }
                _ => unreachable!("vectors have 4, 8 or 16 lanes"),
            }
        }
        columns
    }

    /// Four vectors of four units each, transposed.
    fn four(&mut self, unit: Unit, [a, b, c, d]: [Value; 4]) -> [Value; 4] {
        let mut unzip = |odd, x, y| self.pure(Op::Unzip { unit, odd }, &[x, y]);
        let (ab, cd) = (unzip(false, a, b), unzip(false, c, d));
        let (ab_odd, cd_odd) = (unzip(true, a, b), unzip(true, c, d));
        [unzip(false, ab, cd), unzip(false, ab_odd, cd_odd), unzip(true, ab, cd), unzip(true, ab_odd, cd_odd)]
    }
}
