//! Schedules for a GPU: blocks of threads, neighbours among which touch neighbouring memory.

use super::cpu::{Roles, common_axes, leaves, roles, temporary};
use super::shape::Access;
use super::{Shape, StageShape, ceil_div, local};
use graph::{GroupKind, TensorType};
use kernel::{Extent, Role, VarId};

/// Elements of a thread's vector: 16 bytes of f32.
pub const LANES: i64 = 4;

/// Threads of a block that computes elements on their own.
const THREADS: i64 = 256;

/// Threads of a block with a dimension for each side of a tile.
const SIDE: i64 = 16;

/// Blocks that keep the largest devices busy, one on each processor.
const BUSY: i64 = 132;

/// Rows up to this long are left to one thread each.
const SHORT: i64 = 32;

/// Bytes of shared memory that a kept row may take.
const MOST_KEPT: i64 = 200 << 10;

/// Whether the rows of a value stay in shared memory from one stage of a kernel to the next.
pub fn keeps(ty: &TensorType) -> bool {
    ty.dims.last().and_then(|d| d.as_int()).is_some_and(|n| n * ty.elem.size() as i64 <= MOST_KEPT / 4)
}

pub fn text(shape: &Shape, kind: GroupKind) -> Option<String> {
    match kind {
        GroupKind::Contraction => tiles(shape).or_else(|| dots(shape)).or_else(|| points(shape)),
        GroupKind::Row => rows(shape).or_else(|| points(shape)),
        GroupKind::Pointwise | GroupKind::Scan => points(shape),
        GroupKind::Attention => None,
    }
}

/// A thread for each element of a kernel with one stage; for several, blocks that share the axes which all stages have.
pub fn fallback(shape: &Shape) -> Option<String> {
    if shape.stages.len() == 1 {
        return points(shape);
    }
    let outer = common_axes(shape);
    let (blocks, names) = (Grid::of(outer.iter().map(|v| Loop::whole(shape, *v)).collect()), names(shape, &outer));
    let mut text = String::new();
    for stage in shape.stages.iter().filter(|s| s.role == Role::Temp && !outer.is_empty()) {
        text += &local(stage, &names);
    }
    let body: Vec<String> = shape.stages.iter().map(|s| format!("{}: {}", s.name, serial(shape, s, &outer))).collect();
    Some(blocks.nest(&text, &body.join(", ")))
}

fn names(shape: &Shape, axes: &[VarId]) -> Vec<String> {
    axes.iter().map(|v| shape.name(*v).to_string()).collect()
}

/// Loops of a stage over what is not in `outer`, one iteration after the other.
fn serial(shape: &Shape, stage: &StageShape, outer: &[VarId]) -> String {
    let inner = stage.free.iter().chain(&stage.reduced).copied().filter(|v| !outer.contains(v)).collect::<Vec<_>>();
    names(shape, &inner).join(" ")
}

/// A loop that may become blocks, and how many of them, by guess.
struct Loop {
    name: String,
    count: i64,
}

impl Loop {
    fn whole(shape: &Shape, var: VarId) -> Loop {
        Loop { name: shape.name(var).into(), count: shape.guess(var) }
    }
}

/// Iterations of an axis, at most.
fn many(shape: &Shape, var: VarId) -> i64 {
    match shape.extent(var) {
        Extent::Const(n) => n,
        Extent::Size(s) => shape.kernel.sizes[s.index()].max.unwrap_or(i64::MAX),
    }
}

/// Loops as blocks: three of them, the one with the most iterations in the dimension that takes the most; the others
/// run inside, one iteration after the other.
struct Grid {
    blocks: Vec<String>,
    inside: Vec<String>,
}

impl Grid {
    fn of(loops: Vec<Loop>) -> Grid {
        let mut by_count: Vec<usize> = (0..loops.len()).collect();
        by_count.sort_by_key(|i| std::cmp::Reverse(loops[*i].count));
        let mut grid = Grid { blocks: vec![], inside: vec![] };
        for (i, l) in loops.iter().enumerate() {
            match by_count.iter().position(|n| *n == i).and_then(|rank| ["bx", "by", "bz"].get(rank)) {
                Some(axis) => grid.blocks.push(format!("{}.{axis}", l.name)),
                None => grid.inside.push(l.name.clone()),
            }
        }
        grid
    }

