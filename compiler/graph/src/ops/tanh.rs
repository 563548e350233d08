use kernel::Unary;

op! {
    /// Hyperbolic tangent, elementwise.
    "tanh" = Tanh(x) {} kind Element
}

unary!(Tanh, Float, f64::tanh, Unary::Tanh, 3e-7);
