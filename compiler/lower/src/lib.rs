//! Graphs to kernels: groups as nests, the schedule of each, and where every value lies in memory.

pub mod build;
mod in_place;
pub mod merge;
pub mod schedule;

use build::{Built, Memory, Misfit, Style};
use graph::ops::{Extern, Scan};
use graph::{Class, Dim, Graph, Group, GroupKind, Op, Origin, Storage, TensorType, Value};
use kernel::schedule::Layout;
use kernel::{Kernel, Schedule, ScheduleError, Scheduled};
pub use schedule::{Target, Vectors};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use tensor::Elem;

/// Kernels and the order in which they run. `C` is code as the back end makes it.
#[derive(Debug)]
pub struct Lowered<C> {
    pub kernels: Vec<LoweredKernel<C>>,
    pub buffers: Vec<Buffer>,
    pub steps: Vec<Step>,
    /// Groups that are not what fusion and the chooser of schedules wanted.
    pub setbacks: Vec<Setback>,
}

impl<C> Default for Lowered<C> {
    fn default() -> Lowered<C> {
        Lowered { kernels: vec![], buffers: vec![], steps: vec![], setbacks: vec![] }
    }
}

/// A group that is not one kernel with the schedule of its kind. It runs right, but slower.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Setback {
    pub kind: &'static str,
    /// Names of the operators in the group, views left out.
    pub operators: Vec<&'static str>,
    pub instead: Instead,
    pub reason: String,
}

/// What runs instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Instead {
    /// So many groups, one for each operator.
    Parts(usize),
    /// Loops in the order of the axes, in vectors.
    PlainLoops,
    /// The same, one element at a time.
    Scalars,
}

/// `row group of sub, exp, sum: 3 kernels instead of one, for …`
impl fmt::Display for Setback {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} group of {}: ", self.kind, self.operators.join(", "))?;
        match self.instead {
            Instead::Parts(n) => write!(f, "{n} kernels instead of one")?,
            Instead::PlainLoops => f.write_str("plain loops instead of its schedule")?,
            Instead::Scalars => f.write_str("one element at a time")?,
        }
        write!(f, "; {}", self.reason)
    }
}

/// What a step runs; equal ones are made once.
#[derive(Debug)]
pub enum LoweredKernel<C> {
    Loops(Loops<C>),
    Routine(Routine<C>),
    /// A function from elsewhere; its tasks are counted like those of a routine. The number of its operands stands beside
    /// it.
    Extern(Extern, usize),
}

/// A routine of the engine. Its first size is the number of its tasks.
#[derive(Debug)]
pub struct Routine<C> {
    /// The engine's name for it.
    pub name: &'static str,
    /// Of its buffers.
    pub elems: Vec<Elem>,
    /// How many sizes it takes.
    pub sizes: usize,
    pub code: C,
}

/// A kernel in all its forms.
#[derive(Debug)]
pub struct Loops<C> {
    pub kernel: Kernel,
    pub schedule: Schedule,
    pub scheduled: Scheduled,
    pub code: C,
}

impl<C> LoweredKernel<C> {
    /// For reports.
    pub fn name(&self) -> &str {
        match self {
            LoweredKernel::Loops(loops) => &loops.kernel.name,
            LoweredKernel::Routine(routine) => routine.name,
            LoweredKernel::Extern(external, _) => &external.symbol,
        }
    }

    /// Nothing of a function from elsewhere.
    pub fn code(&self) -> Option<&C> {
        match self {
            LoweredKernel::Loops(loops) => Some(&loops.code),
            LoweredKernel::Routine(routine) => Some(&routine.code),
            LoweredKernel::Extern(..) => None,
        }
    }

    pub fn loops(&self) -> Option<&Loops<C>> {
        match self {
            LoweredKernel::Loops(loops) => Some(loops),
            LoweredKernel::Routine(_) | LoweredKernel::Extern(..) => None,
        }
    }
}

/// What makes code of scheduled kernels, or says why it has none.
pub trait Backend {
    type Code;

    /// Code in vectors.
    fn vectors(&self, kernel: &Scheduled) -> Result<Self::Code, String>;

    /// Code that takes one element at a time, for what no vectors do.
    fn scalars(&self, kernel: &Scheduled) -> Result<Self::Code, String>;

    /// Code of the engine's routine of this name, over buffers of these element types and with so many sizes.
    fn routine(&self, name: &str, elems: &[Elem], sizes: usize) -> Result<Self::Code, String>;
}

/// Takes every kernel and makes nothing of it.
pub struct NoCode;