    fn loops(&self) -> String {
        [&self.blocks[..], &self.inside[..]].concat().join(" ")
    }

    /// `body` inside of all loops.
    fn nest(&self, directives: &str, body: &str) -> String {
        match self.blocks.is_empty() {
            true => format!("{directives}nest {body}"),
            false => format!("{directives}nest {} {{ {body} }}", self.loops()),
        }
    }
}

/// How threads take elements: splits of axes, loops that are blocks, loops over threads and lanes.
struct Spread {
    splits: String,
    grid: Grid,
    threads: String,
    lanes: String,
}

/// Threads along `along`, and along the axis before it where `along` is short; `vector` of them take lanes.
fn spread(shape: &Shape, free: &[VarId], along: Option<VarId>, vector: bool, more: Vec<Loop>) -> Spread {
    let mut out = Spread {
        splits: String::new(),
        grid: Grid { blocks: vec![], inside: vec![] },
        threads: String::new(),
        lanes: String::new(),
    };
    let mut loops = more;
    let mut taken = 1;
    let mut rest: Vec<VarId> = free.to_vec();
    if let Some(along) = along {
        rest.retain(|v| *v != along);
        let mut name = shape.name(along).to_string();
        let each = if vector { LANES } else { 1 };
        taken = chunk(shape, along, THREADS * each, &mut name, &mut out.splits, &mut loops).max(each) / each;
        if vector {
            out.splits += &format!("split {name} {LANES} {name}t {name}l; ");
            out.lanes = format!("{name}l@");
            name += "t";
        }
        out.threads = format!("{name}.tx");
    }
    if taken <= THREADS / 2
        && let Some(beside) = rest.pop()
    {
        let mut name = shape.name(beside).to_string();
        chunk(shape, beside, (THREADS / taken).max(1), &mut name, &mut out.splits, &mut loops);
        out.threads = format!("{name}.ty {}", out.threads);
    }
    loops.extend(rest.into_iter().map(|v| Loop::whole(shape, v)));
    out.grid = Grid::of(loops);
    out
}

/// Splits an axis that is longer than `most`; `name` becomes that of the part inside. Gives the iterations of that part.
fn chunk(shape: &Shape, axis: VarId, most: i64, name: &mut String, splits: &mut String, loops: &mut Vec<Loop>) -> i64 {
    let n = many(shape, axis);
    if n <= most {
        return n.max(1);
    }
    let policy = match shape.extent(axis) {
        Extent::Const(_) => most.to_string(),
        Extent::Size(_) => format!("chain {most}+mask"),
    };
    *splits += &format!("split {name} {policy} {name}o {name}i; ");
    loops.push(Loop { name: format!("{name}o"), count: ceil_div(shape.guess(axis), most) });
    *name += "i";
    most
}

