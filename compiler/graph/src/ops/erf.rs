use kernel::Unary;

op! {
    /// The error function, elementwise.
    "erf" = Erf(x) {} kind Element
}

unary!(Erf, Float, kernel::functions::erf_f64, Unary::Erf, 3e-7);
