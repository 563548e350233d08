//! The syntax tree: what the grammar found, with places.

use diag::Span;

#[derive(Clone, Debug)]
pub struct Name {
    pub text: String,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub struct File {
    pub items: Vec<Item>,
    /// Every `@name(…)`, wherever it stands: they never change what is computed.
    pub attributes: Vec<Attribute>,
}

#[derive(Clone, Debug)]
pub struct Attribute {
    pub name: Name,
    pub args: Vec<Arg>,
}

#[derive(Clone, Debug)]
pub struct Item {
    pub span: Span,
    pub doc: Vec<String>,
    pub kind: ItemKind,
}

#[derive(Clone, Debug)]
pub enum ItemKind {
    Import {
        path: String,
        /// A path in quotes names a file, one without a part of the standard library.
        is_file: bool,
        names: Vec<Name>,
        alias: Option<Name>,
    },
    Const {
        name: Name,
        ty: Option<Ty>,
        value: Expr,
    },
    Type {
        name: Name,
        ty: Ty,
    },
    Fn(Function),
    Layer(Module),
    Model(Module),
    /// `model Gpt2Medium = Gpt2(dim = 1024)`
    ModelAlias {
        name: Name,
        value: Expr,
    },
    Kernel(Kernel),
    Extern(Extern),
    Train(Train),
    Weights(Weights),
}

/// What is provided by the training runtime, or by code in another language.
#[derive(Clone, Debug)]
pub struct Extern {
    pub kind: ExternKind,
    pub name: Name,
    pub params: Vec<Param>,
    pub result: Ty,
    pub facts: Vec<Fact>,
    /// Where the code is.
    pub binding: Option<Expr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExternKind {
    Kernel,
    Data,
    Train,
}

#[derive(Clone, Debug)]
pub struct Train {
    pub name: Name,
    pub config: Vec<Param>,
    pub items: Vec<TrainItem>,
}

#[derive(Clone, Debug)]
pub struct TrainItem {
    pub span: Span,
    pub kind: TrainKind,
}

#[derive(Clone, Debug)]
pub enum TrainKind {
    Data {
        name: Name,
        value: Expr,
    },
    Step(Box<Step>),
    Metric {
        name: Name,
        batch: Name,
        stream: Name,
        value: Expr,
    },
    Bind(Bind),
    /// `early_stop(accuracy, patience = 3)`
    Rule(Expr),
}

/// `step name(batch in stream) updates net using Sgd(), clip_norm = 1.0 { … }`
#[derive(Clone, Debug)]
pub struct Step {
    pub name: Option<Name>,
    pub batch: Name,
    pub stream: Name,
    pub updates: Expr,
    pub optimiser: Expr,
    pub options: Vec<Arg>,
    pub body: Block,
}

/// A function, or the function form of a layer or entry.
#[derive(Clone, Debug)]
pub struct Function {
    pub name: Name,
    pub params: Vec<Param>,
    pub result: Option<Ty>,
    pub facts: Vec<Fact>,
    pub body: Block,
}

#[derive(Clone, Debug)]
pub struct Module {
    pub name: Name,
    /// The first parameter list, if there are two.
    pub config: Option<Vec<Param>>,
    pub form: Form,
}

#[derive(Clone, Debug)]
pub enum Form {
    Function(Function),
    Members { facts: Vec<Fact>, members: Vec<Member> },
}

#[derive(Clone, Debug)]
pub enum Member {
    Storage(Storage),
    Fn(Function),
    Entry(Function),
    Bind(Bind),
}

#[derive(Clone, Debug)]
pub struct Kernel {
    pub name: Name,
    pub params: Vec<Param>,
    pub result: Ty,
    pub facts: Vec<Fact>,
    pub equations: Vec<Equation>,
    pub grad: Option<KernelGrad>,
}

/// The gradient of a kernel, in place of the derived one.
#[derive(Clone, Debug)]
pub struct KernelGrad {
    pub span: Span,
    pub params: Vec<Param>,
    pub equations: Vec<Equation>,
}

#[derive(Clone, Debug)]
pub struct Equation {
    pub target: Name,
    pub indices: Vec<Ix>,
    pub accumulate: bool,
    pub value: Expr,
}

#[derive(Clone, Debug)]
pub struct Weights {
    pub name: Name,
    pub model: Name,
    pub rules: Vec<WeightRule>,
}

#[derive(Clone, Debug)]
pub struct WeightRule {
    pub span: Span,
    /// Patterns of names in the file.
    pub from: Vec<String>,
    /// Pattern of the model's name; `None` drops the tensor.
    pub to: Option<String>,
    pub adapt: Vec<Expr>,
}

#[derive(Clone, Debug)]
pub struct Param {
    pub name: Name,
    /// The name seen from outside.
    pub outer: Option<String>,
    pub ty: Option<Ty>,
    pub default: Option<Expr>,
}

#[derive(Clone, Debug)]
pub enum Fact {
    /// `N = e`: a dim gets its value.
    Define {
        name: Name,
        value: Expr,
    },
    Holds(Expr),
}

#[derive(Clone, Debug)]
pub struct Ty {
    pub span: Span,
    pub kind: TyKind,
    pub optional: bool,
}

#[derive(Clone, Debug)]
pub enum TyKind {
    Tensor { elem: Option<Name>, dims: Vec<DimTy> },
    Named { path: String, arguments: Vec<Ty> },
    Tuple(Vec<(Option<String>, Ty)>),
}

#[derive(Clone, Debug)]
pub enum DimTy {
    /// `..S`
    Shape(Name),
    /// `_`
    Hole(Span),
    Expr(Expr),
}

#[derive(Clone, Debug)]
pub struct Block {
    pub span: Span,
    pub stmts: Vec<Stmt>,
}

impl Block {
    /// Where its value is written.
    pub fn value_span(&self) -> Span {
        self.stmts.last().map_or(self.span, |s| s.span)
    }