/// Stages over the same elements, each of them computed by one thread.
fn points(shape: &Shape) -> Option<String> {
    let first = shape.stages.first()?;
    let main = shape.stages.iter().position(|s| !s.reduced.is_empty());
    let alike = |s: &StageShape| s.free.len() == first.free.len() && s.free.iter().all(|v| first.free.contains(v));
    let one = shape.stages.iter().enumerate().all(|(i, s)| s.reduced.is_empty() || Some(i) == main);
    if !one || main.is_some_and(|m| m > 0) || !shape.stages.iter().all(alike) {
        return None;
    }
    // Stores of the last stage leave the kernel.
    let last = shape.stages.last()?;
    let along = last.contiguous.or(last.free.last().copied());
    let Some(main) = main else {
        let whole = |v: VarId| shape.extent(v).as_const().is_some_and(|n| n % LANES == 0);
        let vector = last.contiguous.is_some_and(whole);
        let Spread { splits, grid, threads, lanes } = spread(shape, &first.free, along, vector, vec![]);
        let stages: Vec<&str> = shape.stages.iter().map(|s| s.name.as_str()).collect();
        return Some(format!("{splits}nest {}: {} {threads} {lanes}", stages.join(" "), grid.loops()));
    };
    let stage = &shape.stages[main];
    let mut free = stage.free.clone();
    let (mut splits, mut more, mut tile) = (String::new(), vec![], String::new());
    for (axis, held) in held_axes(shape, stage, along) {
        let name = shape.name(axis);
        free.retain(|v| *v != axis);
        splits += &match shape.extent(axis) {
            Extent::Const(_) => format!("split {name} {held} {name}b {name}h; "),
            Extent::Size(_) => format!("split {name} chain {held}+1 {name}b {name}h; "),
        };
        more.push(Loop { name: format!("{name}b"), count: ceil_div(shape.guess(axis), held) });
        tile += &format!(" {name}h*");
    }
    let reduced: Vec<String> =
        stage.reduced.iter().map(|v| format!("{}{}", shape.name(*v), tap(shape, stage, *v))).collect();
    let reduced = reduced.join(" ");
    let spread = spread(shape, &free, along, false, more);
    splits += &spread.splits;
    let (grid, threads) = (spread.grid, spread.threads);
    if let [stage] = &shape.stages[..] {
        return Some(format!("{splits}nest {}: {} {threads} {reduced}{tile}", stage.name, grid.loops()));
    }
    if stage.role == Role::Temp {
        splits += &format!("register {}; ", stage.name);
    }
    let mut body = vec![format!("{}: {threads} {reduced}{tile}", stage.name)];
    body.extend(shape.stages[1..].iter().map(|s| format!("{}: {threads}{tile}", s.name)));
    Some(grid.nest(&splits, &body.join(", ")))
}

/// Longest windows whose taps are written out.
const TAPS: i64 = 7;

/// `*` for the innermost axis of a window, so that loads of several taps are under way at once.
fn tap(shape: &Shape, stage: &StageShape, axis: VarId) -> &'static str {
    let few = shape.extent(axis).as_const().is_some_and(|n| n <= TAPS);
    if few && stage.reduced.len() > 1 && stage.reduced.last() == Some(&axis) { "*" } else { "" }
}

/// Threads that keep the largest devices busy.
const ENOUGH: i64 = BUSY * 2 * THREADS;

/// Axes along which a thread computes several results of a product together, and how many: one for each side that is
/// then loaded once for all of them.
fn held_axes(shape: &Shape, stage: &StageShape, along: Option<VarId>) -> Vec<(VarId, i64)> {
    let Some((a, b)) = stage.reduction.as_ref().and_then(|r| r.product.as_ref()) else { return vec![] };
    let results: i64 = stage.free.iter().map(|v| shape.guess(*v)).product();
    let mut held: Vec<(VarId, i64)> = vec![];
    let mut together = 1;
    for (side, most) in [(a, 8), (b, 8)] {
        let again = |v: &&VarId| Some(**v) != along && side.iter().all(|l| !l.uses(**v));
        let longest = stage.free.iter().filter(again).filter(|v| held.iter().all(|(h, _)| h != *v));
        let Some(axis) = longest.max_by_key(|v| shape.guess(**v)).copied() else { continue };
        let fits = |n: &i64| *n <= shape.guess(axis) && results / (together * n) >= ENOUGH;
        if let Some(n) = [most, 4, 2].into_iter().filter(|n| *n <= most).find(fits) {
            held.push((axis, n));
            together *= n;
        }
    }
    held
}

/// Sums of products for few rows, along which both sides lie in memory: a block for each.
fn dots(shape: &Shape) -> Option<String> {
    let stage = shape.stages.first()?;
    let [depth] = stage.reduced[..] else { return None };
    let (a, b) = stage.reduction.as_ref()?.product.as_ref()?;
    let along = a.iter().chain(b).all(|l| l.contiguous(depth) && !l.guarded);
    (along && shape.guess(depth) > SHORT).then(|| rows(shape)).flatten()
}

