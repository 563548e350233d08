//! The text of both levels, for dumps and tests.

use crate::affine::{Affine, ExprId, Extent, SizeId, VarId};
use crate::expr::{Binary, Combine, Compare, Expr, Exprs, Literal, Subscript, Unary};
use crate::nest::{Kernel, Role};
use crate::scheduled::{LoopKind, Place, Scheduled, SizeValue, Stmt};
use std::collections::HashMap;
use std::fmt::{self, Write};
use tensor::Elem;

/// Operation names, one for printing and parsing both.
pub(crate) const UNARY: &[(Unary, &str)] = &[
    (Unary::Neg, "neg"),
    (Unary::Abs, "abs"),
    (Unary::Sqrt, "sqrt"),
    (Unary::Floor, "floor"),
    (Unary::Ceil, "ceil"),
    (Unary::Round, "round"),
    (Unary::Trunc, "trunc"),
    (Unary::Not, "not"),
    (Unary::Bits, "bits"),
    (Unary::FromBits, "from_bits"),
    (Unary::Exp, "exp"),
    (Unary::Expm1, "expm1"),
    (Unary::Log, "log"),
    (Unary::Log1p, "log1p"),
    (Unary::Rsqrt, "rsqrt"),
    (Unary::Sin, "sin"),
    (Unary::Cos, "cos"),
    (Unary::Atan, "atan"),
    (Unary::Tanh, "tanh"),
    (Unary::Sigmoid, "sigmoid"),
    (Unary::Erf, "erf"),
];

pub(crate) const BINARY: &[(Binary, &str)] = &[
    (Binary::Add, "+"),
    (Binary::Sub, "-"),
    (Binary::Mul, "*"),
    (Binary::Div, "/"),
    (Binary::Rem, "rem"),
    (Binary::Min, "min"),
    (Binary::Max, "max"),
    (Binary::And, "and"),
    (Binary::Or, "or"),
    (Binary::Xor, "xor"),
    (Binary::Shl, "shl"),
    (Binary::Shr, "shr"),
    (Binary::Ldexp, "ldexp"),
    (Binary::Pow, "pow"),
];

pub(crate) const COMPARE: &[(Compare, &str)] =
    &[(Compare::Eq, "eq"), (Compare::Ne, "ne"), (Compare::Lt, "lt"), (Compare::Le, "le")];

pub(crate) const COMBINE: &[(Combine, &str)] =
    &[(Combine::Sum, "sum"), (Combine::Prod, "prod"), (Combine::Max, "max"), (Combine::Min, "min")];

