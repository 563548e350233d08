use kernel::{Binary, Compare};

op! {
    /// The smaller of two elements; NaN if either is. Of equal ones `y` has the gradient, so that of `minimum(x, 0)` is 0 at 0.
    "minimum" = Minimum(x, y) {} kind Element
}

binary!(
    Minimum,
    Number,
    |a: f64, b: f64| if a.is_nan() || a < b { a } else { b },
    |c, x, y| {
        // The kernel's operation gives its second operand if either is NaN.
        match (c.kernel.exprs.as_const(x), c.kernel.exprs.as_const(y)) {
            (_, Some(_)) => c.binary(Binary::Min, y, x),
            (Some(_), _) => c.binary(Binary::Min, x, y),
            _ if !c.elem().is_float() => c.binary(Binary::Min, x, y),
            _ => {
                let most = c.binary(Binary::Min, x, y);
                let nan = c.compare(Compare::Ne, x, x);
                c.kernel.exprs.select(nan, x, most)
            }
        }
    },
    0.0, |v, x, y, _, dy| v.only(v.lt(x, y), dy), v.select(v.lt(x, y), v.full(0.0, dy), dy));
