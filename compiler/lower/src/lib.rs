//! Graphs to kernels: groups as nests, the schedule of each, and where every value lies in memory.

pub mod build;
pub mod merge;
pub mod schedule;

use build::{Built, Memory, Misfit};
use graph::{Class, Dim, Graph, Group, GroupKind, Op, Storage, Value};
use kernel::schedule::Layout;
use kernel::{Kernel, Role, Schedule, ScheduleError, Scheduled};
pub use schedule::Target;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use tensor::Elem;

/// Kernels and the order in which they run.
#[derive(Debug, Default)]
pub struct Lowered {
    pub kernels: Vec<LoweredKernel>,
    pub buffers: Vec<Buffer>,
    pub steps: Vec<Step>,
}

/// A kernel in all its forms; equal ones are made once.
#[derive(Debug)]
pub struct LoweredKernel {
    pub kernel: Kernel,
    pub schedule: Schedule,
    pub scheduled: Scheduled,
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
    /// A stored tensor or a constant of the graph, in the layout that one kernel reads.
    Constant { value: Value, layout: Option<Layout> },
    /// Memory from one step to another, both included.
    Arena { first: usize, last: usize },
}

#[derive(Clone, Debug)]
pub struct Step {
    pub kernel: usize,
    /// Indices of buffers, in the order of the kernel's arguments.
    pub buffers: Vec<usize>,
    /// Values of the kernel's size arguments.
    pub sizes: Vec<Dim>,
    /// Floating-point operations, roughly.
    pub work: Dim,
    /// The nodes that run here, for reports.
    pub nodes: Vec<Value>,
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
pub fn lower(graph: &Graph, target: &Target) -> Result<Lowered, LowerError> {
    let mut lower = Lower {
        graph,
        target: *target,
        out: Lowered::default(),
        stored: BTreeSet::new(),
        places: HashMap::new(),
        known: HashMap::new(),
    };
    lower.leave();
    for group in &graph.groups {
        lower.group(group)?;
    }
    Ok(lower.out)
}

struct Lower<'g> {
    graph: &'g Graph,
    target: Target,
    out: Lowered,
    /// Roots of groups that have run.
    stored: BTreeSet<Value>,
    /// Buffers by the value that owns the memory.
    places: HashMap<Value, usize>,
    /// Kernels by their text.
    known: HashMap<String, usize>,
}

struct Given<'l> {
    graph: &'l Graph,
    stored: &'l BTreeSet<Value>,
    /// Values that the group at hand computes.
    own: BTreeSet<Value>,
}

impl Memory for Given<'_> {
    fn given(&self, value: Value) -> bool {
        let owner = self.graph.owner(value);
        !self.own.contains(&owner)
            && (self.graph.is_given(owner) || self.stored.contains(&owner) || self.stored.contains(&value))
    }

    fn constant(&self, value: Value) -> bool {
        is_constant(self.graph, self.graph.owner(value))
    }
}

/// Whether a value is the same in every call: weights that nothing updates, constants.
fn is_constant(graph: &Graph, value: Value) -> bool {
    match graph.op(value) {
        Op::Constant(_) => true,
        Op::Operand(_) => graph.operands.iter().enumerate().any(|(i, o)| {
            let updated = graph.updates.iter().any(|(u, _)| *u == i);
            o.value == value && matches!(o.storage, Storage::Param | Storage::State) && !updated
        }),
        _ => false,
    }
}

