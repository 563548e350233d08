//! Products and convolutions: a tile of rows by vectors of columns held in registers while the reduction runs.

use super::shape::Access;
use super::{Shape, StageShape, Vectors, ceil_div, local};
use kernel::{Extent, Role, VarId};

/// At so few rows a product waits for its weights, not for arithmetic.
const FEW: i64 = 2;

/// Steps of the reduction that a fetch from memory takes, roughly.
const AHEAD: i64 = 16;

/// From so many rows on a copy of a panel of columns pays.
const MANY: i64 = 128;

/// Bytes of the vector side from which on its rows lie in too many pages to be read in place again and again.
const SCATTERED: i64 = 1 << 20;

/// Axes of a product by the sides that move along them.
pub struct Roles {
    /// In both sides.
    pub batch: Vec<VarId>,
    /// In the broadcast side only.
    pub rows: Vec<VarId>,
    /// In the vector side only; the last is the one of contiguous stores.
    pub columns: Vec<VarId>,
    /// The load that vectors come from.
    pub vector: Access,
}

pub fn roles(stage: &StageShape) -> Option<Roles> {
    let (a, b) = stage.reduction.as_ref()?.product.as_ref()?;
    let ([a], [b]) = (&a[..], &b[..]) else { return None };
    let along = stage.contiguous?;
    let (scalar, vector) = match (a.uses(along), b.uses(along)) {
        (false, true) => (a, b),
        (true, false) => (b, a),
        _ => return None,
    };
    let pick = |in_scalar: bool, in_vector: bool| -> Vec<VarId> {
        let fits = |v: &VarId| scalar.uses(*v) == in_scalar && vector.uses(*v) == in_vector;
        stage.free.iter().copied().filter(fits).collect()
    };
    let (batch, rows) = (pick(true, true), pick(true, false));
    let mut columns: Vec<VarId> = pick(false, true).into_iter().filter(|v| *v != along).collect();
    columns.push(along);
    Some(Roles { batch, rows, columns, vector: vector.clone() })
}

/// Vectors across and rows of a tile that fits the registers: accumulators, the vectors of one step, one to spare.
/// Where the number of rows is known only when running (`None`), tiles of few rows count too.
pub fn tile(columns: i64, rows: Option<i64>, target: &Vectors) -> (i64, i64) {
    let across = ceil_div(columns, target.lanes);
    let rows_of = |v: i64| ((target.registers - 2 - v) / v).max(1);
    // A multiply-add takes four cycles; with fewer accumulators the next one waits.
    let stall = |accumulators: i64| 4.0 / accumulators.min(4) as f64;
    let cost = |v: &i64| {
        let height = rows_of(*v).min(rows.unwrap_or(i64::MAX));
        let loads = (height + v) as f64 / (height * v) as f64;
        let waste = (ceil_div(across, *v) * v) as f64 / across as f64;
        let stalls = match rows {
            Some(_) => stall(height * v),
            None => 0.75 * stall(height * v) + 0.25 * stall(*v),
        };
        (waste * stalls * (1.0 + 0.2 * loads) * 1000.0) as i64
    };
    let vectors = (1..=4).min_by_key(cost).unwrap_or(2);
    (vectors, rows_of(vectors))
}

