//! The tensor graph: nodes in a petgraph, each with its operands in order, guarded by one small API.

use crate::dim::Dim;
use crate::error::OpError;
use crate::facts::{Fact, Facts};
use crate::ops::{Attr, Op};
use crate::types::TensorType;
use diag::Span;
use petgraph::Direction;
use petgraph::stable_graph::{NodeIndex, StableDiGraph};
use petgraph::visit::EdgeRef;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

/// One result of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value {
    pub node: u32,
    pub result: u32,
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.result {
            0 => write!(f, "%{}", self.node),
            r => write!(f, "%{}.{r}", self.node),
        }
    }
}

/// Where a node comes from: its place, and the calls that led there, innermost first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Origin {
    pub span: Span,
    pub calls: Option<Arc<Call>>,
}

/// One inlined call: its place, what was called, and the call around it.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub span: Span,
    pub name: String,
    pub outer: Option<Arc<Call>>,
}

/// The role of an operand of the whole graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Storage {
    Input,
    /// Trained and saved.
    Param,
    /// Saved, not trained.
    State,
    /// Per session, never saved.
    Cache,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Operand {
    pub name: String,
    pub storage: Storage,
    pub value: Value,
}

/// A condition on sizes that a call checks first, quoted as written.
#[derive(Clone, Debug, PartialEq)]
pub struct Guard {
    pub fact: Fact,
    pub text: String,
    pub origin: Origin,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub op: Op,
    pub operands: Vec<Value>,
    pub types: Vec<TensorType>,
    pub origin: Origin,
}

impl Node {
    /// Calls `with` for each size that the node mentions.
    fn mention(&self, with: &mut dyn FnMut(&str)) {
        self.types.iter().flat_map(|t| &t.dims).flat_map(Dim::vars).for_each(|name| with(&name));
        self.op.attributes().iter().for_each(|(_, attribute)| mention(attribute, with));
    }
}

fn mention(attribute: &Attr, with: &mut dyn FnMut(&str)) {
    match attribute {
        Attr::Dim(dim) => dim.vars().iter().for_each(|name| with(name)),
        Attr::List(items) => items.iter().for_each(|item| mention(item, with)),
        Attr::Graph(body) => body.nodes.node_weights().for_each(|node| node.mention(with)),
        Attr::Float(_) | Attr::Bool(_) | Attr::Str(_) | Attr::Elem(_) | Attr::Array(_) => {}
    }
}

/// The use of a value: which operand of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    pub position: u32,
}

/// What the loops of a group look like: that decides its schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GroupKind {
    /// Each element on its own.
    Pointwise,
    /// Reductions over the same rows, with what makes and uses those rows.
    Row,
    /// A product, a convolution or a window, with what follows on each element.
    Contraction,
    /// Two products with a row group between them.
    Attention,
    /// One scan: a loop around the groups of its body.
    Scan,
}

impl GroupKind {
    pub const ALL: [GroupKind; 5] =
        [GroupKind::Pointwise, GroupKind::Row, GroupKind::Contraction, GroupKind::Attention, GroupKind::Scan];

    pub fn name(self) -> &'static str {
        match self {
            GroupKind::Pointwise => "pointwise",
            GroupKind::Row => "row",
            GroupKind::Contraction => "contraction",
            GroupKind::Attention => "attention",
            GroupKind::Scan => "scan",
        }
    }
}

/// Nodes that become one kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    pub kind: GroupKind,
    /// Operands before users. Views may belong to several groups: each computes them for itself.
    pub nodes: Vec<Value>,
    /// What the kernel stores.
    pub roots: Vec<Value>,
}

/// A function of tensors.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    pub name: String,
    pub facts: Facts,
    pub guards: Vec<Guard>,
    pub operands: Vec<Operand>,
    pub outputs: Vec<(String, Value)>,
    /// New values of `state` and `cache` operands, by index into `operands`.
    pub updates: Vec<(usize, Value)>,
    /// In an order in which they can run; empty before fusion.
    pub groups: Vec<Group>,
    nodes: StableDiGraph<Node, Use>,
}

impl Graph {
    pub fn new(name: impl Into<String>) -> Graph {
        Graph { name: name.into(), ..Graph::default() }
    }