impl Backend for NoCode {
    type Code = ();

    fn vectors(&self, _: &Scheduled) -> Result<(), String> {
        Ok(())
    }

    fn scalars(&self, _: &Scheduled) -> Result<(), String> {
        Ok(())
    }

    fn routine(&self, _: &str, _: &[Elem], _: usize) -> Result<(), String> {
        Ok(())
    }
}

#[derive(Clone, Debug)]
pub struct Buffer {
    pub place: Place,
    pub elem: Elem,
    pub dims: Vec<Dim>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// Index into the graph's inputs, storage not counted.
    Input(usize),
    /// Index into the graph's outputs.
    Output(usize),
    /// Storage that changes from call to call, as it is before this one: index into the graph's operands.
    Kept(usize),
    /// Where its next version goes.
    Next(usize),
    /// A stored tensor or a constant of the graph, in the layout that one kernel reads.
    Constant { content: Content, layout: Option<Layout> },
    /// Memory from one step to another, both included.
    Arena { first: usize, last: usize },
    /// A part of another buffer, this many bytes after its start, and the loop in which it moves.
    Part { of: usize, start: Dim, motion: Option<(usize, Motion)> },
}

/// The elements of a constant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Content {
    /// Of a parameter or state, by name.
    Stored(String),
    Values(Vec<f64>),
}

/// What happens to the place of a buffer after each iteration of a loop.
#[derive(Clone, Debug, PartialEq)]
pub enum Motion {
    /// So many bytes further.
    Stride(Dim),
    /// From the start of the whole buffer to so many bytes after it, and back.
    Turn(Dim),
}

#[derive(Clone, Debug)]
pub enum Step {
    Launch(Launch),
    Loop(Loop),
    Size(Size),
}

impl Step {
    pub fn launch(&self) -> Option<&Launch> {
        match self {
            Step::Launch(launch) => Some(launch),
            Step::Loop(_) | Step::Size(_) => None,
        }
    }
}

/// From here on a size is known: the integer in a buffer.
#[derive(Clone, Debug)]
pub struct Size {
    pub name: String,
    pub buffer: usize,
    pub origin: Origin,
}

/// The steps after this one, again and again.
#[derive(Clone, Debug)]
pub struct Loop {
    pub count: Dim,
    /// How many of the steps after this one are in the loop.
    pub steps: usize,
    pub moves: Vec<Move>,
}

/// An address that changes from iteration to iteration: a slot in the table of a step. The table of a loop has three slots
/// for each of its moves, the first of them holding the address before the first iteration.
#[derive(Clone, Debug)]
pub struct Move {
    pub step: usize,
    pub slot: usize,
    pub motion: Motion,
}

/// One run of a kernel.
#[derive(Clone, Debug)]
pub struct Launch {
    pub kernel: usize,
    /// Indices of buffers, in the order of the kernel's arguments.
    pub buffers: Vec<usize>,
    /// Values of the kernel's size arguments.
    pub sizes: Vec<Dim>,
    /// Floating-point operations, roughly.
    pub work: Dim,
    /// Bytes of buffers that are read and written, each once.
    pub bytes: Dim,
    /// What runs here: nodes of the entry's graph, or of the body of the scan around it.
    pub nodes: Vec<Value>,
    /// Where the last of them comes from, for reports.
    pub origin: Origin,
}

/// What cannot become kernels.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LowerError {
    #[error("{name} cannot be compiled here: {reason}")]
    Unsupported { value: Value, name: &'static str, reason: String },
    #[error("kernel `{kernel}`: its schedule does not apply: {error}; this is a defect of nnc\n{schedule}")]
    Schedule { kernel: String, schedule: String, error: ScheduleError },
}

/// Lowers a graph whose groups are formed.
///
/// `changing` says of storage, by name, whether it changes from call to call; all other storage is constant.
pub fn lower<B: Backend>(
    graph: &Graph,
    target: &Target,
    changing: &dyn Fn(&str) -> bool,
    backend: &B,
) -> Result<Lowered<B::Code>, LowerError> {
    let constant = |o: &&graph::Operand| o.storage != Storage::Input && !changing(&o.name);
    let constants = graph.operands.iter().filter(constant);
    let constants = constants.map(|o| (o.value, Content::Stored(o.name.clone()))).collect();
    let mut lower = Lower::new(graph, constants, *target, backend);
    lower.leave();
    lower.groups()?;
    let mut out = lower.out;
    out.update_in_place(graph);
    out.moves();
    Ok(out)
}