pub fn text(shape: &Shape, target: &Vectors) -> Option<String> {
    let window = super::convolution::text(shape, target).or_else(|| super::convolution::depthwise(shape, target));
    if window.is_some() {
        return window;
    }
    let main = shape.stages.iter().position(|s| s.reduction.is_some())?;
    let stage = &shape.stages[main];
    let Some(roles) = roles(stage) else { return super::rows::text(shape, target) };
    let rest_follow = shape
        .stages
        .iter()
        .enumerate()
        .all(|(i, s)| i == main || i > main && s.reduced.is_empty() && s.free == stage.free);
    if !rest_follow {
        return None;
    }
    let (row, other_rows) = match roles.rows.split_last() {
        Some((row, rest)) => (Some(*row), rest.to_vec()),
        None => (None, vec![]),
    };
    let along = *roles.columns.last()?;
    let other_columns = &roles.columns[..roles.columns.len() - 1];
    let fixed = row.map_or(Some(1), |r| shape.extent(r).as_const());
    let (vectors, height) = tile(shape.guess(along), fixed, target);
    let width = vectors * target.lanes;

    let mut text = String::new();
    let mut pack = String::new();
    // How many of the loops the copy of the vector side is inside of.
    let mut around = roles.batch.len();
    let j = shape.name(along);
    let outer: Vec<VarId> = roles.batch.iter().chain(&other_rows).chain(other_columns).copied().collect();
    if shape.buffer(&roles.vector).role == Role::Const {
        if let Some(layout) = packed(shape, &roles.vector, along, width, &stage.reduced) {
            text += &layout;
            // With few rows the weights stream from memory, faster than the machine guesses by itself.
            if fixed.is_some_and(|rows| rows <= FEW) {
                text += &format!("prefetch {} {}; ", shape.buffer(&roles.vector).name, AHEAD * width);
            }
        }
    } else if !roles.vector.contiguous(along) {
        let plain = roles.vector.plain()?;
        pack = transposed_copy(shape, &roles, along, &plain, &mut text, target)?;
    } else if outer.len() == roles.batch.len()
        && fixed.is_some_and(|rows| rows >= MANY)
        && let Some(copied) = panel_copy(shape, &roles, along, &mut text)
    {
        pack = copied;
        around += 1;
    }
    text += &super::vectors(shape, along, vectors, target);
    let mut tile_loops = String::new();
    if let Some(row) = row {
        text += &row_split(shape, row, height);
        tile_loops += &format!("{}i* ", shape.name(row));
    }
    tile_loops += &format!("{j}v* {j}l@");
    // Enough multiply-adds in one round to hide the loop's own work.
    let unroll = if height > 1 { 2 } else { 4 };
    let (reduction, splits) = reduction_loops(shape, &stage.reduced, unroll);
    text += &splits;

    let mut loops: Vec<(String, i64)> = outer.iter().map(|v| (shape.name(*v).to_string(), shape.guess(*v))).collect();
    let tiles = ceil_div(shape.guess(along), width);
    loops.push((format!("{j}o"), tiles));
    if let Some(row) = row {
        loops.push((format!("{}o", shape.name(row)), ceil_div(shape.guess(row), height)));
    }
    let names: Vec<String> = loops.iter().map(|(n, _)| n.clone()).collect();
    let mut body = vec![format!("{}: {reduction} {tile_loops}", stage.name)];
    if stage.role == Role::Temp {
        text += &local(stage, &names);
    }
    let serial_rows = row.map_or(String::new(), |r| format!("{}i ", shape.name(r)));
    body.extend(shape.stages[main + 1..].iter().map(|s| format!("{}: {serial_rows}{j}v* {j}l@", s.name)));
    let body = body.join(", ");
    if pack.is_empty() {
        return Some(format!("{text}nest {} {{ {body} }}", marked(&loops)));
    }
    let (before, after) = loops.split_at(around);
    let after: Vec<String> = after.iter().map(|(n, _)| n.clone()).collect();
    let inside = format!("{pack}, {} {{ {body} }}", after.join(" "));
    Some(match before.is_empty() {
        true => format!("{text}nest {inside}"),
        false => format!("{text}nest {} {{ {inside} }}", marked(before)),
    })
}

/// Loops outermost first; the first that has work for several threads is shared by them, else the largest.
pub fn marked(loops: &[(String, i64)]) -> String {
    let enough = loops.iter().position(|(_, n)| *n >= 4);
    let largest = loops.iter().enumerate().max_by_key(|(_, (_, n))| *n).map(|(i, _)| i);
    let shared = enough.or(largest.filter(|i| loops[*i].1 > 1));
    let mark = |i: usize| if shared == Some(i) { "|" } else { "" };
    loops.iter().enumerate().map(|(i, (n, _))| format!("{n}{}", mark(i))).collect::<Vec<_>>().join(" ")
}

/// Rows in tiles of nearly equal height, or of every height down to one where the count is known only when running.
pub fn row_split(shape: &Shape, row: VarId, height: i64) -> String {
    let i = shape.name(row);
    match shape.extent(row) {
        Extent::Const(_) => format!("split {i} even {height} {i}o {i}i; "),
        Extent::Size(_) => {
            let heights = [16, 8, 5, 4, 2, 1].into_iter().filter(|h| *h < height).map(|h| format!("+{h}"));
            format!("split {i} chain {height}{} {i}o {i}i; ", heights.collect::<String>())
        }
    }
}

/// Loops over the reduction: the last axis unrolled `unroll` times, short axes (taps of a window) written out.
pub fn reduction_loops(shape: &Shape, reduced: &[VarId], unroll: i64) -> (String, String) {
    let mut loops = vec![];
    let mut splits = String::new();
    for (n, axis) in reduced.iter().enumerate() {
        let k = shape.name(*axis);
        let last = n + 1 == reduced.len();
        match shape.extent(*axis) {
            Extent::Const(n) if n <= 7 && last && reduced.len() > 1 => loops.push(format!("{k}!")),
            Extent::Const(n) if last && n >= unroll && (reduced.len() == 1 || n >= 4 * unroll) => {
                splits += &format!("split {k} {unroll} {k}o {k}i; ");
                loops.push(format!("{k}o {k}i*"));
            }
            Extent::Size(_) if last => {
                splits += &format!("split {k} chain {unroll}+1 {k}o {k}i; ");
                loops.push(format!("{k}o {k}i*"));
            }
            _ => loops.push(k.to_string()),
        }
    }
    (loops.join(" "), splits)
}