impl Lower<'_> {
    /// Outputs have memory of the caller.
    fn leave(&mut self) {
        for (i, (_, value)) in self.graph.outputs.iter().enumerate() {
            let owner = self.graph.owner(*value);
            if !self.graph.is_given(owner) && !self.places.contains_key(&owner) {
                let buffer = self.new_buffer(owner, Place::Output(i));
                self.places.insert(owner, buffer);
            }
        }
    }

    fn new_buffer(&mut self, value: Value, place: Place) -> usize {
        let ty = self.graph.ty(value);
        self.out.buffers.push(Buffer { place, elem: ty.elem, dims: ty.dims.clone() });
        self.out.buffers.len() - 1
    }

    fn group(&mut self, group: &Group) -> Result<(), LowerError> {
        match self.build(group) {
            Ok((built, schedule, scheduled)) => {
                self.step(group, built, schedule, scheduled);
                Ok(())
            }
            Err(reason) => {
                if std::env::var_os("NNC_TRACE").is_some() { eprintln!("{:?}", reason.trace()); }
                let parts = split_up(self.graph, group);
                if parts.len() == 1 && parts[0].nodes == group.nodes {
                    let value = group.roots.first().copied().unwrap_or(Value { node: 0, result: 0 });
                    return Err(reason.at(value, self.graph.op(value).name()));
                }
                parts.iter().try_for_each(|part| self.group(part))
            }
        }
    }

    fn build(&self, group: &Group) -> Result<(Built, Schedule, Scheduled), Refusal> {
        let own = group.nodes.iter().copied().filter(|n| !self.graph.is_view(*n)).collect();
        let memory = Given { graph: self.graph, stored: &self.stored, own };
        let mut built = build::build(self.graph, group, &memory)?;
        merge::merge_axes(&mut built, &self.graph.facts);
        let schedule = schedule::choose(&built.kernel, group.kind, &self.target);
        let schedule = schedule.map_err(|e| Refusal::schedule(&built.kernel, "", e))?;
        match kernel::apply(&built.kernel, &schedule, self.target.lanes) {
            Ok(scheduled) => Ok((built, schedule, scheduled)),
            Err(e) => Err(Refusal::schedule(&built.kernel, &schedule.to_string(), e)),
        }
    }

    fn step(&mut self, group: &Group, built: Built, schedule: Schedule, scheduled: Scheduled) {
        let index = self.out.steps.len();
        let mut buffers = vec![];
        for (buffer, value) in built.kernel.buffers.iter().zip(&built.values) {
            let Some(value) = value else { continue };
            let layout = schedule.layouts.iter().find(|l| l.buffer == buffer.name).cloned();
            buffers.push(self.place(self.graph.owner(*value), *value, buffer.role, layout, index));
        }
        self.stored.extend(&group.roots);
        let work = work(&built);
        let sizes = built.sizes;
        let key = format!("{}{schedule}", built.kernel);
        let kernel = *self.known.entry(key).or_insert_with(|| {
            self.out.kernels.push(LoweredKernel { kernel: built.kernel, schedule, scheduled });
            self.out.kernels.len() - 1
        });
        self.out.steps.push(Step { kernel, buffers, sizes, work, nodes: group.nodes.clone() });
    }

    fn place(&mut self, owner: Value, value: Value, role: Role, layout: Option<Layout>, step: usize) -> usize {
        if is_constant(self.graph, owner) {
            // The layout speaks of the dims of the value as the kernel sees it.
            let place = Place::Constant { value, layout };
            if let Some(known) = self.out.buffers.iter().position(|b| b.place == place) {
                return known;
            }
            return self.new_buffer(value, place);
        }
        // A root that is itself a view has memory of its own.
        let owner = if role == Role::Out {
            value
        } else if self.places.contains_key(&value) {
            value
        } else {
            owner
        };
        if let Some(known) = self.places.get(&owner) {
            if let Place::Arena { last, .. } = &mut self.out.buffers[*known].place {
                *last = step;
            }
            return *known;
        }
        let inputs = self.graph.operands.iter().filter(|o| o.storage == Storage::Input);
        let place = match inputs.clone().position(|o| o.value == owner) {
            Some(input) => Place::Input(input),
            None => Place::Arena { first: step, last: step },
        };
        let buffer = self.new_buffer(owner, place);
        self.places.insert(owner, buffer);
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
    fn trace(&self) -> String { match self { Refusal::Misfit(m) => m.0.clone(), Refusal::Schedule{kernel,schedule,error} => format!("{kernel}\n{schedule}\n{error}") } }
    fn schedule(kernel: &Kernel, schedule: &str, error: ScheduleError) -> Refusal {
        Refusal::Schedule { kernel: kernel.to_string(), schedule: schedule.into(), error }
    }

    fn at(self, value: Value, name: &'static str) -> LowerError {
        match self {
            Refusal::Misfit(Misfit(reason)) => LowerError::Unsupported { value, name, reason },
            Refusal::Schedule { kernel, schedule, error } => LowerError::Schedule { kernel, schedule, error },
        }
    }
}

/// A group for each node, for groups that do not become one kernel.
fn split_up(graph: &Graph, group: &Group) -> Vec<Group> {
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

/// Operations of all stages: for each, the elements it visits, twice for a multiply-add.
fn work(built: &Built) -> Dim {
    let extent = |e: kernel::Extent| match e {
        kernel::Extent::Const(n) => Dim::int(n),
        kernel::Extent::Size(s) => built.sizes[s.index()].clone(),
    };
    let kernel = &built.kernel;
    kernel.stages.iter().fold(Dim::int(0), |sum, stage| {
        let mut axes: BTreeMap<kernel::VarId, Dim> = BTreeMap::new();
        let mut operations = 0;
        let mut add = |v: kernel::VarId| {
            axes.insert(v, extent(kernel.axes[v.index()].extent));
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

fn stage_is_plain(kernel: &Kernel, stage: &kernel::Stage) -> bool {
    let mut plain = true;
    kernel.exprs.walk(stage.value, &mut |_, e| plain &= !matches!(e, kernel::Expr::Reduce { .. }));
    plain
}