impl<C> Lowered<C> {
    /// A buffer is in use at a step.
    fn keep(&mut self, buffer: usize, step: usize) {
        match &mut self.buffers[buffer].place {
            Place::Arena { first, last } => (*first, *last) = (step.min(*first), step.max(*last)),
            Place::Part { of, .. } => {
                let of = *of;
                self.keep(of, step);
            }
            _ => {}
        }
    }

    /// Tells loops which addresses move in them: for each buffer of a launch, from the inside out.
    fn moves(&mut self) {
        for index in 0..self.steps.len() {
            let Step::Launch(launch) = &self.steps[index] else { continue };
            for (position, buffer) in launch.buffers.clone().into_iter().enumerate() {
                let (mut step, mut slot, mut at) = (index, position + 1, buffer);
                while let Place::Part { of, motion, .. } = &self.buffers[at].place {
                    if let Some((of, motion)) = motion
                        && let Step::Loop(around) = &mut self.steps[*of]
                    {
                        around.moves.push(Move { step, slot, motion: motion.clone() });
                        (step, slot) = (*of, 3 * (around.moves.len() - 1));
                    }
                    at = *of;
                }
            }
        }
    }
}

struct Lower<'g, B: Backend> {
    graph: &'g Graph,
    /// Operands that are the same in every call.
    constants: Constants,
    target: Target,
    backend: &'g B,
    out: Lowered<B::Code>,
    roots: BTreeSet<Value>,
    /// Roots of groups that have run.
    stored: BTreeSet<Value>,
    /// Buffers by the value whose memory they are.
    places: HashMap<Value, usize>,
    /// Kernels by their text.
    known: HashMap<String, usize>,
}

type Constants = BTreeMap<Value, Content>;

struct Given<'l> {
    graph: &'l Graph,
    constants: &'l Constants,
    roots: &'l BTreeSet<Value>,
    stored: &'l BTreeSet<Value>,
    /// Values that the group at hand computes.
    own: BTreeSet<Value>,
}

impl Memory for Given<'_> {
    fn given(&self, value: Value) -> bool {
        let home = home(self.graph, self.roots, value);
        !self.own.contains(&home) && (self.graph.is_given(home) || self.stored.contains(&home))
    }

    fn constant(&self, value: Value) -> bool {
        constant_owner(self.graph, self.constants, value).is_some()
    }
}

/// The value in whose memory `value` lies: the first that a group stores, going through reshapes, which move nothing.
fn home(graph: &Graph, roots: &BTreeSet<Value>, mut value: Value) -> Value {
    while let Op::Reshape(_) = graph.op(value)
        && !roots.contains(&value)
    {
        value = graph.node(value).operands[0];
    }
    value
}

/// The value whose memory `value` shares, if it is the same in every call.
fn constant_owner(graph: &Graph, constants: &Constants, value: Value) -> Option<Value> {
    let owner = graph.owner(value);
    let is_given = matches!(graph.op(owner), Op::Constant(_)) && graph.is_given(owner);
    (is_given || constants.contains_key(&owner)).then_some(owner)
}

/// The elements of a value that is the same in every call.
fn content(graph: &Graph, constants: &Constants, value: Value) -> Option<Content> {
    let owner = constant_owner(graph, constants, value)?;
    match graph.op(owner) {
        Op::Constant(c) if graph.is_given(owner) => Some(Content::Values(c.value.data.clone())),
        _ => constants.get(&owner).cloned(),
    }
}

/// Bytes of one element after the other.
fn bytes(ty: &TensorType) -> Dim {
    ty.elements() * Dim::int(ty.elem.size() as i64)
}

/// Where the second of two places for a carry starts: at a line of the cache, and past what loads of whole vectors read
/// beyond an end.
fn half(ty: &TensorType) -> Dim {
    let line = Dim::int(64);
    (bytes(ty) + Dim::int(127)).floor_div(&line) * line
}

