//! A session: the memory of one caller, and calls of entries.
//!
//! Sizes come from the shapes of the inputs, and from the values of some. A call with the sizes of the one before touches no allocator: argument
//! tables are ready, only the pointers to inputs and outputs are put in.

use crate::code::{Code, DIVISION_BY_ZERO, EntryFn, KernelFn};
use crate::cuda::{CudaKernel, DeviceBytes, DeviceError, Queue};
use crate::formula::Formula;
use crate::helper::Helper;
use crate::plan::{
    Chosen, Condition, Constant, Entry, Kernels, Launch, Motion, Place, PlanBuffer, Port, Program, Step,
};
use crate::pool::{Job, Pool};
use crate::room::Room;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use tensor::{AlignedBytes, Elem, Tensor};

/// Operations of one thread in a nanosecond, roughly: what a step costs decides whether threads share it.
const OPERATIONS_PER_NS: i64 = 32;

/// Nanoseconds below which a step stays on one thread: waking and joining costs about as much.
const SHARE_NS: i64 = 4_000;

/// Why a call was refused or failed. Nothing has been written to outputs unless the error says so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    #[error("no entry `{0}`; this program has {1}")]
    NoEntry(String, String),
    #[error("`{entry}` takes {expected} inputs, got {got}")]
    InputCount { entry: String, expected: usize, got: usize },
    #[error("`{entry}` gives {expected} outputs, got room for {got}")]
    OutputCount { entry: String, expected: usize, got: usize },
    #[error("input `{name}` must be {expected}, got {got}")]
    Input { name: String, expected: String, got: String },
    #[error("input `{name}` is {ty} but has {bytes} bytes")]
    InputBytes { name: String, ty: String, bytes: usize },
    #[error("output `{name}` must have room for {expected}, got {got}")]
    Output { name: String, expected: String, got: String },
    #[error("input `{name}` chooses a size and must be from 0 to {most}, got {got}")]
    Size { name: String, most: i64, got: i128 },
    #[error("{0}")]
    Guard(String),
    #[error("{0}")]
    Device(#[from] DeviceError),
    #[error("sizes {0} are too large for this machine's integers; call with smaller ones")]
    Overflow(String),
    #[error("`{entry}` needs {bytes} bytes {sizes}more than this machine has free; call with smaller sizes")]
    Memory { entry: String, bytes: usize, sizes: String },
    #[error(
        "an integer is divided by zero in `{entry}`, {at}, so its outputs are not valid; check the inputs that are divided by"
    )]
    Division {
        entry: String,
        /// Where, as [`CallError::Index`] has it.
        at: String,
    },
    #[error(
        "an index read from data is out of range in `{entry}`, {at}, so its outputs are not valid; each index is at least 0 and below the size of what it chooses from"
    )]
    Index {
        entry: String,
        /// `at bert.nn:23, which reads `ids``: the line of the source, and the integer inputs that are read there.
        at: String,
    },
}

impl CallError {
    /// A result of this shape is more than the machine has memory for.
    pub fn no_room(entry: &Entry, output: &Port, shape: &[usize]) -> CallError {
        let sizes = format!("for {} of `{}`, ", concrete(output.elem, shape), output.name);
        // The session has counted them.
        let bytes = tensor::size_in_bytes(output.elem, shape).unwrap_or(usize::MAX);
        CallError::Memory { entry: entry.name.clone(), bytes, sizes }
    }
}

/// A tensor of the caller, row-major.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub elem: Elem,
    pub shape: &'a [usize],
    pub bytes: &'a [u8],
}

impl View<'_> {
    /// Whether there are as many bytes as the shape says.
    fn is_whole(&self) -> bool {
        tensor::size_in_bytes(self.elem, self.shape) == Some(self.bytes.len())
    }
}

/// Room for a result.
pub struct ViewMut<'a> {
    pub elem: Elem,
    pub shape: &'a [usize],
    pub bytes: &'a mut [u8],
}

/// What an entry can read.
pub trait AsView {
    fn as_view(&self) -> View<'_>;
}

/// What an entry can write to.
pub trait AsViewMut {
    fn as_view_mut(&mut self) -> ViewMut<'_>;
}

impl AsView for View<'_> {
    fn as_view(&self) -> View<'_> {
        *self
    }
}

impl AsView for Tensor {
    fn as_view(&self) -> View<'_> {
        View { elem: self.elem, shape: &self.shape, bytes: &self.bytes }
    }
}

impl AsViewMut for ViewMut<'_> {
    fn as_view_mut(&mut self) -> ViewMut<'_> {
        ViewMut { elem: self.elem, shape: self.shape, bytes: self.bytes }
    }
}

