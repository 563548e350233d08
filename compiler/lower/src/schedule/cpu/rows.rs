//! Reductions over rows, and what makes and uses the rows: each row is read into the cache once and stays there.

use super::{Shape, StageShape, Vectors, bytes, local, outer_loops, streams, unroll_of, vectors};
use kernel::{Role, VarId};

pub fn text(shape: &Shape, target: &Vectors) -> Option<String> {
    let outer = common_axes(shape);
    let inner = |s: &StageShape| -> Vec<VarId> {
        s.free.iter().chain(&s.reduced).copied().filter(|v| !outer.contains(v)).collect()
    };
    let along = *shape.stages.iter().flat_map(inner).collect::<Vec<_>>().last()?;
    let rows_contiguous = shape.stages.iter().all(|s| {
        let whole = s.reduced.contains(&along) || s.free.contains(&along);
        whole && s.reduction.as_ref().is_none_or(|r| r.loads.iter().all(|l| !l.uses(along) || l.contiguous(along)))
    });
    if !rows_contiguous {
        return columns(shape, target);
    }
    let mut splits = vectors(shape, along, unroll_of(shape, along, target), target);
    splits += &streams(shape, target);
    splits += &next_rows(shape, along);
    let loops = |s: &StageShape| {
        let a = shape.name(along);
        let before = inner(s).into_iter().filter(|v| *v != along).map(|v| format!("{} ", shape.name(v)));
        let mark = if s.reduced.is_empty() { "*" } else { "+" };
        format!("{}{a}o {a}v{mark} {a}l@", before.collect::<String>())
    };
    Some(row_nest(shape, &outer, &splits, &loops))
}

/// Inputs of this many bytes come from beyond a core's own caches.
const FAR: i64 = 1 << 20;

/// `prefetch …` of the next row while one is worked on, for inputs from far away.
fn next_rows(shape: &Shape, along: VarId) -> String {
    let loads = shape.stages.iter().filter_map(|s| s.reduction.as_ref()).flat_map(|r| &r.loads);
    let mut far: Vec<&kernel::Buffer> = vec![];
    for load in loads.filter(|l| l.contiguous(along)) {
        let buffer = shape.buffer(load);
        if buffer.role == Role::In && bytes(buffer).is_some_and(|n| n >= FAR) && !far.contains(&buffer) {
            far.push(buffer);
        }
    }
    let row = |b: &kernel::Buffer| b.dims.last().and_then(|d| d.as_const()).unwrap_or(0);
    far.iter().map(|b| format!("prefetch {} {}; ", b.name, row(b))).collect()
}

/// The nest of row stages under `outer`, with temporaries in registers and rows kept in private memory.
fn row_nest(shape: &Shape, outer: &[VarId], splits: &str, loops: &dyn Fn(&StageShape) -> String) -> String {
    let names: Vec<String> = outer.iter().map(|v| shape.name(*v).to_string()).collect();
    let mut text = splits.to_string();
    for stage in shape.stages.iter().filter(|s| s.role == Role::Temp) {
        text += &temporary(stage, outer, &names);
    }
    let body = leaves(&shape.stages, loops);
    match outer.is_empty() {
        true => format!("{text}nest {body}"),
        false => format!("{text}nest {} {{ {body} }}", outer_loops(shape, outer)),
    }
}

/// One value for each row stays in a register; a whole row in private memory.
pub fn temporary(stage: &StageShape, outer: &[VarId], names: &[String]) -> String {
    if stage.free.iter().all(|v| outer.contains(v)) {
        format!("register {}; ", stage.name)
    } else if names.is_empty() {
        String::new()
    } else {
        local(stage, names)
    }
}

/// The stages one after another; a stage that only stores a row is computed together with the reduction after it.
pub fn leaves(stages: &[StageShape], loops: &dyn Fn(&StageShape) -> String) -> String {
    let mut out: Vec<String> = vec![];
    let mut i = 0;
    while i < stages.len() {
        let (a, next) = (&stages[i], stages.get(i + 1));
        let together = next.filter(|b| {
            let reads = b.reduction.as_ref().is_some_and(|r| r.loads.len() == 1);
            a.reduced.is_empty() && !b.reduced.is_empty() && reads && a.role == Role::Temp
        });
        match together {
            Some(b) => {
                out.push(format!("{} {}: {}", a.name, b.name, loops(b)));
                i += 2;
            }
            None => {
                out.push(format!("{}: {}", a.name, loops(a)));
                i += 1;
            }
        }
    }
    out.join(", ")
}

/// A single reduction along an axis that is not contiguous: vectors along the axis of the stores.
fn columns(shape: &Shape, target: &Vectors) -> Option<String> {
    let [stage] = &shape.stages[..] else { return None };
    let along = stage.contiguous?;
    let contiguous = stage.reduction.as_ref()?.loads.iter().all(|l| !l.uses(along) || l.contiguous(along));
    if !contiguous {
        return None;
    }
    let splits = vectors(shape, along, unroll_of(shape, along, target), target);
    let a = shape.name(along);
    let outer: Vec<VarId> = stage.free.iter().copied().filter(|v| *v != along).collect();
    let reduced: Vec<&str> = stage.reduced.iter().map(|v| shape.name(*v)).collect();
    let body = format!("{a}o {{ {}: {} {a}v* {a}l@ }}", stage.name, reduced.join(" "));
    Some(match outer.is_empty() {
        true => format!("{splits}nest {body}"),
        false => format!("{splits}nest {} {{ {body} }}", outer_loops(shape, &outer)),
    })
}

/// Axes that every stage has in its target, in the order of the first.
pub fn common_axes(shape: &Shape) -> Vec<VarId> {
    let Some(first) = shape.stages.first() else { return vec![] };
    let all = |v: &VarId| shape.stages.iter().all(|s| s.free.contains(v));
    first.free.iter().copied().filter(all).collect()
}