impl<'g, B: Backend> Lower<'g, B> {
    fn new(graph: &'g Graph, constants: Constants, target: Target, backend: &'g B) -> Lower<'g, B> {
        Lower {
            graph,
            constants,
            target,
            backend,
            out: Lowered::default(),
            roots: graph.groups.iter().flat_map(|g| g.roots.clone()).collect(),
            stored: BTreeSet::new(),
            places: HashMap::new(),
            known: HashMap::new(),
        }
    }

    fn groups(&mut self) -> Result<(), LowerError> {
        self.carries();
        self.graph.groups.iter().try_for_each(|group| self.group(group))
    }

    /// Outputs have memory of the caller, next versions of storage that of the session.
    fn leave(&mut self) {
        let outputs = self.graph.outputs.iter().enumerate().map(|(i, (_, v))| (*v, Place::Output(i)));
        let updates = self.graph.updates.iter().map(|(i, v)| (*v, Place::Next(*i)));
        for (value, place) in outputs.chain(updates) {
            let home = home(self.graph, &self.roots, value);
            if !self.graph.is_given(home) && !self.places.contains_key(&home) {
                let buffer = self.new_buffer(self.graph.ty(home), place);
                self.places.insert(home, buffer);
            }
        }
    }

    /// Room for two of each carry of a scan: steps read one and write the other. The first is stored in the first half.
    fn carries(&mut self) {
        for group in self.graph.groups.iter().filter(|g| g.kind == GroupKind::Scan) {
            let Some((value, scan)) = scan_of(self.graph, group) else { continue };
            for first in &self.graph.node(value).operands[..scan.carries] {
                let ty = self.graph.ty(*first);
                let dims = vec![half(ty) * Dim::int(2)];
                let place = Place::Arena { first: usize::MAX, last: 0 };
                let both = self.new_buffer(&TensorType::new(Elem::U8, dims), place);
                let part = Place::Part { of: both, start: Dim::int(0), motion: None };
                let buffer = self.new_buffer(ty, part);
                self.places.insert(*first, buffer);
            }
        }
    }

    fn new_buffer(&mut self, ty: &TensorType, place: Place) -> usize {
        self.out.buffers.push(Buffer { place, elem: ty.elem, dims: ty.dims.clone() });
        self.out.buffers.len() - 1
    }

    /// A loop around the steps of a body. Slices and what is stacked are parts of whole buffers that move on.
    fn scan(&mut self, value: Value, scan: &Scan) -> Result<(), LowerError> {
        let index = self.out.steps.len();
        self.out.steps.push(Step::Loop(Loop { count: scan.steps.clone(), steps: 0, moves: vec![] }));
        let slice = |of: usize, ty: &TensorType| {
            let bytes = bytes(ty);
            let (start, stride) = match scan.reversed {
                false => (Dim::int(0), bytes),
                true => (bytes.clone() * (scan.steps.clone() - Dim::int(1)), bytes * Dim::int(-1)),
            };
            Place::Part { of, start, motion: Some((index, Motion::Stride(stride))) }
        };
        let mut inner = Lower::new(&scan.body, Constants::new(), self.target, self.backend);
        let mut whole = vec![];
        let [carries, scanned, _] = scan.operands();
        let operands = self.graph.node(value).operands.clone();
        for (i, x) in operands.iter().enumerate() {
            let (own, ty) = (scan.inner(i), scan.body.ty(scan.inner(i)));
            if carries.contains(&i) {
                let Place::Part { of, .. } = self.out.buffers[self.places[x]].place else { continue };
                let turn = Some((index, Motion::Turn(half(ty))));
                let read = Place::Part { of, start: Dim::int(0), motion: turn.clone() };
                inner.places.insert(own, self.new_buffer(ty, read));
                let write = Place::Part { of, start: half(ty), motion: turn };
                inner.places.insert(inner.home_of_output(i), self.new_buffer(ty, write));
                // Where the last step has written.
                let last = Place::Part { of, start: half(ty) * scan.steps.rem(&Dim::int(2)), motion: None };
                let last = self.new_buffer(ty, last);
                self.places.insert(Value { result: i as u32, ..value }, last);
                whole.push(of);
                continue;
            }
            let constant = content(self.graph, &self.constants, *x);
            if let (Some(content), false) = (&constant, scanned.contains(&i)) {
                inner.constants.insert(own, content.clone());
                continue;
            }
            let buffer = match constant {
                Some(content) => self.constant(content, None, self.graph.ty(*x)),
                None => self.place(home(self.graph, &self.roots, *x), index),
            };
            whole.push(buffer);
            let buffer = match scanned.contains(&i) {
                true => self.new_buffer(ty, slice(buffer, ty)),
                false => buffer,
            };
            inner.places.insert(own, buffer);
        }
        for i in scan.carries..scan.body.outputs.len() {
            let ty = scan.body.ty(scan.body.outputs[i].1);
            let buffer = self.place(Value { result: i as u32, ..value }, index);
            whole.push(buffer);
            inner.places.insert(inner.home_of_output(i), self.new_buffer(ty, slice(buffer, ty)));
        }
        inner.out = std::mem::take(&mut self.out);
        inner.known = std::mem::take(&mut self.known);
        inner.groups()?;
        (self.out, self.known) = (inner.out, inner.known);
        let last = self.out.steps.len() - 1;
        if let Step::Loop(around) = &mut self.out.steps[index] {
            around.steps = last - index;
        }
        // What one iteration reads or leaves to another lives as long as the loop.
        for buffer in whole {
            self.out.keep(buffer, index);
            self.out.keep(buffer, last);
        }
        Ok(())
    }

    /// The value in whose memory an output lies.
    fn home_of_output(&self, output: usize) -> Value {
        home(self.graph, &self.roots, self.graph.outputs[output].1)
    }

    fn group(&mut self, group: &Group) -> Result<(), LowerError> {
        if let Some((value, scan)) = scan_of(self.graph, group) {
            self.scan(value, scan)?;
            self.stored.extend(&group.roots);
            return Ok(());
        }
        if self.size(group) || self.routine(group)? {
            return Ok(());
        }
        match self.build(group) {
            Ok((built, kernel)) => {
                self.step(group, built, kernel);
                Ok(())
            }
            Err(reason) => {
                let parts = split_up(self.graph, group);
                if parts.len() == 1 && parts[0].nodes == group.nodes {
                    let value = group.roots.first().copied().unwrap_or(Value { node: 0, result: 0 });
                    return Err(reason.at(value, self.graph.op(value).name()));
                }
                self.setback(group, Instead::Parts(parts.len()), &reason);
                parts.iter().try_for_each(|part| self.group(part))
            }
        }
    }

    /// Makes a step of a group that is a size; says whether it is.
    fn size(&mut self, group: &Group) -> bool {
        let [node] = computed(self.graph, group)[..] else { return false };
        let Op::Size(size) = self.graph.op(node) else { return false };
        let (name, origin) = (size.name.clone(), self.graph.node(node).origin.clone());
        let [buffer] = self.memory(node)[..] else { return false };
        self.out.steps.push(Step::Size(Size { name, buffer, origin }));
        true
    }

    /// The buffers of a node's operands, as they lie in memory, in use by the next step.
    fn memory(&mut self, node: Value) -> Vec<usize> {
        let mut buffers = vec![];
        for operand in &self.graph.node(node).operands {
            let home = home(self.graph, &self.roots, *operand);
            buffers.push(match content(self.graph, &self.constants, home) {
                Some(content) => self.constant(content, None, self.graph.ty(*operand)),
                None => self.place(home, self.out.steps.len()),
            });
        }
        buffers
    }

    /// Makes a step of a group whose one node is a routine of the engine; says whether it is.
    fn routine(&mut self, group: &Group) -> Result<bool, LowerError> {
        let [node] = computed(self.graph, group)[..] else { return Ok(false) };
        let Some(routine) = self.graph.routine(node) else { return Ok(false) };
        let index = self.out.steps.len();
        let mut buffers = self.memory(node);
        // A result that nobody reads has room nevertheless.
        for result in self.graph.results(node) {
            buffers.push(self.place(result, index));
        }
        self.stored.extend(&group.roots);
        let graph::ops::Routine { name, sizes, work } = routine;
        let operands = &self.graph.node(node).operands;
        let elems: Vec<Elem> = buffers.iter().map(|b| self.out.buffers[*b].elem).collect();
        let key = match self.graph.op(node) {
            Op::Extern(external) => format!("{external:?} {}", operands.len()),
            _ => format!("{name} {elems:?} {}", sizes.len()),
        };
        let kernel = match (self.known.get(&key), self.graph.op(node)) {
            (Some(known), _) => *known,
            (None, Op::Extern(external)) => self.add(key, LoweredKernel::Extern(external.clone(), operands.len())),
            (None, op) => {
                let code = self.backend.routine(name, &elems, sizes.len());
                let unsupported = |reason| LowerError::Unsupported { value: node, name: op.name(), reason };
                let code = code.map_err(unsupported)?;
                self.add(key, LoweredKernel::Routine(Routine { name, elems, sizes: sizes.len(), code }))
            }
        };
        let moved = operands.iter().copied().chain(self.graph.results(node));
        let bytes = moved.map(|v| bytes(self.graph.ty(v))).fold(Dim::int(0), |sum, n| sum + n);
        self.launch(group, kernel, buffers, sizes, [work, bytes]);
        Ok(true)
    }

    /// The number of a kernel that is new, and known by `key` from then on.
    fn add(&mut self, key: String, kernel: LoweredKernel<B::Code>) -> usize {
        self.out.kernels.push(kernel);
        *self.known.entry(key).or_insert(self.out.kernels.len() - 1)
    }

    /// The kernel of a group and its number.
    fn build(&mut self, group: &Group) -> Result<(Built, usize), Refusal> {
        let chosen = |kernel: &Kernel, target: &Target| schedule::choose(kernel, group.kind, target);
        let plain = |kernel: &Kernel, target: &Target| schedule::fallback(kernel, target);
        let refused = match self.attempt(group, true, &chosen, B::vectors) {
            Err(refused) if computed(self.graph, group).len() <= 1 => refused,
            tried => return tried,
        };
        // What cannot be split further runs slowly rather than not at all.
        let vectors = self.attempt(group, false, &plain, B::vectors);
        let instead = if vectors.is_ok() { Instead::PlainLoops } else { Instead::Scalars };
        let made = vectors.or_else(|_| self.attempt(group, false, &plain, B::scalars))?;
        self.setback(group, instead, &refused);
        Ok(made)
    }

    fn setback(&mut self, group: &Group, instead: Instead, refused: &Refusal) {
        let operators = computed(self.graph, group).into_iter().map(|n| self.graph.op(n).name()).collect();
        self.out.setbacks.push(Setback { kind: group.kind.name(), operators, instead, reason: refused.reason() });
    }

    fn attempt(
        &mut self,
        group: &Group,
        turns: bool,
        schedule: &dyn Fn(&Kernel, &Target) -> Result<Schedule, ScheduleError>,
        code: fn(&B, &Scheduled) -> Result<B::Code, String>,
    ) -> Result<(Built, usize), Refusal> {
        let own = group.nodes.iter().copied().filter(|n| !self.graph.is_view(*n)).collect();
        let (roots, constants) = (&self.roots, &self.constants);
        let memory = Given { graph: self.graph, constants, roots, stored: &self.stored, own };
        let style = self.target.style();
        let style = Style { turns: turns && style.turns, ..style };
        let mut built = build::build(self.graph, group, &memory, style)?;
        merge::merge_axes(&mut built, &self.graph.facts);
        let schedule = schedule(&built.kernel, &self.target);
        let kernel = self.schedule(&built.kernel, schedule, code)?;
        Ok((built, kernel))
    }

    /// The number of a kernel with a schedule that applies and that the back end has code for.
    fn schedule(
        &mut self,
        kernel: &Kernel,
        schedule: Result<Schedule, ScheduleError>,
        code: fn(&B, &Scheduled) -> Result<B::Code, String>,
    ) -> Result<usize, Refusal> {
        let schedule = schedule.map_err(|e| Refusal::schedule(kernel, "", e))?;
        let key = format!("{kernel}{schedule}");
        if let Some(known) = self.known.get(&key) {
            return Ok(*known);
        }
        let scheduled = kernel::apply(kernel, &schedule, self.target.lanes());
        let scheduled = scheduled.map_err(|e| Refusal::schedule(kernel, &schedule.to_string(), e))?;
        let code = code(self.backend, &scheduled);
        let code = code.map_err(|reason| Refusal::Misfit(Misfit(format!("{reason}, needed by\n{kernel}"))))?;
        let loops = Loops { kernel: kernel.clone(), schedule, scheduled, code };
        Ok(self.add(key, LoweredKernel::Loops(loops)))
    }

    fn step(&mut self, group: &Group, built: Built, kernel: usize) {
        let index = self.out.steps.len();
        let mut buffers = vec![];
        for (buffer, value) in built.kernel.buffers.iter().zip(&built.values) {
            let Some(value) = value else { continue };
            let home = home(self.graph, &self.roots, *value);
            buffers.push(match content(self.graph, &self.constants, home) {
                // In the layout of the kernel that reads it. The layout speaks of dims as the kernel sees them.
                Some(content) => {
                    let layouts = self.out.kernels[kernel].loops().map_or(&[][..], |l| &l.schedule.layouts);
                    let layout = layouts.iter().find(|l| l.buffer == buffer.name).cloned();
                    let dims = buffer.dims.iter().map(|e| dim(*e, &built.sizes)).collect();
                    self.constant(content, layout, &TensorType::new(buffer.elem, dims))
                }
                None => self.place(home, index),
            });
        }
        self.stored.extend(&group.roots);
        let (work, bytes) = (work(&built), moved(&built));
        let sizes = built.sizes;
        self.launch(group, kernel, buffers, sizes, [work, bytes]);
    }

    /// The step that runs a group; `cost` is its work and the bytes that it moves.
    fn launch(&mut self, group: &Group, kernel: usize, buffers: Vec<usize>, sizes: Vec<Dim>, cost: [Dim; 2]) {
        let [work, bytes] = cost;
        let nodes = group.nodes.clone();
        let origin = nodes.last().map_or_else(Origin::default, |node| self.graph.node(*node).origin.clone());
        self.out.steps.push(Step::Launch(Launch { kernel, buffers, sizes, work, bytes, nodes, origin }));
    }

    fn constant(&mut self, content: Content, layout: Option<Layout>, ty: &TensorType) -> usize {
        let place = Place::Constant { content, layout };
        let known = self.out.buffers.iter().position(|b| b.place == place && b.dims == ty.dims);
        known.unwrap_or_else(|| self.new_buffer(ty, place))
    }

    /// The buffer of a value with memory of its own, in use by `step`.
    fn place(&mut self, home: Value, step: usize) -> usize {
        if let Some(known) = self.places.get(&home) {
            self.out.keep(*known, step);
            return *known;
        }
        let inputs = self.graph.operands.iter().filter(|o| o.storage == Storage::Input);
        let operand = self.graph.operands.iter().position(|o| o.value == home);
        let place = match (inputs.clone().position(|o| o.value == home), operand) {
            (Some(input), _) => Place::Input(input),
            (None, Some(operand)) => Place::Kept(operand),
            (None, None) => Place::Arena { first: step, last: step },
        };
        let buffer = self.new_buffer(self.graph.ty(home), place);
        self.places.insert(home, buffer);
        buffer
    }
}