/// Weights in panels of `width` columns, each panel in the order of the loops over `reduced`. What a loop steps over along a dim, as the
/// taps of other phases, lies apart.
pub fn packed(shape: &Shape, access: &Access, along: VarId, width: i64, reduced: &[VarId]) -> Option<String> {
    let axes = access.axes()?;
    let at = access.at.iter().position(|s| s.as_affine().and_then(|a| a.as_var()) == Some(along))?;
    let step = |d: usize| access.at[d].as_affine().and_then(|a| a.terms().first()).map_or(1, |t| t.factor.abs());
    let order = |d: &usize| reduced.iter().position(|v| access.at[*d].as_affine().is_some_and(|a| a.uses(*v)));
    let mut others: Vec<usize> = (0..axes.len()).filter(|d| *d != at).collect();
    others.sort_by_key(order);
    let phases: String = others.iter().copied().filter(|d| step(*d) > 1).map(|d| format!("{d}%{} ", step(d))).collect();
    let rest = others.into_iter().map(|d| if step(d) > 1 { format!("{d}/{} ", step(d)) } else { format!("{d} ") });
    let rest: String = rest.collect();
    Some(format!("layout {} {at}/{width} {phases}{rest}{at}%{width}; ", shape.buffer(access).name))
}

/// A copy of the columns of one tile, side by side, made before its rows run; gives its nest.
fn panel_copy(shape: &Shape, roles: &Roles, along: VarId, text: &mut String) -> Option<String> {
    let buffer = shape.buffer(&roles.vector);
    let plain = roles.vector.plain()?;
    let once = shape.stages.iter().flat_map(|s| &s.loads).filter(|l| l.buffer == roles.vector.buffer).count() == 1;
    if !once || super::bytes(buffer)? < SCATTERED {
        return None;
    }
    let (name, j) = (&buffer.name, shape.name(along));
    let dims: Vec<String> = (0..plain.len()).map(|d| d.to_string()).collect();
    let tile: Vec<String> = roles.batch.iter().map(|v| shape.name(*v).to_string()).chain([format!("{j}o")]).collect();
    *text += &format!("stage {name} as {name}p; layout {name}p {} local {}; ", dims.join(" "), tile.join(" "));
    let inner = plain.iter().flatten().filter(|v| **v != along && !roles.batch.contains(v));
    let inner: Vec<&str> = inner.map(|v| shape.name(*v)).collect();
    Some(format!("{name}p: {} {j}v* {j}l@", inner.join(" ")))
}

/// A copy of the vector side with columns last, private to an iteration of the batch loops; gives its nest.
pub fn transposed_copy(
    shape: &Shape,
    roles: &Roles,
    along: VarId,
    plain: &[Option<VarId>],
    text: &mut String,
    target: &Vectors,
) -> Option<String> {
    let name = &shape.buffer(&roles.vector).name;
    // A copy is for the first place that reads a buffer, which must be this one.
    let mut reads = shape.stages.iter().flat_map(|s| &s.loads).filter(|l| l.buffer == roles.vector.buffer);
    if !reads.all(|l| l.at == roles.vector.at) {
        return None;
    }
    let at = plain.iter().position(|v| *v == Some(along))?;
    let order: Vec<usize> = (0..plain.len()).filter(|d| *d != at).chain([at]).collect();
    let dims: Vec<String> = order.iter().map(|d| d.to_string()).collect();
    let batch: Vec<&str> = roles.batch.iter().map(|v| shape.name(*v)).collect();
    *text += &format!("stage {name} as {name}p; layout {name}p {}", dims.join(" "));
    if !batch.is_empty() {
        *text += &format!(" local {}", batch.join(" "));
    }
    *text += "; ";
    let j = shape.name(along);
    let policy = match shape.extent(along) {
        Extent::Const(_) => target.lanes.to_string(),
        Extent::Size(_) => format!("chain {}+mask", target.lanes),
    };
    *text += &format!("split {j} {policy} {j}p {j}q; ");
    // Squares of lanes by lanes are transposed in registers, where the copied rows hold whole vectors.
    let square =
        |v: VarId| roles.vector.contiguous(v) && shape.extent(v).as_const().is_some_and(|n| n % target.lanes == 0);
    let (mut others, mut columns) = (String::new(), String::new());
    for v in order.iter().filter_map(|d| plain[*d]).filter(|v| *v != along && !roles.batch.contains(v)) {
        let name = shape.name(v);
        if square(v) {
            *text += &format!("split {name} {} {name}c {name}d; ", target.lanes);
            others += &format!("{name}c ");
            columns = format!("{name}d* ");
        } else {
            others += &format!("{name} ");
        }
    }
    Some(format!("{name}p: {others}{j}p {columns}{j}q@"))
}
