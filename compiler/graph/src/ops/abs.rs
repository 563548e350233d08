use kernel::Unary;

op! {
    /// Absolute value, elementwise.
    "abs" = Abs(x) {} kind Element
}

unary!(Abs, Number, f64::abs, Unary::Abs, 0.0, |v, x, _, dy| {
    let zero = v.full(0.0, x);
    v.select(v.lt(x, zero), v.neg(dy), v.select(v.lt(zero, x), dy, v.full(0.0, dy)))
});
