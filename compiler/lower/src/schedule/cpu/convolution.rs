//! Windows over images: vectors along the output channels, whose weights are packed; a tile of pixels in registers. Where
//! images are stored row by row, the finished tile is turned in the cache first.

use super::contraction::{marked, packed, reduction_loops};
use super::shape::Access;
use super::{Shape, StageShape, Vectors, ceil_div};
use kernel::{Role, Subscript, VarId};

pub fn text(shape: &Shape, target: &Vectors) -> Option<String> {
    let [sums, last] = &shape.stages[..] else { return None };
    let same_axes = last.free.len() == sums.free.len() && last.free.iter().all(|v| sums.free.contains(v));
    if sums.role != Role::Temp || !same_axes || !last.reduced.is_empty() {
        return None;
    }
    let (a, b) = sums.reduction.as_ref()?.product.as_ref()?;
    let ([a], [b]) = (&a[..], &b[..]) else { return None };
    let is_weight = |x: &Access| shape.buffer(x).role == Role::Const && x.axes().is_some();
    let (weight, image) = if is_weight(b) { (b, a) } else { (a, b) };
    let channel = sums.free.iter().copied().find(|v| weight.uses(*v) && !image.uses(*v))?;
    if !is_weight(weight) || !is_windows(image) && last.contiguous == Some(channel) {
        return None;
    }
    // What is stored along the channels is not turned.
    let turned = last.contiguous != Some(channel);
    let pixels: Vec<VarId> = sums.free.iter().copied().filter(|v| *v != channel && !weight.uses(*v)).collect();
    let (x, above) = pixels.split_last()?;
    let across = shape.extent(*x);
    let channels = shape.extent(channel).as_const()?;
    // Few channels leave most of a vector empty, where a row of pixels may fill it.
    let filled = |n: i64| n as f64 / (ceil_div(n, target.lanes) * target.lanes) as f64;
    let along_rows =
        turned && image.contiguous(*x) && across.as_const().is_some_and(|n| filled(n) > 1.4 * filled(channels));
    if along_rows {
        return None;
    }
    // Rows that are short join those above them, so that a tile has enough pixels.
    let y = above.last().copied().filter(|y| shape.extent(*y).as_const().is_some());
    let depth = sums.reduced.iter().map(|v| shape.guess(*v)).product();
    let rows = y.map_or(1, |y| shape.guess(y));
    let pixels = pixels.iter().map(|v| shape.guess(*v)).product();
    let image_of = Image { channels, across: across.as_const(), rows, pixels, depth, turned };
    let (vectors, height, rows) = tile(&image_of, target);
    let width = vectors * target.lanes;

    let (o, xn) = (shape.name(channel), shape.name(*x));
    // Where the channels of a pixel lie side by side they come last, so that each line of the image is read once.
    let mut reduced = sums.reduced.clone();
    reduced.sort_by_key(|v| image.contiguous(*v));
    let mut text = packed(shape, weight, channel, width, &reduced)?;
    text += &format!("split {o} {width} {o}o {o}t; split {o}t {} {o}v {o}l; ", target.lanes);
    text += &super::contraction::row_split(shape, *x, height);
    if turned {
        text += &format!("split {xn}i {} {xn}p {xn}q; ", target.lanes);
    }
    let mut outer: Vec<(String, i64)> = vec![(format!("{o}o"), ceil_div(channels, width))];
    let (mut tile_loops, mut serial) = (String::new(), String::new());
    for v in above {
        let name = shape.name(*v);
        if rows > 1 && Some(*v) == y {
            text += &format!("split {name} even {rows} {name}o {name}i; ");
            outer.push((format!("{name}o"), ceil_div(shape.guess(*v), rows)));
            tile_loops = format!("{name}i* ");
            serial = format!("{name}i ");
        } else {
            outer.push((name.to_string(), shape.guess(*v)));
        }
    }
    outer.push((format!("{xn}o"), ceil_div(shape.guess(*x), height)));
    // Tiles of channels run inside of rows where the weights then move less than the image would: what stays in the cache
    // moves once.
    let moved = |x: &Access, times: i64| {
        let bytes = super::bytes(shape.buffer(x)).unwrap_or(i64::MAX / 4096);
        if bytes <= STAYS { bytes } else { bytes * times.min(4096) }
    };
    let around: i64 = outer[1..outer.len() - 1].iter().map(|(_, n)| n).product();
    if moved(weight, around) + moved(image, 1) < moved(image, outer[0].1) + moved(weight, 1) {
        let channels = outer.remove(0);
        outer.insert(outer.len() - 1, channels);
    }
    let local: Vec<String> = outer.iter().map(|(n, _)| n.clone()).collect();
    let dims = order_with_last(&shape.stages[0], channel, shape)?;
    text += &format!("layout {} {dims} local {}; ", sums.name, local.join(" "));
    let (reduction, splits) = reduction_loops(shape, &reduced, 4);
    text += &splits;
    let stores = match turned {
        true => format!("{o}v {serial}{xn}p {o}l* {xn}q@"),
        false => format!("{serial}{xn}i {o}v* {o}l@"),
    };
    Some(format!(
        "{text}nest {} {{ {}: {reduction} {tile_loops}{xn}i* {o}v* {o}l@, {}: {stores} }}",
        marked(&outer),
        sums.name,
        last.name
    ))
}