/// Why a group was not lowered as it is.
enum Refusal {
    Misfit(Misfit),
    Schedule { kernel: String, schedule: String, error: ScheduleError },
}

impl From<Misfit> for Refusal {
    fn from(misfit: Misfit) -> Refusal {
        Refusal::Misfit(misfit)
    }
}

impl Refusal {
    fn schedule(kernel: &Kernel, schedule: &str, error: ScheduleError) -> Refusal {
        Refusal::Schedule { kernel: kernel.to_string(), schedule: schedule.into(), error }
    }

    /// In one line.
    fn reason(&self) -> String {
        match self {
            Refusal::Misfit(Misfit(reason)) => {
                let line = reason.lines().next().unwrap_or_default();
                line.strip_suffix(", needed by").unwrap_or(line).into()
            }
            Refusal::Schedule { error, .. } => format!("the schedule that was chosen does not apply: {error}"),
        }
    }

    fn at(self, value: Value, name: &'static str) -> LowerError {
        match self {
            Refusal::Misfit(Misfit(reason)) => LowerError::Unsupported { value, name, reason },
            Refusal::Schedule { kernel, schedule, error } => LowerError::Schedule { kernel, schedule, error },
        }
    }
}

/// The scan that a group is.
fn scan_of<'g>(graph: &'g Graph, group: &Group) -> Option<(Value, &'g Scan)> {
    group.nodes.iter().find_map(|value| match graph.op(*value) {
        Op::Scan(scan) => Some((*value, scan)),
        _ => None,
    })
}

