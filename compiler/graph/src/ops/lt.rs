use kernel::Compare;

op! {
    /// Whether `x` is less than `y`. Elementwise.
    "lt" = Lt(x, y) {} kind Element
}

binary!(Lt to bool, Any, f64::lt, |c, x, y| c.compare(Compare::Lt, x, y));