    /// Adds an operand of the whole graph.
    pub fn operand(&mut self, name: impl Into<String>, storage: Storage, ty: TensorType, origin: Origin) -> Value {
        let name = name.into();
        let value = self.insert(Node { op: Op::operand(name.clone()), operands: vec![], types: vec![ty], origin });
        self.operands.push(Operand { name, storage, value });
        value
    }

    /// Adds a condition that calls check, and takes it as true.
    pub fn guard(&mut self, guard: Guard) {
        self.facts.assume(&guard.fact);
        self.guards.push(guard);
    }

    /// Makes these all the nodes, under these numbers.
    pub(crate) fn set_nodes(&mut self, nodes: BTreeMap<u32, Node>) {
        self.nodes.clear();
        let count = nodes.keys().last().map_or(0, |last| last + 1);
        let uses: Vec<(u32, Vec<Value>)> = nodes.iter().map(|(n, node)| (*n, node.operands.clone())).collect();
        let present: BTreeSet<u32> = nodes.keys().copied().collect();
        let mut nodes = nodes.into_values();
        for n in 0..count {
            let gap =
                || Node { op: Op::operand(String::new()), operands: vec![], types: vec![], origin: Origin::default() };
            let node = if present.contains(&n) { nodes.next() } else { None };
            self.nodes.add_node(node.unwrap_or_else(gap));
        }
        self.nodes.retain_nodes(|_, n| present.contains(&(n.index() as u32)));
        for (user, operands) in uses {
            for (position, operand) in operands.into_iter().enumerate() {
                self.nodes.add_edge(index(operand), NodeIndex::new(user as usize), Use { position: position as u32 });
            }
        }
    }

    /// Whether there is such a node with such a result.
    pub fn contains(&self, value: Value) -> bool {
        self.nodes.node_weight(index(value)).is_some_and(|n| (value.result as usize) < n.types.len())
    }

    /// The nodes that a node's edges come from, in the order of the operands they stand for.
    pub(crate) fn edges(&self, value: Value) -> Vec<(u32, u32)> {
        let edges = self.nodes.edges_directed(index(value), Direction::Incoming);
        let mut edges: Vec<(u32, u32)> = edges.map(|e| (e.weight().position, e.source().index() as u32)).collect();
        edges.sort();
        edges
    }

    fn insert(&mut self, node: Node) -> Value {
        let operands = node.operands.clone();
        let id = self.nodes.add_node(node);
        for (position, operand) in operands.into_iter().enumerate() {
            self.nodes.add_edge(index(operand), id, Use { position: position as u32 });
        }
        Value { node: id.index() as u32, result: 0 }
    }

    /// Adds a node after checking its operands; gives its first result.
    pub fn push(&mut self, op: impl Into<Op>, operands: &[Value], origin: &Origin) -> Result<Value, OpError> {
        let op = op.into();
        let types: Vec<TensorType> = operands.iter().map(|v| self.ty(*v).clone()).collect();
        let results = op.infer(&types, &self.facts)?;
        Ok(self.insert(Node { op, operands: operands.to_vec(), types: results, origin: origin.clone() }))
    }

    /// A value that nothing computes, to build on until [`Graph::enclose`] makes it an operand of an inner graph.
    pub fn placeholder(&mut self, name: impl Into<String>, ty: TensorType, origin: Origin) -> Value {
        self.insert(Node { op: Op::operand(name.into()), operands: vec![], types: vec![ty], origin })
    }

    /// A copy of a node of another graph, its operands those that `known` says; its results become known.
    pub fn copy(&mut self, from: &Graph, value: Value, known: &mut HashMap<Value, Value>) {
        let mut node = from.node(value).clone();
        node.operands.iter_mut().for_each(|x| *x = known[x]);
        let copy = self.insert(node);
        known.extend(from.results(value).into_iter().map(|r| (r, Value { result: r.result, ..copy })));
    }

    /// Puts the nodes of `body` here, `known` values in place of its operands; its outputs.
    pub fn inline(&mut self, body: &Graph, mut known: HashMap<Value, Value>) -> Vec<Value> {
        for value in body.order().into_iter().filter(|v| !matches!(body.op(*v), Op::Operand(_))) {
            self.copy(body, value, &mut known);
        }
        body.outputs.iter().map(|(_, value)| known[value]).collect()
    }