/// Reductions over rows, and what makes and uses the rows: a block for each row, which it reads once.
fn rows(shape: &Shape) -> Option<String> {
    let outer = common_axes(shape);
    let inner = |s: &StageShape| -> Vec<VarId> {
        s.free.iter().chain(&s.reduced).copied().filter(|v| !outer.contains(v)).collect()
    };
    let along = *shape.stages.iter().flat_map(inner).collect::<Vec<_>>().last()?;
    // What there is one of for each row is computed by all threads and stored by the first.
    let single = |s: &StageShape| inner(s).is_empty();
    let fits = |s: &StageShape| {
        let whole = single(s) || s.reduced.contains(&along) || s.free.contains(&along);
        whole && s.reduction.as_ref().is_none_or(|r| r.loads.iter().all(|l| !l.uses(along) || l.contiguous(along)))
    };
    if !shape.stages.iter().all(fits) {
        return None;
    }
    let n = shape.guess(along);
    let temporaries = |text: &mut String, names: &[String]| {
        for stage in shape.stages.iter().filter(|s| s.role == Role::Temp) {
            *text += &temporary(stage, &outer, names);
        }
    };
    let a = shape.name(along);
    let before = |s: &StageShape| -> String {
        inner(s).into_iter().filter(|v| *v != along).map(|v| format!("{} ", shape.name(v))).collect()
    };
    let leaf = |s: &StageShape, row: &str| if single(s) { String::new() } else { before(s) + row };
    let mut text = String::new();
    let short = shape.bounded(along) && shape.extent(along).as_const().is_some() && n <= SHORT;
    if let (true, Some((row, others))) = (short, outer.split_last()) {
        let mut name = shape.name(*row).to_string();
        let mut loops = vec![];
        chunk(shape, *row, THREADS / 2, &mut name, &mut text, &mut loops);
        loops.extend(others.iter().map(|v| Loop::whole(shape, *v)));
        let grid = Grid::of(loops);
        let mut names = names(shape, others);
        names.extend(match name == shape.name(*row) {
            true => vec![name.clone()],
            false => vec![format!("{}o", shape.name(*row)), name.clone()],
        });
        temporaries(&mut text, &names);
        let body = leaves(&shape.stages, &|s| leaf(s, a));
        let nest = match grid.blocks.is_empty() {
            true => format!("{name}.tx"),
            false => format!("{} {name}.tx", grid.loops()),
        };
        return Some(format!("{text}nest {nest} {{ {body} }}"));
    }
    let kept = shape.stages.iter().filter(|s| s.role == Role::Temp && !s.free.iter().all(|v| outer.contains(v)));
    if kept.count() as i64 * n * 4 > MOST_KEPT {
        return None;
    }
    let whole = match shape.extent(along) {
        Extent::Const(n) => n % LANES == 0,
        Extent::Size(_) => false,
    };
    let lanes = if whole { LANES } else { 1 };
    let most = if outer.is_empty() { 4 * THREADS } else { THREADS };
    let threads = (ceil_div(n, lanes * 32) * 32).clamp(32, most);
    let policy = match shape.extent(along) {
        Extent::Const(_) => (threads * lanes).to_string(),
        Extent::Size(_) => format!("chain {}+mask", threads * lanes),
    };
    text += &format!("split {a} {policy} {a}o {a}q; ");
    let along_row = match whole {
        true => {
            text += &format!("split {a}q {LANES} {a}t {a}l; ");
            format!("{a}o {a}t.tx {a}l@")
        }
        false => format!("{a}o {a}q.tx"),
    };
    let grid = Grid::of(outer.iter().map(|v| Loop::whole(shape, *v)).collect());
    temporaries(&mut text, &names(shape, &outer));
    let body = leaves(&shape.stages, &|s| leaf(s, &along_row));
    Some(grid.nest(&text, &body))
}

/// A product of matrices, as tiles take it.
struct Product<'s> {
    /// Axes of which a block has one place.
    apart: Vec<VarId>,
    row: VarId,
    column: VarId,
    depth: VarId,
    /// The sides that move along rows and along columns.
    sides: [&'s Access; 2],
    /// Names of their copies in shared memory, and of the results in registers.
    copies: [String; 2],
    held: String,
    /// `stage …` for all of these.
    staged: String,
    /// What is stored once the sums are complete.
    after: Vec<String>,
}

