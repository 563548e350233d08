//! Sizes that data chooses, updates of parts of storage, and random numbers: what depends on the running call.

use super::{Elaborator, Result, Scope, Stored, Val, Version};
use crate::ast::{Expr, ExprKind, Ix};
use diag::{Code, Diagnostic, Span};
use graph::ops::{self, Op};
use graph::{Array, Dim, Elem, Fact, Guard, Storage, TensorType, Value};
use std::rc::Rc;

/// Integers of a tensor that stands for a list of sizes, at most.
const LISTED: usize = 64;

/// The cache from which all random numbers of a model come: a seed, and the number of calls so far.
pub const RANDOM_KEY: &str = "random key";

/// What an index picks of one axis: `size` places from `start`; an axis that is picked by one number is dropped.
struct Part {
    start: Dim,
    size: Dim,
    dropped: bool,
}

impl Elaborator<'_> {
    /// An integer tensor of rank 0 as a size: what it is known to be, else a size of its own, at most `most`.
    pub(super) fn size_of(&mut self, value: Value, most: &Dim, span: Span) -> Result<Dim> {
        let ty = self.ty(value);
        if !ty.elem.is_int() || ty.rank() != 0 {
            let message = format!("a size is an integer, or an integer tensor of rank 0, not {}", self.type_text(&ty));
            return self.advise(Code::STATIC_TYPE, span, message, "cast(n, i32) makes an integer of a number");
        }
        match self.known_integers(value, Some((most, span)))?.as_deref() {
            Some([size]) => Ok(size.clone()),
            _ => self.named_size(value, most, span),
        }
    }

    /// The integers of a tensor of rank at most 1, as far as they follow from constants and sizes. With `most` given,
    /// single values that are known when running only become sizes of their own.
    pub(super) fn known_integers(&mut self, value: Value, most: Option<(&Dim, Span)>) -> Result<Option<Vec<Dim>>> {
        let node = self.graph.node(value).clone();
        let ty = self.ty(value);
        if !ty.elem.is_int() || ty.rank() > 1 {
            return Ok(None);
        }
        let count = ty.dims.first().map_or(Some(1), Dim::as_int).map(|n| n as usize);
        let Some(count) = count.filter(|n| *n <= LISTED) else { return Ok(None) };
        let mut operands = vec![];
        let folded = matches!(
            node.op,
            Op::Cast(_)
                | Op::Neg(_)
                | Op::Add(_)
                | Op::Sub(_)
                | Op::Mul(_)
                | Op::Maximum(_)
                | Op::Minimum(_)
                | Op::Expand(_)
                | Op::Reshape(_)
                | Op::Slice(_)
                | Op::Concat(_)
        );
        if folded {
            for operand in &node.operands {
                match self.known_integers(*operand, most)? {
                    Some(integers) => operands.push(integers),
                    None => return Ok(None),
                }
            }
        }
        let each = |f: fn(&Dim, &Dim) -> Dim| operands[0].iter().zip(&operands[1]).map(|(a, b)| f(a, b)).collect();
        Ok(Some(match &node.op {
            Op::Full(full) if full.value.fract() == 0.0 => vec![Dim::int(full.value as i64); count],
            Op::Constant(c) => c.value.data.iter().map(|x| Dim::int(*x as i64)).collect(),
            Op::DimValue(dim) => vec![dim.value.clone()],
            Op::Arange(_) => (0..count as i64).map(Dim::int).collect(),
            Op::Cast(_) | Op::Reshape(_) => operands.remove(0),
            Op::Neg(_) => operands[0].iter().map(|d| d.times(-1)).collect(),
            Op::Add(_) => each(|a, b| a.clone() + b.clone()),
            Op::Sub(_) => each(|a, b| a.clone() - b.clone()),
            Op::Mul(_) => each(|a, b| a.clone() * b.clone()),
            Op::Maximum(_) => each(Dim::maximum),
            Op::Minimum(_) => each(Dim::minimum),
            Op::Expand(_) if operands[0].len() == 1 => vec![operands[0][0].clone(); count],
            Op::Expand(_) => operands.remove(0),
            Op::Concat(_) => operands.concat(),
            Op::Slice(slice) => match slice.start.as_int() {
                Some(start) => {
                    operands[0].iter().skip(start as usize).step_by(slice.step as usize).take(count).cloned().collect()
                }
                None => return Ok(None),
            },
            _ => match most {
                Some((most, span)) if ty.rank() == 0 => vec![self.named_size(value, most, span)?],
                _ => return Ok(None),
            },
        }))
    }

    /// The size that has the value of this tensor: one value, one size.
    fn named_size(&mut self, value: Value, most: &Dim, span: Span) -> Result<Dim> {
        if let Some(size) = self.run_time.get(&value) {
            return Ok(size.clone());
        }
        let operand = self.graph.operands.iter().find(|o| o.value == value);
        let declared = operand.and_then(|_| self.declared.get(&value)).and_then(|d| d.name.clone());
        let taken: Vec<String> = self.run_time.values().map(Dim::to_string).collect();
        let fresh = || (1..).map(|i| format!("n{i}")).find(|n| !taken.contains(n) && !self.inputs.contains(n));
        let name = declared.filter(|n| !taken.contains(n)).or_else(fresh).unwrap_or_default();
        let size = Dim::var(&name);
        let origin = self.origin(span);
        let at_least = Fact::Le(Dim::int(0), size.clone());
        match self.graph.operands.iter().any(|o| o.value == value) {
            true => self.graph.guard(Guard { text: at_least.to_string(), fact: at_least, origin }),
            false => self.graph.facts.assume(&at_least),
        }
        self.push(ops::Size { name, most: most.clone() }, &[value], span)?;
        self.graph.facts.assume(&Fact::Le(size.clone(), most.clone()));
        self.run_time.insert(value, size.clone());
        Ok(size)
    }

    /// A condition in which integer inputs stand for sizes, as `where pos + T <= 1024` has.
    pub(super) fn fact_of_inputs(&mut self, e: &Expr, scope: &Rc<Scope>) -> Result<Option<Val>> {
        let inner = Scope::inside(scope);
        let mut found = false;
        for name in e.names() {
            let Some(Val::Tensor(t)) = scope.get(name) else { continue };
            let is_input = self.graph.operands.iter().any(|o| o.value == t && o.storage == Storage::Input);
            if !is_input || self.ty(t).rank() > 0 || !self.ty(t).elem.is_int() {
                return Ok(None);
            }
            let size = self.named_size(t, &Dim::int(i32::MAX as i64), e.span)?;
            inner.set(name, Val::Num(size));
            found = true;
        }
        match found {
            true => self.expr(e, &inner).map(Some),
            false => Ok(None),
        }
    }

    /// Whether a condition is about what the caller hands over, some of it integers: then the entry checks it.
    pub(super) fn guarded(&mut self, low: &Dim, high: &Dim, span: Span) -> bool {
        let mut vars = low.vars();
        vars.extend(high.vars());
        let is_input = |name: &str| {
            let mut sized = self.run_time.iter().filter(|(_, d)| d.as_var() == Some(name));
            sized.any(|(v, _)| self.graph.operands.iter().any(|o| o.value == *v))
        };
        let known = vars.iter().all(|v| self.sizes.contains_key(&**v) || is_input(v));
        if !known || !vars.iter().any(|v| is_input(v)) {
            return false;
        }
        let fact = Fact::Le(low.clone(), high.clone());
        let origin = self.origin(span);
        self.graph.guard(Guard { text: fact.to_string(), fact, origin });
        true
    }

    /// `name[…] := value`
    pub(super) fn update_part(
        &mut self,
        name: &str,
        items: &[Ix],
        value: &Expr,
        span: Span,
        scope: &Rc<Scope>,
    ) -> Result<Value> {
        let Val::Stored(full) = self.name(name, span, scope)? else {
            return self.not_updatable(name, span);
        };
        let old = self.read(&full);
        let ty = self.ty(old);
        let parts = self.parts(&ty, items, span, scope)?;
        let kept: Vec<Dim> = parts.iter().filter(|p| !p.dropped).map(|p| p.size.clone()).collect();
        let new = self.expr(value, scope)?;
        let new = self.fitted(&new, &TensorType::new(ty.elem, kept), value.span)?;
        let whole = parts.iter().map(|p| p.size.clone()).collect();
        let new = self.reshape(new, whole, span)?;
        let start: Vec<Dim> = parts.iter().map(|p| p.start.clone()).collect();
        let start = self.integers(&start, span)?;
        self.push(ops::UpdateAt {}, &[old, start, new], span)
    }

    pub(super) fn not_updatable<T>(&self, name: &str, span: Span) -> Result<T> {
        let message = format!("`:=` updates `state` and `cache`; `{name}` is neither");
        let error = Diagnostic::new(Code::STATIC_TYPE, span, message);
        Err(Box::new(error.help("other names take a new value with `=`")))
    }

    /// A value stretched to a type, if it goes to it.
    pub(super) fn fitted(&mut self, value: &Val, ty: &TensorType, span: Span) -> Result<Value> {
        let value = self.tensor(value, Some(ty.elem), span)?;
        let dims = self.ty(value).dims;
        if dims == ty.dims {
            return Ok(value);
        }
        match self.broadcast_two((&ty.dims, span), (&dims, span), span) {
            Ok(out) if out == ty.dims => self.expand(value, &ty.dims, span),
            _ => {
                let (got, expected) = (self.type_text(&self.ty(value)), self.type_text(ty));
                let message = format!("expected {expected}, got {got}");
                let help = "what is put in place has the shape of the part that it replaces";
                self.advise(Code::SHAPE, span, message, help)
            }
        }
    }

    /// The part of each axis that an index names.
    fn parts(&mut self, ty: &TensorType, items: &[Ix], span: Span, scope: &Rc<Scope>) -> Result<Vec<Part>> {
        let named = items.iter().filter(|i| !matches!(i, Ix::Ellipsis(_))).count();
        if named > ty.rank() {
            let message = format!("{named} indices for a tensor of rank {}: {}", ty.rank(), self.type_text(ty));
            return self.fail(Code::SHAPE, span, message);
        }
        let mut parts: Vec<Part> = vec![];
        for item in items {
            let size = ty.dims.get(parts.len()).cloned().unwrap_or_default();
            match item {
                Ix::Ellipsis(_) => {
                    let rest = ty.rank() - named;
                    parts.extend(ty.dims[parts.len()..][..rest].iter().map(whole));
                }
                Ix::Full(_) => parts.push(whole(&size)),
                Ix::Slice { from, to, span } => {
                    let (start, stop) = self.slice_ends(&size, from.as_ref(), to.as_ref(), *span, scope)?;
                    parts.push(Part { size: stop - start.clone(), start, dropped: false });
                }
                Ix::At(e) => {
                    let start = match self.expr(e, scope)? {
                        Val::Num(i) if i.as_int().is_some_and(|n| n < 0) => size.clone() + i,
                        Val::Num(i) => i,
                        Val::Tensor(t) => self.size_of(t, &size, e.span)?,
                        other => {
                            let message = format!("an updated place is an integer, not {}", other.kind());
                            return self.fail(Code::STATIC_TYPE, e.span, message);
                        }
                    };
                    let stop = start.clone() + Dim::int(1);
                    let message = format!("index {start} of an axis of {size}");
                    self.within([&Dim::int(0), &start, &stop, &size], &message, e.span)?;
                    parts.push(Part { start, size: Dim::int(1), dropped: true });
                }
                Ix::Group(_) | Ix::Each { .. } => {
                    return self.fail(Code::SYNTAX, span, "this stands in kernels and labels only");
                }
            }
        }
        let rest = ty.dims[parts.len()..].iter().map(whole);
        parts.extend(rest.collect::<Vec<_>>());
        Ok(parts)
    }

    /// Sizes as an integer tensor of rank 1.
    pub(super) fn integers(&mut self, dims: &[Dim], span: Span) -> Result<Value> {
        let known: Option<Vec<f64>> = dims.iter().map(|d| d.as_int().map(|n| n as f64)).collect();
        if let Some(data) = known {
            let value = Array::new(Elem::I64, vec![data.len()], data);
            return self.push(ops::Constant { value }, &[], span);
        }
        let mut parts = vec![];
        for dim in dims {
            let part = self.tensor(&Val::Num(dim.clone()), Some(Elem::I64), span)?;
            parts.push(self.reshape(part, vec![Dim::int(1)], span)?);
        }
        self.push(ops::Concat { axis: 0 }, &parts, span)
    }

    /// `random_bits(shape)`: each use has a stream of its own, found by the path of the layer around it.
    pub(super) fn random_bits(&mut self, shape: Vec<Dim>, span: Span) -> Result<Value> {
        let (path, count) = match self.frames.last_mut() {
            Some(frame) => {
                let count = frame.unnamed.entry(RANDOM_KEY.into()).or_default();
                *count += 1;
                (frame.instance.path(), *count)
            }
            None => (String::new(), 0),
        };
        let mut stream = hash(&format!("{path} {count}"));
        while !self.streams.insert(stream) {
            stream = stream.wrapping_add(1);
        }
        let key = self.random_key(span);
        self.push(ops::RandomBits { shape, stream: stream as i64 }, &[key], span)
    }

    /// The key of this call; the next call has another one.
    fn random_key(&mut self, span: Span) -> Value {
        if !self.index.contains_key(RANDOM_KEY) {
            self.index.insert(RANDOM_KEY.into(), self.stored.len());
            let ty = TensorType::new(Elem::U32, vec![Dim::int(2)]);
            self.stored.push(Stored { name: RANDOM_KEY.into(), storage: Storage::Cache, ty, span });
        }
        self.read(RANDOM_KEY)
    }

    /// Counts the calls of an entry that draws random numbers.
    pub(super) fn next_random_key(&mut self, span: Span) -> Result<()> {
        let Some(&Version { value, .. }) = self.versions.get(RANDOM_KEY) else { return Ok(()) };
        let one = Array::new(Elem::U32, vec![2], vec![0.0, 1.0]);
        let one = self.push(ops::Constant { value: one }, &[], span)?;
        let next = self.push(ops::Add {}, &[value, one], span)?;
        self.set_version(RANDOM_KEY, next);
        Ok(())
    }

    pub(super) fn set_version(&mut self, full: &str, value: Value) {
        if let Some(version) = self.versions.get_mut(full) {
            version.value = value;
            version.updated = true;
        }
    }

    /// The ends of a slice, with the places between them known to lie on the axis.
    pub(super) fn slice_ends(
        &mut self,
        size: &Dim,
        from: Option<&Expr>,
        to: Option<&Expr>,
        span: Span,
        scope: &Rc<Scope>,
    ) -> Result<(Dim, Dim)> {
        let mut end = |e: Option<&Expr>, default: Dim| {
            let Some(e) = e else { return Ok(default) };
            match self.expr(e, scope)? {
                Val::Num(d) if d.as_int().is_some_and(|n| n < 0) => Ok(size.clone() + d),
                Val::Num(d) => Ok(d),
                Val::Tensor(t) => self.size_of(t, size, e.span),
                other => {
                    let message = format!("the end of a slice is an integer, not {}", other.kind());
                    self.fail(Code::STATIC_TYPE, e.span, message)
                }
            }
        };
        let start = end(from, Dim::int(0))?;
        let stop = end(to, size.clone())?;
        let message = format!("the slice {start}..{stop} of an axis of {size}");
        self.within([&Dim::int(0), &start, &stop, size], &message, span)?;
        Ok((start, stop))
    }

    /// Each of these is at most the next.
    pub(super) fn within(&mut self, bounds: [&Dim; 4], message: &str, span: Span) -> Result<()> {
        use graph::Verdict::*;
        let size = bounds[3];
        for pair in bounds.windows(2) {
            let (low, high) = (pair[0], pair[1]);
            let error = Diagnostic::new(Code::OUT_OF_RANGE, span, message);
            match self.graph.facts.le(low, high) {
                Proved => {}
                Refuted => {
                    let help = format!("an axis of {size} has places 0 to {}", size.clone() - Dim::int(1));
                    return Err(Box::new(error.help(help)));
                }
                Unknown if self.guarded(low, high, span) => {}
                Unknown => {
                    let error = self.with_sizes(error, pair);
                    let help = format!("state it, and it is checked on each call: where {low} <= {high}");
                    return Err(Box::new(error.help(help)));
                }
            }
        }
        Ok(())
    }
}

fn whole(size: &Dim) -> Part {
    Part { start: Dim::int(0), size: size.clone(), dropped: false }
}

/// FNV-1a.
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |h, b| (h ^ b as u32).wrapping_mul(0x0100_0193))
}

/// The name and the items of `name[…]`.
pub(super) fn indexed_name(target: &Expr) -> Option<(&str, &[Ix])> {
    match &target.kind {
        ExprKind::Index { base, items } => match &base.kind {
            ExprKind::Name(name) => Some((name, items)),
            _ => None,
        },
        _ => None,
    }
}
