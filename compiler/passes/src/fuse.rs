//! Forms groups: nodes that become one kernel.
//!
//! Nodes join the group of an operand as they come, operands first: pointwise nodes join whatever has their elements,
//! reductions join the rows they reduce. A group never needs its own results from outside, so groups can be ordered.
//! A scan is a group of its own, and the body in it has groups. Then pointwise groups move into their only user, product, row and product become attention, and what must lie in
//! memory is found. Views join nobody: each group that looks through one computes it for itself.

use crate::{Cx, channels};
use graph::{Class, Dim, Graph, Group, GroupKind, Op, OpError, Value, ops, space};
use std::collections::{BTreeMap, BTreeSet, HashMap};

pub fn run(graph: &mut Graph, cx: &mut Cx) -> Result<(), OpError> {
    separate_outputs(graph)?;
    separate_carries(graph)?;
    let groups = groups(graph, BTreeSet::new());
    // What is stored is known now; where its channels come last there, it is grouped once more.
    let stored = channels::last(graph, &groups, cx)?;
    graph.groups = if stored.is_empty() { groups } else { self::groups(graph, stored) };
    Ok(())
}

/// The groups of a graph; `stored` are views that have to lie in memory as they are.
fn groups(graph: &Graph, stored: BTreeSet<Value>) -> Vec<Group> {
    let (order, sizes) = (graph.order(), graph.computed_sizes());
    let mut fuse = Fuse { graph, order, sizes, stored, groups: vec![], of: HashMap::new() };
    fuse.form();
    fuse.absorb_producers();
    fuse.attention();
    fuse.finish()
}

/// Each value that leaves has memory of its own: one that is given, or leaves twice, becomes a copy. The last carry of a
/// scan lies where the loop left it.
fn separate_outputs(graph: &mut Graph) -> Result<(), OpError> {
    let mut owners = BTreeSet::new();
    for (i, value) in graph.leaving().collect::<Vec<_>>().into_iter().enumerate() {
        let owner = graph.owner(value);
        let carried = matches!(graph.op(owner), Op::Scan(scan) if (owner.result as usize) < scan.carries);
        if graph.is_given(owner) || carried || !owners.insert(owner) {
            let origin = graph.node(value).origin.clone();
            let copy = graph.push(ops::StopGradient {}, &[value], &origin)?;
            match i.checked_sub(graph.outputs.len()) {
                None => graph.outputs[i].1 = copy,
                Some(update) => graph.updates[update].1 = copy,
            }
        }
    }
    Ok(())
}

/// Each first carry of a scan is a copy: the loop writes where it lies.
fn separate_carries(graph: &mut Graph) -> Result<(), OpError> {
    for value in graph.order() {
        let Op::Scan(scan) = graph.op(value) else { continue };
        for position in 0..scan.carries {
            let node = graph.node(value);
            let (first, origin) = (node.operands[position], node.origin.clone());
            let copy = graph.push(ops::StopGradient {}, &[first], &origin)?;
            graph.set_operand(value, position, copy);
        }
    }
    Ok(())
}

#[derive(Debug)]
struct Forming {
    kind: GroupKind,
    nodes: BTreeSet<Value>,
    /// Dims of the elements, those of size 1 left out.
    full: Vec<Dim>,
    /// For rows: what is left of `full` after the reduction.
    rows: Vec<Dim>,
    /// Its one node is no kernel: nothing joins it.
    closed: bool,
}

struct Fuse<'g> {
    graph: &'g Graph,
    order: Vec<Value>,
    /// Nodes of sizes that are computed.
    sizes: BTreeMap<String, Value>,
    /// Views that have to lie in memory.
    stored: BTreeSet<Value>,
    groups: Vec<Option<Forming>>,
    of: HashMap<Value, usize>,
}

