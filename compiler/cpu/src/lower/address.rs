//! Affine addresses: what is constant here, what the vector adds, and the pointer that holds the rest.

use super::{Binding, Lower, PointerKey};
use crate::vir::{IntOp, Op, Value};
use kernel::affine::Term;
use kernel::{Affine, BufferId, VarId};

/// An affine with open variables filled in.
pub(super) struct Split {
    pub constant: i64,
    /// What one lane adds.
    pub lane: i64,
    /// Terms over run-time loops and sizes.
    pub dynamic: Affine,
}

impl Lower<'_> {
    pub(super) fn split(&self, a: &Affine) -> Split {
        let mut out = Split { constant: a.constant, lane: 0, dynamic: Affine::default() };
        for term in a.terms() {
            let Some(var) = term.var else {
                out.dynamic.add_term(*term);
                continue;
            };
            match self.bindings[var.index()] {
                Binding::Const(i) if term.size.is_none() => out.constant += i * term.factor,
                Binding::Const(i) => out.dynamic.add_term(Term { var: None, size: term.size, factor: term.factor * i }),
                Binding::Lanes if term.size.is_none() => out.lane += term.factor,
                Binding::Lanes | Binding::Run(_) => out.dynamic.add_term(*term),
                // Not open yet: it belongs to a loop inside this one.
                Binding::Closed => {}
            }
        }
        out
    }

    /// Bytes of one element.
    pub(super) fn size_of(&self, buffer: BufferId) -> i64 {
        self.kernel.storage[buffer.index()].elem.size() as i64
    }

    /// A pointer to `buffer` plus the dynamic terms: one there is, or the nearest with the same loops plus sizes.
    pub(super) fn pointer(&mut self, buffer: BufferId, dynamic: &Affine) -> Value {
        let key: PointerKey = (buffer, dynamic.clone());
        if let Some(value) = self.pointers.get(&key) {
            return *value;
        }
        let of_sizes = |a: &Affine| a.terms().iter().all(|t| t.var.is_none());
        let near = (self.pointers.iter())
            .filter(|((b, known), _)| *b == buffer && of_sizes(&dynamic.clone().plus(known, -1)))
            .min_by_key(|((_, known), value)| (dynamic.clone().plus(known, -1).terms().len(), **value));
        let (mut pointer, rest) = match near {
            Some(((_, known), value)) => (*value, dynamic.clone().plus(known, -1)),
            None => (self.bases[&buffer], dynamic.clone()),
        };
        let bytes = self.size_of(buffer);
        for term in rest.terms() {
            let offset = self.term(Term { factor: term.factor * bytes, ..*term });
            pointer = self.pure(Op::Int(IntOp::Add), &[pointer, offset]);
        }
        pointer
    }

    /// The value of one term; a run-time loop in it has its index counted.
    fn term(&mut self, term: Term) -> Value {
        let mut value = term.size.map(|s| self.size(s));
        if let Some(var) = term.var {
            let index = self.index_of(var);
            value = Some(match value {
                Some(size) => self.pure(Op::Int(IntOp::Mul), &[size, index]),
                None => index,
            });
        }
        let value = value.expect("a term has a variable or a size");
        match (term.factor, i32::try_from(term.factor)) {
            (1, _) => value,
            (_, Ok(factor)) => self.pure(Op::MulImm(factor), &[value]),
            (factor, Err(_)) => {
                let factor = self.pure(Op::Const(factor), &[]);
                self.pure(Op::Int(IntOp::Mul), &[value, factor])
            }
        }
    }

    fn index_of(&mut self, var: VarId) -> Value {
        match self.bindings[var.index()] {
            Binding::Run(Some(index)) => index,
            Binding::Const(i) => self.pure(Op::Const(i), &[]),
            binding => unreachable!("the index of {var} is not counted: {binding:?}"),
        }
    }

    /// An affine without lanes as an integer.
    pub(super) fn integer(&mut self, a: &Affine) -> Value {
        let split = self.split(a);
        let mut sum: Option<Value> = None;
        for term in split.dynamic.terms().to_vec() {
            let value = self.term(term);
            sum = Some(match sum {
                Some(sum) => self.pure(Op::Int(IntOp::Add), &[sum, value]),
                None => value,
            });
        }
        match (sum, split.constant) {
            (None, c) => self.pure(Op::Const(c), &[]),
            (Some(sum), 0) => sum,
            (Some(sum), c) => match i32::try_from(c) {
                Ok(c) => self.pure(Op::AddImm(c), &[sum]),
                Err(_) => {
                    let c = self.pure(Op::Const(c), &[]);
                    self.pure(Op::Int(IntOp::Add), &[sum, c])
                }
            },
        }
    }

    /// The pointer and displacement in bytes of an address.
    pub(super) fn place(&mut self, buffer: BufferId, split: &Split) -> (Value, i32) {
        let bytes = split.constant * self.size_of(buffer);
        let pointer = self.pointer(buffer, &split.dynamic);
        match i32::try_from(bytes) {
            Ok(disp) => (pointer, disp),
            Err(_) => {
                let offset = self.pure(Op::Const(bytes), &[]);
                (self.pure(Op::Int(IntOp::Add), &[pointer, offset]), 0)
            }
        }
    }
}
