//! Names and attributes of a whole file, also of items that nothing uses: what they mean is known without any values.
//!
//! Follows the scopes of elaboration: blocks of `if` and `for` share the names of their function, lambdas and lists have
//! their own. Of one statement, or of one signature, the first unknown name is reported.

use crate::ast::*;
use crate::elaborate::nearest;
use diag::{Code, Diagnostic, Span};
use std::collections::HashSet;

type Mistakes = Vec<Diagnostic>;

/// Attributes and the names of their arguments; `tile` takes an axis of the kernel by any name.
const ATTRIBUTES: &[(&str, Option<&[&str]>)] = &[
    ("checkpoint", Some(&[])),
    ("fused", Some(&[])),
    ("mixed", Some(&["type"])),
    ("quantize", Some(&["type", "per", "only"])),
    ("tile", None),
    ("threads", Some(&["count"])),
    ("online", Some(&["index"])),
    ("specialize", None),
    ("deprecated", Some(&["reason"])),
];

/// Types that are no tensors.
const TYPES: &[&str] =
    &["int", "float", "bool", "string", "list", "fn", "tensor", "stream", "batched", "metric", "rule", "augmentation"];

/// Everything that a file names but nobody defines. `known` answers for items, imports, the library and what the
/// compiler provides; `all` lists them, for suggestions.
pub(crate) fn resolve(file: &File, known: &dyn Fn(&str) -> bool, all: &[String]) -> Mistakes {
    let mut resolver =
        Resolver { known, all, scopes: vec![], later: vec![], errors: vec![], told: HashSet::new(), limit: None };
    resolver.weights(file);
    for item in &file.items {
        resolver.told.clear();
        resolver.item(item);
    }
    file.attributes.iter().for_each(|a| resolver.attribute(a));
    resolver.errors
}

struct Resolver<'a> {
    known: &'a dyn Fn(&str) -> bool,
    all: &'a [String],
    scopes: Vec<HashSet<String>>,
    /// Names that the blocks under way set somewhere, and where.
    later: Vec<(String, Span)>,
    errors: Mistakes,
    /// Unknown names of this item that were reported: one reason is told once.
    told: HashSet<String>,
    /// Mistakes before the statement under way; it may add one.
    limit: Option<usize>,
}