impl AsViewMut for Tensor {
    fn as_view_mut(&mut self) -> ViewMut<'_> {
        ViewMut { elem: self.elem, shape: &self.shape, bytes: &mut self.bytes }
    }
}

/// What one launch of a plan took, all iterations of the loops around it together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timed {
    /// Of the kernel.
    pub name: String,
    /// The line of the model's source that it comes from.
    pub source: String,
    pub nanoseconds: u64,
    /// Operations, roughly.
    pub work: u64,
    /// Bytes read and written, those of each iteration counted again.
    pub bytes: u64,
}

/// The memory of one caller, and calls of entries.
pub struct Session {
    program: Arc<Program>,
    pool: Pool,
    /// Where steps of programs for GPUs run, from the first call on.
    queue: Option<Queue>,
    arena: Room,
    scratch: Vec<AlignedBytes>,
    /// What the program keeps from call to call, and room for the next versions.
    kept: Vec<Room>,
    next: Vec<Room>,
    bound: Vec<Option<Bound>>,
    error: Box<i64>,
}

/// An entry with its sizes filled in.
struct Bound {
    symbols: Vec<i64>,
    outputs: Vec<Vec<usize>>,
    steps: Steps,
    /// All steps as one function, if none is shared between threads.
    whole: Option<Whole>,
    /// Bytes of what is kept, and of next versions.
    kept: Vec<(Place, usize)>,
    patches: Vec<Patch>,
    /// Copies of inputs and outputs where a GPU sees them.
    staged: Option<Staged>,
    /// Address of the arena when the tables were filled.
    arena: u64,
    peak: usize,
}

struct Staged {
    inputs: Vec<DeviceBytes>,
    outputs: Vec<DeviceBytes>,
}

/// A slot that holds a pointer into an input, an output or what is kept: so many bytes after its start.
struct Patch {
    step: usize,
    slot: usize,
    place: Place,
    offset: u64,
}

/// Launches and loops, in order; the steps of a loop stand after it.
struct Steps(Vec<BoundStep>);

enum BoundStep {
    Launch(BoundLaunch),
    Loop(BoundLoop),
}

struct BoundLaunch {
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
    /// A routine of the engine between kernels of a GPU, and the bytes of each of its buffers.
    Routine { helper: Helper, tasks: i64, bytes: Vec<usize> },
}

impl BoundLaunch {
    fn run(&self, pool: &mut Pool, queue: Option<&mut Queue>) -> Result<(), DeviceError> {
        match (&self.work, queue) {
            (Work::Tasks { kernel, tasks, chunk }, _) => {
                pool.run(&Task { kernel: *kernel, tables: &self.tables }, *tasks, *chunk);
                Ok(())
            }
            (Work::Blocks { grid, .. }, Some(_)) if grid.contains(&0) => Ok(()),
            // SAFETY: the table is what `bind` made for this kernel.
            (Work::Blocks { kernel, grid }, Some(queue)) => unsafe { queue.launch(*kernel, *grid, &self.tables[0]) },
            // SAFETY: as above.
            (Work::Routine { helper, tasks, bytes }, Some(queue)) => unsafe {
                queue.routine(*helper, *tasks, &self.tables[0], bytes)
            },
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
        }
    }

    /// Where the table lies that code on one thread reads, and writes where a loop moves addresses.
    fn address(&mut self) -> usize {
        match self {
            BoundStep::Launch(launch) => launch.tables[0].as_mut_ptr() as usize,
            BoundStep::Loop(around) => around.table.as_mut_ptr() as usize,
        }
    }

    fn set(&mut self, slot: usize, value: u64) {
        match self {
            BoundStep::Launch(launch) => launch.tables.iter_mut().for_each(|table| table[slot] = value),
            BoundStep::Loop(around) => around.table[slot] = value,
        }
    }

    /// Tasks of machine code, iterations of a loop.
    fn count(&self) -> i64 {
        match self {
            BoundStep::Launch(BoundLaunch { work: Work::Tasks { tasks, .. }, .. }) => *tasks,
            BoundStep::Launch(_) => 0,
            BoundStep::Loop(around) => around.count,
        }
    }
}

