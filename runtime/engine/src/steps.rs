//! The steps of a plan with sizes filled in: tables of arguments, and what runs them.

use crate::code::{EntryFn, KernelFn};
use crate::cuda::{DeviceError, Queue};
use crate::formula::Formula;
use crate::plan::{Entry, Kernels, Launch, Motion, Place, Program, Size, Step};
use crate::pool::{Job, Pool};
use crate::session::CallError;
use crate::sizes::{integer, overflow};
use std::ops::Range;

/// Operations of one thread in a nanosecond, roughly: what a step costs decides whether threads share it.
const OPERATIONS_PER_NS: i64 = 32;

/// Nanoseconds below which a step stays on one thread: waking and joining costs about as much.
const SHARE_NS: i64 = 4_000;

/// A slot that holds a pointer into an input, an output or what is kept: so many bytes after its start.
pub(crate) struct Patch {
    pub step: usize,
    pub slot: usize,
    pub place: Place,
    pub offset: u64,
}

/// All steps in order; those of a loop stand after it.
pub(crate) struct Steps(Vec<BoundStep>);

enum BoundStep {
    Launch(BoundLaunch),
    Loop(BoundLoop),
    /// A table with the address of an integer.
    Size([u64; 2]),
}

pub(crate) struct BoundLaunch {
    work: Work,
    /// One table for each thread; of a GPU one.
    tables: Vec<Vec<u64>>,
}

/// What a launch runs, with its sizes filled in.
enum Work {
    /// Machine code; threads take `chunk` tasks at a time.
    Tasks { kernel: KernelFn, tasks: i64, chunk: i64 },
    /// A kernel of a GPU, so many blocks of it in each dimension.
    Blocks { kernel: usize, grid: [u32; 3] },
}

impl BoundLaunch {
    pub fn run(&self, pool: &mut Pool, queue: Option<&Queue>) -> Result<(), DeviceError> {
        match (&self.work, queue) {
            (Work::Tasks { kernel, tasks, chunk }, _) => {
                pool.run(&Task { kernel: *kernel, tables: &self.tables }, *tasks, *chunk);
                Ok(())
            }
            (Work::Blocks { grid, .. }, Some(_)) if grid.contains(&0) => Ok(()),
            // SAFETY: the table is what `bind` made for this kernel.
            (Work::Blocks { kernel, grid }, Some(queue)) => unsafe { queue.launch(*kernel, *grid, &self.tables[0]) },
            (_, None) => Err(DeviceError("a program for a GPU runs without one".into())),
        }
    }
}

struct BoundLoop {
    count: i64,
    steps: usize,
    /// The step and the slot of each address that changes.
    moves: Vec<(usize, usize)>,
    /// For each its first value, the mask and the stride.
    table: Vec<u64>,
}

impl BoundStep {
    fn table(&self) -> &[u64] {
        match self {
            BoundStep::Launch(launch) => &launch.tables[0],
            BoundStep::Loop(around) => &around.table,
            BoundStep::Size(table) => table,
        }
    }

    /// Where the table lies that code on one thread reads, and writes where a loop moves addresses.
    fn address(&mut self) -> usize {
        match self {
            BoundStep::Launch(launch) => launch.tables[0].as_mut_ptr() as usize,
            BoundStep::Loop(around) => around.table.as_mut_ptr() as usize,
            BoundStep::Size(table) => table.as_mut_ptr() as usize,
        }
    }

    fn set(&mut self, slot: usize, value: u64) {
        match self {
            BoundStep::Launch(launch) => launch.tables.iter_mut().for_each(|table| table[slot] = value),
            BoundStep::Loop(around) => around.table[slot] = value,
            BoundStep::Size(table) => table[slot] = value,
        }
    }

    /// Tasks of machine code, iterations of a loop.
    fn count(&self) -> i64 {
        match self {
            BoundStep::Launch(BoundLaunch { work: Work::Tasks { tasks, .. }, .. }) => *tasks,
            BoundStep::Launch(_) | BoundStep::Size(_) => 0,
            BoundStep::Loop(around) => around.count,
        }
    }
}

