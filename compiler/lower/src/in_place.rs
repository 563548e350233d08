//! Updates of a part of what a session keeps, written where it lies. The next version is then the same memory as the one
//! before, and nothing is copied.
//!
//! A call that fails leaves what is kept as it was. So this is done only where no step can fail once the first part is
//! written, and the routine that writes leaves a call alone that has failed before.

use crate::{Lowered, LoweredKernel, Place, Step};
use graph::{Dim, Fact, Graph, Op, Value, Verdict};
use kernel::{Binary, Expr, Kernel, Subscript};

impl<C> Lowered<C> {
    /// Gives next versions the memory of those before where the model cannot tell.
    pub(crate) fn update_in_place(&mut self, graph: &Graph) {
        // From the last step back, so that what follows a step is known: whether it can fail, and what it reads.
        let mut after: Vec<usize> = vec![];
        for index in (0..self.steps.len()).rev() {
            let launch = match &self.steps[index] {
                Step::Launch(launch) => launch,
                Step::Loop(_) => continue,
                // It may be out of range.
                Step::Size(_) => return,
            };
            let (nodes, buffers) = (launch.nodes.clone(), launch.buffers.clone());
            let part = match &self.kernels[launch.kernel] {
                LoweredKernel::Routine(r) if r.name == "UpdateAt" => {
                    nodes.iter().copied().find(|v| part_fits(graph, *v))
                }
                _ => None,
            };
            if part.is_none() && can_fail(&self.kernels[launch.kernel]) {
                return;
            }
            if let ([old, start, new, out], Some(_)) = (&buffers[..], part)
                && let (Place::Kept(kept), Place::Next(next)) = (&self.buffers[*old].place, &self.buffers[*out].place)
                && kept == next
                && ![start, new].contains(&old)
                && !after.contains(old)
            {
                self.buffers[*out].place = Place::Kept(*kept);
            }
            after.extend(buffers.into_iter().map(|b| self.whole(b)));
        }
    }

    /// The buffer that a buffer is a part of, if it is one.
    fn whole(&self, mut buffer: usize) -> usize {
        while let Place::Part { of, .. } = self.buffers[buffer].place {
            buffer = of;
        }
        buffer
    }
}

/// Whether running may set the error word.
fn can_fail<C>(kernel: &LoweredKernel<C>) -> bool {
    match kernel {
        LoweredKernel::Loops(loops) => reads_indices(&loops.kernel),
        LoweredKernel::Routine(routine) => matches!(routine.name, "Scatter" | "UpdateAt"),
        LoweredKernel::Extern(..) => false,
    }
}

/// Whether a kernel has subscripts from data, or divides integers.
fn reads_indices(kernel: &Kernel) -> bool {
    let mut found = false;
    for stage in &kernel.stages {
        kernel.exprs.walk(stage.value, &mut |_, e| {
            found |= match e {
                Expr::Load { at, .. } => at.iter().any(|s| matches!(s, Subscript::Data(_))),
                Expr::Binary(Binary::Div | Binary::Rem, a, _) => !kernel.exprs.elem(*a).is_float(),
                _ => false,
            }
        });
    }
    found
}

/// Whether a node writes a part whose place is known in sizes, and facts show that it lies in the whole.
fn part_fits(graph: &Graph, node: Value) -> bool {
    let Op::UpdateAt(_) = graph.op(node) else { return false };
    let [whole, start, part] = graph.node(node).operands[..] else { return false };
    let (whole, part) = (&graph.ty(whole).dims, &graph.ty(part).dims);
    let inside = |((start, part), whole): ((&Dim, &Dim), &Dim)| {
        let from_zero = Fact::Le(Dim::int(0), start.clone());
        let to_end = Fact::Le(start.clone() + part.clone(), whole.clone());
        [from_zero, to_end].iter().all(|fact| graph.facts.holds(fact) == Verdict::Proved)
    };
    sizes(graph, start).is_some_and(|starts| starts.iter().zip(part).zip(whole).all(inside))
}

/// The elements of an integer tensor of rank 1 or 0 that is made of sizes.
fn sizes(graph: &Graph, value: Value) -> Option<Vec<Dim>> {
    let node = graph.node(value);
    let each = || node.operands.iter().map(|x| sizes(graph, *x)).collect::<Option<Vec<_>>>();
    match &node.op {
        Op::DimValue(dim) => Some(vec![dim.value.clone()]),
        Op::Constant(c) => Some(c.value.data.iter().map(|n| Dim::int(*n as i64)).collect()),
        Op::Reshape(_) | Op::Concat(_) => Some(each()?.concat()),
        Op::Full(full) if graph.ty(value).elements() == Dim::int(1) => Some(vec![Dim::int(full.value as i64)]),
        _ => None,
    }
}
