//! Applying a schedule: one generic lowering from a [`Kernel`] and a [`Schedule`] to [`Scheduled`].
//!
//! Its central idea is the *region*: a loop over tiles opens as a few loops, each with constants of its own (full
//! tiles, the ragged one, borders, tiles of a chain), so that tails and padding are decided when compiling. Nothing
//! here knows an operator; what a nest computes is only ever moved.

mod address;
mod leaf;
mod regions;
mod translate;
mod widen;

use crate::affine::{Affine, BufferId, Extent, SizeId, VarId};
use crate::expr::{Expr, Exprs, Subscript};
use crate::nest::{Buffer, Kernel, Role, Stage, unique};
use crate::schedule::{Loop, Mark, Nest, Policy, Schedule, ScheduleError, error};
use crate::scheduled::{LoopKind, LoopVar, Place, Scheduled, SizeInfo, SizeValue, Stmt, Storage};
use address::PhysicalLayout;
use regions::Region;
use std::collections::HashMap;
use std::rc::Rc;

/// `kernel` with its schedule applied, for vectors of `lanes` elements.
pub fn apply(kernel: &Kernel, schedule: &Schedule, lanes: i64) -> Result<Scheduled, ScheduleError> {
    let staged;
    let kernel = if schedule.copies.is_empty() {
        kernel
    } else {
        staged = stage_copies(kernel, &schedule.copies)?;
        &staged
    };
    let wide = widen::widen(kernel);
    let kernel = wide.as_ref().unwrap_or(kernel);
    let mut apply = Apply::new(kernel, schedule, lanes)?;
    let nest = apply.resolve(&schedule.nest, &[])?;
    let env = apply.initial_env();
    apply.nodes(&nest, &env)?;
    let scheduled = apply.finish();
    match unbound(&scheduled, &scheduled.body) {
        None => Ok(scheduled),
        Some(buffer) => {
            let name = &scheduled.storage[buffer.index()].name;
            error(format!("what is stored to `{name}` depends on a variable that no loop around it has"))
        }
    }
}

/// The target of a statement with a variable in its text that no loop binds.
fn unbound(scheduled: &Scheduled, stmts: &[Stmt]) -> Option<BufferId> {
    stmts.iter().find_map(|stmt| match stmt {
        Stmt::Loop { body, .. } => unbound(scheduled, body),
        Stmt::Set { target, at, value, .. } => {
            let open = |a: &Affine| a.vars().any(|v| placeholder_of(v).is_some());
            let mut found = open(at);
            scheduled.exprs.walk(*value, &mut |_, e| {
                found |= match e {
                    Expr::Index(a, _) => open(a),
                    Expr::Load { at, guard, .. } => {
                        at.iter().filter_map(Subscript::as_affine).any(open)
                            || guard.iter().flat_map(|g| &g.ranges).any(|(a, _)| open(a))
                    }
                    _ => false,
                }
            });
            found.then_some(*target)
        }
    })
}

/// The kernel after `stage B as P` for each pair. What a caller passes in as B is copied to P first, and the first place that
/// reads B reads P, so that a second copy is for the second place; what a stage computes into B is computed into P and then
/// copied to B.
pub fn stage_copies(kernel: &Kernel, copies: &[(String, String)]) -> Result<Kernel, ScheduleError> {
    let mut kernel = kernel.clone();
    for (name, copy) in copies {
        let Some(from) = kernel.buffer_named(name) else { return error(format!("no buffer `{name}` to stage")) };
        let Buffer { elem, dims, .. } = kernel.buffers[from.index()].clone();
        let to = kernel.buffer(copy.clone(), Role::Temp, elem, &dims);
        if let Some(computed) = kernel.stages.iter().position(|s| s.target == from) {
            let at = kernel.stages[computed].at.clone();
            kernel.stages[computed].target = to;
            let value = kernel.load(to, at.iter().cloned().map(Subscript::Affine).collect());
            kernel.stages.insert(computed + 1, Stage { target: from, at, value });
            continue;
        }
        let mut at: Option<Vec<Subscript>> = None;
        let mut stages = kernel.stages.clone();
        for stage in &mut stages {
            stage.value = kernel.exprs.rewrite(stage.value, &mut |exprs, expr, elem| match expr {
                Expr::Load { buffer, at: read, guard }
                    if buffer == from && at.get_or_insert_with(|| read.clone()) == &read =>
                {
                    exprs.intern(Expr::Load { buffer: to, at: read, guard }, elem)
                }
                other => exprs.intern(other, elem),
            });
        }
        let Some(at) = at else { return error(format!("`{name}` is staged but not read")) };
        let each = |a: &&Affine| a.as_var().is_some() || a.as_constant() == Some(0);
        let plain = at.iter().map(|s| s.as_affine().filter(each).cloned());
        let Some(target) = plain.collect::<Option<Vec<Affine>>>() else {
            return error(format!("staging `{name}` needs plain subscripts"));
        };
        let value = kernel.load(from, at);
        stages.insert(0, Stage { target: to, at: target, value });
        kernel.stages = stages;
    }
    Ok(kernel)
}

