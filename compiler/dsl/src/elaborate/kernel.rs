//! Kernels: index equations as operators on whole tensors.
//!
//! Every subexpression is a tensor with one axis for each index that occurs in it. An index is an `arange`, a read at
//! plain indices names the axes of its tensor, a sum of products is a `dot`, and a read at places that are computed is a
//! `take`.

use super::call::Given;
use super::{Elaborator, Result, Scope, Val};
use crate::ast::{
    BinaryOp, Block, Else, Equation, Expr, ExprKind, Ix, Kernel, KernelGrad, Name, StmtKind, TyKind, UnaryOp,
};
use diag::{Code, Diagnostic, Span};
use graph::ops;
use graph::{Dim, Elem, Value, Verdict};
use std::collections::HashMap;
use std::rc::Rc;

/// The target that is a kernel's result.
const RESULT: &str = "out";

/// Reductions: the word in kernels and the operator.
const REDUCTIONS: &[(&str, &str)] =
    &[("sum", "sum"), ("prod", "prod"), ("max", "max"), ("min", "min"), ("any", "max"), ("all", "min")];

/// An index, or one axis of an index group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Index {
    name: String,
    /// Position in its group.
    part: usize,
}

/// An index on the left: its name, its place, and whether it is a group. A computed place has no name.
type Left<'e> = (&'e str, Span, bool);

/// A value with one axis for each index.
#[derive(Clone)]
struct Indexed {
    value: Val,
    axes: Vec<Index>,
}

/// What holds inside one equation.
struct Equations<'k> {
    scope: &'k Rc<Scope>,
    /// Sizes of indices; a group has several.
    ranges: HashMap<String, Vec<Dim>>,
    /// Where each index is first used.
    first: HashMap<String, Span>,
}

impl Equations<'_> {
    fn size(&self, index: &Index) -> Dim {
        self.ranges.get(&index.name).and_then(|r| r.get(index.part)).cloned().unwrap_or_else(|| Dim::int(1))
    }

    fn group(&self, name: &str) -> Vec<Index> {
        let parts = self.ranges.get(name).map_or(1, Vec::len);
        (0..parts).map(|part| Index { name: name.to_string(), part }).collect()
    }
}