/// Whether a subscript is that of a window: it moves with several axes, or in steps.
fn is_window(subscript: &Subscript) -> bool {
    subscript.as_affine().is_some_and(|a| a.terms().len() > 1 || a.terms().iter().any(|t| t.factor != 1))
}

/// Rows of one tile of a window over one channel, vectors along them: loads of a row serve all taps that reach it.
const ROWS: i64 = 4;

/// Pixels of one tile of such a window, a vector along the channels: what registers hold with their taps.
const PIXELS: std::ops::RangeInclusive<i64> = 4..=7;

/// Windows over one channel each, products with a kernel or pools, and what follows on each element: vectors along the
/// channels where they are stored last, several pixels at once; else along the rows of the image, of each element or
/// each second one, several rows at once.
pub fn depthwise(shape: &Shape, target: &Vectors) -> Option<String> {
    let (stage, rest) = shape.stages.split_first()?;
    let last = rest.last().unwrap_or(stage);
    let reduction = stage.reduction.as_ref()?;
    let along = last.contiguous?;
    let follows = |s: &StageShape| s.reduced.is_empty() && s.free.len() == stage.free.len();
    if !rest.iter().all(|s| follows(s) && s.free.iter().all(|v| stage.free.contains(v))) {
        return None;
    }
    let (weight, image) = match (&reduction.product, &reduction.loads[..]) {
        (Some((a, b)), _) => {
            let ([a], [b]) = (&a[..], &b[..]) else { return None };
            if a.uses(along) && (!b.uses(along) || is_windows(a)) { (Some(b), a) } else { (Some(a), b) }
        }
        (None, [image]) if is_windows(image) => (None, image),
        (None, _) => return None,
    };
    let of_weight = |v: VarId| weight.is_some_and(|weight| weight.uses(v));
    let taps_only = stage.free.iter().all(|v| !of_weight(*v) || image.uses(*v));
    let written_out = stage.reduced.iter().map(|v| shape.extent(*v).as_const()).product::<Option<i64>>()?;
    if !taps_only || !matches!(image.step(along), Some(1 | 2)) || written_out > 32 {
        return None;
    }
    let (along_at, above) = (last.free.iter().position(|v| *v == along)?, &last.free);
    let row = *above.get(along_at.checked_sub(1)?)?;
    if !image.uses(row) || of_weight(row) {
        return None;
    }
    let meets =
        |tap: &VarId, v: VarId| image.at.iter().filter_map(|s| s.as_affine()).any(|a| a.uses(*tap) && a.uses(v));
    let channels_last = !stage.reduced.iter().any(|tap| meets(tap, along));
    let rows = shape.extent(row).as_const();
    let height = match (channels_last, rows) {
        (true, Some(rows)) => PIXELS.rev().min_by_key(|h| ceil_div(rows, *h) * h).unwrap_or(ROWS).min(rows),
        (_, rows) => ROWS.min(rows.unwrap_or(ROWS)),
    };
    let (x, y) = (shape.name(along), shape.name(row));
    let across = ceil_div(shape.extent(along).as_const()?, target.lanes);
    let most = if channels_last { 1 } else { 4 };
    // A row of one block has no loop around it, so that it is known when compiling where the row ends.
    let (mut text, blocks) = match across <= most {
        true => (format!("split {x} {} {x}v {x}l; ", target.lanes), None),
        false => {
            let block = most * target.lanes;
            let split = format!("split {x} {block} {x}o {x}t; split {x}t {} {x}v {x}l; ", target.lanes);
            (split, Some(format!("{x}o")))
        }
    };
    if let Some(weight) = weight.filter(|w| of_weight(along) && shape.buffer(w).role == Role::Const) {
        text += &packed(shape, weight, along, most * target.lanes, &stage.reduced)?;
    }
    text += &match rows {
        Some(rows) if image.guarded && rows >= 2 * height => format!("split {y} {height} {y}o {y}i; border {y}o 1 1; "),
        Some(_) => format!("split {y} {height} {y}o {y}i; "),
        None => format!("split {y} chain {height}+1 {y}o {y}i; "),
    };
    // Last come the taps that meet the elements of the tile's other rows.
    let mut taps = stage.reduced.clone();
    taps.sort_by_key(|tap| meets(tap, row));
    let taps: Vec<String> = taps.iter().map(|v| format!("{}*", shape.name(*v))).collect();
    let outer: Vec<VarId> = last.free.iter().copied().filter(|v| *v != along && *v != row).collect();
    let names = outer.iter().map(|v| shape.name(*v).to_string()).chain([format!("{y}o")]).chain(blocks.clone());
    let names: Vec<String> = names.collect();
    for temporary in shape.stages.iter().filter(|s| s.role == Role::Temp) {
        let dims = order_with_last(temporary, along, shape)?;
        text += &format!("layout {} {dims} local {}; ", temporary.name, names.join(" "));
    }
    let mut body = vec![format!("{}: {x}v* {} {y}i* {x}l@", stage.name, taps.join(" "))];
    body.extend(rest.iter().map(|s| format!("{}: {x}v* {y}i* {x}l@", s.name)));
    let (loops, blocks) = (super::outer_loops(shape, &outer), blocks.unwrap_or_default());
    Some(format!("{text}nest {loops} {y}o {blocks} {{ {} }}", body.join(", ")))
}