    /// What computes `outputs` from `inner` as a graph of its own, and the values of this graph that are its operands
    /// after `inner`. Views come along with what looks through them.
    pub fn enclose(&self, name: &str, inner: &[Value], outputs: &[(String, Value)]) -> (Graph, Vec<Value>) {
        let mut body = Graph { facts: self.facts.clone(), ..Graph::new(name) };
        let mut known = HashMap::new();
        let operand = |body: &mut Graph, value: Value| {
            let base = match self.op(value) {
                Op::Operand(name) => name.clone(),
                op => op.name().into(),
            };
            let name = body.fresh_name(&base);
            body.operand(name, Storage::Input, self.ty(value).clone(), self.node(value).origin.clone())
        };
        for value in inner {
            let new = operand(&mut body, *value);
            known.insert(*value, new);
        }
        let varying = self.reached(inner);
        let comes_along = |value: Value| varying.contains(&value.node) || self.op(value).is_view();
        let (mut needed, mut captures) = (BTreeSet::new(), BTreeSet::new());
        let mut stack: Vec<Value> = outputs.iter().map(|(_, v)| *v).collect();
        while let Some(value) = stack.pop() {
            if known.contains_key(&value) {
                continue;
            }
            match comes_along(value) {
                true if needed.insert(value.node) => stack.extend(&self.node(value).operands),
                true => {}
                false => {
                    captures.insert(value);
                }
            }
        }
        for value in &captures {
            let new = operand(&mut body, *value);
            known.insert(*value, new);
        }
        for value in self.order().into_iter().filter(|v| needed.contains(&v.node)) {
            body.copy(self, value, &mut known);
        }
        outputs.iter().for_each(|(name, v)| body.set_output(name.clone(), known[v]));
        (body, captures.into_iter().collect())
    }

    /// A name that no operand has yet.
    pub fn fresh_name(&self, base: &str) -> String {
        let taken = |name: &String| self.operands.iter().any(|o| o.name == *name);
        let numbered = (1..).map(|n| format!("{base}_{n}"));
        std::iter::once(base.to_string()).chain(numbered).find(|n| !taken(n)).expect("names do not end")
    }

    /// Nodes that depend on any of these values, theirs included.
    pub fn reached(&self, from: &[Value]) -> HashSet<u32> {
        let mut reached: HashSet<u32> = from.iter().map(|v| v.node).collect();
        let mut stack: Vec<u32> = reached.iter().copied().collect();
        while let Some(node) = stack.pop() {
            let users = self.users(Value { node, result: 0 });
            stack.extend(users.into_iter().map(|u| u.node).filter(|n| reached.insert(*n)));
        }
        reached
    }

    /// Graphs inside of nodes. What they take and give stays as it is.
    pub fn bodies_mut(&mut self) -> impl Iterator<Item = &mut Graph> {
        self.nodes.node_weights_mut().filter_map(|node| match &mut node.op {
            Op::Scan(scan) => Some(&mut *scan.body),
            _ => None,
        })
    }

    /// Makes one operand of a node another value of the same type.
    pub fn set_operand(&mut self, user: Value, position: usize, new: Value) {
        let user = index(user);
        let edge =
            self.nodes.edges_directed(user, Direction::Incoming).find(|e| e.weight().position == position as u32);
        if let Some(edge) = edge.map(|e| e.id()) {
            self.nodes.remove_edge(edge);
            self.nodes[user].operands[position] = new;
            self.nodes.add_edge(index(new), user, Use { position: position as u32 });
        }
    }

    /// All results of the node that `value` is one of.
    pub fn results(&self, value: Value) -> Vec<Value> {
        let count = self.node(value).types.len() as u32;
        (0..count).map(|result| Value { result, ..value }).collect()
    }

    pub fn node(&self, value: Value) -> &Node {
        &self.nodes[index(value)]
    }

    pub fn op(&self, value: Value) -> &Op {
        &self.node(value).op
    }

    pub fn ty(&self, value: Value) -> &TensorType {
        &self.node(value).types[value.result as usize]
    }

    pub fn set_output(&mut self, name: impl Into<String>, value: Value) {
        self.outputs.push((name.into(), value));
    }