impl Fuse<'_> {
    fn form(&mut self) {
        for node in self.order.clone() {
            let size = matches!(self.graph.op(node), Op::Size(_));
            // The caller tells sizes that are inputs.
            let told = size && self.graph.input_of_size(node).is_some();
            if self.graph.is_view(node) || self.graph.is_given(node) || told {
                continue;
            }
            let class = self.graph.op(node).class();
            let opaque = size || self.graph.is_opaque(node);
            let mut candidates: Vec<(Value, usize)> =
                self.sources(node).into_iter().filter_map(|s| Some((s, *self.of.get(&s)?))).collect();
            candidates.sort();
            let found = candidates.into_iter().rev().map(|(_, g)| g).find(|g| !opaque && self.joins(node, &class, *g));
            let group = found.unwrap_or_else(|| {
                self.groups.push(None);
                self.groups.len() - 1
            });
            self.add(node, &class, group);
            if let Some(g) = &mut self.groups[group] {
                g.closed |= opaque;
            }
        }
    }

    /// Nodes that are no views and that `node` needs, itself or for the views that it reads through.
    fn sources(&self, node: Value) -> BTreeSet<Value> {
        let mut out = self.graph.speaks_of(node, &self.sizes);
        let mut stack: Vec<Value> = self.graph.node(node).operands.clone();
        while let Some(value) = stack.pop() {
            match self.graph.is_view(value) {
                true => {
                    out.extend(self.graph.speaks_of(value, &self.sizes));
                    stack.extend(&self.graph.node(value).operands);
                }
                false => {
                    out.insert(Value { result: 0, ..value });
                }
            }
        }
        out
    }

    fn joins(&self, node: Value, class: &Class, group: usize) -> bool {
        let Some(g) = &self.groups[group] else { return false };
        let dims = space(&self.graph.ty(node).dims);
        let fits = match class {
            Class::Contract => false,
            Class::Pointwise => dims == g.full || g.kind == GroupKind::Row && dims == g.rows,
            Class::Reduce(_) => {
                let from = space(&self.graph.ty(self.graph.node(node).operands[0]).dims);
                from == g.full
                    && match g.kind {
                        GroupKind::Pointwise => true,
                        GroupKind::Row => dims == g.rows,
                        GroupKind::Contraction | GroupKind::Attention | GroupKind::Scan => false,
                    }
            }
        };
        fits && !g.closed && self.inlined_reads_fit(node, g) && !self.reaches_from_outside(node, group)
    }

    /// What lies in memory can be read anywhere; a value of the same group only at the element itself, its row, or
    /// along the row it reduces. Reads with a border need memory.
    fn inlined_reads_fit(&self, node: Value, g: &Forming) -> bool {
        let op = self.graph.op(node);
        self.graph.node(node).operands.iter().enumerate().all(|(i, operand)| {
            let inside = self.reads(*operand, g);
            inside.iter().all(|through| {
                let moved = through.iter().any(|v| self.moves(*v));
                !moved && !op.reads_memory(i)
            })
        })
    }

    /// Whether a view's elements have other places than those it reads.
    fn moves(&self, view: Value) -> bool {
        match self.graph.op(view) {
            Op::Transpose(_) | Op::Slice(_) | Op::Flip(_) => true,
            Op::Reshape(r) => space(&r.shape) != space(&self.graph.ty(self.graph.node(view).operands[0]).dims),
            _ => false,
        }
    }

    /// Paths of views from `operand` to nodes of the group.
    fn reads(&self, operand: Value, g: &Forming) -> Vec<Vec<Value>> {
        if g.nodes.contains(&operand) {
            return vec![vec![]];
        }
        if !self.graph.is_view(operand) {
            return vec![];
        }
        let inner = self.graph.node(operand).operands.iter().flat_map(|o| self.reads(*o, g));
        inner
            .map(|mut path| {
                path.push(operand);
                path
            })
            .collect()
    }

    /// Whether an operand of `node` outside the group needs a result of the group.
    fn reaches_from_outside(&self, node: Value, group: usize) -> bool {
        let outside = self.sources(node).into_iter().filter(|s| self.of.get(s) != Some(&group));
        self.any_reaches(outside.collect(), group)
    }

    /// Whether a node of `group` is reached from `from`, going to operands.
    fn any_reaches(&self, from: Vec<Value>, group: usize) -> bool {
        let mut seen: BTreeSet<Value> = from.iter().copied().collect();
        let mut stack = from;
        while let Some(value) = stack.pop() {
            let whole = match self.of.get(&value) {
                Some(g) if *g == group => return true,
                // A group runs as a whole, so all that any of its nodes needs counts.
                Some(g) => self.groups[*g].as_ref().map(|g| g.nodes.clone()).unwrap_or_default(),
                None => BTreeSet::from([value]),
            };
            for node in whole {
                stack.extend(self.sources(node).into_iter().filter(|s| seen.insert(*s)));
            }
        }
        false
    }

    fn add(&mut self, node: Value, class: &Class, group: usize) {
        self.of.insert(node, group);
        let dims = space(&self.graph.ty(node).dims);
        let (kind, full) = match class {
            _ if matches!(self.graph.op(node), Op::Scan(_)) => (GroupKind::Scan, dims.clone()),
            Class::Pointwise => (GroupKind::Pointwise, dims.clone()),
            Class::Contract => (GroupKind::Contraction, dims.clone()),
            Class::Reduce(_) => (GroupKind::Row, space(&self.graph.ty(self.graph.node(node).operands[0]).dims)),
        };
        match &mut self.groups[group] {
            Some(g) => {
                g.nodes.insert(node);
                if let (Class::Reduce(_), GroupKind::Pointwise) = (class, g.kind) {
                    (g.kind, g.rows) = (GroupKind::Row, dims);
                }
            }
            none => *none = Some(Forming { kind, nodes: BTreeSet::from([node]), full, rows: dims, closed: false }),
        }
    }

    /// Pointwise groups that only one other group uses, element by element, become part of it.
    fn absorb_producers(&mut self) {
        for producer in 0..self.groups.len() {
            let Some(p) = &self.groups[producer] else { continue };
            if p.kind != GroupKind::Pointwise || p.closed || self.leaves(p) {
                continue;
            }
            let users = self.users_of(producer);
            let [user] = users.into_iter().collect::<Vec<_>>()[..] else { continue };
            let (Some(p), Some(u)) = (&self.groups[producer], &self.groups[user]) else { continue };
            let fits = match u.kind {
                GroupKind::Row => p.full == u.full || p.full == u.rows,
                GroupKind::Pointwise => p.full == u.full,
                GroupKind::Contraction | GroupKind::Attention | GroupKind::Scan => false,
            };
            let reads_fit = u.nodes.iter().all(|n| self.inlined_reads_fit(*n, p));
            if fits && reads_fit && !u.closed {
                let moved = self.groups[producer].take().map(|p| p.nodes).unwrap_or_default();
                self.of.extend(moved.iter().map(|n| (*n, user)));
                if let Some(u) = &mut self.groups[user] {
                    u.nodes.extend(moved);
                }
            }
        }
    }

    /// Whether a value of the group leaves the graph, perhaps through views.
    fn leaves(&self, g: &Forming) -> bool {
        self.graph.leaving().any(|v| self.base(v).is_some_and(|b| g.nodes.contains(&b)))
    }

    /// Groups other than this one that read its values.
    fn users_of(&self, group: usize) -> BTreeSet<usize> {
        let Some(g) = &self.groups[group] else { return BTreeSet::new() };
        let mut stack: Vec<Value> = g.nodes.iter().flat_map(|n| self.graph.users(*n)).collect();
        let mut users = BTreeSet::new();
        while let Some(value) = stack.pop() {
            match self.of.get(&value) {
                Some(user) if *user != group => {
                    users.insert(*user);
                }
                Some(_) => {}
                None => stack.extend(self.graph.users(value)),
            }
        }
        users
    }

    /// The node under a chain of views with one operand each.
    fn base(&self, mut value: Value) -> Option<Value> {
        while self.graph.is_view(value) {
            value = *self.graph.node(value).operands.first()?;
        }
        Some(Value { result: 0, ..value })
    }

    /// A product, rows over its last axis, and a product that contracts that axis.
    fn attention(&mut self) {
        for row in 0..self.groups.len() {
            let Some((scores, last)) = self.attention_around(row) else { continue };
            let mut nodes = BTreeSet::new();
            for group in [scores, row, last] {
                nodes.extend(self.groups[group].take().map(|g| g.nodes).unwrap_or_default());
            }
            self.of.extend(nodes.iter().map(|n| (*n, last)));
            let full = nodes.last().map(|n| space(&self.graph.ty(*n).dims)).unwrap_or_default();
            self.groups[last] =
                Some(Forming { kind: GroupKind::Attention, nodes, rows: full.clone(), full, closed: false });
        }
    }

    fn attention_around(&self, row: usize) -> Option<(usize, usize)> {
        let r = self.groups[row].as_ref().filter(|g| g.kind == GroupKind::Row && !self.leaves(g))?;
        let users = self.users_of(row);
        let [last] = users.into_iter().collect::<Vec<_>>()[..] else { return None };
        let is_dot = |group: usize| {
            let g = self.groups[group].as_ref()?;
            let dots: Vec<Value> =
                g.nodes.iter().copied().filter(|n| matches!(self.graph.op(*n), Op::Dot(_))).collect();
            (g.kind == GroupKind::Contraction && dots.len() == 1).then(|| dots[0])
        };
        let scores = r.nodes.iter().flat_map(|n| self.sources(*n)).find_map(|s| {
            let group = *self.of.get(&s).filter(|g| **g != row)?;
            is_dot(group)?;
            let whole = self.groups[group].as_ref()?;
            let only_here = self.users_of(group) == BTreeSet::from([row]) && !self.leaves(whole);
            (only_here && whole.full == r.full).then_some(group)
        })?;
        // The second product reads the rows as they are, and sums over what the rows were reduced over.
        let product = is_dot(last)?;
        let Op::Dot(dot) = self.graph.op(product) else { return None };
        let x = self.graph.node(product).operands[0];
        let (rank, batch) = (self.graph.ty(x).rank(), dot.batch_x.len());
        let plain = dot.contract_x == [rank - 1] && dot.batch_x == (0..batch).collect::<Vec<_>>() && rank == batch + 2;
        let from_rows = r.nodes.contains(&x) && space(&self.graph.ty(x).dims) == r.full;
        // Nothing else of the last group may come from the rows.
        let convex = !self.any_reaches(self.outside(last, &[row, scores, last]), scores)
            && !self.any_reaches(self.outside(row, &[row, scores]), scores);
        (plain && from_rows && convex).then_some((scores, last))
    }

    /// Sources of a group that belong to none of `inside`.
    fn outside(&self, group: usize, inside: &[usize]) -> Vec<Value> {
        let Some(g) = &self.groups[group] else { return vec![] };
        let sources: BTreeSet<Value> = g.nodes.iter().flat_map(|n| self.sources(*n)).collect();
        sources.into_iter().filter(|s| self.of.get(s).is_none_or(|g| !inside.contains(g))).collect()
    }

    fn finish(self) -> Vec<Group> {
        let mut roots = Roots { fuse: &self, by_group: BTreeMap::new(), loose: BTreeSet::new() };
        roots.collect();
        let Roots { mut by_group, loose, .. } = roots;
        let mut groups: Vec<Group> = vec![];
        for (id, g) in self.groups.iter().enumerate() {
            let Some(g) = g else { continue };
            let roots: Vec<Value> = by_group.remove(&id).unwrap_or_default().into_iter().collect();
            groups.push(Group { kind: g.kind, nodes: self.with_views(&g.nodes, &roots), roots });
        }
        for root in loose {
            groups.push(Group {
                kind: GroupKind::Pointwise,
                nodes: self.with_views(&BTreeSet::new(), &[root]),
                roots: vec![root],
            });
        }
        self.ordered(groups)
    }

    /// The nodes, and the views between them and down to memory.
    fn with_views(&self, nodes: &BTreeSet<Value>, roots: &[Value]) -> Vec<Value> {
        let mut all = nodes.clone();
        let mut stack: Vec<Value> = nodes.iter().flat_map(|n| self.graph.node(*n).operands.clone()).collect();
        stack.extend(roots);
        while let Some(value) = stack.pop() {
            if self.graph.is_view(value) && all.insert(value) {
                stack.extend(&self.graph.node(value).operands);
            }
        }
        self.order.iter().copied().filter(|v| all.contains(v)).collect()
    }

    /// Groups whose operands are there first.
    fn ordered(&self, groups: Vec<Group>) -> Vec<Group> {
        let mut owner: HashMap<Value, usize> = HashMap::new();
        for (i, g) in groups.iter().enumerate() {
            owner.extend(g.nodes.iter().filter(|n| !self.graph.is_view(**n)).map(|n| (*n, i)));
            owner.extend(g.roots.iter().map(|r| (*r, i)));
        }
        let mut done = vec![false; groups.len()];
        let mut order = vec![];
        for group in 0..groups.len() {
            self.visit(group, &groups, &owner, &mut done, &mut order);
        }
        let mut slots: Vec<Option<Group>> = groups.into_iter().map(Some).collect();
        order.into_iter().filter_map(|i| slots[i].take()).collect()
    }

    fn visit(
        &self,
        group: usize,
        groups: &[Group],
        owner: &HashMap<Value, usize>,
        done: &mut [bool],
        order: &mut Vec<usize>,
    ) {
        if std::mem::replace(&mut done[group], true) {
            return;
        }
        for node in &groups[group].nodes {
            let sizes = self.graph.speaks_of(*node, &self.sizes);
            for needed in self.graph.node(*node).operands.iter().chain(&sizes) {
                if let Some(needed) = owner.get(needed).filter(|g| **g != group) {
                    self.visit(*needed, groups, owner, done, order);
                }
            }
        }
        order.push(group);
    }
}

