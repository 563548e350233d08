use kernel::Compare;

op! {
    /// Whether two elements are equal. Elementwise.
    "eq" = Eq(x, y) {} kind Element
}

binary!(Eq to bool, Any, f64::eq, |c, x, y| c.compare(Compare::Eq, x, y));
