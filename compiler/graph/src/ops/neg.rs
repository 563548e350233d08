use kernel::Unary;

op! {
    /// Negation, elementwise.
    "neg" = Neg(x) {} kind Element
}

unary!(Neg, Number, |x| -x, Unary::Neg, 0.0, |v, _, _, dy| v.neg(dy));