pub(crate) fn name<T: PartialEq>(table: &[(T, &'static str)], op: T) -> &'static str {
    table.iter().find(|(o, _)| *o == op).map_or("?", |(_, text)| text)
}

/// How variables, sizes and buffers are called in one text.
struct Names<'a> {
    vars: Vec<&'a str>,
    sizes: Vec<&'a str>,
    buffers: Vec<&'a str>,
    exprs: &'a Exprs,
}

impl Names<'_> {
    fn affine(&self, a: &Affine) -> String {
        let mut out = String::new();
        for term in a.terms() {
            let sign = match (term.factor < 0, out.is_empty()) {
                (false, true) => "",
                (true, true) => "-",
                (false, false) => " + ",
                (true, false) => " - ",
            };
            out.push_str(sign);
            let factor = term.factor.abs();
            let mut parts = vec![];
            if factor != 1 {
                parts.push(factor.to_string());
            }
            parts.extend(term.size.map(|s| self.size(s)));
            parts.extend(term.var.map(|v| self.var(v)));
            out.push_str(&parts.join("*"));
        }
        match (a.constant, out.is_empty()) {
            (c, true) => c.to_string(),
            (0, false) => out,
            (c, false) => format!("{out} {} {}", if c < 0 { '-' } else { '+' }, c.abs()),
        }
    }

    fn var(&self, v: VarId) -> String {
        self.vars.get(v.index()).map_or_else(|| v.to_string(), |n| n.to_string())
    }

    fn size(&self, s: SizeId) -> String {
        self.sizes.get(s.index()).map_or_else(|| s.to_string(), |n| n.to_string())
    }

    fn extent(&self, e: Extent) -> String {
        match e {
            Extent::Const(n) => n.to_string(),
            Extent::Size(s) => self.size(s),
        }
    }

    /// Text of `root`; expressions used more than once are written first, as `%n = …` lines in `lines`.
    fn expr(&self, root: ExprId, lines: &mut Vec<String>) -> String {
        let mut uses: HashMap<ExprId, usize> = HashMap::new();
        self.exprs.walk(root, &mut |_, e| e.operands().into_iter().for_each(|o| *uses.entry(o).or_default() += 1));
        let mut named: HashMap<ExprId, String> = HashMap::new();
        let mut order = vec![];
        self.exprs.walk(root, &mut |id, e| {
            let leaf = matches!(e, Expr::Const(_) | Expr::Index(..) | Expr::Load { .. });
            if !leaf && uses.get(&id).is_some_and(|n| *n > 1) {
                named.insert(id, format!("%{}", named.len()));
                order.push(id);
            }
        });
        for id in order {
            lines.push(format!("{} = {}", named[&id], self.tree(id, &named, true)));
        }
        self.tree(root, &named, true)
    }

    fn tree(&self, id: ExprId, named: &HashMap<ExprId, String>, top: bool) -> String {
        if let (Some(name), false) = (named.get(&id), top) {
            return name.clone();
        }
        let go = |e: &ExprId| self.tree(*e, named, false);
        match &self.exprs[id] {
            Expr::Const(l) => literal(*l),
            Expr::Index(a, elem) => format!("{elem}{{{}}}", self.affine(a)),
            Expr::Load { buffer, at, guard } => {
                let at = at.iter().map(|s| match s {
                    Subscript::Affine(a) => self.affine(a),
                    Subscript::Data(e) => format!("@{}", go(e)),
                });
                let load = format!("{}[{}]", self.buffers[buffer.index()], at.collect::<Vec<_>>().join(", "));
                match guard {
                    None => load,
                    Some(g) => {
                        let range = |(a, n): &(Affine, Extent)| format!("{} in {}", self.affine(a), self.extent(*n));
                        let ranges = g.ranges.iter().map(range).collect::<Vec<_>>().join(", ");
                        format!("pad({}, {ranges}: {load})", literal(g.otherwise))
                    }
                }
            }
            Expr::Unary(op, a) => format!("{}({})", name(UNARY, *op), go(a)),
            Expr::Binary(op @ (Binary::Add | Binary::Sub | Binary::Mul | Binary::Div), a, b) => {
                format!("({} {} {})", go(a), name(BINARY, *op), go(b))
            }
            Expr::Binary(op, a, b) => format!("{}({}, {})", name(BINARY, *op), go(a), go(b)),
            Expr::Fma(a, b, c) => format!("fma({}, {}, {})", go(a), go(b), go(c)),
            Expr::Compare(op, a, b) => format!("{}({}, {})", name(COMPARE, *op), go(a), go(b)),
            Expr::Select(c, a, b) => format!("select({}, {}, {})", go(c), go(a), go(b)),
            Expr::Cast(elem, a) => format!("{elem}({})", go(a)),
            Expr::Lookup(table, a) => format!("{table}[{}]", go(a)),
            Expr::Checked(a, n) => format!("checked({}, {})", go(a), self.extent(*n)),
            Expr::Reduce { op, axes, body } => {
                let axes: Vec<String> = axes.iter().map(|a| self.var(*a)).collect();
                format!("{} {} {{ {} }}", name(COMBINE, *op), axes.join(", "), go(body))
            }
        }
    }
}

/// f32 stands without a suffix; every other element type is written after the number.
fn literal(l: Literal) -> String {
    match l.elem {
        Elem::F32 => format!("{:?}", l.value() as f32),
        Elem::Bool => (l.bits != 0).to_string(),
        e if e.is_float() => format!("{:?}{e}", l.value()),
        e => format!("{}{e}", l.bits as i64),
    }
}

fn bounds(min: i64, max: Option<i64>) -> String {
    max.map_or(format!("{min}.."), |max| format!("{min}..={max}"))
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let names = Names {
            vars: self.axes.iter().map(|a| a.name.as_str()).collect(),
            sizes: self.sizes.iter().map(|s| s.name.as_str()).collect(),
            buffers: self.buffers.iter().map(|b| b.name.as_str()).collect(),
            exprs: &self.exprs,
        };
        let sizes = self.sizes.iter().map(|s| format!("{}: {}", s.name, bounds(s.min, s.max)));
        let buffers = self.buffers.iter().map(|b| {
            let role = match b.role {
                Role::In => "in",
                Role::Const => "const",
                Role::Out => "out",
                Role::InOut => "inout",
                Role::Temp => "temp",
            };
            let dims: Vec<String> = b.dims.iter().map(|d| names.extent(*d)).collect();
            format!("{role} {}: {}[{}]", b.name, b.elem, dims.join(", "))
        });
        writeln!(f, "kernel @{}({}) {{", self.name, sizes.chain(buffers).collect::<Vec<_>>().join(", "))?;
        let axes: Vec<String> = self.axes.iter().map(|a| format!("{} in {}", a.name, names.extent(a.extent))).collect();
        writeln!(f, "  axis {}", axes.join(", "))?;
        for stage in &self.stages {
            let mut lines = vec![];
            let value = names.expr(stage.value, &mut lines);
            lines.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
            let at: Vec<String> = stage.at.iter().map(|a| names.affine(a)).collect();
            writeln!(f, "  {}[{}] = {value}", self.buffers[stage.target.index()].name, at.join(", "))?;
        }
        writeln!(f, "}}")
    }
}

