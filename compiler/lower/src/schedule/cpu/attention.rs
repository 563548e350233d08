//! Scores, softmax and the product with values over one tile of rows: scores never leave the cache.

use super::contraction::{reduction_loops, roles, row_split, transposed_copy};
use super::rows::leaves;
use super::{Shape, StageShape, Vectors, ceil_div, local, vectors};
use kernel::{Extent, Role};

pub fn text(shape: &Shape, target: &Vectors) -> Option<String> {
    let (first, middle) = shape.stages.split_first()?;
    let (last, middle) = middle.split_last()?;
    let (scores, product) = (roles(first)?, roles(last)?);
    let [row] = scores.rows[..] else { return None };
    let column = *scores.columns.last()?;
    let along =
        product.vector.contiguous(*product.columns.last()?).then(|| *product.columns.last().expect("not empty"))?;
    let fits = scores.columns.len() == 1 && product.columns.len() == 1 && last.reduced == [column];
    if !fits || product.rows != [row] || product.batch != scores.batch {
        return None;
    }
    let batch: Vec<String> = scores.batch.iter().map(|v| shape.name(*v).to_string()).collect();
    let (i, j, e) = (shape.name(row), shape.name(column), shape.name(along));
    let lanes = target.lanes;
    let across = ceil_div(shape.guess(along), lanes);
    // A tile as wide as a head reads each value once; it is lower, so that the scores of its rows stay near.
    let (wide, product_wide) = match across {
        n if n % 4 == 0 && target.registers >= 32 => (4, 4),
        n if n % 2 == 0 => (2, 2),
        _ => (2, 1),
    };
    let height = (target.registers - 2 - wide) / wide;

    let mut text = String::new();
    let plain = scores.vector.plain();
    let copy = match (scores.vector.contiguous(column), plain) {
        (true, _) => String::new(),
        (false, Some(plain)) => transposed_copy(shape, &scores, column, &plain, &mut text, target)? + ", ",
        (false, None) => return None,
    };
    // The same splits of rows serve every stage; those of columns differ between products and rows.
    text += &row_split(shape, row, height);
    text += &vectors(shape, column, wide, target);
    text += &format!("split {e} {} {e}o {e}t; split {e}t {lanes} {e}v {e}l; ", product_wide * lanes);
    let (depth, splits) = reduction_loops(shape, &first.reduced, 2);
    text += &splits;
    text += &match shape.extent(column) {
        Extent::Const(_) => format!("split {j} 2 {j}s {j}u; "),
        Extent::Size(_) => format!("split {j} chain 2+1 {j}s {j}u; "),
    };

    let tile: Vec<String> = batch.iter().cloned().chain([format!("{i}o")]).collect();
    for stage in [first].into_iter().chain(middle).filter(|s| s.role == Role::Temp) {
        // Values of a row are read by the last product too, so they live as long as the tile.
        text += &local(stage, &tile);
    }
    let row_loops = |s: &StageShape| {
        let mark = if s.reduced.is_empty() { "*" } else { "+" };
        match s.free.contains(&column) || s.reduced.contains(&column) {
            true => format!("{j}o {j}v{mark} {j}l@"),
            false => String::new(),
        }
    };
    let body = format!(
        "{}: {j}o {depth} {i}i* {j}v* {j}l@, {i}i {{ {} }}, {}: {e}o {j}s {j}u* {i}i* {e}v* {e}l@",
        first.name,
        leaves(middle, &row_loops),
        last.name
    );
    let inside = format!("{copy}{i}o {{ {body} }}");
    if batch.is_empty() {
        return Some(format!("{text}nest {inside}"));
    }
    let shared = super::outer_loops(shape, &scores.batch);
    Some(format!("{text}nest {shared} {{ {inside} }}"))
}
