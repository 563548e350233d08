use kernel::Binary;

op! {
    /// Bitwise or, elementwise.
    "bit_or" = BitOr(x, y) {} kind Element
}

binary!(BitOr, Bits, |a, b| (a as i64 | b as i64) as f64, |c, x, y| c.binary(Binary::Or, x, y), 0.0, zero);