impl Steps {
    /// Runs the steps from `at` up to one that reads a size, and says which that is; `launch` runs a kernel.
    pub fn run_to_size(
        &mut self,
        at: usize,
        launch: &mut impl FnMut(usize, &BoundLaunch) -> Result<(), DeviceError>,
    ) -> Result<Option<usize>, DeviceError> {
        let size = self.0[at..].iter().position(|step| matches!(step, BoundStep::Size(_))).map(|n| at + n);
        self.run(at..size.unwrap_or(self.0.len()), launch)?;
        Ok(size)
    }

    /// Runs all steps with the sizes that were read last.
    pub fn run_all(
        &mut self,
        launch: &mut impl FnMut(usize, &BoundLaunch) -> Result<(), DeviceError>,
    ) -> Result<(), DeviceError> {
        self.run(0..self.0.len(), launch)
    }

    /// The integer that a step reads.
    ///
    /// # Safety
    /// The addresses in the tables are those of memory that lives.
    pub unsafe fn integer(&self, at: usize, step: &Step, queue: Option<&Queue>) -> Result<i128, DeviceError> {
        let Step::Size(Size { elem, .. }) = step else { return Ok(0) };
        let (elem, address) = (*elem, self.0[at].table()[1]);
        let mut bytes = [0; size_of::<i64>()];
        let bytes = &mut bytes[..elem.size()];
        // SAFETY: as the caller says; buffers of sizes hold one element.
        match queue {
            Some(queue) => unsafe { queue.bytes_at(address, bytes)? },
            None => unsafe { std::ptr::copy_nonoverlapping(address as *const u8, bytes.as_mut_ptr(), bytes.len()) },
        }
        Ok(integer(elem, bytes))
    }

    pub fn set(&mut self, step: usize, slot: usize, value: u64) {
        self.0[step].set(slot, value);
    }

    /// What the function of an entry takes that runs all steps on one thread; nothing if some are shared.
    pub fn whole(&mut self, entry: EntryFn, threads: usize) -> Option<Whole> {
        let one = |s: &BoundStep| match s {
            BoundStep::Launch(BoundLaunch { work: Work::Tasks { tasks, chunk, .. }, .. }) => {
                threads == 1 || tasks <= chunk
            }
            BoundStep::Launch(_) | BoundStep::Size(_) => false,
            BoundStep::Loop(_) => true,
        };
        self.0.iter().all(one).then(|| {
            let tables = self.0.iter_mut().map(BoundStep::address).collect();
            Whole { entry, tables, counts: self.0.iter().map(BoundStep::count).collect() }
        })
    }

    fn run(
        &mut self,
        range: Range<usize>,
        launch: &mut impl FnMut(usize, &BoundLaunch) -> Result<(), DeviceError>,
    ) -> Result<(), DeviceError> {
        let mut at = range.start;
        while at < range.end {
            let (count, body) = match &self.0[at] {
                BoundStep::Launch(step) => {
                    launch(at, step)?;
                    at += 1;
                    continue;
                }
                BoundStep::Loop(around) => (around.count, at + 1..at + 1 + around.steps),
                BoundStep::Size(_) => {
                    at += 1;
                    continue;
                }
            };
            self.change(at, |_, [first, ..]| first);
            for _ in 0..count {
                self.run(body.clone(), launch)?;
                self.change(at, |now, [_, mask, stride]| (now ^ mask).wrapping_add(stride));
            }
            at = body.end;
        }
        Ok(())
    }

    /// Gives the addresses that a loop moves new values, made from those they have.
    fn change(&mut self, index: usize, value: impl Fn(u64, [u64; 3]) -> u64) {
        let BoundStep::Loop(around) = &self.0[index] else { return };
        for i in 0..around.moves.len() {
            let BoundStep::Loop(around) = &self.0[index] else { return };
            let ((step, slot), words) = (around.moves[i], &around.table[3 * i..3 * i + 3]);
            let new = value(self.0[step].table()[slot], [words[0], words[1], words[2]]);
            self.0[step].set(slot, new);
        }
    }
}

