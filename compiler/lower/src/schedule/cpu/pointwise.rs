//! Each element on its own: vectors along the axis of contiguous stores, four at a time; squares of lanes by lanes where
//! what is loaded lies along another axis.

use super::{Shape, StageShape, Vectors, outer_loops, streams, unroll_of, vectors};
use kernel::VarId;

/// Elements that one task of a kernel with a single axis takes: 16 KiB, enough to be worth waking a thread for.
const TASK: i64 = 4096;

pub fn text(shape: &Shape, target: &Vectors) -> Option<String> {
    let first = shape.stages.first()?;
    let alike = |s: &StageShape| s.free == first.free && s.reduced.is_empty() && s.contiguous == first.contiguous;
    if !shape.stages.iter().all(alike) {
        return None;
    }
    let stages: Vec<&str> = shape.stages.iter().map(|s| s.name.as_str()).collect();
    let stages = stages.join(" ");
    let Some(along) = first.contiguous else {
        return first.free.is_empty().then(|| format!("nest {stages}:"));
    };
    let outer: Vec<VarId> = first.free.iter().copied().filter(|v| *v != along).collect();
    let a = shape.name(along);
    let lanes = target.lanes;
    if let Some(beside) = by_turns(shape, first, along) {
        let b = shape.name(beside);
        let others: Vec<VarId> = outer.iter().copied().filter(|v| *v != beside).collect();
        let body = format!("{stages}: {b}o {b}v* {a}* {b}l@");
        let nest = match others.is_empty() {
            true => body,
            false => format!("{} {{ {body} }}", outer_loops(shape, &others)),
        };
        return Some(format!("{}nest {nest}", vectors(shape, beside, 1, target)));
    }
    if let Some(across) = across(shape, first, along, target) {
        let c = shape.name(across);
        let others: Vec<VarId> = outer.iter().copied().filter(|v| *v != across).collect();
        let split = format!("split {c} {lanes} {c}o {c}u; {}", vectors(shape, along, 1, target));
        let body = format!("{a}o {{ {stages}: {c}u* {a}v* {a}l@ }}");
        let outside = match others.is_empty() {
            true => format!("{c}o|"),
            false => format!("{} {c}o", outer_loops(shape, &others)),
        };
        return Some(format!("{split}nest {outside} {body}"));
    }
    if outer.is_empty() && shape.guess(along) > TASK / 4 {
        let (task, inner) = match shape.extent(along) {
            kernel::Extent::Const(_) => (TASK.to_string(), format!("{}", 4 * lanes)),
            kernel::Extent::Size(_) => (format!("chain {TASK}+mask"), format!("chain {}+{lanes}+mask", 4 * lanes)),
        };
        return Some(format!(
            "{}split {a} {task} {a}q {a}r; split {a}r {inner} {a}o {a}t; split {a}t {lanes} {a}v {a}l; \
             nest {a}q| {{ {stages}: {a}o {a}v* {a}l@ }}",
            streams(shape, target)
        ));
    }
    let splits = streams(shape, target) + &vectors(shape, along, unroll_of(shape, along, target), target);
    let body = format!("{stages}: {a}o {a}v* {a}l@");
    Some(match outer.is_empty() {
        true => format!("{splits}nest {body}"),
        false => format!("{splits}nest {} {{ {body} }}", outer_loops(shape, &outer)),
    })
}

/// The axis beside one of two elements that are stored by turns, if everything loaded lies along it.
fn by_turns(shape: &Shape, stage: &StageShape, along: VarId) -> Option<VarId> {
    let beside = stage.free.iter().rev().copied().find(|v| *v != along)?;
    let lies = stage.loads.iter().all(|l| !l.uses(beside) || shape.runs_along(l, beside));
    let known = shape.extent(beside).as_const().is_some();
    (shape.extent(along).as_const() == Some(2) && known && lies).then_some(beside)
}

/// An axis along which something is loaded that lies across the vectors, long enough for squares.
fn across(shape: &Shape, stage: &StageShape, along: VarId, target: &Vectors) -> Option<VarId> {
    let turned = |v: &VarId| stage.loads.iter().any(|l| l.contiguous(*v) && l.uses(along) && !l.guarded);
    let long = |v: &VarId| shape.extent(*v).as_const().is_some_and(|n| n >= target.lanes);
    stage.free.iter().copied().find(|v| *v != along && long(v) && turned(v))
}
