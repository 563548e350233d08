use kernel::Unary;

op! {
    /// The largest integral value not above, elementwise.
    "floor" = Floor(x) {} kind Element
}

unary!(Floor, Float, f64::floor, Unary::Floor, 0.0, zero);
