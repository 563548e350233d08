//! Half precision is for memory: values of f16 and bf16 are widened to f32 where they are loaded, and rounded where they
//! are stored or cast.

use crate::expr::{Expr, Exprs};
use crate::nest::Kernel;
use tensor::Elem;

fn is_half(elem: Elem) -> bool {
    matches!(elem, Elem::F16 | Elem::Bf16)
}

/// The kernel with all its arithmetic in other types than f16 and bf16; `None` if it is so already.
pub(super) fn widen(kernel: &Kernel) -> Option<Kernel> {
    kernel.buffers.iter().find(|b| is_half(b.elem))?;
    let mut kernel = kernel.clone();
    for i in 0..kernel.stages.len() {
        let value = kernel.exprs.rewrite(kernel.stages[i].value, &mut wide);
        let elem = kernel.buffers[kernel.stages[i].target.index()].elem;
        kernel.stages[i].value = kernel.exprs.cast(elem, value);
    }
    Some(kernel)
}

/// An expression whose operands are wide, as one that is.
fn wide(exprs: &mut Exprs, expr: Expr, elem: Elem) -> crate::affine::ExprId {
    match expr {
        Expr::Const(literal) if is_half(elem) => exprs.constant(Elem::F32, literal.value()),
        Expr::Index(index, _) if is_half(elem) => exprs.index(index, Elem::F32),
        Expr::Load { .. } | Expr::Cast(..) if is_half(elem) => {
            let narrow = exprs.intern(expr, elem);
            exprs.intern(Expr::Cast(Elem::F32, narrow), Elem::F32)
        }
        Expr::Cast(to, a) => exprs.cast(to, a),
        expr if is_half(elem) => exprs.intern(expr, Elem::F32),
        expr => exprs.intern(expr, elem),
    }
}
