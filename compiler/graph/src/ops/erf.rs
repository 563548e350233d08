use kernel::Unary;

op! {
    /// The error function, elementwise.
    "erf" = Erf(x) {} kind Element
}

unary!(Erf, Float, tensor::erf, Unary::Erf, 3e-7, |v, x, _, dy| {
    let bell = v.push(super::Exp {}, &[v.neg(v.mul(x, x))]);
    v.mul(dy, v.scale(bell, std::f64::consts::FRAC_2_SQRT_PI))
});
