use kernel::Binary;

op! {
    /// Difference of two tensors, elementwise.
    "sub" = Sub(x, y) {} kind Element
}

binary!(Sub, Number, |a, b| a - b, |c, x, y| c.binary(Binary::Sub, x, y), 1.2e-7, |v, _, _, _, dy| dy, v.neg(dy));