/// Nodes of a group that are no views.
fn computed(graph: &Graph, group: &Group) -> Vec<Value> {
    group.nodes.iter().copied().filter(|n| !graph.is_view(*n)).collect()
}

/// Smaller groups, for groups that do not become one kernel: of attention its two products and the rows between them, of
/// others one for each node.
fn split_up(graph: &Graph, group: &Group) -> Vec<Group> {
    if let (GroupKind::Attention, Some(parts)) = (group.kind, around_rows(graph, group)) {
        return parts;
    }
    let mut parts = vec![];
    let views: Vec<Value> = group.nodes.iter().copied().filter(|n| graph.is_view(*n)).collect();
    for node in group.nodes.iter().filter(|n| !graph.is_view(**n)) {
        let kind = match graph.op(*node).class() {
            Class::Pointwise => GroupKind::Pointwise,
            Class::Reduce(_) => GroupKind::Row,
            Class::Contract => GroupKind::Contraction,
        };
        let nodes = group.nodes.iter().copied().filter(|n| n == node || views.contains(n)).collect();
        parts.push(Group { kind, nodes, roots: vec![*node] });
    }
    for root in group.roots.iter().filter(|r| graph.is_view(**r)) {
        parts.push(Group { kind: GroupKind::Pointwise, nodes: views.clone(), roots: vec![*root] });
    }
    parts
}

