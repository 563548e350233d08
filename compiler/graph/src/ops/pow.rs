use kernel::Binary;

op! {
    /// `x` to the power `y`, elementwise.
    "pow" = Pow(x, y) {} kind Element
}

binary!(Pow, Float, f64::powf, |c, x, y| c.binary(Binary::Pow, x, y), 2e-6, |v, x, y, z, dy| {
    // y x^(y - 1), and 0 where y is 0 whatever x is.
    let below = v.push(Pow {}, &[x, v.plus(y, -1.0)]);
    let slope = v.select(v.eq(y, v.full(0.0, y)), v.full(0.0, y), v.mul(y, below));
    v.mul(dy, slope)
}, {
    // z ln x, and 0 where x is 0: there z is 0 or 1 on both sides.
    let log = v.push(super::Log {}, &[x]);
    v.mul(dy, v.select(v.eq(x, v.full(0.0, x)), v.full(0.0, x), v.mul(z, log)))
});