impl Steps {
    /// Runs all steps one after the other; `launch` runs a kernel.
    fn run_all(
        &mut self,
        launch: &mut impl FnMut(usize, &BoundLaunch) -> Result<(), DeviceError>,
    ) -> Result<(), DeviceError> {
        self.run(0..self.0.len(), launch)
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
struct Whole {
    entry: EntryFn,
    /// For each step the address of its table, and its tasks or iterations.
    tables: Vec<usize>,
    counts: Vec<i64>,
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

impl Session {
    /// A session that runs on `threads` threads, its caller's among them.
    pub fn new(program: Arc<Program>, threads: usize) -> Session {
        let bound = program.entries.iter().map(|_| None).collect();
        let nothing = || program.kept.iter().map(|_| Room::empty()).collect();
        let (kept, next) = (nothing(), nothing());
        let (pool, arena, error) = (Pool::new(threads), Room::empty(), Box::new(0));
        Session { program, pool, queue: None, arena, scratch: vec![], kept, next, bound, error }
    }

    pub fn program(&self) -> &Program {
        &self.program
    }

    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    pub fn entry_index(&self, name: &str) -> Result<usize, CallError> {
        let entries = &self.program.entries;
        entries.iter().position(|e| e.name == name).ok_or_else(|| self.no_entry(name))
    }

    fn no_entry(&self, name: &str) -> CallError {
        let names: Vec<String> = self.program.entries.iter().map(|e| format!("`{}`", e.name)).collect();
        CallError::NoEntry(name.into(), names.join(", "))
    }

    /// Shapes of the results for these inputs, after all checks.
    pub fn output_shapes(&mut self, entry: usize, inputs: &[impl AsView]) -> Result<Vec<Vec<usize>>, CallError> {
        self.prepare(entry, inputs)?;
        Ok(self.bound[entry].as_ref().expect("prepared").outputs.clone())
    }

    /// Bytes of planned memory that the last sizes of an entry need.
    pub fn peak_bytes(&self, entry: usize) -> usize {
        self.bound.get(entry).and_then(Option::as_ref).map_or(0, |b| b.peak)
    }

    /// Runs an entry. Outputs have the shapes of [`Session::output_shapes`]. What the program keeps has its next version
    /// after a call that succeeds; after one that fails it is as before. Where sizes of what is kept differ from those
    /// of the call before, it starts anew.
    pub fn call(
        &mut self,
        entry: usize,
        inputs: &[impl AsView],
        outputs: &mut [impl AsViewMut],
    ) -> Result<(), CallError> {
        self.prepare(entry, inputs)?;
        let plan = &self.program.entries[entry];
        let bound = self.bound[entry].as_mut().expect("prepared");
        check_outputs(plan, bound, outputs)?;
        make_room(&self.program, self.queue.as_ref(), &bound.kept, &mut self.kept, &mut self.next)?
            .map_err(|bytes| no_memory(plan, &bound.symbols, bytes))?;
        for Patch { step, slot, place, offset } in &bound.patches {
            let pointer = match (place, &bound.staged) {
                (Place::Input(i), None) => inputs[*i].as_view().bytes.as_ptr() as u64,
                (Place::Output(i), None) => outputs[*i].as_view_mut().bytes.as_mut_ptr() as u64,
                (Place::Input(i), Some(staged)) => staged.inputs[*i].address(),
                (Place::Output(i), Some(staged)) => staged.outputs[*i].address(),
                (Place::Kept(k), _) => self.kept[*k].address(),
                (Place::Next(k), _) => self.next[*k].address(),
                (Place::Constant(_) | Place::Arena { .. } | Place::Part { .. }, _) => continue,
            };
            bound.steps.0[*step].set(*slot, pointer.wrapping_add(*offset));
        }
        let error = match (&mut self.queue, &mut bound.staged) {
            (Some(queue), Some(staged)) => staged.call(queue, &mut self.pool, &mut bound.steps, inputs, outputs)?,
            _ => {
                *self.error = 0;
                match &bound.whole {
                    // SAFETY: as in `Task`; there are a table and a number for each step.
                    Some(whole) => unsafe { (whole.entry)(whole.tables.as_ptr().cast(), whole.counts.as_ptr()) },
                    None => bound.steps.run_all(&mut |_, step| step.run(&mut self.pool, None))?,
                }
                // SAFETY: kernels write the word through a pointer kept in their tables.
                unsafe { std::ptr::read_volatile(&*self.error) }
            }
        };
        match error {
            0 => {
                plan.updates.iter().for_each(|k| std::mem::swap(&mut self.kept[*k], &mut self.next[*k]));
                Ok(())
            }
            error => {
                let (entry, at) = (plan.name.clone(), self.place_of_error(entry));
                Err(match error & DIVISION_BY_ZERO {
                    0 => CallError::Index { entry, at },
                    _ => CallError::Division { entry, at },
                })
            }
        }
    }

    /// Where in the source the error word is set first, found by running the steps again one by one.
    fn place_of_error(&mut self, entry: usize) -> String {
        let plan = &self.program.entries[entry];
        let Some(bound) = self.bound[entry].as_mut() else { return String::new() };
        let (pool, queue, error) = (&mut self.pool, &mut self.queue, &mut self.error);
        **error = 0;
        let mut first = None;
        let ran = queue.as_mut().map_or(Ok(()), |queue| queue.set_error(0));
        let ran = ran.and_then(|()| {
            bound.steps.run_all(&mut |index, step| {
                step.run(pool, queue.as_mut())?;
                let word = match &queue {
                    Some(queue) => queue.error()?,
                    // SAFETY: as in `call`.
                    None => unsafe { std::ptr::read_volatile(&**error) },
                };
                if word != 0 {
                    first.get_or_insert(index);
                }
                Ok(())
            })
        });
        if let Err(e) = ran {
            return format!("at a place that is not known: {e}");
        }
        // What is kept is as it was before the call, so the same step fails again.
        let Some(step) = first.and_then(|index| plan.steps[index].launch()) else { return "somewhere".into() };
        let integers = step.buffers.iter().filter_map(|b| match plan.buffers[*b].place {
            Place::Input(i) if plan.inputs[i].elem.is_int() => Some(format!("`{}`", plan.inputs[i].name)),
            _ => None,
        });
        let integers: Vec<String> = integers.collect();
        match integers.is_empty() {
            true => format!("at {}", step.source),
            false => format!("at {}, which reads {}", step.source, integers.join(" and ")),
        }
    }

    /// As [`Session::call`], with room for the results made here.
    pub fn results(&mut self, entry: usize, inputs: &[impl AsView]) -> Result<Vec<Tensor>, CallError> {
        let shapes = self.output_shapes(entry, inputs)?;
        let plan = &self.program.entries[entry];
        let room = |(port, shape): (&Port, &Vec<usize>)| {
            Tensor::try_zeros(port.elem, shape).ok_or_else(|| CallError::no_room(plan, port, shape))
        };
        let mut results = plan.outputs.iter().zip(&shapes).map(room).collect::<Result<Vec<_>, _>>()?;
        self.call(entry, inputs, &mut results)?;
        Ok(results)
    }

    /// What the session keeps under a name, as it is now; before the first call that needs it, what it starts as. Empty if
    /// its size is not known yet.
    pub fn kept(&self, name: &str) -> Result<Option<Cow<'_, [u8]>>, CallError> {
        let Some(index) = self.program.kept.iter().position(|k| k.name == name) else { return Ok(None) };
        match (&self.kept[index], self.program.kept[index].initial) {
            (kept, Some(initial)) if kept.len() == 0 => {
                let Constant { offset, len, .. } = self.program.constants[initial];
                Ok(Some(Cow::Borrowed(&self.program.memory[offset..offset + len])))
            }
            (kept, _) => Ok(Some(kept.read()?)),
        }
    }

    /// Gives what is kept under a name another value, row-major; whether there is something of that name. A value of another
    /// size than calls need is dropped by the next one.
    pub fn set_kept(&mut self, name: &str, bytes: &[u8]) -> bool {
        let index = self.program.kept.iter().position(|k| k.name == name);
        index.iter().for_each(|i| self.kept[*i] = Room::Host(bytes.into()));
        index.is_some()
    }

    /// Times each launch of an entry, after a call has bound it.
    pub fn profile(&mut self, entry: usize) -> Result<Vec<Timed>, CallError> {
        let Some(Some(bound)) = self.bound.get_mut(entry) else { return Ok(vec![]) };
        let plan = &self.program.entries[entry];
        let mut times = vec![(0, 0); plan.steps.len()];
        let (pool, queue) = (&mut self.pool, &mut self.queue);
        bound.steps.run_all(&mut |index, step| {
            times[index].0 += match queue {
                Some(queue) => queue.timed(|queue| step.run(pool, Some(queue)))?,
                None => {
                    let start = std::time::Instant::now();
                    step.run(pool, None)?;
                    start.elapsed().as_nanos() as u64
                }
            };
            times[index].1 += 1;
            Ok(())
        })?;
        let timed = |(step, (nanoseconds, runs)): (&Step, (u64, u64))| {
            let Launch { name, source, work, bytes, .. } = step.launch()?;
            let (name, source) = (name.clone(), source.clone());
            let all = |f: &Formula| runs.saturating_mul(f.evaluate(&bound.symbols).unwrap_or(0).max(0) as u64);
            Some(Timed { name, source, nanoseconds, work: all(work), bytes: all(bytes) })
        };
        Ok(plan.steps.iter().zip(times).filter_map(timed).collect())
    }

    fn prepare(&mut self, entry: usize, inputs: &[impl AsView]) -> Result<(), CallError> {
        let plan = self.program.entries.get(entry).ok_or_else(|| self.no_entry(&entry.to_string()))?;
        if inputs.len() != plan.inputs.len() {
            let (expected, got) = (plan.inputs.len(), inputs.len());
            return Err(CallError::InputCount { entry: plan.name.clone(), expected, got });
        }
        if let Some(bound) = &self.bound[entry]
            && bound.arena == self.arena.address()
            && plan.inputs.iter().zip(inputs).all(|(port, view)| fits(port, &view.as_view(), &bound.symbols))
            && plan.symbols.iter().zip(&bound.symbols).all(|(symbol, n)| match &symbol.chosen {
                Chosen::ByDims => true,
                Chosen::ByValue { input, .. } => integer(&inputs[*input].as_view()) == *n as i128,
            })
        {
            return Ok(());
        }
        let views: Vec<View> = inputs.iter().map(AsView::as_view).collect();
        let symbols = solve(plan, &views)?;
        if self.queue.is_none()
            && let Some(device) = self.program.device()?
        {
            self.queue = Some(device.queue()?);
        }
        self.bind(entry, symbols)
    }

    fn bind(&mut self, entry: usize, symbols: Vec<i64>) -> Result<(), CallError> {
        let program = self.program.clone();
        let plan = &program.entries[entry];
        let overflow = || CallError::Overflow(named(plan, &symbols));
        let value = |f: &Formula| f.evaluate(&symbols).ok_or_else(overflow);
        check_guards(plan, &symbols)?;
        let mut bytes = vec![];
        for buffer in &plan.buffers {
            bytes.push(usize::try_from(value(&buffer.bytes)?).map_err(|_| overflow())?);
        }
        let (offsets, peak) = place(plan, &bytes).ok_or_else(overflow)?;
        let queue = self.queue.as_ref();
        if peak > self.arena.len() {
            // Half as much again, so that sizes that grow from call to call seldom need new memory.
            let more = Room::zeroed(queue, peak.max(self.arena.len() / 2 * 3));
            let more = more.or_else(|| Room::zeroed(queue, peak));
            self.arena = more.ok_or_else(|| no_memory(plan, &symbols, peak))?;
        }
        let threads = self.pool.threads();
        let launches = plan.steps.iter().filter_map(Step::launch);
        let scratch = launches.map(|s| s.scratch).max().unwrap_or(0);
        let room = |bytes: usize| AlignedBytes::try_zeroed(bytes).ok_or_else(|| no_memory(plan, &symbols, bytes));
        if queue.is_none() && self.scratch.first().is_none_or(|s| s.len() < scratch) {
            self.scratch = (0..threads).map(|_| room(scratch)).collect::<Result<_, _>>()?;
            // Tables of other entries point to the old memory.
            self.bound.iter_mut().for_each(|b| *b = None);
        }
        let arena = self.arena.address();
        let constants = queue.map_or(program.memory.as_ptr() as u64, |q| q.device().constants());
        let address = |place: &Place, buffer: usize| match place {
            Place::Constant(c) => Some(constants + program.constants[*c].offset as u64),
            Place::Arena { .. } => Some(arena + offsets[buffer] as u64),
            // Only a call knows.
            _ => None,
        };
        let mut steps = vec![];
        for step in &plan.steps {
            steps.push(match step {
                Step::Launch(step) => {
                    let mut table = vec![queue.map_or(&raw mut *self.error as u64, Queue::error_address)];
                    table.resize(step.buffers.len() + 1, 0);
                    for size in &step.sizes {
                        table.push(value(size)? as u64);
                    }
                    let tasks = step.tasks.iter().map(value).collect::<Result<Vec<_>, _>>()?;
                    let work = match &program.kernels {
                        Kernels::Cpu(code) => {
                            let cost = value(&step.work)? / OPERATIONS_PER_NS;
                            shared_out(code.kernel(step.kernel), tasks[0], cost, threads as i64).ok_or_else(overflow)?
                        }
                        Kernels::Cuda(kernels) => match kernels[step.kernel] {
                            CudaKernel::Loops { most, .. } => {
                                if step.buffers.iter().any(|b| bytes[*b] as u64 > most) {
                                    return Err(overflow());
                                }
                                Work::Blocks { kernel: step.kernel, grid: grid(&tasks).ok_or_else(overflow)? }
                            }
                            CudaKernel::Routine(helper) => {
                                let bytes = step.buffers.iter().map(|b| bytes[*b]).collect();
                                Work::Routine { helper, tasks: tasks[0], bytes }
                            }
                        },
                    };
                    let with_scratch =
                        |s: &mut AlignedBytes| table.iter().copied().chain([s.as_mut_ptr() as u64]).collect();
                    let tables = match queue {
                        Some(_) => vec![table],
                        None => self.scratch.iter_mut().map(with_scratch).collect(),
                    };
                    BoundStep::Launch(BoundLaunch { work, tables })
                }
                Step::Loop(around) => {
                    let moves = around.moves.iter().map(|m| (m.step, m.slot)).collect();
                    let table = vec![0; 3 * around.moves.len()];
                    BoundStep::Loop(BoundLoop { count: value(&around.count)?, steps: around.steps, moves, table })
                }
            });
        }
        let mut patches = vec![];
        for (index, step) in plan.steps.iter().enumerate() {
            let buffers = step.launch().map_or(&[][..], |launch| &launch.buffers);
            for (position, buffer) in buffers.iter().enumerate() {
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
                            let first = address(&plan.buffers[at].place, at).unwrap_or(0);
                            (first ^ first.wrapping_add(value(bytes)? as u64), 0)
                        }
                    };
                    steps[step].set(slot + 1, mask);
                    steps[step].set(slot + 2, stride as u64);
                }
                let place = &plan.buffers[at].place;
                match address(place, at) {
                    Some(address) => steps[step].set(slot, address.wrapping_add(offset as u64)),
                    None => patches.push(Patch { step, slot, place: place.clone(), offset: offset as u64 }),
                }
            }
        }
        let mut outputs = vec![];
        for port in &plan.outputs {
            let size = |d: &Formula| usize::try_from(value(d)?).map_err(|_| overflow());
            let shape = port.dims.iter().map(size).collect::<Result<Vec<_>, _>>()?;
            tensor::size_in_bytes(port.elem, &shape).ok_or_else(overflow)?;
            outputs.push(shape);
        }
        let one = |s: &BoundStep| match s {
            BoundStep::Launch(BoundLaunch { work: Work::Tasks { tasks, chunk, .. }, .. }) => {
                threads == 1 || tasks <= chunk
            }
            BoundStep::Launch(_) => false,
            BoundStep::Loop(_) => true,
        };
        let whole = |code: &Arc<Code>, steps: &mut Vec<BoundStep>| Whole {
            entry: code.entry(entry),
            tables: steps.iter_mut().map(BoundStep::address).collect(),
            counts: steps.iter().map(BoundStep::count).collect(),
        };
        let whole = match &program.kernels {
            Kernels::Cpu(code) if steps.iter().all(one) => Some(whole(code, &mut steps)),
            _ => None,
        };
        let staged = match queue {
            None => None,
            Some(queue) => {
                let of = |ports: &[Port]| {
                    let sizes = ports.iter().map(|port| {
                        let dims = port.dims.iter().map(|d| usize::try_from(value(d)?).map_err(|_| overflow()));
                        let dims = dims.collect::<Result<Vec<_>, _>>()?;
                        tensor::size_in_bytes(port.elem, &dims).ok_or_else(overflow)
                    });
                    let room = |n: Result<usize, CallError>| {
                        n.and_then(|n| queue.zeroed(n).map_err(|_| no_memory(plan, &symbols, n)))
                    };
                    sizes.map(room).collect::<Result<Vec<_>, CallError>>()
                };
                Some(Staged { inputs: of(&plan.inputs)?, outputs: of(&plan.outputs)? })
            }
        };
        let steps = Steps(steps);
        let changing = |b: &PlanBuffer| matches!(b.place, Place::Kept(_) | Place::Next(_));
        let kept = plan.buffers.iter().zip(&bytes).filter(|(b, _)| changing(b)).map(|(b, n)| (b.place.clone(), *n));
        let kept = kept.collect();
        self.bound[entry] = Some(Bound { symbols, outputs, steps, whole, kept, patches, staged, arena, peak });
        Ok(())
    }
}

