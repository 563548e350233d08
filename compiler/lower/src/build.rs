//! A group of nodes as one kernel: which values are stages, and the expression of each.
//!
//! Work goes from what is stored to what is read. A value that is no stage is computed where it is read, at whatever
//! index; a stage gets its axes from the first place that reads it. So axes that are one in the model are one in the
//! kernel, whatever views lie between.

use graph::{Class, Compute, Dim, Elem, Graph, Group, GroupKind, Op, Source, TensorType, Value, Verdict};
use kernel::{
    Affine, Binary, BufferId, Combine, Expr, ExprId, Extent, Kernel, Literal, Role, SizeId, Subscript, VarId,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A group that cannot be one kernel, and why.
#[derive(Clone, Debug)]
pub struct Misfit(pub String);

fn misfit<T>(text: impl Into<String>) -> Result<T, Misfit> {
    Err(Misfit(text.into()))
}

/// A kernel and what its buffers and sizes are in the graph.
#[derive(Clone, Debug)]
pub struct Built {
    pub kernel: Kernel,
    /// The value in each buffer; temporaries have none.
    pub values: Vec<Option<Value>>,
    /// The dim that each size argument is.
    pub sizes: Vec<Dim>,
}

/// Where values lie in memory, for one graph.
pub trait Memory {
    /// Whether `value` is in memory before this group runs.
    fn given(&self, value: Value) -> bool;

    /// Whether it never changes while the program runs.
    fn constant(&self, value: Value) -> bool;
}

/// An epilogue of more than this many operations becomes a stage of its own, so that
/// it is written once and not for each register of a tile.
pub const LONGEST_EPILOGUE: usize = 12;

/// What suits the machine that a kernel is built for.
#[derive(Clone, Copy)]
pub struct Style {
    /// Sums that are best computed in another order than they are stored in are a stage before the store.
    pub turns: bool,
    /// Whether a value that several stages need is kept between them; what is not is computed by each.
    pub keeps: fn(&TensorType) -> bool,
}

/// The kernel of a group.
pub fn build(graph: &Graph, group: &Group, memory: &dyn Memory, style: Style) -> Result<Built, Misfit> {
    let turns = |n: &Value| style.turns && turns(graph, *n);
    let turned: BTreeSet<Value> = group.nodes.iter().copied().filter(turns).collect();
    let stages = stages(graph, group, &turned, style.keeps);
    let mut kernel = Kernel::new(kernel_name(graph, group));
    let mut builder = Builder {
        graph,
        memory,
        roots: group.roots.iter().copied().collect(),
        turned,
        stages,
        buffers: BTreeMap::new(),
        values: vec![],
        sizes: vec![],
        current: vec![],
        outer: vec![],
        free: vec![],
        otherwise: None,
        places: BTreeMap::new(),
        known: HashMap::new(),
        order: vec![],
        misfit: None,
    };
    for root in group.roots.iter().rev() {
        if !builder.buffers.contains_key(root) {
            builder.root(&mut kernel, *root)?;
        }
    }
    let place = |v: &Value| group.nodes.iter().position(|n| n.node == v.node);
    let mut order: Vec<(Value, kernel::Stage)> = std::mem::take(&mut builder.order);
    order.sort_by_key(|(v, _)| place(v));
    kernel.stages = order.into_iter().map(|(_, s)| s).collect();
    let built = Built { kernel, values: builder.values, sizes: builder.sizes };
    Ok(built)
}

/// A name for reports: what the group does, in short.
fn kernel_name(graph: &Graph, group: &Group) -> String {
    let heavy = group.nodes.iter().find(|n| graph.op(**n).class() != Class::Pointwise);
    let heavy = heavy.or(group.nodes.iter().find(|n| !graph.is_view(**n)));
    let what = heavy.or(group.nodes.first()).map_or("copy", |n| graph.op(*n).name());
    match group.kind {
        GroupKind::Attention => "attention".into(),
        GroupKind::Row => "rows".into(),
        GroupKind::Pointwise | GroupKind::Contraction | GroupKind::Scan => what.into(),
    }
}

/// The values that become stages: roots, results of reductions with what follows on them, and values of whole rows
/// that several stages need and that cost something.
fn stages(graph: &Graph, group: &Group, turned: &BTreeSet<Value>, keeps: fn(&TensorType) -> bool) -> BTreeSet<Value> {
    let inside: BTreeSet<Value> = group.nodes.iter().copied().collect();
    let mut stages: BTreeSet<Value> = group.roots.iter().copied().collect();
    let heavy = |v: &Value| matches!(graph.op(*v).class(), Class::Reduce(_) | Class::Contract);
    let reductions: Vec<Value> = group.nodes.iter().copied().filter(heavy).collect();
    let single = reductions.len() == 1 && group.roots.len() == 1 && group.kind == GroupKind::Contraction;
    if single {
        let epilogue = group.nodes.iter().filter(|n| !graph.is_view(**n) && !heavy(n));
        let cost: usize = epilogue.map(|n| graph.op(*n).cost()).sum();
        if cost > LONGEST_EPILOGUE || turned.contains(&reductions[0]) {
            stages.insert(reductions[0]);
        }
        return stages;
    }
    let bases: Vec<Value> = group.roots.iter().map(|r| storable(graph, *r).1).collect();
    for reduction in &reductions {
        let end = end_of_chain(graph, &inside, &stages, *reduction);
        // What only a root's views read is stored where they say.
        if !bases.contains(&end) || graph.users(end).len() > 1 {
            stages.insert(end);
        }
    }
    // Operands first, so that a value above a new stage counts from there.
    for value in &group.nodes {
        let branches = graph.users(*value).len() > 1;
        if graph.is_view(*value) || stages.contains(value) || !branches {
            continue;
        }
        let readers = group.nodes.iter().chain(&group.roots).filter(|s| stages.contains(s));
        let readers: BTreeSet<Value> =
            readers.filter(|s| inlines(graph, &inside, &stages, **s, *value)).copied().collect();
        let (loads, cost) = price(graph, &inside, &stages, *value);
        if readers.len() > 1 && (loads > 1 || cost > 4) && keeps(graph.ty(*value)) {
            stages.insert(*value);
        }
    }
    stages
}

/// Whether a contraction is best computed in another order of axes than it is stored in: windows over images take their
/// vectors along the channels, and the image is stored along its rows.
fn turns(graph: &Graph, value: Value) -> bool {
    let Op::Conv(conv) = graph.op(value) else { return false };
    let taps = &graph.ty(graph.node(value).operands[1]).dims[2..];
    let points = taps.iter().all(|t| *t == Dim::int(1)) && conv.stride.iter().all(|s| *s == 1);
    conv.groups == 1 && !points
}

/// The views at the end of a root that only move or merge axes, last first, and the value under them.
fn storable(graph: &Graph, root: Value) -> (Vec<Value>, Value) {
    let (mut views, mut value) = (vec![], root);
    loop {
        let moves = match graph.op(value) {
            Op::Transpose(_) => true,
            Op::Reshape(r) => !r.splits_only(&graph.ty(graph.node(value).operands[0]).dims),
            _ => false,
        };
        if !moves {
            return (views, value);
        }
        views.push(value);
        value = graph.node(value).operands[0];
    }
}

/// The last of the pointwise nodes that follow `value` one by one with the same dims.
fn end_of_chain(graph: &Graph, inside: &BTreeSet<Value>, stages: &BTreeSet<Value>, value: Value) -> Value {
    let mut end = value;
    while !stages.contains(&end) {
        let [user] = graph.users(end)[..] else { break };
        let pointwise = graph.op(user).class() == Class::Pointwise && !graph.is_view(user);
        if !pointwise || !inside.contains(&user) || graph.ty(user).dims != graph.ty(end).dims {
            break;
        }
        end = user;
    }
    end
}

/// Whether computing `stage` computes `value` on the way, no stage between them.
fn inlines(graph: &Graph, inside: &BTreeSet<Value>, stages: &BTreeSet<Value>, stage: Value, value: Value) -> bool {
    let mut stack = graph.node(stage).operands.clone();
    let mut seen = BTreeSet::new();
    while let Some(v) = stack.pop() {
        if v == value {
            return true;
        }
        if inside.contains(&v) && !stages.contains(&v) && seen.insert(v) {
            stack.extend(&graph.node(v).operands);
        }
    }
    false
}

/// Loads from memory, and cost of the operations, that computing `value` takes.
fn price(graph: &Graph, inside: &BTreeSet<Value>, stages: &BTreeSet<Value>, value: Value) -> (usize, usize) {
    let (mut loads, mut cost) = (0, graph.op(value).cost());
    let mut stack = graph.node(value).operands.clone();
    let mut seen = BTreeSet::new();
    let whole = graph.ty(value).rank();
    while let Some(v) = stack.pop() {
        if !seen.insert(v) {
            continue;
        }
        if inside.contains(&v) && !stages.contains(&v) {
            cost += if graph.is_view(v) { 0 } else { graph.op(v).cost() };
            stack.extend(&graph.node(v).operands);
        } else if graph.ty(v).rank() == whole {
            loads += 1;
        }
    }
    (loads, cost)
}

struct Builder<'g> {
    graph: &'g Graph,
    memory: &'g dyn Memory,
    roots: BTreeSet<Value>,
    /// Contractions that are stored in another order of axes than they are computed in.
    turned: BTreeSet<Value>,
    stages: BTreeSet<Value>,
    buffers: BTreeMap<Value, BufferId>,
    values: Vec<Option<Value>>,
    sizes: Vec<Dim>,
    /// Nodes whose `compute` is running, innermost last.
    current: Vec<Value>,
    /// Axes of the stages under construction, innermost last: those of their elements, and with reductions.
    outer: Vec<Vec<VarId>>,
    free: Vec<Vec<VarId>>,
    /// What lies beyond the border of what the views read whose `compute` is running.
    otherwise: Option<Literal>,
    /// Where each stage stores its element.
    places: BTreeMap<Value, Vec<Affine>>,
    known: HashMap<(Value, Vec<Subscript>), ExprId>,
    order: Vec<(Value, kernel::Stage)>,
    misfit: Option<Misfit>,
}