/// What stands before the last contraction of a group in two parts, if one other contraction comes first.
fn around_rows(graph: &Graph, group: &Group) -> Option<Vec<Group>> {
    let is_product = |n: &Value| !graph.is_view(*n) && graph.op(*n).class() == Class::Contract;
    let computed = computed(graph, group);
    let ([first, middle @ ..], [end]) = computed.split_at(computed.len().checked_sub(1)?) else { return None };
    let row = *middle.last()?;
    if !is_product(first) || !is_product(end) || middle.iter().any(is_product) || group.roots.len() != 1 {
        return None;
    }
    let of = |kind: GroupKind, own: &[Value], root: Value| {
        let nodes = group.nodes.iter().copied().filter(|n| own.contains(n) || graph.is_view(*n)).collect();
        Group { kind, nodes, roots: vec![root] }
    };
    Some(vec![
        of(GroupKind::Contraction, &[*first], *first),
        of(GroupKind::Row, middle, row),
        of(GroupKind::Contraction, &[*end], group.roots[0]),
    ])
}

/// An extent of a kernel, given the dims that its sizes are.
fn dim(extent: kernel::Extent, sizes: &[Dim]) -> Dim {
    match extent {
        kernel::Extent::Const(n) => Dim::int(n),
        kernel::Extent::Size(s) => sizes[s.index()].clone(),
    }
}