fn product<'s>(shape: &'s Shape) -> Option<Product<'s>> {
    let main = shape.stages.first()?;
    let follow = shape.stages[1..].iter().all(|s| s.reduced.is_empty() && s.free == main.free);
    let Roles { batch, rows, columns, .. } = roles(main)?;
    let ([column], [depth]) = (&columns[..], &main.reduced[..]) else { return None };
    // Tiles lie along the axis with the most rows.
    let row = *rows.iter().max_by_key(|v| shape.guess(**v))?;
    let apart = batch.iter().chain(&rows).copied().filter(|v| *v != row).collect();
    let (a, b) = main.reduction.as_ref()?.product.as_ref()?;
    let ([a], [b]) = (&a[..], &b[..]) else { return None };
    let moves = |l: &Access| l.plain().is_some_and(|dims| dims.iter().all(Option::is_some)) && !l.guarded;
    if !follow || !moves(a) || !moves(b) {
        return None;
    }
    let name = |l: &Access| shape.buffer(l).name.clone();
    let copies = if a.buffer == b.buffer { ["p", "q"] } else { ["p", "p"] };
    let copies = [format!("{}{}", name(a), copies[0]), format!("{}{}", name(b), copies[1])];
    let mut staged = format!("stage {} as {}; stage {} as {}; ", name(a), copies[0], name(b), copies[1]);
    let mut after: Vec<String> = shape.stages[1..].iter().map(|s| s.name.clone()).collect();
    let held = match main.role {
        Role::Temp => main.name.clone(),
        _ => {
            after.insert(0, main.name.clone());
            staged += &format!("stage {0} as {0}h; ", main.name);
            format!("{}h", main.name)
        }
    };
    let [pa, pb] = copies;
    let (sides, copies) = if a.uses(row) { ([a, b], [pa, pb]) } else { ([b, a], [pb, pa]) };
    Some(Product { apart, row, column: *column, depth: *depth, sides, copies, held, staged, after })
}

impl Product<'_> {
    /// `layout …` of both copies, private to a tile of rows or columns and to a step of the sum.
    fn layouts(&self, shape: &Shape) -> String {
        let layout = |((copy, side), var): ((&String, &&Access), VarId)| {
            let dim = |v: VarId| side.at.iter().position(|s| s.as_affine().is_some_and(|a| a.uses(v))).unwrap_or(0);
            let (deep, along) = (dim(self.depth), dim(var));
            let rest = (0..side.at.len()).filter(|d| ![deep, along].contains(d)).map(|d| format!("{d} "));
            let apart: Vec<&str> = self.apart.iter().filter(|v| side.uses(**v)).map(|v| shape.name(*v)).collect();
            // One place of the sum after the other, and each in other banks than the one before: then threads that read
            // side by side, and those that write one above the other, do not wait for each other.
            let order = format!("{}{deep} {along}+1", rest.collect::<String>());
            let (outer, step) = (shape.name(var), shape.name(self.depth));
            format!("layout {copy} {order} local {} {outer}o {step}o; ", apart.join(" "))
        };
        self.copies.iter().zip(&self.sides).zip([self.row, self.column]).map(layout).collect()
    }

    /// Blocks for tiles of these heights and widths.
    fn grid(&self, shape: &Shape, side: i64) -> Grid {
        let blocks = |v: VarId| Loop { name: format!("{}o", shape.name(v)), count: ceil_div(shape.guess(v), side) };
        let apart = self.apart.iter().map(|v| Loop::whole(shape, *v));
        Grid::of(apart.chain([blocks(self.row), blocks(self.column)]).collect())
    }
}

