use kernel::Binary;

op! {
    /// Bitwise exclusive or, elementwise.
    "bit_xor" = BitXor(x, y) {} kind Element
}

binary!(BitXor, Bits, |a, b| (a as i64 ^ b as i64) as f64, |c, x, y| c.binary(Binary::Xor, x, y), 0.0, zero);