    /// First results of all nodes, what is used before its users, sizes before what speaks of them; among those ready,
    /// operands of the graph first, then in the order of insertion.
    pub fn order(&self) -> Vec<Value> {
        let mut missing: Vec<usize> = vec![0; self.nodes.node_indices().map(|n| n.index() + 1).max().unwrap_or(0)];
        let mut ready = BTreeSet::new();
        let sizes = self.computed_sizes();
        let mut speakers: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for n in self.nodes.node_indices() {
            missing[n.index()] = self.nodes.edges_directed(n, Direction::Incoming).count();
            for size in self.speaks_of(Value { node: n.index() as u32, result: 0 }, &sizes) {
                missing[n.index()] += 1;
                speakers.entry(size.node as usize).or_default().push(n.index());
            }
            if missing[n.index()] == 0 {
                ready.insert((!matches!(self.nodes[n].op, Op::Operand(_)), n.index()));
            }
        }
        let mut order = vec![];
        while let Some((_, n)) = ready.pop_first() {
            order.push(Value { node: n as u32, result: 0 });
            let users = self.nodes.edges_directed(NodeIndex::new(n), Direction::Outgoing).map(|e| e.target().index());
            for target in users.chain(speakers.remove(&n).unwrap_or_default()) {
                missing[target] -= 1;
                if missing[target] == 0 {
                    ready.insert((true, target));
                }
            }
        }
        order
    }

    pub fn len(&self) -> usize {
        self.nodes.node_count()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Nodes that use any result of `value`'s node, each once, in order.
    pub fn users(&self, value: Value) -> Vec<Value> {
        let targets = self.nodes.edges_directed(index(value), Direction::Outgoing).map(|e| e.target().index() as u32);
        let targets: BTreeSet<u32> = targets.collect();
        targets.into_iter().map(|node| Value { node, result: 0 }).collect()
    }

    /// Whether a node has this very result as an operand, or it leaves the graph.
    pub fn is_used(&self, value: Value) -> bool {
        self.users(value).iter().any(|u| self.node(*u).operands.contains(&value)) || self.leaving().any(|v| v == value)
    }

    /// Nodes that give a name to a size that data chooses.
    pub fn sizes(&self) -> impl Iterator<Item = Value> + '_ {
        let nodes = self.nodes.node_indices().filter(|n| matches!(self.nodes[*n].op, Op::Size(_)));
        nodes.map(|n| Value { node: n.index() as u32, result: 0 })
    }

    /// The input, by its number among the inputs, whose value a size is; nothing if the size is computed.
    pub fn input_of_size(&self, size: Value) -> Option<usize> {
        let value = self.owner(*self.node(size).operands.first()?);
        self.operands.iter().filter(|o| o.storage == Storage::Input).position(|o| o.value == value)
    }

    /// The nodes of sizes that are no inputs, by their names: what speaks of such a size runs after its node.
    pub fn computed_sizes(&self) -> BTreeMap<String, Value> {
        let sizes = self.sizes().filter(|size| self.input_of_size(*size).is_none());
        let named = sizes.filter_map(|value| match self.op(value) {
            Op::Size(size) => Some((size.name.clone(), value)),
            _ => None,
        });
        named.collect()
    }

    /// Those of `sizes` that the types of a node or its attributes mention.
    pub fn speaks_of(&self, node: Value, sizes: &BTreeMap<String, Value>) -> BTreeSet<Value> {
        let mut found = BTreeSet::new();
        if !sizes.is_empty() {
            self.node(node).mention(&mut |name| found.extend(sizes.get(name)));
        }
        found
    }