/// A schedule variable: an axis, or one half of a split.
struct Var {
    name: String,
    axis: VarId,
    splits: Vec<SplitVars>,
    /// The variable this is the outer half of, and which of its splits.
    outer_of: Option<(usize, usize)>,
    border: (i64, i64),
}

struct SplitVars {
    outer: usize,
    inner: usize,
    policy: Policy,
    factor: i64,
}

/// A nest with names resolved to indices.
enum Node {
    Loops { loops: Vec<(usize, Mark)>, body: Vec<Node> },
    Compute { stages: Vec<usize>, loops: Vec<(usize, Mark)>, active: Rc<Vec<Option<usize>>> },
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Bind {
    Unbound,
    Const(i64),
    Loop(VarId),
}

/// What is known of every variable at a place in the nest.
#[derive(Clone)]
struct Env {
    vars: Vec<VarState>,
    /// Which split of each variable is in use here.
    active: Rc<Vec<Option<usize>>>,
}

#[derive(Clone)]
struct VarState {
    bind: Bind,
    mark: Option<Mark>,
    /// Where the open region starts, in units of the variable this one is the outer half of.
    base: Affine,
    /// What one step of this variable is worth, in the same units.
    factor: i64,
    extent: Extent,
    /// Iterations of this loop before the open region.
    ordinal: i64,
    /// The open region is one iteration, the first or the last of the whole loop.
    first: bool,
    last: bool,
}

struct Apply<'a> {
    kernel: &'a Kernel,
    schedule: &'a Schedule,
    vars: Vec<Var>,
    layouts: Vec<PhysicalLayout>,
    out: Scheduled,
    derived: HashMap<SizeValue, SizeId>,
    registers: HashMap<BufferId, Vec<i64>>,
    stmts: Vec<Stmt>,
    /// The variable whose loop is shared by threads.
    parallel: Option<usize>,
}

/// Loop variables that are not open stand in affines under ids from the top, for interval analysis only.
fn placeholder(var: usize) -> VarId {
    VarId(u32::MAX - var as u32)
}

fn placeholder_of(var: VarId) -> Option<usize> {
    (var.0 > u32::MAX / 2).then(|| (u32::MAX - var.0) as usize)
}

/// `ceil(a / b)` for b positive and a not negative.
fn ceil_div(a: i64, b: i64) -> i64 {
    (a + b - 1) / b
}

impl<'a> Apply<'a> {
    fn new(kernel: &'a Kernel, schedule: &'a Schedule, lanes: i64) -> Result<Self, ScheduleError> {
        let vars = resolve_vars(kernel, schedule)?;
        let sizes = kernel.sizes.iter().map(|s| SizeInfo {
            name: s.name.clone(),
            value: SizeValue::Argument,
            min: s.min,
            max: s.max,
        });
        let out = Scheduled {
            name: kernel.name.clone(),
            sizes: sizes.collect(),
            lanes,
            tasks: Affine::constant(1),
            exprs: Exprs::default(),
            ..Scheduled::default()
        };
        let mut apply = Apply {
            kernel,
            schedule,
            vars,
            layouts: vec![],
            out,
            derived: HashMap::new(),
            registers: HashMap::new(),
            stmts: vec![],
            parallel: None,
        };
        apply.lay_out()?;
        Ok(apply)
    }

    fn initial_env(&self) -> Env {
        let mut states: Vec<VarState> = (self.vars.iter())
            .map(|v| VarState {
                bind: Bind::Unbound,
                mark: None,
                base: Affine::default(),
                factor: 1,
                extent: self.kernel.axes[v.axis.index()].extent,
                ordinal: 0,
                first: false,
                last: false,
            })
            .collect();
        for split in self.vars.iter().flat_map(|v| &v.splits) {
            states[split.outer].factor = split.factor;
            states[split.inner].extent = Extent::Const(split.factor);
        }
        Env { active: Rc::new(vec![None; self.vars.len()]), vars: states }
    }

    fn var_named(&self, name: &str) -> Result<usize, ScheduleError> {
        match self.vars.iter().position(|v| v.name == name) {
            Some(v) => Ok(v),
            None => error(format!("no variable `{name}`")),
        }
    }