/// A product of matrices: tiles of both sides in shared memory, tiles of results in the registers of each thread.
fn tiles(shape: &Shape) -> Option<String> {
    let product = product(shape)?;
    let Product { row, column, depth, .. } = product;
    let [m, n, k] = [row, column, depth].map(|v| shape.guess(v));
    let known = |v: VarId| shape.extent(v).as_const().is_some();
    // Steps of a sum are counted when compiling.
    if m < SIDE || n < SIDE || k < SIDE || !known(depth) {
        return None;
    }
    if !known(column) {
        return Some(small_tiles(shape, &product));
    }
    let apart: i64 = product.apart.iter().map(|v| shape.guess(*v)).product();
    let blocks = |side: i64| ceil_div(m, side) * ceil_div(n, side) * apart;
    let side = [128, 64].into_iter().find(|side| *side <= m.max(n) && blocks(*side) >= BUSY / 2).unwrap_or(32);
    let [i, j, q] = [row, column, depth].map(|v| shape.name(v));
    // Results of a thread lie apart, so that neighbours touch neighbouring memory; where the tiles leave a rest they lie
    // together. Its registers hold them from step to step of the sum, so no block has tiles of two heights or widths.
    let each = side / SIDE;
    let split = |v: VarId, name: &str| match shape.extent(v) {
        Extent::Const(n) if n % SIDE == 0 => {
            let tiles = tiles_of(n, &[side, n % side]);
            format!("split {name} chain {tiles} {name}o {name}t; split {name}t {SIDE} {name}r {name}i; ")
        }
        Extent::Const(n) => {
            let (rest, part) = (n % side, n % each);
            let tiles = tiles_of(n, &[side, rest - part, part]);
            format!("split {name} chain {tiles} {name}o {name}t; split {name}t {each} {name}i {name}r; ")
        }
        Extent::Size(_) => {
            format!("split {name} chain {side}+{SIDE}+4+1 {name}o {name}t; split {name}t {each} {name}i {name}r; ")
        }
    };
    let step = if side == 128 { 32 } else { 64 };
    let mut text = product.staged.clone() + &split(row, i) + &split(column, j);
    text += &format!("split {q} {step} {q}o {q}s; split {q}s {SIDE} {q}q {q}t; ");
    text += &product.layouts(shape);
    text += &format!("register {}; ", product.held);
    // Threads of one row of the block go along what lies together in memory.
    let copy = |name: &str, side: &Access, var: VarId| match side.contiguous(var) {
        true => format!("{q}q {q}t.ty {name}i.tx {name}r"),
        false => format!("{name}i.ty {name}r {q}q {q}t.tx"),
    };
    let [a, b] = product.sides;
    let [pa, pb] = &product.copies;
    let tile = format!("{i}i.ty {j}i.tx");
    let (copy_a, copy_b) = (copy(i, a, row), copy(j, b, column));
    let mut body = format!("{q}o {{ {pa}: {copy_a}, {pb}: {copy_b}, {}: {tile} {q}s {i}r* {j}r* }}", product.held);
    product.after.iter().for_each(|name| body += &format!(", {name}: {tile} {i}r* {j}r*"));
    Some(product.grid(shape, side).nest(&text, &body))
}

/// The same where more than the number of rows is known only when running: each thread has one result.
fn small_tiles(shape: &Shape, product: &Product) -> String {
    let [i, j, q] = [product.row, product.column, product.depth].map(|v| shape.name(v));
    let mut text = product.staged.clone();
    for v in [product.row, product.column, product.depth] {
        let policy = match shape.extent(v) {
            Extent::Const(_) => SIDE.to_string(),
            Extent::Size(_) => format!("chain {SIDE}+mask"),
        };
        let name = shape.name(v);
        text += &format!("split {name} {policy} {name}o {name}t; ");
    }
    text += &product.layouts(shape);
    text += &format!("register {}; ", product.held);
    let copy = |name: &str, side: &Access, var: VarId| match side.contiguous(var) {
        true => format!("{q}t.ty {name}t.tx"),
        false => format!("{name}t.ty {q}t.tx"),
    };
    let [a, b] = product.sides;
    let [pa, pb] = &product.copies;
    let (copy_a, copy_b) = (copy(i, a, product.row), copy(j, b, product.column));
    let tile = format!("{i}t.ty {j}t.tx");
    let mut body = format!("{q}o {{ {pa}: {copy_a}, {pb}: {copy_b}, {}: {tile} {q}t }}", product.held);
    product.after.iter().for_each(|name| body += &format!(", {name}: {tile}"));
    product.grid(shape, SIDE).nest(&text, &body)
}

/// Sizes of tiles that cover `n` elements, those that there are.
fn tiles_of(n: i64, sizes: &[i64]) -> String {
    let sizes = sizes.iter().filter(|s| (1..=n).contains(*s)).map(|s| s.to_string());
    sizes.collect::<Vec<_>>().join("+")
}
