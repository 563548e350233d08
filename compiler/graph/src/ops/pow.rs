use kernel::Binary;

op! {
    /// `x` to the power `y`, elementwise.
    "pow" = Pow(x, y) {} kind Element
}

binary!(Pow, Float, f64::powf, |c, x, y| c.binary(Binary::Pow, x, y), 2e-6);