/// Whether an access is that of windows.
fn is_windows(access: &Access) -> bool {
    access.at.iter().any(is_window)
}

/// Dims of the sums' layout, the channel's last.
fn order_with_last(stage: &StageShape, channel: VarId, shape: &Shape) -> Option<String> {
    let target = shape.kernel.stages.iter().find(|s| s.target.index() == stage.target)?;
    let at = target.at.iter().position(|a| a.as_var() == Some(channel))?;
    let dims = (0..stage.rank).filter(|d| *d != at).chain([at]).map(|d| d.to_string());
    Some(dims.collect::<Vec<_>>().join(" "))
}

/// Cycles in which a turned vector is loaded, transposed with its neighbours and stored, roughly.
const TURN: f64 = 7.0;

/// Bytes that stay in the second cache while others pass through it.
const STAYS: i64 = 768 << 10;

/// Bytes of weights that stay in the second cache from one tile of pixels to the next.
const CACHED: i64 = 512 << 10;

/// Vectors of weights that arrive in the time of a multiply-add: from the second cache, and from further away.
const NEAR: f64 = 0.25;
const FAR: f64 = 0.0625;

/// What a tile has to cover.
struct Image {
    channels: i64,
    /// Pixels along a row, where their number is known, and rows that may join.
    across: Option<i64>,
    rows: i64,
    /// All pixels, of all images.
    pixels: i64,
    /// Products for each output.
    depth: i64,
    /// Whether a tile is turned before it is stored.
    turned: bool,
}

/// Multiply-adds under way at once: two start in a cycle, and each takes four.
const UNDER_WAY: f64 = 8.0;

/// Vectors of channels, and pixels along and across rows, of the tile that takes the fewest multiply-adds' time.
fn tile(image: &Image, target: &Vectors) -> (i64, i64, i64) {
    let lanes = ceil_div(image.channels, target.lanes);
    let mut best = (f64::INFINITY, (1, 1, 1));
    for vectors in 1..=lanes.min(4) {
        let most = ((target.registers - 2 - vectors) / vectors).max(1);
        // Rows of any length take the highest tile.
        let heights = image.across.map_or(most..=most, |n| 1..=most.min(n));
        // The widest of equals, for its pixels lie side by side.
        for height in heights.rev() {
            let across = image.across.unwrap_or(height);
            // An even split never makes tiles of a height that another one gives too.
            if ceil_div(across, ceil_div(across, height)) != height {
                continue;
            }
            for deep in 1..=(most / height).min(image.rows) {
                // Weights come from far away for the first tile of pixels, and for others where they do not stay.
                let panel = (image.depth * vectors) as f64;
                let tiles = (image.pixels as f64 / (height * deep) as f64).max(1.0);
                let later = if panel as i64 * target.lanes * 4 <= CACHED { NEAR } else { FAR };
                let stream = panel * (1.0 / FAR + (tiles - 1.0) / later) / tiles;
                let time = |wide: i64, deep: i64| {
                    let sums = (wide * deep * vectors) as f64;
                    let loads = (wide * deep + vectors) as f64;
                    let compute = image.depth as f64 * (sums + 0.2 * loads).max(UNDER_WAY);
                    let store = match image.turned {
                        true => (deep * ceil_div(wide, target.lanes) * vectors * target.lanes) as f64 * TURN,
                        false => 2.0 * sums,
                    };
                    compute.max(stream) + store
                };
                let sides = |n: i64, by: i64| {
                    let (tiles, rest) = (ceil_div(n, by), n % ceil_div(n, by));
                    [(n / tiles + 1, rest), (n / tiles, tiles - rest)]
                };
                let all = sides(across, height).into_iter().flat_map(|(wide, columns)| {
                    sides(image.rows, deep).map(|(deep, rows)| (columns * rows) as f64 * time(wide, deep))
                });
                let cost = all.sum::<f64>() * ceil_div(lanes, vectors) as f64 / (across * image.rows * lanes) as f64;
                if cost < best.0 {
                    best = (cost, (vectors, height, deep));
                }
            }
        }
    }
    best.1
}
