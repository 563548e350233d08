//! Each element on its own: vectors along the axis of contiguous stores, four at a time.

use super::{Shape, Target, outer_loops, unroll_of, vectors};

/// Elements that one task of a kernel with a single axis takes: 16 KiB, enough to be worth waking a thread for.
const TASK: i64 = 4096;

pub fn text(shape: &Shape, target: &Target) -> Option<String> {
    let first = shape.stages.first()?;
    let alike =
        |s: &super::StageShape| s.free == first.free && s.reduced.is_empty() && s.contiguous == first.contiguous;
    if !shape.stages.iter().all(alike) {
        return None;
    }
    let stages: Vec<&str> = shape.stages.iter().map(|s| s.name.as_str()).collect();
    let stages = stages.join(" ");
    let Some(along) = first.contiguous else {
        return first.free.is_empty().then(|| format!("nest {stages}:"));
    };
    let outer: Vec<kernel::VarId> = first.free.iter().copied().filter(|v| *v != along).collect();
    let a = shape.name(along);
    let lanes = target.lanes;
    if outer.is_empty() && shape.guess(along) > TASK / 4 {
        let (task, inner) = match shape.extent(along) {
            kernel::Extent::Const(_) => (TASK.to_string(), format!("{}", 4 * lanes)),
            kernel::Extent::Size(_) => (format!("chain {TASK}+mask"), format!("chain {}+{lanes}+mask", 4 * lanes)),
        };
        return Some(format!(
            "split {a} {task} {a}q {a}r; split {a}r {inner} {a}o {a}t; split {a}t {lanes} {a}v {a}l; \
             nest {a}q| {{ {stages}: {a}o {a}v* {a}l@ }}"
        ));
    }
    let splits = vectors(shape, along, unroll_of(shape, along, target), target);
    let body = format!("{stages}: {a}o {a}v* {a}l@");
    Some(match outer.is_empty() {
        true => format!("{splits}nest {body}"),
        false => format!("{splits}nest {} {{ {body} }}", outer_loops(shape, &outer)),
    })
}