    fn visit<'e>(&'e self, f: &mut dyn FnMut(&'e Expr)) {
        for stmt in &self.stmts {
            match &stmt.kind {
                StmtKind::Bind(b) => b.value.visit(f),
                StmtKind::Expr(e) => e.visit(f),
                StmtKind::Update { target, value } => [target, value].into_iter().for_each(|e| e.visit(f)),
                StmtKind::For { over, body, .. } => {
                    over.visit(f);
                    body.visit(f);
                }
                StmtKind::Storage(_) => {}
            }
        }
    }
}

#[derive(Clone, Debug)]
pub struct Stmt {
    pub span: Span,
    pub kind: StmtKind,
}

#[derive(Clone, Debug)]
pub enum StmtKind {
    Storage(Storage),
    For {
        pattern: Pattern,
        over: Expr,
        body: Block,
    },
    Bind(Bind),
    /// `target := value`
    Update {
        target: Expr,
        value: Expr,
    },
    Expr(Expr),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageKind {
    Param,
    State,
    Cache,
}

#[derive(Clone, Debug)]
pub struct Storage {
    pub kind: StorageKind,
    pub name: Name,
    /// The name in files.
    pub outer: Option<Expr>,
    pub ty: Ty,
    pub init: Option<Expr>,
}

#[derive(Clone, Debug)]
pub struct Bind {
    pub pattern: Pattern,
    pub ty: Option<Ty>,
    /// `+=` and its like.
    pub op: Option<BinaryOp>,
    pub value: Expr,
}

#[derive(Clone, Debug)]
pub enum Pattern {
    Name(Name),
    Tuple(Vec<Pattern>, Span),
}

impl Pattern {
    pub fn span(&self) -> Span {
        match self {
            Pattern::Name(name) => name.span,
            Pattern::Tuple(_, span) => *span,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Expr {
    pub span: Span,
    pub kind: ExprKind,
}

impl Expr {
    /// The text of a string without holes.
    pub fn plain(&self) -> Option<&str> {
        match &self.kind {
            ExprKind::Str(parts) => match &parts[..] {
                [] => Some(""),
                [StrPart::Text(text)] => Some(text),
                _ => None,
            },
            _ => None,
        }
    }

    /// Every name that occurs, in order.
    pub fn names(&self) -> Vec<&str> {
        let mut names = vec![];
        self.visit(&mut |e| {
            if let ExprKind::Name(name) = &e.kind {
                names.push(name.as_str());
            }
        });
        names
    }

    /// Calls `f` with this expression and every one inside it, from left to right.
    pub fn visit<'e>(&'e self, f: &mut dyn FnMut(&'e Expr)) {
        f(self);
        match &self.kind {
            ExprKind::Unary { operand, .. } => operand.visit(f),
            ExprKind::Binary { left, right, .. } => [left, right].into_iter().for_each(|e| e.visit(f)),
            ExprKind::Call { callee, args } => {
                callee.visit(f);
                args.iter().for_each(|a| a.value.visit(f));
            }
            ExprKind::Index { base, items } => {
                base.visit(f);
                items.iter().for_each(|i| match i {
                    Ix::At(e) | Ix::Each { over: e, .. } => e.visit(f),
                    Ix::Slice { from, to, .. } => from.iter().chain(to).for_each(|e| e.visit(f)),
                    Ix::Ellipsis(_) | Ix::Full(_) | Ix::Group(_) => {}
                });
            }
            ExprKind::Field { base, .. } => base.visit(f),
            ExprKind::List(items) => items.iter().for_each(|e| e.visit(f)),
            ExprKind::ListFor { value, over, .. } => [value, over].into_iter().for_each(|e| e.visit(f)),
            ExprKind::Tuple(args) => args.iter().for_each(|a| a.value.visit(f)),
            ExprKind::If { condition, then, otherwise } => {
                condition.visit(f);
                then.visit(f);
                match otherwise.as_deref() {
                    Some(Else::If(e)) => e.visit(f),
                    Some(Else::Block(b)) => b.visit(f),
                    None => {}
                }
            }
            ExprKind::Pipe { source, stages } => {
                source.visit(f);
                stages.iter().for_each(|s| s.call.visit(f));
            }
            ExprKind::Scan(scan) => {
                scan.carry.iter().for_each(|a| a.value.visit(f));
                scan.over.visit(f);
                scan.body.visit(f);
            }
            ExprKind::Lambda { body, .. } => body.visit(f),
            ExprKind::Str(parts) => parts.iter().for_each(|p| {
                if let StrPart::Hole(e) = p {
                    e.visit(f)
                }
            }),
            ExprKind::Int(_) | ExprKind::Float(_) | ExprKind::Bool(_) | ExprKind::None | ExprKind::Name(_) => {}
        }
    }
}

#[derive(Clone, Debug)]
pub enum ExprKind {
    Int(i64),
    Float(f64),
    Bool(bool),
    None,
    Str(Vec<StrPart>),
    Name(String),
    List(Vec<Expr>),
    ListFor { value: Box<Expr>, pattern: Pattern, over: Box<Expr> },
    Tuple(Vec<Arg>),
    If { condition: Box<Expr>, then: Block, otherwise: Option<Box<Else>> },
    Scan(Box<Scan>),
    Lambda { params: Vec<Name>, body: Block },
    Call { callee: Box<Expr>, args: Vec<Arg> },
    Index { base: Box<Expr>, items: Vec<Ix> },
    Field { base: Box<Expr>, name: Name },
    Unary { op: UnaryOp, operand: Box<Expr> },
    Binary { op: BinaryOp, left: Box<Expr>, right: Box<Expr> },
    Pipe { source: Box<Expr>, stages: Vec<Stage> },
}

#[derive(Clone, Debug)]
pub enum StrPart {
    Text(String),
    Hole(Expr),
}

#[derive(Clone, Debug)]
pub enum Else {
    If(Expr),
    Block(Block),
}

#[derive(Clone, Debug)]
pub struct Scan {
    pub carry: Vec<Arg>,
    pub pattern: Pattern,
    pub over: Expr,
    pub along: Option<Expr>,
    pub reversed: bool,
    pub body: Block,
}

#[derive(Clone, Debug)]
pub struct Arg {
    pub name: Option<Name>,
    pub value: Expr,
}

#[derive(Clone, Debug)]
pub enum Ix {
    /// `...`
    Ellipsis(Span),
    /// `:`
    Full(Span),
    /// `..s`
    Group(Name),
    /// A slice; bounds may be left out.
    Slice {
        from: Option<Expr>,
        to: Option<Expr>,
        span: Span,
    },
    /// `i in 0..n`, in labels.
    Each {
        name: Name,
        over: Expr,
    },
    At(Expr),
}

#[derive(Clone, Debug)]
pub struct Stage {
    pub span: Span,
    pub label: Option<Expr>,
    pub call: Expr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnaryOp {
    Neg,
    Not,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryOp {
    Or,
    And,
    Eq,
    Ne,
    Le,
    Ge,
    Lt,
    Gt,
    Range,
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Rem,
    Matmul,
    Pow,
}