    /// Values that leave the graph: outputs and new versions of storage.
    pub fn leaving(&self) -> impl Iterator<Item = Value> + '_ {
        self.outputs.iter().map(|(_, v)| *v).chain(self.updates.iter().map(|(_, v)| *v))
    }

    /// Makes every use of `old`, results and updates included, a use of `new`.
    pub fn replace(&mut self, old: Value, new: Value) {
        let edges: Vec<_> =
            self.nodes.edges_directed(index(old), Direction::Outgoing).map(|e| (e.id(), e.target())).collect();
        for (edge, target) in edges {
            let position = self.nodes[edge].position as usize;
            if self.nodes[target].operands[position] == old {
                self.nodes.remove_edge(edge);
                self.nodes[target].operands[position] = new;
                self.nodes.add_edge(index(new), target, Use { position: position as u32 });
            }
        }
        let values = self.outputs.iter_mut().map(|(_, v)| v).chain(self.updates.iter_mut().map(|(_, v)| v));
        values.filter(|v| **v == old).for_each(|v| *v = new);
    }

    /// Removes nodes from which nothing that leaves the graph is reached; says whether there were any.
    /// Operands of the whole graph stay, and sizes: types may mention them.
    pub fn remove_dead(&mut self) -> bool {
        let mut live: BTreeSet<u32> = self.operands.iter().map(|o| o.value.node).collect();
        let mut stack: Vec<Value> = self.leaving().chain(self.sizes()).collect();
        while let Some(value) = stack.pop() {
            if live.insert(value.node) || self.node(value).operands.is_empty() {
                stack.extend(&self.node(value).operands);
            }
        }
        let before = self.nodes.node_count();
        self.nodes.retain_nodes(|_, n| live.contains(&(n.index() as u32)));
        self.nodes.node_count() != before
    }

    /// Removes operands that nothing uses.
    pub fn remove_operands(&mut self, gone: &[Value]) {
        self.operands.retain(|o| !gone.contains(&o.value));
        self.remove_dead();
    }

    /// The underlying petgraph, for its algorithms and DOT.
    pub fn petgraph(&self) -> &StableDiGraph<Node, Use> {
        &self.nodes
    }

    /// Whether two nodes compute the same.
    pub fn same(&self, a: Value, b: Value) -> bool {
        let (a, b) = (self.node(a), self.node(b));
        a.op == b.op && a.operands == b.operands && a.types == b.types
    }

    /// Named sizes that types mention.
    pub fn symbols(&self) -> Vec<Arc<str>> {
        let types = self.operands.iter().map(|o| self.ty(o.value));
        let mut names: Vec<Arc<str>> = types.flat_map(|t| t.dims.iter().flat_map(Dim::vars)).collect();
        names.sort();
        names.dedup();
        names
    }
}

/// Graphs are equal if they compute the same in the same order under the same names. Where nodes come from, and which
/// numbers operands of the graph have, does not count.
impl PartialEq for Graph {
    fn eq(&self, other: &Graph) -> bool {
        self.canonical() == other.canonical()
    }
}

/// A value by what its text says: an operand by its position, another by its number.
#[derive(PartialEq)]
enum Known {
    Operand(usize),
    Result(Value),
}

/// All that equality looks at.
#[derive(PartialEq)]
struct Canonical<'a> {
    name: &'a str,
    facts: &'a Facts,
    guards: Vec<(&'a Fact, &'a str)>,
    operands: Vec<(&'a str, Storage, &'a TensorType)>,
    nodes: Vec<(Value, &'a Op, Vec<Known>, &'a [TensorType])>,
    outputs: Vec<(&'a str, Known)>,
    updates: Vec<(usize, Known)>,
    groups: &'a [Group],
}

impl Graph {
    fn canonical(&self) -> Canonical<'_> {
        let known = |v: &Value| match self.operands.iter().position(|o| o.value == *v) {
            Some(operand) => Known::Operand(operand),
            None => Known::Result(*v),
        };
        let inner = self.order().into_iter().filter(|v| !matches!(self.op(*v), Op::Operand(_)));
        let nodes = inner.map(|v| {
            let node = self.node(v);
            (v, &node.op, node.operands.iter().map(known).collect(), &node.types[..])
        });
        Canonical {
            name: &self.name,
            facts: &self.facts,
            guards: self.guards.iter().map(|g| (&g.fact, g.text.as_str())).collect(),
            operands: self.operands.iter().map(|o| (o.name.as_str(), o.storage, self.ty(o.value))).collect(),
            nodes: nodes.collect(),
            outputs: self.outputs.iter().map(|(n, v)| (n.as_str(), known(v))).collect(),
            updates: self.updates.iter().map(|(i, v)| (*i, known(v))).collect(),
            groups: &self.groups,
        }
    }
}

fn index(value: Value) -> NodeIndex {
    NodeIndex::new(value.node as usize)
}