impl Builder<'_> {
    /// Stores a root. Views at its end that only move or merge axes become part of where it is stored.
    fn root(&mut self, kernel: &mut Kernel, root: Value) -> Result<(), Misfit> {
        let (path, value) = storable(self.graph, root);
        let ty = self.graph.ty(value).clone();
        let axes = self.root_axes(kernel, &ty);
        let mut at = axes.clone();
        for view in path.iter().rev() {
            at = match self.graph.op(*view) {
                Op::Transpose(t) => t.order.iter().map(|a| at[*a].clone()).collect(),
                Op::Reshape(r) => {
                    let from = &self.graph.ty(self.graph.node(*view).operands[0]).dims;
                    match r.merged(from, &at) {
                        Some(at) => at,
                        None => return misfit(format!("{view} is stored at places that are no sums")),
                    }
                }
                _ => at,
            };
        }
        if !self.turned.contains(&value) || value != root && self.stages.contains(&value) {
            let target = self.target(kernel, root, Role::Out);
            return self.stage(kernel, root, value, &axes, target, at);
        }
        // Sums first, in an order of their own; then the store.
        let sums = self.target(kernel, root, Role::Temp);
        self.stage(kernel, root, value, &axes, sums, axes.clone())?;
        let read = kernel.load(sums, axes.into_iter().map(Subscript::Affine).collect());
        let target = self.target(kernel, root, Role::Out);
        self.order.push((root, kernel::Stage { target, at, value: read }));
        Ok(())
    }

    /// Axes for a root: those that exist where dims and order agree, new ones elsewhere.
    fn root_axes(&mut self, kernel: &mut Kernel, ty: &TensorType) -> Vec<Affine> {
        let mut used: Vec<VarId> = vec![];
        let mut axes = vec![];
        for (i, dim) in ty.dims.iter().enumerate() {
            if *dim == Dim::int(1) {
                axes.push(Affine::default());
                continue;
            }
            let extent = self.extent(kernel, dim);
            let all = (0..kernel.axes.len() as u32).map(VarId);
            let free = all.filter(|a| !used.contains(a) && used.last().is_none_or(|last| a > last));
            let axis = free.filter(|a| kernel.axes[a.index()].extent == extent).next();
            let axis = axis.unwrap_or_else(|| kernel.axis(format!("i{i}"), extent));
            used.push(axis);
            axes.push(Affine::var(axis));
        }
        axes
    }

    fn target(&mut self, kernel: &mut Kernel, value: Value, role: Role) -> BufferId {
        let ty = self.graph.ty(value).clone();
        let prefix = match role {
            Role::Temp => "t",
            Role::Out => "y",
            Role::Const => "w",
            Role::In | Role::InOut => "x",
        };
        let dims: Vec<Extent> = ty.dims.iter().map(|d| self.extent(kernel, d)).collect();
        let name = format!("{prefix}{}", kernel.buffers.iter().filter(|b| b.name.starts_with(prefix)).count());
        let id = kernel.buffer(name, role, ty.elem, &dims);
        self.values.push((role != Role::Temp).then_some(value));
        self.buffers.insert(value, id);
        id
    }

    fn stage(
        &mut self,
        kernel: &mut Kernel,
        stored: Value,
        value: Value,
        axes: &[Affine],
        target: BufferId,
        at: Vec<Affine>,
    ) -> Result<(), Misfit> {
        let vars: Vec<VarId> = axes.iter().flat_map(|a| a.vars().collect::<Vec<_>>()).collect();
        self.outer.push(vars.clone());
        self.free.push(vars);
        self.places.insert(stored, at.clone());
        let subscripts: Vec<Subscript> = axes.iter().cloned().map(Subscript::Affine).collect();
        let expr = match stored == value {
            true => self.compute(kernel, value, subscripts),
            false => self.value(kernel, value, subscripts, None),
        };
        self.free.pop();
        self.outer.pop();
        let Some(expr) = expr else {
            let reason = self.misfit.take();
            return Err(reason.unwrap_or_else(|| Misfit(format!("{value} has no value for one element"))));
        };
        let value = hoist(kernel, expr);
        self.order.push((stored, kernel::Stage { target, at, value }));
        Ok(())
    }

    /// The element of `value` at these subscripts.
    fn value(
        &mut self,
        kernel: &mut Kernel,
        value: Value,
        at: Vec<Subscript>,
        otherwise: Option<Literal>,
    ) -> Option<ExprId> {
        let read = |kernel: &mut Kernel, buffer, at| match otherwise {
            Some(literal) => kernel.load_padded(buffer, at, literal),
            None => kernel.load(buffer, at),
        };
        if self.stages.contains(&value) {
            if !self.buffers.contains_key(&value) {
                self.new_stage(kernel, value, &at)?;
            }
            if !self.at_its_place(value, &at) {
                self.misfit = Some(Misfit(format!("{value} is read away from the element that is computed")));
                return None;
            }
            return Some(read(kernel, self.buffers[&value], at));
        }
        if self.memory.given(value) {
            let buffer = match self.buffers.get(&value) {
                Some(buffer) => *buffer,
                None => {
                    let role = if self.memory.constant(value) { Role::Const } else { Role::In };
                    self.target(kernel, value, role)
                }
            };
            return Some(read(kernel, buffer, at));
        }
        if otherwise.is_some() && matches!(self.graph.op(value), Op::Transpose(_) | Op::Reshape(_)) {
            // These move what lies beyond the border as they move the rest.
            let outside = std::mem::replace(&mut self.otherwise, otherwise);
            let expr = self.compute(kernel, value, at);
            self.otherwise = outside;
            return expr;
        }
        if otherwise.is_some() {
            self.misfit = Some(Misfit(format!("{value} is read beyond its border but not in memory")));
            return None;
        }
        let key = (value, at);
        if let Some(expr) = self.known.get(&key) {
            return Some(*expr);
        }
        let expr = self.compute(kernel, value, key.1.clone())?;
        self.known.insert(key, expr);
        Some(expr)
    }

    /// Whether a stage is read only at the element that is computed, or along the row that is reduced: loops may then
    /// be shared.
    fn at_its_place(&self, stage: Value, at: &[Subscript]) -> bool {
        let outer = self.outer.last().map_or(&[][..], |v| v);
        let Some(place) = self.places.get(&stage) else { return false };
        at.iter().zip(place).all(|(read, stored)| {
            let reduced = |a: &Affine| a.as_var().is_some_and(|v| !outer.contains(&v)) && stored.as_var().is_some();
            read.as_affine().is_some_and(|a| a == stored || reduced(a))
        })
    }

    /// A stage for a value that is read for the first time, at subscripts that become its axes.
    fn new_stage(&mut self, kernel: &mut Kernel, value: Value, at: &[Subscript]) -> Option<()> {
        let ty = self.graph.ty(value).clone();
        let mut axes = vec![];
        for (subscript, dim) in at.iter().zip(&ty.dims) {
            let extent = self.extent(kernel, dim);
            let whole = |v: VarId| kernel.axes[v.index()].extent == extent;
            let affine = subscript.as_affine().filter(|a| match *dim == Dim::int(1) {
                true => a.as_constant() == Some(0),
                false => a.as_var().is_some_and(|v| !axes.contains(&Affine::var(v)) && whole(v)),
            });
            match affine {
                Some(a) => axes.push(a.clone()),
                None => {
                    self.misfit = Some(Misfit(format!("{value} is read away from the element that is computed")));
                    return None;
                }
            }
        }
        let role = if self.roots.contains(&value) { Role::Out } else { Role::Temp };
        let target = self.target(kernel, value, role);
        let known = std::mem::take(&mut self.known);
        let result = self.stage(kernel, value, value, &axes, target, axes.clone());
        self.known = known;
        match result {
            Ok(()) => Some(()),
            Err(reason) => {
                self.misfit = Some(reason);
                None
            }
        }
    }

    fn compute(&mut self, kernel: &mut Kernel, value: Value, at: Vec<Subscript>) -> Option<ExprId> {
        let node = self.graph.node(value);
        let operands: Vec<TensorType> = node.operands.iter().map(|v| self.graph.ty(*v).clone()).collect();
        let (op, output) = (node.op.clone(), self.graph.ty(value).clone());
        self.current.push(value);
        let mut compute = Compute { kernel, source: self, indices: at, operands: &operands, output: &output };
        let expr = op.compute(&mut compute);
        self.current.pop();
        if expr.is_none() && self.misfit.is_none() {
            self.misfit = Some(Misfit(format!("an element of {value} is no expression over elements of its operands")));
        }
        expr
    }
}

