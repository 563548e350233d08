use kernel::Unary;

op! {
    /// Sine, elementwise.
    "sin" = Sin(x) {} kind Element
}

unary!(Sin, Float, f64::sin, Unary::Sin, 2e-7, |v, x, _, dy| v.mul(dy, v.push(super::Cos {}, &[x])));
