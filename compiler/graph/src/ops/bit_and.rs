use kernel::Binary;

op! {
    /// Bitwise and, elementwise.
    "bit_and" = BitAnd(x, y) {} kind Element
}

binary!(BitAnd, Bits, |a, b| (a as i64 & b as i64) as f64, |c, x, y| c.binary(Binary::And, x, y), 0.0, zero);