    fn resolve(&self, nests: &[Nest], path: &[usize]) -> Result<Vec<Node>, ScheduleError> {
        let resolve_loops = |loops: &[Loop]| {
            loops.iter().map(|l| Ok((self.var_named(&l.var)?, l.mark))).collect::<Result<Vec<_>, ScheduleError>>()
        };
        let node = |nest: &Nest| {
            let loops = resolve_loops(match nest {
                Nest::Loops { loops, .. } | Nest::Compute { loops, .. } => loops,
            })?;
            let path: Vec<usize> = path.iter().copied().chain(loops.iter().map(|l| l.0)).collect();
            // Besides, each further one would halve what is left, and with tails double the code.
            if let Some(twice) = (1..path.len()).find(|i| path[..*i].contains(&path[*i])) {
                return error(format!("`{}` stands twice in one nest", self.vars[path[twice]].name));
            }
            match nest {
                Nest::Loops { body, .. } => Ok(Node::Loops { loops, body: self.resolve(body, &path)? }),
                Nest::Compute { stages, .. } => {
                    let stages = stages.iter().map(|name| self.stage_named(name)).collect::<Result<_, _>>()?;
                    let active = (0..self.vars.len()).map(|v| {
                        let used = |s: &SplitVars| self.in_use(s.outer, &path) || self.in_use(s.inner, &path);
                        self.vars[v].splits.iter().position(used)
                    });
                    Ok(Node::Compute { stages, loops, active: Rc::new(active.collect()) })
                }
            }
        };
        nests.iter().map(node).collect()
    }

    fn stage_named(&self, name: &str) -> Result<usize, ScheduleError> {
        let target = |s: &Stage| self.kernel.buffers[s.target.index()].name == name;
        match self.kernel.stages.iter().position(target) {
            Some(i) => Ok(i),
            None => error(format!("no stage computes `{name}`")),
        }
    }

    /// Whether `var`, or a part of it, is one of `path`.
    fn in_use(&self, var: usize, path: &[usize]) -> bool {
        path.contains(&var)
            || self.vars[var].splits.iter().any(|s| self.in_use(s.outer, path) || self.in_use(s.inner, path))
    }

    fn nodes(&mut self, nodes: &[Node], env: &Env) -> Result<(), ScheduleError> {
        for node in nodes {
            match node {
                Node::Loops { loops, body } => self.loops(loops, body, env)?,
                Node::Compute { stages, loops, active } => {
                    let env = Env { active: active.clone(), ..env.clone() };
                    self.leaf(stages, loops, &env)?;
                }
            }
        }
        Ok(())
    }

    fn loops(&mut self, loops: &[(usize, Mark)], body: &[Node], env: &Env) -> Result<(), ScheduleError> {
        let Some(((var, mark), rest)) = loops.split_first() else { return self.nodes(body, env) };
        // A reduction split over loops out here keeps partial results in its target: the first and last blocks differ.
        let reduced = self.reduced_below(self.vars[*var].axis, body);
        let peel = if reduced { (1, 1) } else { self.vars[*var].border };
        let regions = self.regions(*var, peel, *mark, env)?;
        if reduced && regions.iter().any(|r| r.count.as_const().is_none()) {
            let name = &self.vars[*var].name;
            return error(format!("blocks of a reduction over `{name}`, whose number is known only when running"));
        }
        for region in regions {
            self.open(*var, *mark, &region, env, &mut |apply, env| apply.loops(rest, body, env))?;
        }
        Ok(())
    }

    fn reduced_below(&self, axis: VarId, nodes: &[Node]) -> bool {
        nodes.iter().any(|node| match node {
            Node::Loops { body, .. } => self.reduced_below(axis, body),
            Node::Compute { stages, .. } => {
                stages.iter().any(|s| self.reduction(*s).is_some_and(|r| r.axes.contains(&axis)))
            }
        })
    }

    /// Opens one region of a loop around what `body` adds.
    fn open(
        &mut self,
        var: usize,
        mark: Mark,
        region: &Region,
        env: &Env,
        body: &mut dyn FnMut(&mut Self, &Env) -> Result<(), ScheduleError>,
    ) -> Result<(), ScheduleError> {
        if let (Some((parent, split)), Some(size)) = (self.vars[var].outer_of, region.inner) {
            let inner = self.vars[parent].splits[split].inner;
            let open = &env.vars[inner];
            if !matches!(open.bind, Bind::Unbound) && open.extent != size {
                let (tiles, inner) = (&self.vars[var].name, &self.vars[inner].name);
                return error(format!(
                    "tiles of `{tiles}` differ in size, so the loop over them must stand outside that over `{inner}`"
                ));
            }
        }
        // Vectors stay vectors, however short: their other lanes must not count. So do blocks and threads.
        let single =
            region.count == Extent::Const(1) && !matches!(mark, Mark::Lanes | Mark::Block(_) | Mark::Thread(_));
        if mark.unrolled() && region.count.as_const().is_none() {
            return error(format!("`{}` is unrolled, but its extent is known only when running", self.vars[var].name));
        }
        if single {
            return body(self, &self.enter(var, mark, region, Bind::Const(0), env));
        }
        let id = self.new_loop(self.vars[var].name.clone(), region.count, loop_kind(mark));
        let outside = std::mem::take(&mut self.stmts);
        let result = body(self, &self.enter(var, mark, region, Bind::Loop(id), env));
        let body = std::mem::replace(&mut self.stmts, outside);
        if !body.is_empty() {
            self.stmts.push(Stmt::Loop { var: id, body });
        }
        result
    }

