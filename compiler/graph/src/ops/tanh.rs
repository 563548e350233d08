use kernel::Unary;

op! {
    /// Hyperbolic tangent, elementwise.
    "tanh" = Tanh(x) {} kind Element
}

unary!(Tanh, Float, f64::tanh, Unary::Tanh, 3e-7, |v, _, y, dy| v.mul(dy, v.sub(v.full(1.0, y), v.mul(y, y))));
