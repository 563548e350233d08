//! A session: the memory of one caller, and calls of entries.
//!
//! Sizes come from the shapes of the inputs, from the values of some, and from what steps compute. A call with the sizes of the one before touches no allocator: argument
//! tables are ready, only the pointers to inputs and outputs are put in.

use crate::code::DIVISION_BY_ZERO;
use crate::cuda::{DeviceBytes, DeviceError, Queue};
use crate::formula::Formula;
use crate::plan::{Chosen, Constant, Entry, Kernels, Launch, Place, PlanBuffer, Port, Program, Step};
use crate::pool::Pool;
use crate::room::Room;
use crate::sizes::{check_guards, checked, concrete, fits, integer, named, overflow, ranges, shape, solve};
use crate::steps::{Memory, Patch, Steps, Whole};
use std::borrow::Cow;
use std::sync::Arc;
use tensor::{AlignedBytes, Elem, Tensor};

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
    #[error("the size computed at {at} must be from 0 to {most}, got {got}")]
    Computed {
        /// The line of the source.
        at: String,
        most: i64,
        got: i128,
    },
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
    pub(crate) fn is_whole(&self) -> bool {
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
    /// Those that steps read are what the last call has read.
    symbols: Vec<i64>,
    /// Shapes of the results, as large as they can be.
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
    /// Of each buffer its offset in the arena, and its bytes.
    offsets: Vec<usize>,
    bytes: Vec<usize>,
    peak: usize,
}

struct Staged {
    inputs: Vec<DeviceBytes>,
    outputs: Vec<DeviceBytes>,
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

    /// Shapes of the results for these inputs, after all checks; as large as they can be where the call computes a size.
    pub fn output_shapes(&mut self, entry: usize, inputs: &[impl AsView]) -> Result<Vec<Vec<usize>>, CallError> {
        self.prepare(entry, inputs)?;
        Ok(self.bound[entry].as_ref().expect("prepared").outputs.clone())
    }

    /// Shapes of the results of the last call of an entry.
    pub fn result_shapes(&self, entry: usize) -> Vec<Vec<usize>> {
        let Some(Some(bound)) = self.bound.get(entry) else { return vec![] };
        let shape = |port: &Port| shape(port, |d| d.evaluate(&bound.symbols)).unwrap_or_default();
        self.program.entries[entry].outputs.iter().map(shape).collect()
    }

    /// Bytes of planned memory that the last sizes of an entry need.
    pub fn peak_bytes(&self, entry: usize) -> usize {
        self.bound.get(entry).and_then(Option::as_ref).map_or(0, |b| b.peak)
    }