impl Resolver<'_> {
    fn set(&mut self, name: &str) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name.to_string());
        }
    }

    fn inside(&mut self, f: impl FnOnce(&mut Self)) {
        self.scopes.push(HashSet::new());
        f(self);
        self.scopes.pop();
    }

    /// Of what `f` finds, the first counts.
    fn one(&mut self, f: impl FnOnce(&mut Self)) {
        let outer = self.limit;
        self.limit = outer.or(Some(self.errors.len()));
        f(self);
        if let Some(limit) = self.limit {
            self.errors.truncate(limit + 1);
        }
        self.limit = outer;
    }

    fn is_known(&self, name: &str) -> bool {
        name == "_" || self.scopes.iter().any(|s| s.contains(name)) || (self.known)(name)
    }

    fn name(&mut self, name: &str, span: Span, note: &str) {
        if self.is_known(name) || !self.told.insert(name.to_string()) {
            return;
        }
        let own = self.scopes.iter().flatten().chain(self.all).map(String::as_str);
        let hint = nearest(name, own).map_or(String::new(), |n| format!("; did you mean `{n}`?"));
        let error = match self.later.iter().find(|(later, _)| later == name) {
            Some((_, place)) => Diagnostic::new(Code::UNKNOWN_NAME, span, format!("`{name}` has no value yet{note}"))
                .other(*place, "it is set here")
                .help(format!("set `{name}` above the line that reads it")),
            None => Diagnostic::new(Code::UNKNOWN_NAME, span, format!("unknown name `{name}`{hint}{note}")),
        };
        self.errors.push(python(name, error));
    }

    /// Rules for weights are those of a model of the same file.
    fn weights(&mut self, file: &File) {
        let models = file.items.iter().filter_map(|item| match &item.kind {
            ItemKind::Model(m) => Some(format!("`{}`", m.name.text)),
            ItemKind::ModelAlias { name, .. } => Some(format!("`{}`", name.text)),
            _ => None,
        });
        let models: Vec<String> = models.collect();
        for item in &file.items {
            let ItemKind::Weights(w) = &item.kind else { continue };
            if self.is_known(&w.model.text) {
                continue;
            }
            let error = Diagnostic::new(Code::UNKNOWN_NAME, w.model.span, format!("no model `{}`", w.model.text));
            self.errors.push(error.help(match models.is_empty() {
                true => "rules stand in the file of their model".into(),
                false => format!("rules are for a model of this file: {}", models.join(", ")),
            }));
        }
    }

    fn item(&mut self, item: &Item) {
        match &item.kind {
            ItemKind::Const { value, .. } => self.one(|r| r.expr(value)),
            ItemKind::Fn(f) => self.inside(|r| r.function(f)),
            ItemKind::Layer(m) | ItemKind::Model(m) => self.inside(|r| r.module(m)),
            ItemKind::ModelAlias { value, .. } => self.one(|r| r.expr(value)),
            ItemKind::Kernel(k) => self.inside(|r| r.kernel(k)),
            ItemKind::Extern(e) => self.inside(|r| {
                r.params(&e.params);
                r.facts(&e.facts);
            }),
            ItemKind::Train(t) => self.inside(|r| r.train(t)),
            ItemKind::Weights(_) | ItemKind::Import { .. } | ItemKind::Type { .. } => {}
        }
    }

    fn module(&mut self, m: &Module) {
        self.params(m.config.as_deref().unwrap_or_default());
        match &m.form {
            Form::Function(f) => self.function(f),
            Form::Members { facts, members } => {
                self.facts(facts);
                for member in members {
                    if let Member::Fn(f) | Member::Entry(f) = member {
                        self.unique(&f.name, "of this model");
                        self.set(&f.name.text);
                    }
                }
                for member in members {
                    match member {
                        Member::Storage(s) => self.one(|r| r.storage(s)),
                        Member::Bind(b) => self.one(|r| r.bind(b)),
                        Member::Fn(f) | Member::Entry(f) => self.inside(|r| r.function(f)),
                    }
                }
            }
        }
    }

    fn unique(&mut self, name: &Name, place: &str) {
        if self.scopes.last().is_some_and(|s| s.contains(&name.text)) {
            let message = format!("`{}` is defined twice", name.text);
            let error = Diagnostic::new(Code::DEFINED_TWICE, name.span, message);
            self.errors
                .push(error.help(format!("each name {place} stands for one thing; give one of them another name")));
        }
    }

    fn function(&mut self, f: &Function) {
        self.one(|r| {
            r.params(&f.params);
            r.facts(&f.facts);
            f.result.iter().for_each(|ty| r.ty(ty));
        });
        self.block(&f.body);
    }

    /// Inputs or configuration: capitals in their types are sizes that calls bind.
    fn params(&mut self, params: &[Param]) {
        for param in params {
            self.unique(&param.name, "of one list");
            self.set(&param.name.text);
            param.ty.iter().for_each(|ty| self.binding_ty(ty));
        }
        params.iter().flat_map(|p| &p.default).for_each(|e| self.expr(e));
    }

    fn facts(&mut self, facts: &[Fact]) {
        for fact in facts {
            match fact {
                Fact::Define { name, value } => {
                    self.expr(value);
                    self.set(&name.text);
                }
                Fact::Holds(e) => self.expr(e),
            }
        }
    }

    /// A type that gives names to sizes.
    fn binding_ty(&mut self, ty: &Ty) {
        match &ty.kind {
            TyKind::Tensor { elem, dims } => {
                elem.iter().filter(|e| is_capital(&e.text)).for_each(|e| self.set(&e.text));
                for dim in dims {
                    match dim {
                        DimTy::Shape(name) => self.set(&name.text),
                        DimTy::Expr(e) => {
                            e.names().into_iter().filter(|n| is_capital(n)).for_each(|n| self.set(n));
                        }
                        DimTy::Hole(_) => {}
                    }
                }
            }
            TyKind::Tuple(fields) => fields.iter().for_each(|(_, ty)| self.binding_ty(ty)),
            TyKind::Named { arguments, .. } => arguments.iter().for_each(|ty| self.binding_ty(ty)),
        }
        self.ty(ty);
    }

    fn ty(&mut self, ty: &Ty) {
        match &ty.kind {
            TyKind::Tensor { elem, dims } => {
                elem.iter().for_each(|e| self.name(&e.text, e.span, ""));
                for dim in dims {
                    match dim {
                        DimTy::Shape(name) => self.name(&name.text, name.span, ""),
                        DimTy::Expr(Expr { kind: ExprKind::Binary { op: BinaryOp::Le, left, right }, .. })
                            if matches!(left.kind, ExprKind::Name(_)) =>
                        {
                            left.names().into_iter().for_each(|n| self.set(n));
                            self.expr(right);
                        }
                        DimTy::Expr(Expr { kind: ExprKind::Name(name), span }) => {
                            self.name(name, *span, " (a new dim starts with a capital)");
                        }
                        DimTy::Expr(e) => self.expr(e),
                        DimTy::Hole(_) => {}
                    }
                }
            }
            TyKind::Tuple(fields) => fields.iter().for_each(|(_, ty)| self.ty(ty)),
            TyKind::Named { path, arguments } => {
                let first = path.split('.').next().unwrap_or_default();
                if !TYPES.contains(&first) && !self.is_known(first) && !(is_capital(first) && first.len() == 1) {
                    let hint = nearest(first, TYPES.iter().copied().chain(self.all.iter().map(String::as_str)));
                    let hint = hint.map_or(String::new(), |n| format!("; did you mean `{n}`?"));
                    self.errors.push(Diagnostic::new(
                        Code::UNKNOWN_NAME,
                        ty.span,
                        format!("unknown type `{path}`{hint}"),
                    ));
                }
                arguments.iter().for_each(|ty| self.ty(ty));
            }
        }
    }

    fn block(&mut self, block: &Block) {
        let before = self.later.len();
        for stmt in &block.stmts {
            match &stmt.kind {
                StmtKind::Bind(bind) => self.will_set(&bind.pattern),
                StmtKind::Storage(s) => self.later.push((s.name.text.clone(), s.name.span)),
                _ => {}
            }
        }
        block.stmts.iter().for_each(|s| self.stmt(s));
        self.later.truncate(before);
    }

    fn will_set(&mut self, pattern: &Pattern) {
        match pattern {
            Pattern::Name(name) => self.later.push((name.text.clone(), name.span)),
            Pattern::Tuple(parts, _) => parts.iter().for_each(|p| self.will_set(p)),
        }
    }

    fn stmt(&mut self, stmt: &Stmt) {
        match &stmt.kind {
            StmtKind::Storage(s) => self.one(|r| r.storage(s)),
            StmtKind::Bind(b) => self.one_of(&b.value, |r| r.bind(b)),
            StmtKind::Expr(e) => self.one_of(e, |r| r.expr(e)),
            StmtKind::Update { target, value } => self.one(|r| {
                r.expr(target);
                r.expr(value);
            }),
            StmtKind::For { pattern, over, body } => {
                self.one(|r| r.expr(over));
                self.pattern(pattern);
                self.block(body);
            }
        }
    }

    /// One mistake, but where the value is made of blocks: then one for each statement of these.
    fn one_of(&mut self, value: &Expr, f: impl FnOnce(&mut Self)) {
        match &value.kind {
            ExprKind::If { .. } | ExprKind::Scan(_) | ExprKind::Lambda { .. } => f(self),
            _ => self.one(f),
        }
    }

    fn storage(&mut self, s: &Storage) {
        s.outer.iter().for_each(|e| self.expr(e));
        self.ty(&s.ty);
        s.init.iter().for_each(|e| self.expr(e));
        self.set(&s.name.text);
    }

    fn bind(&mut self, b: &Bind) {
        self.expr(&b.value);
        b.ty.iter().for_each(|ty| self.binding_ty(ty));
        if let (Some(_), Pattern::Name(name)) = (b.op, &b.pattern) {
            self.name(&name.text, name.span, "");
        }
        self.pattern(&b.pattern);
    }

    fn pattern(&mut self, pattern: &Pattern) {
        match pattern {
            Pattern::Name(name) => self.set(&name.text),
            Pattern::Tuple(parts, _) => parts.iter().for_each(|p| self.pattern(p)),
        }
    }

    fn exprs<'e>(&mut self, exprs: impl IntoIterator<Item = &'e Expr>) {
        exprs.into_iter().for_each(|e| self.expr(e));
    }

    fn args(&mut self, args: &[Arg]) {
        self.exprs(args.iter().map(|a| &a.value));
    }

    fn ix(&mut self, item: &Ix) {
        match item {
            Ix::At(e) => self.expr(e),
            Ix::Each { name, over } => {
                self.expr(over);
                self.set(&name.text);
            }
            Ix::Slice { from, to, .. } => self.exprs(from.iter().chain(to)),
            Ix::Group(name) => self.name(&name.text, name.span, ""),
            Ix::Ellipsis(_) | Ix::Full(_) => {}
        }
    }

    fn expr(&mut self, e: &Expr) {
        match &e.kind {
            ExprKind::Name(name) => self.name(name, e.span, ""),
            ExprKind::Str(parts) => self.exprs(parts.iter().filter_map(|p| match p {
                StrPart::Hole(e) => Some(e),
                StrPart::Text(_) => None,
            })),
            ExprKind::List(items) => self.exprs(items),
            ExprKind::Tuple(args) => self.args(args),
            ExprKind::ListFor { value, pattern, over } => {
                self.expr(over);
                self.inside(|r| {
                    r.pattern(pattern);
                    r.expr(value);
                });
            }
            ExprKind::If { condition, then, otherwise } => {
                self.expr(condition);
                self.block(then);
                match otherwise.as_deref() {
                    Some(Else::If(e)) => self.expr(e),
                    Some(Else::Block(b)) => self.block(b),
                    None => {}
                }
            }
            ExprKind::Scan(scan) => {
                self.args(&scan.carry);
                self.expr(&scan.over);
                scan.along.iter().for_each(|e| self.expr(e));
                let carried: Vec<&str> = scan.carry.iter().flat_map(|a| &a.name).map(|n| n.text.as_str()).collect();
                self.inside(|r| {
                    carried.iter().for_each(|n| r.set(n));
                    r.pattern(&scan.pattern);
                    r.block(&scan.body);
                });
                carried.iter().for_each(|n| self.set(n));
            }
            ExprKind::Lambda { params, body } => self.inside(|r| {
                params.iter().for_each(|p| r.set(&p.text));
                r.block(body);
            }),
            ExprKind::Call { callee, args } => {
                self.expr(callee);
                self.args(args);
            }
            ExprKind::Index { base, items } => {
                self.expr(base);
                items.iter().for_each(|i| self.ix(i));
            }
            ExprKind::Field { base, .. } => self.expr(base),
            ExprKind::Unary { operand, .. } => self.expr(operand),
            ExprKind::Binary { left, right, .. } => self.exprs([&**left, &**right]),
            ExprKind::Pipe { source, stages } => {
                self.expr(source);
                stages.iter().for_each(|s| self.stage(s));
            }
            ExprKind::Int(_) | ExprKind::Float(_) | ExprKind::Bool(_) | ExprKind::None => {}
        }
    }

    /// Words of a label are names of their own; what it computes is not.
    fn stage(&mut self, stage: &Stage) {
        self.inside(|r| {
            let mut label = stage.label.as_ref();
            while let Some(part) = label {
                label = match &part.kind {
                    ExprKind::Field { base, .. } => Some(base),
                    ExprKind::Index { base, items } => {
                        items.iter().for_each(|i| r.ix(i));
                        Some(base)
                    }
                    ExprKind::Str(_) => {
                        r.expr(part);
                        None
                    }
                    _ => None,
                };
            }
            r.expr(&stage.call);
        });
    }

    fn kernel(&mut self, k: &Kernel) {
        self.one(|r| {
            r.params(&k.params);
            r.facts(&k.facts);
            r.ty(&k.result);
        });
        self.equations(&k.equations);
        if let Some(grad) = &k.grad {
            self.one(|r| r.params(&grad.params));
            self.equations(&grad.equations);
        }
    }

    /// In an equation, what stands in subscripts is an index, unless it is something else.
    fn equations(&mut self, equations: &[Equation]) {
        for equation in equations {
            self.inside(|r| {
                equation.indices.iter().for_each(|i| r.index_names(i));
                equation.value.visit(&mut |e| {
                    if let ExprKind::Index { items, .. } = &e.kind {
                        items.iter().for_each(|i| r.index_names(i));
                    }
                });
                r.one(|r| r.expr(&equation.value));
            });
            self.set(&equation.target.text);
        }
    }

    fn index_names(&mut self, item: &Ix) {
        match item {
            Ix::Group(name) => self.set(&name.text),
            Ix::At(Expr { kind: ExprKind::Name(name), .. }) => self.set(name),
            Ix::At(e) => bare_names(e, &mut |n| self.set(n)),
            _ => {}
        }
    }

    fn train(&mut self, t: &Train) {
        self.params(&t.config);
        for item in &t.items {
            if let TrainKind::Metric { name, .. } = &item.kind {
                self.set(&name.text);
            }
        }
        for item in &t.items {
            match &item.kind {
                TrainKind::Data { name, value } => {
                    self.one(|r| r.expr(value));
                    self.set(&name.text);
                }
                TrainKind::Bind(b) => self.one(|r| r.bind(b)),
                TrainKind::Rule(e) => self.one(|r| r.expr(e)),
                TrainKind::Metric { batch, stream, value, .. } => self.inside(|r| {
                    r.name(&stream.text, stream.span, "");
                    r.set(&batch.text);
                    r.one(|r| r.expr(value));
                }),
                TrainKind::Step(step) => {
                    self.name(&step.stream.text, step.stream.span, "");
                    self.one(|r| r.expr(&step.updates));
                    self.one(|r| r.expr(&step.optimiser));
                    self.one(|r| r.args(&step.options));
                    self.inside(|r| {
                        r.set(&step.batch.text);
                        r.block(&step.body);
                    });
                }
            }
        }
    }

    fn attribute(&mut self, a: &Attribute) {
        let Some((name, names)) = ATTRIBUTES.iter().find(|(n, _)| *n == a.name.text) else {
            let hint = nearest(&a.name.text, ATTRIBUTES.iter().map(|(n, _)| *n));
            let hint = hint.map_or(String::new(), |n| format!("; did you mean `@{n}`?"));
            let message = format!("there is no attribute `@{}`{hint}", a.name.text);
            return self.errors.push(Diagnostic::new(Code::NO_OPTION, a.name.span, message));
        };
        let Some(names) = names else { return };
        for (i, arg) in a.args.iter().enumerate() {
            let (message, span) = match &arg.name {
                Some(n) if !names.contains(&n.text.as_str()) => {
                    (format!("`@{name}` has no option `{}`", n.text), n.span)
                }
                None if i >= names.len() => (format!("`@{name}` takes {} values", names.len()), arg.value.span),
                _ => continue,
            };
            return self.errors.push(Diagnostic::new(Code::NO_OPTION, span, message));
        }
    }
}