impl Source for Builder<'_> {
    fn load(
        &mut self,
        kernel: &mut Kernel,
        operand: usize,
        at: Vec<Subscript>,
        otherwise: Option<Literal>,
    ) -> Option<ExprId> {
        let node = *self.current.last()?;
        let value = self.graph.node(node).operands[operand];
        self.value(kernel, value, at, otherwise.or(self.otherwise))
    }

    fn extent(&mut self, kernel: &mut Kernel, dim: &Dim) -> Extent {
        let dim = self.graph.facts.normalize(dim);
        if let Some(n) = dim.as_int() {
            return Extent::Const(n);
        }
        if let Some(at) = self.sizes.iter().position(|d| *d == dim) {
            return SizeId(at as u32).into();
        }
        let positive = dim.as_var().is_some() && self.graph.facts.le(&Dim::int(1), &dim) == Verdict::Proved;
        let (min, max) = (positive as i64, self.graph.facts.upper_bound(&dim));
        self.sizes.push(dim);
        kernel.size(format!("n{}", self.sizes.len() - 1), min, max).into()
    }

    /// Reductions of rows run over the axis that the rows have already.
    fn axis(&mut self, kernel: &mut Kernel, name: &str, extent: Extent) -> VarId {
        let reduces = self.current.last().is_some_and(|v| matches!(self.graph.op(*v).class(), Class::Reduce(_)));
        let taken = self.free.last().cloned().unwrap_or_default();
        let all = (0..kernel.axes.len() as u32).map(VarId);
        let known = all.filter(|a| reduces && !taken.contains(a)).find(|a| kernel.axes[a.index()].extent == extent);
        let axis = known.unwrap_or_else(|| kernel.axis(name, extent));
        if let Some(free) = self.free.last_mut() {
            free.push(axis);
        }
        axis
    }
}