    /// Runs an entry. Outputs have the shapes of [`Session::output_shapes`]; where the call computes a size, the first
    /// elements of each are the result, in the shape of [`Session::result_shapes`]. What the program keeps has its next
    /// version after a call that succeeds; after one that fails it is as before. Where sizes of what is kept differ from
    /// those of the call before, it starts anew.
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
        if let Some(staged) = &mut bound.staged {
            staged.inputs.iter_mut().zip(inputs).try_for_each(|(room, input)| room.write(input.as_view().bytes))?;
        }
        self.patch(entry, inputs, outputs);
        self.run(entry, inputs, outputs)?;
        let error = self.error()?;
        if error != 0 {
            let (entry, at) = (self.program.entries[entry].name.clone(), self.place_of_error(entry));
            return Err(match error & DIVISION_BY_ZERO {
                0 => CallError::Index { entry, at },
                _ => CallError::Division { entry, at },
            });
        }
        if let Some(Some(staged)) = self.bound[entry].as_ref().map(|bound| &bound.staged) {
            let mut pairs = staged.outputs.iter().zip(outputs);
            pairs.try_for_each(|(room, output)| room.read(output.as_view_mut().bytes))?;
        }
        let updates = &self.program.entries[entry].updates;
        updates.iter().for_each(|k| std::mem::swap(&mut self.kept[*k], &mut self.next[*k]));
        Ok(())
    }

    /// Puts the addresses of this call into the tables.
    fn patch(&mut self, entry: usize, inputs: &[impl AsView], outputs: &mut [impl AsViewMut]) {
        let Some(bound) = &mut self.bound[entry] else { return };
        for Patch { step, slot, place, offset } in &bound.patches {
            let address = match (place, &bound.staged) {
                (Place::Input(i), None) => inputs[*i].as_view().bytes.as_ptr() as u64,
                (Place::Output(i), None) => outputs[*i].as_view_mut().bytes.as_mut_ptr() as u64,
                (Place::Input(i), Some(staged)) => staged.inputs[*i].address(),
                (Place::Output(i), Some(staged)) => staged.outputs[*i].address(),
                (Place::Kept(k), _) => self.kept[*k].address(),
                (Place::Next(k), _) => self.next[*k].address(),
                (Place::Constant(_) | Place::Arena { .. } | Place::Part { .. }, _) => continue,
            };
            bound.steps.set(*step, *slot, address.wrapping_add(*offset));
        }
    }

    /// Runs the steps of an entry whose tables are filled. Where one reads a size, those after it get new tables, unless
    /// the size is that of the call before. Ends early where the error word is set.
    fn run(&mut self, entry: usize, inputs: &[impl AsView], outputs: &mut [impl AsViewMut]) -> Result<(), CallError> {
        self.set_error(0)?;
        let mut from = 0;
        loop {
            let Some(bound) = &mut self.bound[entry] else { return Ok(()) };
            if let Some(whole) = &bound.whole {
                // SAFETY: the tables are those of `bound.steps`, and have just been filled.
                unsafe { whole.run() };
                return Ok(());
            }
            let (pool, queue) = (&mut self.pool, &self.queue);
            let at = bound.steps.run_to_size(from, &mut |_, step| step.run(pool, queue.as_ref()))?;
            let Some(at) = at else { return Ok(()) };
            // SAFETY: as above.
            let got = unsafe { bound.steps.integer(at, &self.program.entries[entry].steps[at], self.queue.as_ref())? };
            if self.error()? != 0 {
                return Ok(());
            }
            self.take_size(entry, at, got, inputs, outputs)?;
            from = at + 1;
        }
    }

    /// Gives a size the value that step `at` has read.
    fn take_size(
        &mut self,
        entry: usize,
        at: usize,
        got: i128,
        inputs: &[impl AsView],
        outputs: &mut [impl AsViewMut],
    ) -> Result<(), CallError> {
        let program = self.program.clone();
        let plan = &program.entries[entry];
        let (Step::Size(size), Some(bound)) = (&plan.steps[at], &mut self.bound[entry]) else { return Ok(()) };
        let n = checked(plan, size, got, &bound.symbols)?;
        if bound.symbols[size.symbol] == n {
            return Ok(());
        }
        let mut symbols = bound.symbols.clone();
        symbols[size.symbol] = n;
        let (error, queue) = (&raw mut *self.error as u64, self.queue.as_ref());
        let Bound { offsets, bytes, arena, .. } = bound;
        let memory = memory(&program, queue, error, *arena, &mut self.scratch, offsets, bytes);
        (bound.steps, bound.patches) = memory.tables(plan, &symbols)?;
        // Symbols are those of the tables, also after a call that found none for its sizes.
        bound.symbols = symbols;
        self.patch(entry, inputs, outputs);
        Ok(())
    }

    /// The error word, when all work is done.
    fn error(&self) -> Result<i64, DeviceError> {
        error_word(self.queue.as_ref(), &self.error)
    }

    fn set_error(&mut self, word: i64) -> Result<(), DeviceError> {
        *self.error = word;
        self.queue.as_mut().map_or(Ok(()), |queue| queue.set_error(word))
    }

    /// Where in the source the error word is set first, found by running the steps again one by one.
    fn place_of_error(&mut self, entry: usize) -> String {
        let mut first = None;
        let ran = self.set_error(0);
        let plan = &self.program.entries[entry];
        let Some(bound) = self.bound[entry].as_mut() else { return String::new() };
        let (pool, queue, error) = (&mut self.pool, &self.queue, &mut self.error);
        let ran = ran.and_then(|()| {
            bound.steps.run_all(&mut |index, step| {
                step.run(pool, queue.as_ref())?;
                if error_word(queue.as_ref(), error)? != 0 {
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

    /// Tensors that [`Session::call`] can put the results for these inputs into.
    pub fn room(&mut self, entry: usize, inputs: &[impl AsView]) -> Result<Vec<Tensor>, CallError> {
        let shapes = self.output_shapes(entry, inputs)?;
        let plan = &self.program.entries[entry];
        let room = |(port, shape): (&Port, &Vec<usize>)| {
            Tensor::try_zeros(port.elem, shape).ok_or_else(|| CallError::no_room(plan, port, shape))
        };
        plan.outputs.iter().zip(&shapes).map(room).collect()
    }

    /// As [`Session::call`], with room for the results made here.
    pub fn results(&mut self, entry: usize, inputs: &[impl AsView]) -> Result<Vec<Tensor>, CallError> {
        let mut results = self.room(entry, inputs)?;
        self.call(entry, inputs, &mut results)?;
        // Where no size is computed, there is nothing to take off.
        let taken = results.into_iter().zip(self.result_shapes(entry)).map(|(result, shape)| result.first(&shape));
        Ok(taken.collect())
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
        let (pool, queue) = (&mut self.pool, &self.queue);
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
                Chosen::ByDims | Chosen::ByStep { .. } => true,
                Chosen::ByValue { input, .. } => {
                    let View { elem, bytes, .. } = inputs[*input].as_view();
                    integer(elem, bytes) == *n as i128
                }
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
        let overflow = || overflow(plan, &symbols);
        check_guards(plan, &symbols)?;
        let ranges = ranges(plan, &symbols).ok_or_else(overflow)?;
        let most = |f: &Formula| f.range(&ranges).map(|(_, most)| most);
        let bytes = plan.buffers.iter().map(|b| usize::try_from(most(&b.bytes)?).ok()).collect::<Option<Vec<_>>>();
        let bytes = bytes.ok_or_else(overflow)?;
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
        let outputs = plan.outputs.iter().map(|port| shape(port, most).ok_or_else(overflow));
        let outputs = outputs.collect::<Result<Vec<_>, _>>()?;
        let staged = match queue {
            None => None,
            Some(queue) => {
                let of = |ports: &[Port]| {
                    let sizes = ports.iter().map(|port| {
                        let shape = shape(port, most).ok_or_else(overflow)?;
                        tensor::size_in_bytes(port.elem, &shape).ok_or_else(overflow)
                    });
                    let room = |n: Result<usize, CallError>| {
                        n.and_then(|n| queue.zeroed(n).map_err(|_| no_memory(plan, &symbols, n)))
                    };
                    sizes.map(room).collect::<Result<Vec<_>, CallError>>()
                };
                Some(Staged { inputs: of(&plan.inputs)?, outputs: of(&plan.outputs)? })
            }
        };
        let changing = |b: &PlanBuffer| matches!(b.place, Place::Kept(_) | Place::Next(_));
        let kept = plan.buffers.iter().zip(&bytes).filter(|(b, _)| changing(b)).map(|(b, n)| (b.place.clone(), *n));
        let kept = kept.collect();
        let (error, arena) = (&raw mut *self.error as u64, self.arena.address());
        let memory = memory(&program, queue, error, arena, &mut self.scratch, &offsets, &bytes);
        let (mut steps, patches) = memory.tables(plan, &symbols)?;
        let whole = match &program.kernels {
            Kernels::Cpu(code) => steps.whole(code.entry(entry), threads),
            Kernels::Cuda(_) => None,
        };
        self.bound[entry] =
            Some(Bound { symbols, outputs, steps, whole, kept, patches, staged, arena, offsets, bytes, peak });
        Ok(())
    }
}

impl Entry {
    /// Bytes of the memory between steps, for these values of the symbols; `None` if a size overflows.
    pub fn arena_bytes(&self, symbols: &[i64]) -> Option<usize> {
        let ranges = ranges(self, symbols)?;
        let bytes = self.buffers.iter().map(|b| usize::try_from(b.bytes.range(&ranges)?.1).ok());
        Some(place(self, &bytes.collect::<Option<Vec<usize>>>()?)?.1)
    }
}

fn error_word(queue: Option<&Queue>, word: &i64) -> Result<i64, DeviceError> {
    match queue {
        Some(queue) => queue.error(),
        // SAFETY: kernels write the word through a pointer kept in their tables.
        None => Ok(unsafe { std::ptr::read_volatile(word) }),
    }
}

/// What tables point to, of a session's parts.
fn memory<'s>(
    program: &'s Program,
    queue: Option<&'s Queue>,
    error: u64,
    arena: u64,
    scratch: &mut [AlignedBytes],
    offsets: &'s [usize],
    bytes: &'s [usize],
) -> Memory<'s> {
    let error = queue.map_or(error, Queue::error_address);
    let scratch = scratch.iter_mut().map(|s| s.as_mut_ptr() as u64).collect();
    Memory { program, queue, error, arena, scratch, offsets, bytes }
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