fn is_capital(name: &str) -> bool {
    name.starts_with(char::is_uppercase)
}

/// Names in an affine subscript: those of its sums and products, not those it reads from.
fn bare_names(e: &Expr, set: &mut dyn FnMut(&str)) {
    match &e.kind {
        ExprKind::Name(name) if !is_capital(name) => set(name),
        ExprKind::Unary { operand, .. } => bare_names(operand, set),
        ExprKind::Binary { left, right, .. } => [left, right].into_iter().for_each(|e| bare_names(e, set)),
        _ => {}
    }
}

/// What other languages call otherwise.
const ELSEWHERE: &[(&str, &str)] = &[
    ("None", "write `none`"),
    ("null", "write `none`"),
    ("True", "write `true`"),
    ("False", "write `false`"),
    ("self", "members of a model are named as they are: fc(x)"),
    ("nn", "layers need no prefix: Linear(10)"),
    ("torch", "functions need no prefix: relu(x)"),
    ("np", "functions need no prefix: exp(x)"),
    ("F", "functions need no prefix: relu(x)"),
    ("print", "there is nothing to print while compiling; `nnc dump` shows what a model becomes"),
];

fn python(name: &str, error: Diagnostic) -> Diagnostic {
    match ELSEWHERE.iter().find(|(n, _)| *n == name) {
        Some((_, help)) => error.help(*help),
        None => error,
    }
}
