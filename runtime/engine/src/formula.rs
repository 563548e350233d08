//! Whole numbers that depend on the sizes of one call: dims, buffer lengths, trip counts, guards.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use std::cell::Cell;

/// An expression over the symbols of an entry (its dims that the caller chooses), evaluated once per new sizes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Formula {
    Const(i64),
    /// Index into the entry's symbols.
    Symbol(usize),
    Add(#[serde(deserialize_with = "nested")] Vec<Formula>),
    Mul(#[serde(deserialize_with = "nested")] Vec<Formula>),
    /// `floor(a / b)`, `b` positive.
    Floor(#[serde(deserialize_with = "nested")] Box<Formula>, #[serde(deserialize_with = "nested")] Box<Formula>),
    /// `a - b * floor(a / b)`, `b` positive.
    Rem(#[serde(deserialize_with = "nested")] Box<Formula>, #[serde(deserialize_with = "nested")] Box<Formula>),
    Min(#[serde(deserialize_with = "nested")] Box<Formula>, #[serde(deserialize_with = "nested")] Box<Formula>),
    Max(#[serde(deserialize_with = "nested")] Box<Formula>, #[serde(deserialize_with = "nested")] Box<Formula>),
}

impl Formula {
    /// The value, or `None` on overflow and division by zero.
    pub fn evaluate(&self, symbols: &[i64]) -> Option<i64> {
        let pair = |a: &Formula, b: &Formula| Some((a.evaluate(symbols)?, b.evaluate(symbols)?));
        match self {
            Formula::Const(n) => Some(*n),
            Formula::Symbol(s) => symbols.get(*s).copied(),
            Formula::Add(parts) => parts.iter().try_fold(0i64, |sum, p| sum.checked_add(p.evaluate(symbols)?)),
            Formula::Mul(parts) => parts.iter().try_fold(1i64, |product, p| product.checked_mul(p.evaluate(symbols)?)),
            Formula::Floor(a, b) => pair(a, b).and_then(|(a, b)| a.checked_div_euclid(b)),
            Formula::Rem(a, b) => pair(a, b).and_then(|(a, b)| a.checked_rem_euclid(b)),
            Formula::Min(a, b) => pair(a, b).map(|(a, b)| a.min(b)),
            Formula::Max(a, b) => pair(a, b).map(|(a, b)| a.max(b)),
        }
    }
}

/// Formulas inside each other, at most, in a file: reading and evaluating them calls itself.
const DEPTH: usize = 200;

/// Operands of a formula from a file.
fn nested<'d, D: Deserializer<'d>, T: Deserialize<'d>>(from: D) -> Result<T, D::Error> {
    thread_local!(static DEEP: Cell<usize> = const { Cell::new(0) });
    if DEEP.get() == DEPTH {
        return Err(D::Error::custom("a formula is nested too deep"));
    }
    DEEP.set(DEEP.get() + 1);
    let operands = T::deserialize(from);
    DEEP.set(DEEP.get() - 1);
    operands
}
