use kernel::Compare;

op! {
    /// Whether `x` is at most `y`. Elementwise.
    "le" = Le(x, y) {} kind Element
}

binary!(Le to bool, Any, f64::le, |c, x, y| c.compare(Compare::Le, x, y));