/// Finds what must lie in memory.
struct Roots<'f, 'g> {
    fuse: &'f Fuse<'g>,
    by_group: BTreeMap<usize, BTreeSet<Value>>,
    /// Views of given values that must be copied.
    loose: BTreeSet<Value>,
}

impl Roots<'_, '_> {
    fn collect(&mut self) {
        let graph = self.fuse.graph;
        for value in graph.leaving() {
            self.need(value);
        }
        for node in &self.fuse.order {
            let Some(group) = self.fuse.of.get(node) else { continue };
            if let Op::Size(_) = graph.op(*node) {
                self.need(*node);
            }
            for (i, operand) in graph.node(*node).operands.iter().enumerate() {
                let memory = graph.op(*node).reads_memory(i) && !self.read_in_place(*node, *operand);
                let memory = memory || self.turns_rows(*node, i);
                self.look(*operand, *group, memory);
            }
        }
    }

    /// Whether an image can be read where it lies: if nothing is read beyond it, as a part of another, and in the order of
    /// axes that it was given to be read in.
    fn read_in_place(&self, node: Value, image: Value) -> bool {
        let graph = self.fuse.graph;
        let bare = match graph.op(node) {
            Op::Conv(conv) => conv.pad.iter().all(|pad| *pad == (0, 0)),
            Op::Pool(_) | Op::Pad(_) | Op::Concat(_) => false,
            _ => return false,
        };
        let (mut part, mut turned) = (image, false);
        loop {
            match graph.op(part) {
                _ if self.fuse.stored.contains(&part) => return true,
                Op::Slice(slice) if bare && slice.step == 1 => {}
                Op::Transpose(_) => turned = true,
                Op::Reshape(_) if self.affine(part) => turned = true,
                _ => return !turned && part != image && !graph.is_view(part),
            }
            part = graph.node(part).operands[0];
        }
    }

