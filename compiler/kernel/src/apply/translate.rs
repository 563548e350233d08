//! Scalar expressions at a place in the nest: flat addresses, guards that are not decided yet, functions expanded.

use super::{Apply, Env};
use crate::affine::{Affine, BufferId, ExprId, Extent};
use crate::expr::{Binary, Expr, Guard, Literal, Subscript};
use crate::functions;
use crate::schedule::{ScheduleError, error};
use std::collections::HashMap;
use tensor::Elem;

/// What is known of a guard at one place.
enum Inside {
    Always,
    Never,
    Where(Vec<(Affine, Extent)>),
}

impl Apply<'_> {
    /// `root`, with its reduction replaced by `reduced`.
    pub(super) fn translate(
        &mut self,
        root: ExprId,
        reduced: Option<ExprId>,
        env: &Env,
    ) -> Result<ExprId, ScheduleError> {
        self.translate_memo(root, reduced, env, &mut HashMap::new())
    }

    fn translate_memo(
        &mut self,
        id: ExprId,
        reduced: Option<ExprId>,
        env: &Env,
        done: &mut HashMap<ExprId, ExprId>,
    ) -> Result<ExprId, ScheduleError> {
        if let Some(new) = done.get(&id) {
            return Ok(*new);
        }
        let elem = self.kernel.exprs.elem(id);
        let kernel = self.kernel;
        let mut go = |apply: &mut Self, e: ExprId| apply.translate_memo(e, reduced, env, done);
        let new = match &kernel.exprs[id] {
            Expr::Const(literal) => self.out.exprs.literal(*literal),
            Expr::Index(index, elem) => {
                let index = self.at(index, env);
                self.out.exprs.index(index, *elem)
            }
            Expr::Load { buffer, at, guard } => {
                let data = |s: &Subscript| match s {
                    Subscript::Data(e) => Some(*e),
                    Subscript::Affine(_) => None,
                };
                let mut subscripts = vec![];
                for (dim, e) in at.iter().enumerate().filter_map(|(dim, s)| Some((dim, data(s)?))) {
                    let index = go(self, e)?;
                    subscripts.push(self.data_offset(*buffer, dim, index)?);
                }
                self.load(*buffer, at, subscripts, guard.as_ref(), elem, env)?
            }
            Expr::Unary(op, a) => {
                let a = go(self, *a)?;
                functions::unary(&mut self.out.exprs, *op, a)
            }
            Expr::Binary(op, a, b) => {
                let (a, b) = (go(self, *a)?, go(self, *b)?);
                self.binary(*op, a, b)
            }
            Expr::Fma(a, b, c) => {
                let (a, b, c) = (go(self, *a)?, go(self, *b)?, go(self, *c)?);
                self.out.exprs.fma(a, b, c)
            }
            Expr::Compare(op, a, b) => {
                let (a, b) = (go(self, *a)?, go(self, *b)?);
                self.out.exprs.compare(*op, a, b)
            }
            Expr::Select(c, a, b) => {
                let (c, a, b) = (go(self, *c)?, go(self, *a)?, go(self, *b)?);
                self.out.exprs.select(c, a, b)
            }
            Expr::Cast(elem, a) => {
                let a = go(self, *a)?;
                self.out.exprs.cast(*elem, a)
            }
            Expr::Lookup(..) => return error("a nest has no tables"),
            Expr::Checked(..) => return error("a nest has no checked values"),
            Expr::Reduce { .. } => match reduced {
                Some(total) => total,
                None => return error("a stage has two reductions, or one inside another"),
            },
        };
        done.insert(id, new);
        Ok(new)
    }

    /// Products with a zero that padding gave, and what follows from them, vanish; a sum with a product is rounded once.
    fn binary(&mut self, op: Binary, a: ExprId, b: ExprId) -> ExprId {
        let zero = |id| self.out.exprs.as_const(id).is_some_and(|l: Literal| l.value() == 0.0);
        match op {
            Binary::Mul if zero(a) => a,
            Binary::Mul if zero(b) => b,
            Binary::Add if zero(a) => b,
            Binary::Add if zero(b) => a,
            Binary::Add if self.out.exprs.elem(a) == Elem::F32 => self.sum(a, b),
            _ => functions::binary(&mut self.out.exprs, op, a, b),
        }
    }

    fn sum(&mut self, a: ExprId, b: ExprId) -> ExprId {
        let exprs = &mut self.out.exprs;
        match (&exprs[a], &exprs[b]) {
            (Expr::Binary(Binary::Mul, x, y), _) => {
                let (x, y) = (*x, *y);
                exprs.fma(x, y, b)
            }
            (_, Expr::Binary(Binary::Mul, x, y)) => {
                let (x, y) = (*x, *y);
                exprs.fma(x, y, a)
            }
            _ => exprs.add(a, b),
        }
    }

    /// The offset in elements that a subscript read from data gives, checked against its dim.
    fn data_offset(&mut self, buffer: BufferId, dim: usize, index: ExprId) -> Result<Subscript, ScheduleError> {
        let extent = self.kernel.buffers[buffer.index()].dims[dim];
        let stride = self.data_stride(buffer, dim)?;
        let exprs = &mut self.out.exprs;
        let wide = exprs.cast(Elem::I64, index);
        let checked = exprs.intern(Expr::Checked(wide, extent), Elem::I64);
        let stride = exprs.index(stride, Elem::I64);
        Ok(Subscript::Data(exprs.mul(checked, stride)))
    }

    fn load(
        &mut self,
        buffer: BufferId,
        at: &[Subscript],
        data: Vec<Subscript>,
        guard: Option<&Guard>,
        elem: Elem,
        env: &Env,
    ) -> Result<ExprId, ScheduleError> {
        let guard = match guard {
            None => None,
            Some(guard) => match self.inside(guard, env) {
                Inside::Always => None,
                Inside::Never => return Ok(self.out.exprs.literal(guard.otherwise)),
                Inside::Where(ranges) => Some(Guard { ranges, otherwise: guard.otherwise }),
            },
        };
        let affine: Vec<Option<&Affine>> = at.iter().map(Subscript::as_affine).collect();
        let flat = self.flat(buffer, &affine, env)?;
        let at = std::iter::once(Subscript::Affine(flat)).chain(data).collect();
        Ok(self.out.exprs.intern(Expr::Load { buffer, at, guard }, elem))
    }

    fn inside(&mut self, guard: &Guard, env: &Env) -> Inside {
        let mut open = vec![];
        for (index, extent) in &guard.ranges {
            let index = self.at(index, env);
            let (low, high) = self.interval(&index, Some(env));
            let least = match extent {
                Extent::Const(n) => *n,
                Extent::Size(s) => self.out.sizes[s.index()].min,
            };
            if low.is_some_and(|l| l >= 0) && high.is_some_and(|h| h < least) {
                continue;
            }
            let beyond = low.zip(self.upper(*extent)).is_some_and(|(l, most)| l >= most);
            if beyond || high.is_some_and(|h| h < 0) {
                return Inside::Never;
            }
            open.push((index, *extent));
        }
        if open.is_empty() { Inside::Always } else { Inside::Where(open) }
    }

    /// The value an expression has at every point below this place, where padding decides it.
    pub(super) fn known(&mut self, id: ExprId, env: &Env) -> Option<f64> {
        let kernel = self.kernel;
        match &kernel.exprs[id] {
            Expr::Const(literal) => Some(literal.value()),
            Expr::Load { guard: Some(guard), .. } => match self.inside(guard, env) {
                Inside::Never => Some(guard.otherwise.value()),
                _ => None,
            },
            Expr::Cast(to, a) if to.is_float() => self.known(*a, env),
            Expr::Binary(Binary::Mul, a, b) => {
                let zero = |value: &f64| *value == 0.0;
                self.known(*a, env).filter(zero).or_else(|| self.known(*b, env).filter(zero))
            }
            _ => None,
        }
    }
}
