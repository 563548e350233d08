/// The error function: the series below 2.5, the continued fraction of its complement above (Abramowitz and Stegun,
/// 7.1.6 and 7.1.14); 1e-15.
pub fn erf(x: f64) -> f64 {
    let a = x.abs();
    if a.is_nan() {
        return x;
    }
    if a < 2.5 {
        let (mut term, mut sum, mut n) = (a, a, 0.0);
        while term > sum * 1e-17 {
            n += 1.0;
            term *= 2.0 * a * a / (2.0 * n + 1.0);
            sum += term;
        }
        return std::f64::consts::FRAC_2_SQRT_PI * (-a * a).exp() * sum * x.signum();
    }
    let mut fraction = 0.0;
    for k in (1..=80).rev() {
        fraction = k as f64 / 2.0 / (a + fraction);
    }
    let erfc = (-a * a).exp() / (a + fraction) * std::f64::consts::FRAC_2_SQRT_PI / 2.0;
    (1.0 - erfc) * x.signum()
}
