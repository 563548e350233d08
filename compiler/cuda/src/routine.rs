//! The engine's routines as kernels for GPUs.

use crate::Source;
use crate::emit::c_type;
use kernel::{Affine, Elem};

const TEXT: &str = include_str!("routines.cuh");

/// The engine's names, and those of the functions in the text.
const FUNCTIONS: [(&str, &str); 5] = [
    ("Prefix", "nnc_prefix"),
    ("Order", "nnc_order"),
    ("Scatter", "nnc_scatter"),
    ("UpdateAt", "nnc_update_at"),
    ("ArgmaxPool", "nnc_argmax_pool"),
];

/// `NNC_THREADS` of the text.
const THREADS: usize = 256;

/// A routine over buffers of these element types, with so many sizes, or nothing if there is none of this name. Any number of
/// blocks does the work; `grid` says one.
pub fn routine(name: &str, elems: &[Elem], sizes: usize) -> Option<Source> {
    let (_, function) = FUNCTIONS.iter().find(|(n, _)| *n == name)?;
    // Truth values are bytes to a routine.
    let c_type = |elem: &Elem| if *elem == Elem::Bool { "u8" } else { c_type(*elem) };
    let buffers: Vec<String> = (0..elems.len()).map(|i| format!("b{i}")).collect();
    let sizes: Vec<String> = (0..sizes).map(|i| format!("s{i}")).collect();
    let pointers = elems.iter().zip(&buffers).map(|(e, b)| format!("{} *{b}", c_type(e)));
    let parameters: Vec<String> = std::iter::once("i64 *error".to_string())
        .chain(pointers)
        .chain(sizes.iter().map(|s| format!("const i64 {s}")))
        .collect();
    let text = format!(
        "{TEXT}\nNNC_KERNEL({THREADS}) {name}({}) {{\n  NNC_SHARED(shared);\n  const i64 sizes[] = {{{}}};\n  \
         {function}(error, {}, sizes, shared);\n}}\n",
        parameters.join(", "),
        sizes.join(", "),
        buffers.join(", "),
    );
    Some(Source {
        entry: name.into(),
        text,
        grid: std::array::from_fn(|_| Affine::constant(1)),
        block: [THREADS as u32, 1, 1],
        // Of a tile of 1024 elements a key for each, of the widest.
        shared: 8 * 1024,
        parameters: std::iter::once("error".into()).chain(buffers).chain(sizes).collect(),
        most: usize::MAX,
    })
}