impl Entry {
    /// Bytes of the memory between steps, for these values of the symbols; `None` if a size overflows.
    pub fn arena_bytes(&self, symbols: &[i64]) -> Option<usize> {
        let bytes = self.buffers.iter().map(|b| usize::try_from(b.bytes.evaluate(symbols)?).ok());
        Some(place(self, &bytes.collect::<Option<Vec<usize>>>()?)?.1)
    }
}

impl Staged {
    /// Runs steps on a GPU, inputs copied there and outputs from there; gives the error word.
    fn call(
        &mut self,
        queue: &mut Queue,
        pool: &mut Pool,
        steps: &mut Steps,
        inputs: &[impl AsView],
        outputs: &mut [impl AsViewMut],
    ) -> Result<i64, DeviceError> {
        for (room, input) in self.inputs.iter_mut().zip(inputs) {
            room.write(input.as_view().bytes)?;
        }
        queue.set_error(0)?;
        steps.run_all(&mut |_, step| step.run(pool, Some(queue)))?;
        let error = queue.error()?;
        if error == 0 {
            for (room, output) in self.outputs.iter().zip(outputs) {
                room.read(output.as_view_mut().bytes)?;
            }
        }
        Ok(error)
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

/// Gives what is kept the sizes of a call. What has another size starts as at first: as a constant, or as zeros. Where
/// there is no memory for it, gives the bytes that were wanted.
fn make_room(
    program: &Program,
    queue: Option<&Queue>,
    sizes: &[(Place, usize)],
    kept: &mut [Room],
    next: &mut [Room],
) -> Result<Result<(), usize>, DeviceError> {
    for (place, bytes) in sizes {
        let room = || Room::zeroed(queue, *bytes);
        match place {
            Place::Kept(k) if kept[*k].len() != *bytes => {
                let Some(mut room) = room() else { return Ok(Err(*bytes)) };
                if let Some(initial) = program.kept[*k].initial {
                    let Constant { offset, .. } = program.constants[initial];
                    room.write(&program.memory[offset..offset + bytes])?;
                }
                kept[*k] = room;
            }
            // What a caller gave goes to where the work is done.
            Place::Kept(k) if queue.is_some() && matches!(kept[*k], Room::Host(_)) => {
                let Some(mut room) = room() else { return Ok(Err(*bytes)) };
                room.write(&kept[*k].read()?)?;
                kept[*k] = room;
            }
            Place::Next(k) if next[*k].len() != *bytes => match room() {
                Some(room) => next[*k] = room,
                None => return Ok(Err(*bytes)),
            },
            _ => {}
        }
    }
    Ok(Ok(()))
}

fn no_memory(plan: &Entry, symbols: &[i64], bytes: usize) -> CallError {
    let sizes = if symbols.is_empty() { String::new() } else { format!("for {}, ", named(plan, symbols)) };
    CallError::Memory { entry: plan.name.clone(), bytes, sizes }
}

/// Enough chunks that a late thread costs little, few enough that claiming does not.
fn chunk(tasks: i64, threads: i64) -> i64 {
    (tasks / (threads * 4)).max(1)
}

/// Offsets in the arena by liveness, and the bytes of it: largest buffers first, each at the lowest place free for its
/// whole life. Nothing if that is more than can be counted.
fn place(plan: &Entry, bytes: &[usize]) -> Option<(Vec<usize>, usize)> {
    let life = |i: usize| match plan.buffers[i].place {
        Place::Arena { first, last } => Some((first, last)),
        _ => None,
    };
    let mut order: Vec<(usize, (usize, usize))> = (0..bytes.len()).filter_map(|i| Some((i, life(i)?))).collect();
    order.sort_by_key(|(i, _)| std::cmp::Reverse(bytes[*i]));
    let mut offsets = vec![0; bytes.len()];
    // First and last step of what is placed, and where it starts and ends.
    let mut placed: Vec<[usize; 4]> = vec![];
    let mut peak = 0;
    for (i, (first, last)) in order {
        // A line of room after each buffer: vector loads may read past an end.
        let room = bytes[i].checked_next_multiple_of(64)?.checked_add(64)?;
        let together = placed.iter().filter(|[f, l, ..]| *f <= last && first <= *l);
        let mut taken: Vec<(usize, usize)> = together.map(|[_, _, from, to]| (*from, *to)).collect();
        taken.sort();
        let mut at = 0usize;
        for (from, to) in taken {
            if from.saturating_sub(at) >= room {
                break;
            }
            at = at.max(to);
        }
        let end = at.checked_add(room)?;
        offsets[i] = at;
        peak = peak.max(end);
        placed.push([first, last, at, end]);
    }
    Some((offsets, peak))
}

fn fits(port: &Port, view: &View, symbols: &[i64]) -> bool {
    let same = |(dim, n): (&Formula, &usize)| match dim {
        Formula::Const(c) => *c == *n as i64,
        Formula::Symbol(s) => symbols.get(*s) == Some(&(*n as i64)),
        dim => dim.evaluate(symbols) == Some(*n as i64),
    };
    let kind = port.elem == view.elem && port.dims.len() == view.shape.len();
    kind && port.dims.iter().zip(view.shape).all(same) && view.is_whole()
}

/// The integer that a view without dims holds.
fn integer(view: &View) -> i128 {
    let negative = view.elem.is_signed() && view.bytes.last().is_some_and(|byte| *byte > 127);
    let bytes = view.bytes.iter().copied().chain(std::iter::repeat(if negative { 255 } else { 0 }));
    let mut whole = [0; 16];
    whole.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    i128::from_le_bytes(whole)
}

/// The symbols' values from the shapes of the inputs, and from the values of those that choose a size.
fn solve(plan: &Entry, inputs: &[View]) -> Result<Vec<i64>, CallError> {
    let mut symbols: Vec<Option<i64>> = vec![None; plan.symbols.len()];
    for (port, view) in plan.inputs.iter().zip(inputs) {
        if port.elem != view.elem || port.dims.len() != view.shape.len() || !view.is_whole() {
            return Err(mismatch(plan, port, view));
        }
        for (dim, n) in port.dims.iter().zip(view.shape) {
            if let Formula::Symbol(s) = dim
                && symbols[*s].is_none()
            {
                symbols[*s] = Some(*n as i64);
            }
        }
    }
    let mut known: Vec<i64> = symbols.iter().map(|s| s.unwrap_or(0)).collect();
    for (s, symbol) in plan.symbols.iter().enumerate() {
        let Chosen::ByValue { input, most } = &symbol.chosen else { continue };
        let most = most.evaluate(&known).ok_or_else(|| CallError::Overflow(named(plan, &known)))?;
        let got = integer(&inputs[*input]);
        known[s] = match i64::try_from(got) {
            Ok(n) if (0..=most).contains(&n) => n,
            _ => return Err(CallError::Size { name: plan.inputs[*input].name.clone(), most, got }),
        };
    }
    let wrong = plan.inputs.iter().zip(inputs).find(|(port, view)| !fits(port, view, &known));
    if let Some((port, view)) = wrong {
        return Err(mismatch(plan, port, view));
    }
    match plan.symbols.iter().zip(&known).find(|(s, n)| matches!(s.chosen, Chosen::ByDims) && **n < 1) {
        Some((s, _)) => Err(CallError::Guard(format!("`{}` needs {} >= 1, got 0", plan.name, s.name))),
        None => Ok(known),
    }
}

fn check_guards(plan: &Entry, symbols: &[i64]) -> Result<(), CallError> {
    for guard in &plan.guards {
        let holds = match &guard.condition {
            Condition::Equal(a, b) => a.evaluate(symbols) == b.evaluate(symbols),
            Condition::AtMost(a, b) => a.evaluate(symbols) <= b.evaluate(symbols),
        };
        if !holds {
            return Err(CallError::Guard(format!("{}, got {}", guard.text, named(plan, symbols))));
        }
    }
    Ok(())
}

fn check_outputs(plan: &Entry, bound: &Bound, outputs: &mut [impl AsViewMut]) -> Result<(), CallError> {
    if outputs.len() != plan.outputs.len() {
        let (expected, got) = (plan.outputs.len(), outputs.len());
        return Err(CallError::OutputCount { entry: plan.name.clone(), expected, got });
    }
    for ((port, shape), output) in plan.outputs.iter().zip(&bound.outputs).zip(outputs) {
        let view = output.as_view_mut();
        let len = tensor::size_in_bytes(port.elem, shape);
        if port.elem != view.elem || shape != view.shape || len != Some(view.bytes.len()) {
            let (expected, got) = (concrete(port.elem, shape), concrete(view.elem, view.shape));
            return Err(CallError::Output { name: port.name.clone(), expected, got });
        }
    }
    Ok(())
}

fn mismatch(plan: &Entry, port: &Port, view: &View) -> CallError {
    if !view.is_whole() {
        let (name, ty) = (port.name.clone(), concrete(view.elem, view.shape));
        return CallError::InputBytes { name, ty, bytes: view.bytes.len() };
    }
    let dim = |d: &Formula| match d {
        Formula::Const(n) => n.to_string(),
        Formula::Symbol(s) => plan.symbols[*s].name.clone(),
        _ => "_".into(),
    };
    let dims: Vec<String> = port.dims.iter().map(dim).collect();
    let expected = format!("{}[{}]", port.elem, dims.join(", "));
    CallError::Input { name: port.name.clone(), expected, got: concrete(view.elem, view.shape) }
}

fn concrete(elem: Elem, shape: &[usize]) -> String {
    let dims: Vec<String> = shape.iter().map(usize::to_string).collect();
    format!("{elem}[{}]", dims.join(", "))
}

fn named(plan: &Entry, symbols: &[i64]) -> String {
    let each: Vec<String> = plan.symbols.iter().zip(symbols).map(|(s, v)| format!("{} = {v}", s.name)).collect();
    each.join(", ")
}