    /// Whether the rows of a product come in another order than they lie in: in that order they are no single axis to tile,
    /// and each may have few of them.
    fn turns_rows(&self, node: Value, operand: usize) -> bool {
        let graph = self.fuse.graph;
        let (x, y) = (graph.node(node), graph.node(node).operands.get(operand));
        let (Op::Dot(dot), Some(Op::Transpose(t))) = (&x.op, y.map(|y| graph.op(*y))) else { return false };
        let (contract, batch) = match operand {
            0 => (&dot.contract_x, &dot.batch_x),
            _ => (&dot.contract_y, &dot.batch_y),
        };
        let dims = &graph.ty(x.operands[operand]).dims;
        let rows = (0..dims.len()).filter(|a| !contract.contains(a) && !batch.contains(a) && dims[*a] != Dim::int(1));
        !rows.map(|a| t.order[a]).is_sorted()
    }

    /// `value` is read by a node of `group`, perhaps through views: what is outside must lie in memory, and so must
    /// `value` itself if it is read from `memory` only.
    fn look(&mut self, value: Value, group: usize, memory: bool) {
        let graph = self.fuse.graph;
        let first = Value { result: 0, ..value };
        if graph.is_given(first) {
            return;
        }
        match self.fuse.of.get(&first) {
            Some(owner) if *owner != group => self.need(value),
            Some(_) => {}
            // What no affine index reaches needs memory too.
            None if memory || !self.affine(value) || self.fuse.stored.contains(&value) => self.need(value),
            None => {
                for operand in &graph.node(value).operands {
                    self.look(*operand, group, false);
                }
            }
        }
    }