impl Elaborator<'_> {
    pub(super) fn kernel(&mut self, kernel: &Kernel, args: Vec<Given>, span: Span) -> Result<Val> {
        let scope = Scope::inside(&self.home(kernel.name.span));
        self.bind_params(&kernel.params, args, &scope, &kernel.name.text, span)?;
        self.facts(&kernel.facts, &scope)?;
        let mut result = None;
        for equation in &kernel.equations {
            let value = self.equation(equation, kernel, &scope)?;
            scope.set(&equation.target.text, Val::Tensor(value));
            if equation.target.text == RESULT {
                result = Some((value, equation.value.span));
            }
        }
        let Some((value, at)) = result else {
            let message = format!("a kernel defines its result as `{RESULT}[…] = …`");
            let error = Diagnostic::new(Code::UNKNOWN_NAME, kernel.name.span, message);
            return Err(Box::new(match kernel.equations.last() {
                Some(last) => {
                    let help = format!("if this is the result, write `{RESULT}` in place of `{}`", last.target.text);
                    error.other(last.target.span, "the last equation").help(help)
                }
                None => error,
            }));
        };
        let value = match &kernel.grad {
            Some(grad) => self.with_gradient(value, grad, kernel, &scope)?,
            None => value,
        };
        self.check_result(Val::Tensor(value), &kernel.result, &scope, &kernel.name.text, at)
    }

    /// The result of a kernel, its gradient that of the `grad` block: `dx[…] = …` for each input `x` of floats.
    fn with_gradient(&mut self, result: Value, grad: &KernelGrad, kernel: &Kernel, scope: &Rc<Scope>) -> Result<Value> {
        let [param] = &grad.params[..] else {
            let message = "a `grad` block takes one tensor: the gradient of the result";
            return self.advise(Code::UNKNOWN_NAME, grad.span, message, "grad(dy: [..S]) { dx[..s] = … }");
        };
        let inner = Scope::inside(scope);
        let dy = self.graph.placeholder(param.name.text.clone(), self.ty(result), self.origin(param.name.span));
        inner.set(&param.name.text, Val::Tensor(dy));
        let mut found: HashMap<&str, (Value, Span)> = HashMap::new();
        for equation in &grad.equations {
            let value = self.equation(equation, kernel, &inner)?;
            inner.set(&equation.target.text, Val::Tensor(value));
            found.insert(&equation.target.text, (value, equation.target.span));
        }
        let (mut inputs, mut outputs) = (vec![], vec![]);
        for input in &kernel.params {
            let Some(Val::Tensor(x)) = scope.get(&input.name.text) else { continue };
            let ty = self.ty(x);
            if !ty.elem.is_float() {
                continue;
            }
            let name = format!("d{}", input.name.text);
            let Some((dx, at)) = found.get(name.as_str()).copied() else {
                let message = format!("the `grad` block defines no `{name}`, the gradient of `{}`", input.name.text);
                let error = Diagnostic::new(Code::UNKNOWN_NAME, grad.span, message);
                let error = error.other(input.name.span, "an input of floats");
                return Err(Box::new(error.help("leave the block out and the gradient is derived")));
            };
            if self.ty(dx) != ty {
                let (got, expected) = (self.type_text(&self.ty(dx)), self.type_text(&ty));
                let message = format!("`{name}` must be {expected}, got {got}");
                let error = Diagnostic::new(Code::SHAPE, at, message).other(input.name.span, "the gradient of this");
                return Err(Box::new(
                    error.help(format!("give `{name}` the indices of `{}`, and sum over the others", input.name.text)),
                ));
            }
            inputs.push(x);
            outputs.push((name, dx));
        }
        let (body, captures) = self.graph.enclose("gradient", &[dy], &outputs);
        let operands: Vec<Value> = [result].into_iter().chain(inputs).chain(captures).collect();
        self.push(ops::WithGradient { body: body.into() }, &operands, grad.span)
    }

    fn equation(&mut self, equation: &Equation, kernel: &Kernel, scope: &Rc<Scope>) -> Result<Value> {
        let mut env = Equations { scope, ranges: HashMap::new(), first: HashMap::new() };
        let (left, place) = self.left_side(equation)?;
        if equation.target.text == RESULT {
            self.ranges_of_result(&left, kernel, &mut env)?;
        }
        self.ranges_of_reads(&equation.value, &mut env)?;
        if let Some(computed) = place {
            self.ranges_of_reads(computed, &mut env)?;
        }
        let (mut target, mut axis) = (vec![], 0);
        for (name, span, _) in &left {
            if name.is_empty() {
                axis = target.len();
                continue;
            }
            if !env.ranges.contains_key(*name) {
                let message = format!("the range of `{name}` is not known: it stands alone in no subscript");
                return self.fail(Code::UNKNOWN_NAME, *span, message);
            }
            target.extend(env.group(name));
        }
        let value = self.indexed(&equation.value, &env)?;
        if equation.accumulate {
            let place = place.map(|computed| (axis, computed));
            return self.accumulated_equation(equation, kernel, value, target, place, &env);
        }
        if let Some(index) = value.axes.iter().find(|i| !target.contains(i)) {
            let name = &index.name;
            let error =
                Diagnostic::new(Code::UNKNOWN_NAME, equation.value.span, format!("`{name}` stands on the right only"));
            return Err(Box::new(error.help(format!("to reduce over it write sum[{name}](…)"))));
        }
        let elem = self.common_elem(&[(value.value.clone(), equation.value.span)]);
        self.aligned(&value, &target, &env, Some(elem), true, equation.value.span)
    }

    /// Indices on the left, and of an equation that accumulates the one axis whose place is computed, which has no name.
    fn left_side<'e>(&self, equation: &'e Equation) -> Result<(Vec<Left<'e>>, Option<&'e Expr>)> {
        let mut place = None;
        let mut left = vec![];
        for ix in &equation.indices {
            left.push(match ix {
                Ix::Group(name) => (name.text.as_str(), name.span, true),
                Ix::At(Expr { kind: ExprKind::Name(name), span }) => (name.as_str(), *span, false),
                Ix::At(computed) if equation.accumulate && place.is_none() => {
                    place = Some(computed);
                    ("", computed.span, false)
                }
                _ => {
                    let message = "the left side of an equation has plain indices: out[i, j] = …";
                    let help = "`+=` takes one computed place beside them: out[ids[b], d] += …";
                    return self.advise(Code::SYNTAX, equation.target.span, message, help);
                }
            });
        }
        Ok((left, place))
    }

    /// An equation with `+=`: sums over indices that stand on the right only, added to what the target is so far. At a
    /// computed place each element is added where it belongs.
    fn accumulated_equation(
        &mut self,
        equation: &Equation,
        kernel: &Kernel,
        value: Indexed,
        mut target: Vec<Index>,
        place: Option<(usize, &Expr)>,
        env: &Equations,
    ) -> Result<Value> {
        let span = equation.value.span;
        let place = match place {
            None => None,
            Some((axis, computed)) => {
                let at = self.indexed(computed, env)?;
                let own: Vec<&Index> = at.axes.iter().filter(|i| !target.contains(i)).collect();
                let [index] = own[..] else {
                    let message = "a computed place depends on one index that stands nowhere else on the left";
                    return self.fail(Code::SYNTAX, computed.span, message);
                };
                target.insert(axis, index.clone());
                Some((axis, at, computed.span))
            }
        };
        let summed = value.axes.iter().filter(|i| !target.contains(i)).cloned();
        let all: Vec<Index> = target.iter().cloned().chain(summed).collect();
        let elem = self.common_elem(&[(value.value.clone(), span)]);
        let mut new = self.aligned(&value, &all, env, Some(elem), true, span)?;
        if all.len() > target.len() {
            new = self.push(ops::Sum { axes: (target.len()..all.len()).collect(), keep: false }, &[new], span)?;
        }
        let before = match env.scope.get(&equation.target.text) {
            Some(Val::Tensor(before)) => Some(before),
            _ => None,
        };
        let Some((axis, at, computed)) = place else {
            return match before {
                Some(before) => self.push(ops::Add {}, &[before, new], span),
                None => Ok(new),
            };
        };
        let before = match before {
            Some(before) => before,
            None => {
                let shape = self.shape_of_target(&equation.target, kernel, env)?;
                self.push(ops::Full { shape, value: 0.0, elem }, &[], span)?
            }
        };
        let whole = self.common_elem(&[(at.value.clone(), computed)]);
        let at = self.aligned(&at, &target, env, Some(whole), true, computed)?;
        self.push(ops::ScatterAdd { axis }, &[before, at, new], span)
    }

    /// Dims of what is accumulated at computed places: the declared result, or the input whose gradient it is.
    fn shape_of_target(&mut self, target: &Name, kernel: &Kernel, env: &Equations) -> Result<Vec<Dim>> {
        if target.text == RESULT {
            return Ok(self.dims_of_result(kernel, env.scope)?.unwrap_or_default());
        }
        match target.text.strip_prefix('d').and_then(|input| env.scope.get(input)) {
            Some(Val::Tensor(input)) => Ok(self.ty(input).dims),
            _ => {
                let message = format!("the size of `{}` is not known where it is added to", target.text);
                self.advise(Code::UNKNOWN_NAME, target.span, message, "define it first: t[i] = 0 * x[i]")
            }
        }
    }

    /// Dims of the declared result, if that is a tensor.
    fn dims_of_result(&mut self, kernel: &Kernel, scope: &Rc<Scope>) -> Result<Option<Vec<Dim>>> {
        let TyKind::Tensor { dims, .. } = &kernel.result.kind else { return Ok(None) };
        self.stated_dims(dims, scope, "the result of a kernel states each of its dims").map(Some)
    }

    /// Ranges of the indices of `out`, from the declared result.
    fn ranges_of_result(&mut self, left: &[Left], kernel: &Kernel, env: &mut Equations) -> Result<()> {
        let Some(sizes) = self.dims_of_result(kernel, env.scope)? else { return Ok(()) };
        self.ranges_of_axes(left, &sizes, kernel.result.span, env)
    }

    /// Index names along the axes of one tensor; `None` stands for what is computed.
    fn ranges_of_axes(&mut self, indices: &[Left], sizes: &[Dim], span: Span, env: &mut Equations) -> Result<()> {
        let groups = indices.iter().filter(|(_, _, group)| *group).count();
        let single = indices.len() - groups;
        if groups > 1 || sizes.len() < single || (groups == 0 && sizes.len() != single) {
            let message = format!("{} indices for a tensor of rank {}", indices.len(), sizes.len());
            return self.fail(Code::SHAPE, span, message);
        }
        let mut axis = 0;
        for (name, at, group) in indices {
            let count = if *group { sizes.len() - single } else { 1 };
            let range = sizes[axis..axis + count].to_vec();
            axis += count;
            // A computed subscript has no name and gives no range.
            if name.is_empty() {
                continue;
            }
            match env.ranges.get(*name) {
                None => {
                    env.ranges.insert(name.to_string(), range);
                    env.first.insert(name.to_string(), *at);
                }
                Some(known) => {
                    let equal = known.len() == range.len()
                        && known.iter().zip(&range).all(|(a, b)| self.graph.facts.eq(a, b) == Verdict::Proved);
                    if !equal {
                        let (a, b) = (super::shape::shape_text(known), super::shape::shape_text(&range));
                        let message = format!("`{name}` runs over {a} in one place and {b} here");
                        let error = Diagnostic::new(Code::BROADCAST, *at, message);
                        let error = error.other(env.first[*name], format!("over {a} here"));
                        return Err(Box::new(error.help("give each of two sizes an index of its own")));
                    }
                }
            }
        }
        Ok(())
    }

    fn ranges_of_reads(&mut self, e: &Expr, env: &mut Equations) -> Result<()> {
        let mut reads = vec![];
        e.visit(&mut |e| {
            if let ExprKind::Index { base, items } = &e.kind
                && let ExprKind::Name(name) = &base.kind
            {
                reads.push((name, items, e.span));
            }
        });
        for (name, items, span) in reads {
            let Some(Val::Tensor(t)) = env.scope.get(name) else { continue };
            let mut indices = vec![];
            for item in items {
                indices.push(match item {
                    Ix::Group(name) => (name.text.as_str(), name.span, true),
                    Ix::At(Expr { kind: ExprKind::Name(name), span }) if env.scope.get(name).is_none() => {
                        (name.as_str(), *span, false)
                    }
                    _ => ("", span, false),
                });
            }
            let sizes = self.ty(t).dims;
            self.ranges_of_axes(&indices, &sizes, span, env)?;
        }
        Ok(())
    }

    fn indexed(&mut self, e: &Expr, env: &Equations) -> Result<Indexed> {
        match &e.kind {
            ExprKind::Name(name) if env.scope.get(name).is_none() && env.ranges.contains_key(name) => {
                let index = Index { name: name.clone(), part: 0 };
                let value = self.push(ops::Arange { n: env.size(&index) }, &[], e.span)?;
                Ok(Indexed { value: Val::Tensor(value), axes: vec![index] })
            }
            ExprKind::Index { base, items } => match &base.kind {
                ExprKind::Name(name) if matches!(env.scope.get(name), Some(Val::Tensor(_))) => {
                    self.read_at(name, items, None, e.span, env)
                }
                _ => self.fail(Code::STATIC_TYPE, e.span, "kernels read tensors by name: x[i, j]"),
            },
            ExprKind::Unary { op, operand } => {
                let x = self.indexed(operand, env)?;
                let value = match op {
                    UnaryOp::Neg if x.value.is_tensor() => {
                        self.elementwise("neg", vec![(x.value, operand.span)], e.span)?
                    }
                    UnaryOp::Neg => {
                        self.binary(BinaryOp::Sub, (Val::int(0), e.span), (x.value, operand.span), e.span)?
                    }
                    UnaryOp::Not => self.elementwise("bit_not", vec![(x.value, operand.span)], e.span)?,
                };
                Ok(Indexed { value, axes: x.axes })
            }
            ExprKind::Binary { op: BinaryOp::Or, left, right } if matches!(left.kind, ExprKind::Index { .. }) => {
                let ExprKind::Index { base, items } = &left.kind else { return self.indexed(left, env) };
                let ExprKind::Name(name) = &base.kind else { return self.indexed(left, env) };
                let outside = self.indexed(right, env)?;
                self.read_at(name, items, Some((outside, right.span)), left.span, env)
            }
            ExprKind::Binary { op, left, right } => {
                let (a, b) = (self.indexed(left, env)?, self.indexed(right, env)?);
                let (values, axes) = self.together(vec![(a, left.span), (b, right.span)], env)?;
                let [a, b] = <[(Val, Span); 2]>::try_from(values).unwrap_or_else(|_| unreachable!("two went in"));
                Ok(Indexed { value: self.binary(*op, a, b, e.span)?, axes })
            }
            ExprKind::If { condition, then, otherwise } => {
                self.select(condition, then, otherwise.as_deref(), e.span, env)
            }
            ExprKind::Call { callee, args } => {
                if let ExprKind::Index { base, items } = &callee.kind
                    && let ExprKind::Name(word) = &base.kind
                    && let Some((_, op)) = REDUCTIONS.iter().find(|(w, _)| w == word)
                    && let [arg] = &args[..]
                {
                    return self.reduce(op, items, &arg.value, e.span, env);
                }
                let function = self.expr(callee, env.scope)?;
                let mut parts = vec![];
                for arg in args {
                    parts.push((self.indexed(&arg.value, env)?, arg.value.span));
                }
                let (values, axes) = self.together(parts, env)?;
                let given =
                    values.into_iter().zip(args).map(|((value, span), a)| Given { name: a.name.clone(), value, span });
                let given: Vec<Given> = given.collect();
                self.takes_elements(&function, &given, e.span)?;
                let value = self.call(function, given, e.span)?;
                let rank = if let Val::Tensor(t) = &value { self.ty(*t).rank() } else { 0 };
                if value.is_tensor() && rank != axes.len() {
                    return self.fail(Code::STATIC_TYPE, e.span, "kernels call functions of single elements only");
                }
                let axes = if value.is_tensor() { axes } else { vec![] };
                Ok(Indexed { value, axes })
            }
            _ => match self.expr(e, env.scope)? {
                Val::Tensor(t) if self.ty(t).rank() > 0 => {
                    let name = self.quote(e.span);
                    self.fail(Code::SHAPE, e.span, format!("kernels read single elements: {name}[i]"))
                }
                value => Ok(Indexed { value, axes: vec![] }),
            },
        }
    }

    /// A function that needs axes is none of single elements.
    fn takes_elements(&mut self, function: &Val, given: &[Given], span: Span) -> Result<()> {
        let Val::Fn(..) = function else { return Ok(()) };
        let mut single = given.to_vec();
        for given in &mut single {
            if let Val::Tensor(t) = given.value {
                let elem = self.ty(t).elem;
                given.value = Val::Tensor(self.push(ops::Full { shape: vec![], value: 1.0, elem }, &[], span)?);
            }
        }
        match self.attempt(|e| e.call(function.clone(), single, span)) {
            Ok(_) => Ok(()),
            Err(_) => self.fail(Code::STATIC_TYPE, span, "kernels call functions of single elements only"),
        }
    }

    /// `if` in an equation chooses for each element.
    fn select(
        &mut self,
        condition: &Expr,
        then: &Block,
        otherwise: Option<&Else>,
        span: Span,
        env: &Equations,
    ) -> Result<Indexed> {
        let value_of = |b: &Block| match &b.stmts[..] {
            [one] => match &one.kind {
                StmtKind::Expr(e) => Some(e.clone()),
                _ => None,
            },
            _ => None,
        };
        let otherwise = match otherwise {
            Some(Else::If(e)) => Some(e.clone()),
            Some(Else::Block(b)) => value_of(b),
            None => None,
        };
        let (Some(then), Some(otherwise)) = (value_of(then), otherwise) else {
            return self.fail(Code::SYNTAX, span, "`if` in a kernel has two sides with one expression each");
        };
        let condition_value = self.indexed(condition, env)?;
        if let Val::Bool(decided) = condition_value.value {
            return self.indexed(if decided { &then } else { &otherwise }, env);
        }
        let parts = vec![
            (condition_value, condition.span),
            (self.indexed(&then, env)?, then.span),
            (self.indexed(&otherwise, env)?, otherwise.span),
        ];
        let (values, axes) = self.together(parts, env)?;
        Ok(Indexed { value: self.elementwise("where", values, span)?, axes })
    }

    /// Values over all the indices that any of them has; sizes of 1 where one lacks an index.
    fn together(&mut self, parts: Vec<(Indexed, Span)>, env: &Equations) -> Result<(Vec<(Val, Span)>, Vec<Index>)> {
        let mut axes: Vec<Index> = vec![];
        for (part, _) in &parts {
            axes.extend(part.axes.iter().filter(|a| !axes.contains(a)).cloned().collect::<Vec<_>>());
        }
        let mut values = vec![];
        for (part, span) in parts {
            let value = match &part.value {
                Val::Tensor(_) => Val::Tensor(self.aligned(&part, &axes, env, None, false, span)?),
                _ => part.value,
            };
            values.push((value, span));
        }
        Ok((values, axes))
    }

    /// A value with its axes in the order of `axes`; those it lacks have size 1, or their whole size if `full`.
    fn aligned(
        &mut self,
        x: &Indexed,
        axes: &[Index],
        env: &Equations,
        elem: Option<Elem>,
        full: bool,
        span: Span,
    ) -> Result<Value> {
        let value = self.tensor(&x.value, elem, span)?;
        let order = axes.iter().filter_map(|a| x.axes.iter().position(|b| a == b)).collect();
        let value = self.transpose(value, order, span)?;
        let size = |a: &Index, whole: bool| if whole || x.axes.contains(a) { env.size(a) } else { Dim::int(1) };
        let value = self.reshape(value, axes.iter().map(|a| size(a, false)).collect(), span)?;
        match full {
            true => self.expand(value, &axes.iter().map(|a| size(a, true)).collect::<Vec<_>>(), span),
            false => Ok(value),
        }
    }

    fn reduce(&mut self, op: &str, items: &[Ix], body: &Expr, span: Span, env: &Equations) -> Result<Indexed> {
        let mut over = vec![];
        for item in items {
            let (name, at) = match item {
                Ix::At(Expr { kind: ExprKind::Name(name), span }) => (name, *span),
                Ix::Group(name) => (&name.text, name.span),
                _ => return self.fail(Code::SYNTAX, span, "a reduction names its indices: sum[k](…)"),
            };
            if !env.ranges.contains_key(name) {
                return self.fail(
                    Code::UNKNOWN_NAME,
                    at,
                    format!("the range of `{name}` is not known: it stands alone in no subscript"),
                );
            }
            over.extend(env.group(name));
        }
        if op == "sum"
            && let ExprKind::Binary { op: BinaryOp::Mul, left, right } = &body.kind
        {
            let (a, b) = (self.indexed(left, env)?, self.indexed(right, env)?);
            let shared = |i: &Index| a.axes.contains(i) && b.axes.contains(i);
            if a.value.is_tensor() && b.value.is_tensor() && over.iter().all(shared) {
                return self.contract((a, left.span), (b, right.span), &over, span);
            }
        }
        let mut x = self.indexed(body, env)?;
        let missing: Vec<Index> = over.iter().filter(|i| !x.axes.contains(i)).cloned().collect();
        if !missing.is_empty() {
            let axes = [x.axes.clone(), missing].concat();
            let value = self.aligned(&x, &axes, env, None, true, span)?;
            x = Indexed { value: Val::Tensor(value), axes };
        }
        let value = self.tensor(&x.value, None, body.span)?;
        let axes: Vec<usize> = (0..x.axes.len()).filter(|i| over.contains(&x.axes[*i])).collect();
        let list = ops::Attr::List(axes.iter().map(|a| ops::Attr::Dim(Dim::int(*a as i64))).collect());
        let value = match ops::build(op, &[("axes".to_string(), list)]) {
            Some(Ok(op)) => self.push(op, &[value], span)?,
            _ => return self.fail(Code::NOT_YET, span, format!("the reduction `{op}` is not compiled yet")),
        };
        let rest = x.axes.into_iter().filter(|i| !over.contains(i)).collect();
        Ok(Indexed { value: Val::Tensor(value), axes: rest })
    }

    /// A sum of products as a `dot`: shared indices that stay are its batch.
    fn contract(
        &mut self,
        (a, a_span): (Indexed, Span),
        (b, b_span): (Indexed, Span),
        over: &[Index],
        span: Span,
    ) -> Result<Indexed> {
        let x = self.tensor(&a.value, None, a_span)?;
        let y = self.tensor(&b.value, None, b_span)?;
        let (mut contract, mut batch) = ((vec![], vec![]), (vec![], vec![]));
        let mut axes = vec![];
        for (i, index) in a.axes.iter().enumerate() {
            let Some(j) = b.axes.iter().position(|other| other == index) else { continue };
            let pairs = if over.contains(index) { &mut contract } else { &mut batch };
            pairs.0.push(i);
            pairs.1.push(j);
            if !over.contains(index) {
                axes.push(index.clone());
            }
        }
        axes.extend(a.axes.iter().filter(|i| !b.axes.contains(i)).cloned());
        axes.extend(b.axes.iter().filter(|i| !a.axes.contains(i)).cloned());
        let op = ops::Dot { contract_x: contract.0, contract_y: contract.1, batch_x: batch.0, batch_y: batch.1 };
        let value = self.push(op, &[x, y], span)?;
        Ok(Indexed { value: Val::Tensor(value), axes })
    }

    /// `x[i, 2 * j + 1, ids[b]]`, with what it gives outside of `x`.
    fn read_at(
        &mut self,
        name: &str,
        items: &[Ix],
        outside: Option<(Indexed, Span)>,
        span: Span,
        env: &Equations,
    ) -> Result<Indexed> {
        let Some(Val::Tensor(mut x)) = env.scope.get(name) else {
            return self.fail(Code::STATIC_TYPE, span, format!("`{name}` is no tensor"));
        };
        let mut axes: Vec<Index> = vec![];
        // True where all computed places are inside.
        let mut inside: Option<(Indexed, Span)> = None;
        for item in items {
            let computed = match item {
                Ix::Group(group) => {
                    axes.extend(env.group(&group.text));
                    continue;
                }
                Ix::At(Expr { kind: ExprKind::Name(index), .. })
                    if env.scope.get(index).is_none() && env.ranges.contains_key(index) =>
                {
                    axes.push(Index { name: index.clone(), part: 0 });
                    continue;
                }
                Ix::At(e) => e,
                _ => return self.fail(Code::SYNTAX, span, "subscripts in kernels are indices and expressions of them"),
            };
            let axis = axes.len();
            let size = self.ty(x).dims[axis].clone();
            let place = self.indexed(computed, env)?;
            if outside.is_none() {
                self.stays_inside(computed, &size, span, env)?;
            }
            let at = (place.value.clone(), computed.span);
            let mut index = self.tensor(&place.value, Some(self.common_elem(&[at.clone()])), computed.span)?;
            if outside.is_some() {
                let last = (Val::Num(size.clone() - Dim::int(1)), computed.span);
                let zero = (Val::int(0), computed.span);
                let low = self.elementwise("le", vec![zero.clone(), at.clone()], computed.span)?;
                let high = self.elementwise("le", vec![at.clone(), last.clone()], computed.span)?;
                let both =
                    self.elementwise("bit_and", vec![(low, computed.span), (high, computed.span)], computed.span)?;
                let both = (Indexed { value: both, axes: place.axes.clone() }, computed.span);
                inside = Some(match inside {
                    None => both,
                    Some(before) => {
                        let (values, axes) = self.together(vec![before, both], env)?;
                        (Indexed { value: self.elementwise("bit_and", values, span)?, axes }, span)
                    }
                });
                let least = self.elementwise("maximum", vec![at, zero], computed.span)?;
                let clamped = self.elementwise("minimum", vec![(least, computed.span), last], computed.span)?;
                index = self.tensor(&clamped, None, computed.span)?;
            }
            x = self.push(ops::Take { axis }, &[x, index], computed.span)?;
            axes.extend(place.axes);
        }
        while let Some(second) = (0..axes.len()).find(|i| axes[..*i].contains(&axes[*i])) {
            let first = axes.iter().position(|a| *a == axes[second]).unwrap_or(second);
            x = self.diagonal(x, first, second, span)?;
            axes.remove(second);
        }
        let read = Indexed { value: Val::Tensor(x), axes };
        match (inside, outside) {
            (Some(inside), Some(outside)) => {
                let (values, axes) = self.together(vec![inside, (read, span), outside], env)?;
                Ok(Indexed { value: self.elementwise("where", values, span)?, axes })
            }
            _ => Ok(read),
        }
    }

    /// The elements whose places on two axes of equal size are the same, along the first of the two.
    fn diagonal(&mut self, x: Value, first: usize, second: usize, span: Span) -> Result<Value> {
        let dims = self.ty(x).dims;
        let size = dims[first].clone();
        let mut order: Vec<usize> = (0..dims.len()).filter(|a| *a != second).collect();
        order.insert(first + 1, second);
        let mut shape: Vec<Dim> = order.iter().map(|a| dims[*a].clone()).collect();
        shape.remove(first + 1);
        shape[first] = size.clone() * size.clone();
        let side_by_side = self.push(ops::Transpose { order }, &[x], span)?;
        let flat = self.reshape(side_by_side, shape, span)?;
        let step = (Val::Num(size.clone() + Dim::int(1)), span);
        let places = (Val::Tensor(self.push(ops::Arange { n: size }, &[], span)?), span);
        let places = self.elementwise("mul", vec![places, step], span)?;
        let places = self.tensor(&places, None, span)?;
        self.push(ops::Take { axis: first }, &[flat, places], span)
    }

    /// Shows that a computed subscript stays on its axis: by the ranges of its indices if it is affine in them. Places
    /// read from data are checked when running.
    fn stays_inside(&mut self, subscript: &Expr, size: &Dim, read: Span, env: &Equations) -> Result<()> {
        let inner = Scope::inside(env.scope);
        let names: Vec<&str> = subscript
            .names()
            .into_iter()
            .filter(|n| env.scope.get(n).is_none() && env.ranges.contains_key(*n))
            .collect();
        names.iter().for_each(|n| inner.set(n, Val::Num(Dim::var(&index_variable(n)))));
        let Ok(Val::Num(place)) = self.expr(subscript, &inner) else { return Ok(()) };
        // The index at which the subscript is least, and at which it is largest.
        let (mut least, mut largest) = (place.clone(), place.clone());
        let (mut at_least, mut at_largest) = (vec![], vec![]);
        for name in names {
            let variable = index_variable(name);
            let factor = place.terms().find_map(|(monomial, c)| match &monomial[..] {
                [(graph::dim::Atom::Var(v), 1)] if **v == *variable => Some(c),
                _ => None,
            });
            let last = env.size(&Index { name: name.to_string(), part: 0 }) - Dim::int(1);
            let grows = factor.is_none_or(|c| c > 0.into());
            let (low, high) = if grows { (Dim::int(0), last) } else { (last, Dim::int(0)) };
            at_least.push(format!("{name} = {low}"));
            at_largest.push(format!("{name} = {high}"));
            let put = |dim: &Dim, value: &Dim| dim.substitute(&|v| (v == variable).then(|| value.clone()));
            least = put(&least, &low);
            largest = put(&largest, &high);
        }
        let facts = &self.graph.facts;
        let (wrong, when) = match () {
            _ if facts.le(&Dim::int(0), &least) != Verdict::Proved => (least, at_least),
            _ if facts.le(&(largest.clone() + Dim::int(1)), size) != Verdict::Proved => (largest, at_largest),
            _ => return Ok(()),
        };
        let text = self.quote(read);
        let when = if when.is_empty() { String::new() } else { format!(" when {}", when.join(", ")) };
        let message = format!("{text} reads index {wrong}{when}; the axis has size {size}");
        let error = Diagnostic::new(Code::OUT_OF_RANGE, read, message);
        Err(Box::new(error.help(format!("give the value outside the array: ({text} or 0)"))))
    }
}

/// An index as a size; no name in a model starts with a space.
fn index_variable(name: &str) -> String {
    format!(" {name}")
}