/// The arguments of an entry's function.
pub(crate) struct Whole {
    entry: EntryFn,
    /// For each step the address of its table, and its tasks or iterations.
    tables: Vec<usize>,
    counts: Vec<i64>,
}

impl Whole {
    /// Runs all steps.
    ///
    /// # Safety
    /// The tables are still those of the steps that this was made of, and hold addresses of memory that lives.
    pub unsafe fn run(&self) {
        // SAFETY: as the caller says; there are a table and a number for each step.
        unsafe { (self.entry)(self.tables.as_ptr().cast(), self.counts.as_ptr()) }
    }
}

struct Task<'a> {
    kernel: KernelFn,
    tables: &'a [Vec<u64>],
}

impl Job for Task<'_> {
    fn run(&self, thread: usize, begin: i64, end: i64) {
        // SAFETY: the tables hold pointers to live buffers of the sizes the kernel was compiled for (`bind`).
        unsafe { (self.kernel)(self.tables[thread].as_ptr(), begin, end) }
    }
}

/// Where the memory lies that tables point to.
pub(crate) struct Memory<'s> {
    pub program: &'s Program,
    pub queue: Option<&'s Queue>,
    /// Addresses of the error word, of the arena, and of the scratch memory of each thread.
    pub error: u64,
    pub arena: u64,
    pub scratch: Vec<u64>,
    /// Of each buffer its offset in the arena, and its bytes.
    pub offsets: &'s [usize],
    pub bytes: &'s [usize],
}