    fn affine(&self, view: Value) -> bool {
        let graph = self.fuse.graph;
        match graph.op(view) {
            Op::Reshape(r) => r.splits_only(&graph.ty(graph.node(view).operands[0]).dims),
            _ => true,
        }
    }

    /// Whether a view's base can be stored at the view's places right away: nothing else needs it at its own, affine
    /// indices lead there, and what costs more than an element is not computed for each copy of it.
    fn stored_as_made(&self, view: Value) -> bool {
        let graph = self.fuse.graph;
        let (mut value, mut moved, mut alone, mut reached, mut copied) = (view, false, true, true, false);
        while graph.is_view(value) {
            moved |= self.fuse.moves(value);
            reached &= value == view || self.affine(value);
            copied |= matches!(graph.op(value), Op::Expand(_));
            value = graph.node(value).operands[0];
            alone &= graph.users(value).len() == 1 && graph.leaving().all(|v| v.node != value.node);
        }
        let group = self.fuse.of.get(&value).and_then(|g| self.fuse.groups[*g].as_ref());
        let cheap = group.is_some_and(|g| g.kind == GroupKind::Pointwise);
        reached && (!moved || alone) && (!copied || cheap)
    }

    /// Whether a group is no kernel, so that it stores its own value and no view of it.
    fn closed(&self, group: usize) -> bool {
        self.fuse.groups[group].as_ref().is_some_and(|g| g.closed)
    }

    /// `value` must lie in memory: itself, or what it is a reshape of.
    fn need(&mut self, value: Value) {
        let graph = self.fuse.graph;
        if graph.is_given(value) {
            return;
        }
        if let Some(group) = self.fuse.of.get(&Value { result: 0, ..value }) {
            self.by_group.entry(*group).or_default().insert(value);
            return;
        }
        // A reshape is the memory of what it reshapes.
        if let Op::Reshape(_) = graph.op(value) {
            return self.need(graph.node(value).operands[0]);
        }
        // Another view: its base's group stores it, or it is copied.
        match self.fuse.base(value).and_then(|b| self.fuse.of.get(&b)) {
            Some(group) if self.stored_as_made(value) && !self.closed(*group) => {
                self.by_group.entry(*group).or_default().insert(value);
            }
            _ => {
                self.loose.insert(value);
                for operand in &graph.node(value).operands {
                    self.look(*operand, usize::MAX, false);
                }
            }
        }
    }
}