/// Takes factors that do not depend on the reduction out of a sum: `Σ (a / c) b` is `(Σ a b) / c`.
fn hoist(kernel: &mut Kernel, root: ExprId) -> ExprId {
    let mut exprs = std::mem::take(&mut kernel.exprs);
    let new = exprs.rewrite(root, &mut |exprs, expr, elem| {
        let Expr::Reduce { op: Combine::Sum, axes, body } = &expr else { return exprs.intern(expr, elem) };
        let Expr::Binary(Binary::Mul, a, b) = exprs[*body] else { return exprs.intern(expr, elem) };
        if elem != Elem::F32 && elem != Elem::F64 {
            return exprs.intern(expr, elem);
        }
        let mut outside = vec![];
        let sides = [a, b].map(|mut side| {
            while let Expr::Binary(op @ (Binary::Mul | Binary::Div), x, y) = exprs[side] {
                if depends(exprs, y, axes) {
                    break;
                }
                outside.push((op, y));
                side = x;
            }
            side
        });
        let body = exprs.mul(sides[0], sides[1]);
        let mut sum = exprs.reduce(Combine::Sum, axes, body);
        for (op, factor) in outside {
            sum = exprs.binary(op, sum, factor);
        }
        sum
    });
    kernel.exprs = exprs;
    new
}

fn depends(exprs: &kernel::Exprs, root: ExprId, axes: &[VarId]) -> bool {
    let mut found = false;
    exprs.walk(root, &mut |_, e| {
        let affines: Vec<&Affine> = match e {
            Expr::Index(a, _) => vec![a],
            Expr::Load { at, guard, .. } => {
                let ranges = guard.iter().flat_map(|g| g.ranges.iter().map(|(a, _)| a));
                at.iter().filter_map(Subscript::as_affine).chain(ranges).collect()
            }
            _ => vec![],
        };
        found |= affines.iter().any(|a| axes.iter().any(|v| a.uses(*v)));
    });
    found
}