/// Operations of all stages: for each, the elements it visits, twice for a multiply-add.
fn work(built: &Built) -> Dim {
    let kernel = &built.kernel;
    kernel.stages.iter().fold(Dim::int(0), |sum, stage| {
        let mut axes: BTreeMap<kernel::VarId, Dim> = BTreeMap::new();
        let mut operations = 0;
        let mut add = |v: kernel::VarId| {
            axes.insert(v, dim(kernel.axes[v.index()].extent, &built.sizes));
        };
        stage.at.iter().flat_map(|a| a.vars().collect::<Vec<_>>()).for_each(&mut add);
        kernel.exprs.walk(stage.value, &mut |_, e| {
            operations += 1;
            if let kernel::Expr::Reduce { axes, .. } = e {
                axes.iter().copied().for_each(&mut add);
            }
        });
        let points: Dim = axes.into_values().product();
        let each = if operations > 4 && stage_is_plain(kernel, stage) { operations } else { 2 };
        sum + points * Dim::int(each)
    })
}

/// Bytes of all buffers, each once; of those that are read by indices from data, what the indices can reach.
fn moved(built: &Built) -> Dim {
    let kernel = &built.kernel;
    let mut whole: BTreeSet<kernel::BufferId> = kernel.stages.iter().map(|s| s.target).collect();
    let mut reached: BTreeMap<kernel::BufferId, Dim> = BTreeMap::new();
    for stage in &kernel.stages {
        kernel.exprs.walk(stage.value, &mut |id, e| {
            let kernel::Expr::Load { buffer, at, .. } = e else { return };
            if at.iter().all(|s| s.as_affine().is_some()) {
                whole.insert(*buffer);
                return;
            }
            let points: Dim =
                vars(kernel, id).into_iter().map(|v| dim(kernel.axes[v.index()].extent, &built.sizes)).product();
            let sum = reached.remove(buffer).unwrap_or_default() + points;
            reached.insert(*buffer, sum);
        });
    }
    let outside = kernel.buffers.iter().enumerate().filter(|(i, _)| built.values[*i].is_some());
    let of_buffer = |(i, buffer): (usize, &kernel::Buffer)| {
        let id = kernel::BufferId(i as u32);
        let elements: Dim = buffer.dims.iter().map(|n| dim(*n, &built.sizes)).product();
        let touched = match reached.get(&id) {
            Some(points) if !whole.contains(&id) => points.minimum(&elements),
            _ => elements,
        };
        touched * Dim::int(buffer.elem.size() as i64)
    };
    outside.map(of_buffer).fold(Dim::int(0), |sum, n| sum + n)
}

/// Variables of the subscripts of a load, and of the loads that they read.
fn vars(kernel: &Kernel, load: kernel::ExprId) -> BTreeSet<kernel::VarId> {
    let mut vars = BTreeSet::new();
    kernel.exprs.walk(load, &mut |_, e| match e {
        kernel::Expr::Index(affine, _) => vars.extend(affine.vars()),
        kernel::Expr::Load { at, .. } => vars.extend(at.iter().filter_map(|s| s.as_affine()).flat_map(|a| a.vars())),
        _ => {}
    });
    vars
}

fn stage_is_plain(kernel: &Kernel, stage: &kernel::Stage) -> bool {
    let mut plain = true;
    kernel.exprs.walk(stage.value, &mut |_, e| plain &= !matches!(e, kernel::Expr::Reduce { .. }));
    plain
}
