use kernel::Binary;

op! {
    /// Product of two tensors, elementwise.
    "mul" = Mul(x, y) {} kind Element
}

binary!(Mul, Number, |a, b| a * b, |c, x, y| c.binary(Binary::Mul, x, y), 1.2e-7, |v, x, y, _, dy| v.mul(dy, y), v.mul(dy, x));