    fn new_loop(&mut self, name: String, extent: Extent, kind: LoopKind) -> VarId {
        let name = unique(name, |n| self.out.loops.iter().any(|l| l.name == n));
        self.out.loops.push(LoopVar { name, extent, kind });
        VarId(self.out.loops.len() as u32 - 1)
    }

    fn enter(&self, var: usize, mark: Mark, region: &Region, bind: Bind, env: &Env) -> Env {
        let mut env = env.clone();
        let state = &mut env.vars[var];
        state.bind = bind;
        state.mark = Some(mark);
        state.base = region.base.clone();
        state.factor = region.factor;
        state.ordinal = region.ordinal;
        state.first = region.first;
        state.last = region.last;
        if let (Some((parent, split)), Some(inner)) = (self.vars[var].outer_of, region.inner) {
            env.vars[self.vars[parent].splits[split].inner].extent = inner;
        }
        env
    }

    fn finish(mut self) -> Scheduled {
        self.out.body = self.stmts;
        for stage in &self.kernel.stages {
            self.out.storage[stage.target.index()].written = true;
        }
        let mut offset = 0;
        for storage in &mut self.out.storage {
            if let Place::Scratch { offset: at } = &mut storage.place {
                *at = offset;
                let bytes = storage.len.unwrap_or(0) as usize * storage.elem.size();
                offset += bytes.next_multiple_of(64);
            }
        }
        self.out.scratch = offset;
        self.out
    }

    fn new_register(&mut self, name: String, elem: tensor::Elem, len: i64) -> BufferId {
        self.out.storage.push(Storage {
            name,
            elem,
            place: Place::Register,
            len: Some(len),
            written: true,
            prefetch: 0,
        });
        BufferId(self.out.storage.len() as u32 - 1)
    }
}

fn loop_kind(mark: Mark) -> LoopKind {
    match mark {
        Mark::Serial => LoopKind::Serial,
        Mark::Parallel => LoopKind::Parallel,
        Mark::Unroll | Mark::Partial => LoopKind::Unroll,
        Mark::Fresh => LoopKind::UnrollFresh,
        Mark::Lanes => LoopKind::Lanes,
        Mark::Block(d) => LoopKind::Block(d),
        Mark::Thread(d) => LoopKind::Thread(d),
    }
}

/// Elements of a tile along one axis, at most: more fit no cache, and products of such numbers must be counted.
const LARGEST_TILE: i64 = 1 << 20;

fn resolve_vars(kernel: &Kernel, schedule: &Schedule) -> Result<Vec<Var>, ScheduleError> {
    let new = |name: &str, axis: VarId| Var { name: name.into(), axis, splits: vec![], outer_of: None, border: (0, 0) };
    let axes = kernel.axes.iter().enumerate();
    let mut vars: Vec<Var> = axes.map(|(i, a)| new(&a.name, VarId(i as u32))).collect();
    let find = |vars: &[Var], name: &str| match vars.iter().position(|v| v.name == name) {
        Some(v) => Ok(v),
        None => error(format!("no variable `{name}`")),
    };
    for split in &schedule.splits {
        let parent = find(&vars, &split.of)?;
        if vars[parent].outer_of.is_some() {
            return error(format!("`{}` counts tiles; split the inner variable", split.of));
        }
        let smaller = match &split.policy {
            Policy::Chain { smaller, .. } => &smaller[..],
            _ => &[],
        };
        let mut factors = std::iter::once(&split.factor).chain(smaller);
        if let Some(factor) = factors.find(|n| !(1..=LARGEST_TILE).contains(*n)) {
            return error(format!("`{}` is split by {factor}", split.of));
        }
        for name in [&split.outer, &split.inner] {
            if find(&vars, name).is_ok() {
                return error(format!("two variables are called `{name}`"));
            }
        }
        let (axis, outer) = (vars[parent].axis, vars.len());
        let number = vars[parent].splits.len();
        vars.push(Var { outer_of: Some((parent, number)), ..new(&split.outer, axis) });
        vars.push(new(&split.inner, axis));
        let (policy, factor) = (split.policy.clone(), split.factor);
        vars[parent].splits.push(SplitVars { outer, inner: outer + 1, policy, factor });
    }
    for border in &schedule.borders {
        let var = find(&vars, &border.var)?;
        vars[var].border = (border.low, border.high);
    }
    Ok(vars)
}