impl fmt::Display for Scheduled {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let names = Names {
            vars: self.loops.iter().map(|l| l.name.as_str()).collect(),
            sizes: self.sizes.iter().map(|s| s.name.as_str()).collect(),
            buffers: self.storage.iter().map(|b| b.name.as_str()).collect(),
            exprs: &self.exprs,
        };
        let arguments = self.sizes.iter().filter(|s| s.value == SizeValue::Argument);
        let arguments: Vec<String> = arguments.map(|s| format!("{}: {}", s.name, bounds(s.min, s.max))).collect();
        writeln!(
            f,
            "scheduled @{}({}) lanes {} tasks {} {{",
            self.name,
            arguments.join(", "),
            self.lanes,
            names.affine(&self.tasks)
        )?;
        for s in self.sizes.iter().filter(|s| s.value != SizeValue::Argument) {
            let value = match &s.value {
                SizeValue::Argument => continue,
                SizeValue::TaskBegin => "begin".into(),
                SizeValue::TaskEnd => "end".into(),
                SizeValue::Linear(a) => names.affine(a),
                SizeValue::Floor(a, b) => format!("floor({}, {b})", names.affine(a)),
                SizeValue::Product(a, b) => format!("product({}, {})", names.size(*a), names.size(*b)),
                SizeValue::Min(a, b) => format!("min({}, {})", names.affine(a), names.affine(b)),
                SizeValue::Max(a, b) => format!("max({}, {})", names.affine(a), names.affine(b)),
            };
            writeln!(f, "  size {}: {} = {value}", s.name, bounds(s.min, s.max))?;
        }
        for s in &self.storage {
            let place = match s.place {
                Place::Argument => if s.written { "out" } else { "in" }.to_string(),
                Place::Scratch { offset } => format!("scratch {offset}"),
                Place::Register => "register".into(),
            };
            let len = s.len.map_or("?".into(), |n| n.to_string());
            let prefetch = if s.prefetch > 0 { format!(" prefetch {}", s.prefetch) } else { String::new() };
            writeln!(f, "  {place} {}: {}[{len}]{prefetch}", s.name, s.elem)?;
        }
        self.write_block(f, &names, &self.body, 1)?;
        writeln!(f, "}}")
    }
}

impl Scheduled {
    fn write_block(&self, f: &mut fmt::Formatter, names: &Names, stmts: &[Stmt], depth: usize) -> fmt::Result {
        let indent = "  ".repeat(depth);
        for stmt in stmts {
            match stmt {
                Stmt::Loop { var, body } => {
                    let info = &self.loops[var.index()];
                    let mut word = String::new();
                    match info.kind {
                        LoopKind::Serial => word.push_str("for"),
                        LoopKind::Parallel => word.push_str("parallel"),
                        LoopKind::Unroll => word.push_str("unroll"),
                        LoopKind::UnrollFresh => word.push_str("unroll fresh"),
                        LoopKind::Lanes => word.push_str("lanes"),
                        LoopKind::Block(d) => write!(word, "block {d}")?,
                        LoopKind::Thread(d) => write!(word, "thread {d}")?,
                    }
                    writeln!(f, "{indent}{word} {} in {} {{", info.name, names.extent(info.extent))?;
                    self.write_block(f, names, body, depth + 1)?;
                    writeln!(f, "{indent}}}")?;
                }
                Stmt::Set { target, at, combine, value, stream } => {
                    let mut lines = vec![];
                    let value = names.expr(*value, &mut lines);
                    lines.iter().try_for_each(|line| writeln!(f, "{indent}{line}"))?;
                    let op = combine.map_or("=".to_string(), |op| format!("{}=", name(COMBINE, op)));
                    let stream = if *stream { "stream " } else { "" };
                    writeln!(
                        f,
                        "{indent}{stream}{}[{}] {op} {value}",
                        names.buffers[target.index()],
                        names.affine(at)
                    )?;
                }
            }
        }
        Ok(())
    }
}