impl Memory<'_> {
    /// The steps of a plan with tables for these sizes, and the slots that each call fills.
    pub fn tables(&self, plan: &Entry, symbols: &[i64]) -> Result<(Steps, Vec<Patch>), CallError> {
        let steps = plan.steps.iter().map(|step| self.step(plan, step, symbols)).collect::<Result<_, _>>()?;
        let mut steps = Steps(steps);
        let patches = self.addresses(plan, symbols, &mut steps)?;
        Ok((steps, patches))
    }

    fn step(&self, plan: &Entry, step: &Step, symbols: &[i64]) -> Result<BoundStep, CallError> {
        let value = |f: &Formula| f.evaluate(symbols).ok_or_else(|| overflow(plan, symbols));
        Ok(match step {
            Step::Launch(launch) => {
                let mut table = vec![self.error];
                table.resize(launch.buffers.len() + 1, 0);
                for size in &launch.sizes {
                    table.push(value(size)? as u64);
                }
                let work = self.work(plan, launch, symbols)?;
                let with_scratch = |s: &u64| table.iter().copied().chain([*s]).collect();
                let tables = match self.queue {
                    Some(_) => vec![table],
                    None => self.scratch.iter().map(with_scratch).collect(),
                };
                BoundStep::Launch(BoundLaunch { work, tables })
            }
            Step::Loop(around) => {
                let moves = around.moves.iter().map(|m| (m.step, m.slot)).collect();
                let table = vec![0; 3 * around.moves.len()];
                BoundStep::Loop(BoundLoop { count: value(&around.count)?, steps: around.steps, moves, table })
            }
            Step::Size(_) => BoundStep::Size([0; 2]),
        })
    }

    fn work(&self, plan: &Entry, launch: &Launch, symbols: &[i64]) -> Result<Work, CallError> {
        let overflow = || overflow(plan, symbols);
        // Sizes that are not read yet have some value, and differences of them may be negative.
        let count = |f: &Formula| f.evaluate(symbols).map(|n| n.max(0)).ok_or_else(overflow);
        let tasks = launch.tasks.iter().map(count).collect::<Result<Vec<_>, _>>()?;
        Ok(match &self.program.kernels {
            Kernels::Cpu(code) => {
                let cost = count(&launch.work)? / OPERATIONS_PER_NS;
                let threads = self.scratch.len() as i64;
                shared_out(code.kernel(launch.kernel), tasks[0], cost, threads).ok_or_else(overflow)?
            }
            Kernels::Cuda(kernels) => {
                if launch.buffers.iter().any(|b| self.bytes[*b] as u64 > kernels[launch.kernel].most) {
                    return Err(overflow());
                }
                Work::Blocks { kernel: launch.kernel, grid: grid(&tasks).ok_or_else(overflow)? }
            }
        })
    }

    /// Puts addresses into the tables; gives those that only a call knows.
    fn addresses(&self, plan: &Entry, symbols: &[i64], steps: &mut Steps) -> Result<Vec<Patch>, CallError> {
        let overflow = || overflow(plan, symbols);
        let value = |f: &Formula| f.evaluate(symbols).ok_or_else(overflow);
        let mut patches = vec![];
        for (index, step) in plan.steps.iter().enumerate() {
            for (position, buffer) in step.buffers().iter().enumerate() {
                // From the buffer to the memory that it is a part of; an address that a loop moves starts in its table.
                let (mut step, mut slot, mut at, mut offset) = (index, position + 1, *buffer, 0);
                while let Place::Part { of, start, moved_by } = &plan.buffers[at].place {
                    offset = value(start)?.checked_add(offset).ok_or_else(overflow)?;
                    at = *of;
                    let Some(by) = moved_by else { continue };
                    let Step::Loop(around) = &plan.steps[*by] else { continue };
                    let Some(number) = around.moves.iter().position(|m| (m.step, m.slot) == (step, slot)) else {
                        continue;
                    };
                    (step, slot) = (*by, 3 * number);
                    let (mask, stride) = match &around.moves[number].motion {
                        Motion::Stride(bytes) => (0, value(bytes)?),
                        Motion::Turn(bytes) => {
                            let first = self.address(&plan.buffers[at].place, at).unwrap_or(0);
                            (first ^ first.wrapping_add(value(bytes)? as u64), 0)
                        }
                    };
                    steps.set(step, slot + 1, mask);
                    steps.set(step, slot + 2, stride as u64);
                }
                let place = &plan.buffers[at].place;
                match self.address(place, at) {
                    Some(address) => steps.set(step, slot, address.wrapping_add(offset as u64)),
                    None => patches.push(Patch { step, slot, place: place.clone(), offset: offset as u64 }),
                }
            }
        }
        Ok(patches)
    }

    /// Where a buffer lies, unless only a call knows.
    fn address(&self, place: &Place, buffer: usize) -> Option<u64> {
        match place {
            Place::Constant(c) => {
                let constants = self.queue.map_or(self.program.memory.as_ptr() as u64, |q| q.device().constants());
                Some(constants + self.program.constants[*c].offset as u64)
            }
            Place::Arena { .. } => Some(self.arena + self.offsets[buffer] as u64),
            _ => None,
        }
    }
}

/// Tasks of machine code for threads, given the nanoseconds that they cost. Nothing if there are more than can be counted.
fn shared_out(kernel: KernelFn, tasks: i64, cost: i64, threads: i64) -> Option<Work> {
    // What threads share out is counted in parts of this.
    tasks.checked_mul(threads)?;
    let chunk = if cost < SHARE_NS { tasks.max(1) } else { chunk(tasks, threads) };
    Some(Work::Tasks { kernel, tasks, chunk })
}

/// Blocks in each dimension; nothing if they are more than a GPU takes.
fn grid(blocks: &[i64]) -> Option<[u32; 3]> {
    let most = [i32::MAX as i64, u16::MAX as i64, u16::MAX as i64];
    let fits = blocks.len() == 3 && blocks.iter().zip(most).all(|(n, most)| (0..=most).contains(n));
    fits.then(|| std::array::from_fn(|d| blocks[d] as u32))
}

/// Enough chunks that a late thread costs little, few enough that claiming does not.
fn chunk(tasks: i64, threads: i64) -> i64 {
    (tasks / (threads * 4)).max(1)
}
