//! What a model costs, before there is machine code.

use crate::compile::{Clock, Compiler, kept};
use crate::error::Error;
use crate::plan::Planner;
use crate::target::Function;
use graph::ops::{Kind, Op};
use graph::{Dim, Graph, TensorType, Value};
use lower::{Lowered, Place, Step};

/// What a call of an entry needs, as its plan has it.
#[derive(Clone, Debug)]
pub struct Needs {
    /// Bytes that kernels read and write: each buffer once for each kernel that touches it.
    pub moved: Dim,
    /// Bytes of memory between kernels where most is needed, beside weights, caches, inputs and outputs. To the byte if no
    /// size is open; else what lives there, without the room that the engine leaves after each buffer.
    pub peak: Dim,
}

impl Compiler {
    /// What an entry of the elaborated `model` needs. Runs the passes and lowers them, and makes no machine code.
    pub fn needs(&self, model: &dsl::Model, entry: &dsl::Entry) -> Result<Needs, Error> {
        let kept = kept(model);
        let module = Compiler::module()?;
        let (mut nobody, mut clock) = (|_: &str, _: &str, _: &Graph| {}, Clock::default());
        let compiled = self.lowered(entry.clone(), &kept, &module, None, &mut nobody, &mut clock)?;
        let (graph, lowered) = (&compiled.graph, &compiled.lowered);
        let kernels: Vec<usize> = (0..lowered.kernels.len()).collect();
        let names: Vec<&str> = kept.iter().map(|k| k.name.as_str()).collect();
        let plan = Planner::plan(&entry.name, graph, lowered, &kernels, &names, &mut vec![], self.sources())?;
        let peak = match plan.symbols.is_empty() {
            true => plan.arena_bytes(&[]).and_then(|n| i64::try_from(n).ok()).map(Dim::int),
            false => Some(peak(lowered)),
        };
        let peak = peak.ok_or_else(|| Error::Defect(format!("the sizes of `{}` are too large", entry.name)))?;
        Ok(Needs { moved: moved(lowered), peak })
    }
}

/// Bytes that launches read and write, those in loops as often as the loops run.
fn moved(lowered: &Lowered<Function>) -> Dim {
    // For each open loop, the steps that are left of it and how often those run.
    let mut open: Vec<(usize, Dim)> = vec![];
    let mut sum = Dim::int(0);
    for step in &lowered.steps {
        open.iter_mut().for_each(|(left, _)| *left = left.saturating_sub(1));
        let times = open.last().map_or(Dim::int(1), |(_, times)| times.clone());
        match step {
            Step::Launch(launch) => sum = sum + times * launch.bytes.clone(),
            Step::Loop(around) => open.push((around.steps + 1, times * around.count.clone())),
            Step::Size(_) => {}
        }
        while open.last().is_some_and(|(left, _)| *left <= 1) {
            open.pop();
        }
    }
    sum
}

/// The largest of the sums of what lives at each step.
fn peak(lowered: &Lowered<Function>) -> Dim {
    let mut largest: Vec<Dim> = vec![];
    for step in 0..lowered.steps.len() {
        let lives = lowered
            .buffers
            .iter()
            .filter(|b| matches!(b.place, Place::Arena { first, last } if first <= step && step <= last));
        let bytes = |b: &lower::Buffer| b.dims.iter().cloned().product::<Dim>() * Dim::int(b.elem.size() as i64);
        let sum = lives.map(bytes).fold(Dim::int(0), |sum, n| sum + n);
        if !largest.iter().any(|known| covers(known, &sum)) {
            largest.retain(|known| !covers(&sum, known));
            largest.push(sum);
        }
    }
    largest.into_iter().reduce(|a, b| a.maximum(&b)).unwrap_or_default()
}

/// Whether `a` is at least `b` whatever the sizes are, which are never negative: sufficient, not necessary.
fn covers(a: &Dim, b: &Dim) -> bool {
    (a.clone() - b.clone()).terms().all(|(_, factor)| *factor.numer() >= 0)
}

/// Arithmetic operations of one call, roughly: two for each product that is added up, one for each element that an
/// operator computes. Views and what only moves elements are free.
///
/// ```
/// let model = nnc::compile_text("m.nn", "model M(x: [B, 4]) -> [B, 3] = x |> Linear(3)").elaborate()?;
/// assert_eq!(nnc::operations(&model.entries[0].graph).to_string(), "27*B");
/// # Ok::<(), nnc::Error>(())
/// ```
pub fn operations(graph: &Graph) -> Dim {
    graph.order().into_iter().fold(Dim::int(0), |sum, value| sum + of_node(graph, value))
}

fn of_node(graph: &Graph, value: Value) -> Dim {
    let node = graph.node(value);
    let operand = |i: usize| graph.ty(node.operands[i]);
    let out = elements(&node.types[0]);
    let two = Dim::int(2);
    match &node.op {
        Op::Dot(dot) => two * out * dot.contract_x.iter().map(|a| operand(0).dims[*a].clone()).product(),
        Op::Conv(_) => two * out * operand(1).dims[1..].iter().cloned().product(),
        // Each element of the input meets the kernel of its group's outputs.
        Op::ConvTranspose(_) => two * elements(operand(0)) * operand(1).dims[1..].iter().cloned().product(),
        Op::Pool(pool) => out * pool.kernel.iter().map(|k| Dim::int(*k)).product(),
        Op::Sum(_) | Op::Prod(_) | Op::Max(_) | Op::Min(_) | Op::Argmax(_) | Op::Prefix(_) => elements(operand(0)),
        Op::Scan(scan) => scan.steps.clone() * operations(&scan.body),
        Op::Reshape(_)
        | Op::Transpose(_)
        | Op::Expand(_)
        | Op::Slice(_)
        | Op::Pad(_)
        | Op::Concat(_)
        | Op::Flip(_)
        | Op::Take(_)
        | Op::Gather(_)
        | Op::SliceAt(_)
        | Op::Full(_)
        | Op::Arange(_)
        | Op::Constant(_)
        | Op::DimValue(_)
        | Op::Cast(_) => Dim::int(0),
        op if op.kind() == Kind::Element => out,
        _ => Dim::int(0),
    }
}

fn elements(ty: &TensorType) -> Dim {
    ty.dims.iter().cloned().product()
}
