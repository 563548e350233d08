use kernel::Unary;

op! {
    /// `1 / (1 + exp(-x))`, elementwise.
    "sigmoid" = Sigmoid(x) {} kind Element
}

unary!(Sigmoid, Float, |x: f64| 1.0 / (1.0 + (-x).exp()), Unary::Sigmoid, 3e-7, |v, _, y, dy| v.mul(dy, v.mul(y, v.sub(v.full(1.0, y), y))));
