use kernel::Unary;

op! {
    /// Arc tangent, elementwise.
    "atan" = Atan(x) {} kind Element
}

unary!(Atan, Float, f64::atan, Unary::Atan, 3e-7, |v, x, _, dy| v.div(dy, v.plus(v.mul(x, x), 1.0)));
