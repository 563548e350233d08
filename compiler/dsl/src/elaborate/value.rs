//! Static values and the scopes that name them.

use super::instance::Instance;
use super::train::{Provided, Stream};
use crate::ast::{Block, Extern, Function, Kernel, Module, Name, Ty};
use graph::ops::OpInfo;
use graph::{Dim, Elem, Fact, Value};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

#[derive(Clone)]
pub(crate) enum Val {
    /// An exact number, or a size that only the caller knows.
    Num(Dim),
    Float(f64),
    /// A number computed from the caller's sizes while running: a node of type `f64[]` that adapts as literals do.
    Scalar(Value),
    Bool(bool),
    /// A condition that only the caller's sizes decide.
    Fact(Rc<Fact>),
    Str(Rc<str>),
    None,
    List(Rc<Vec<Val>>),
    Tuple(Rc<Vec<(Option<String>, Val)>>),
    Elem(Elem),
    Tensor(Value),
    /// A stored tensor, by full name: reads see its latest version.
    Stored(Rc<str>),
    Fn(Rc<Function>, Rc<Scope>),
    Lambda(Rc<(Vec<Name>, Block)>, Rc<Scope>),
    Kernel(Rc<Kernel>),
    Extern(Rc<Extern>),
    /// An imported file, by its number.
    Module(usize),
    Layer(Rc<Module>),
    Instance(Rc<Instance>),
    Builtin(&'static str),
    Primitive(&'static OpInfo),
    /// A function that belongs to a built model, such as `net.forward`.
    Method(Rc<Instance>, Rc<Function>, Rc<Scope>),
    /// A source of examples, for training.
    Stream(Rc<Stream>),
    /// By its name.
    Metric(Rc<str>),
    /// What only the training runtime knows: an augmentation, a rule.
    Opaque(Rc<str>, Rc<Provided>),
    /// A function that the training runtime gives, by its type.
    Given(Rc<Ty>, Rc<Scope>, Rc<Provided>),
    /// What a statement with a mistake would have given.
    Error,
}

impl Val {
    pub fn int(n: i64) -> Val {
        Val::Num(Dim::int(n))
    }

    pub fn list(items: impl IntoIterator<Item = Val>) -> Val {
        Val::List(Rc::new(items.into_iter().collect()))
    }

    /// For messages: what kind of value this is.
    pub fn kind(&self) -> &'static str {
        match self {
            Val::Num(d) if d.as_int().is_some() => "an integer",
            Val::Num(d) if d.as_rational().is_some() => "a fraction",
            Val::Num(_) => "a size",
            Val::Float(_) => "a number",
            Val::Scalar(_) => "a number that depends on the caller's sizes",
            Val::Bool(_) => "a boolean",
            Val::Fact(_) => "a condition on the caller's sizes",
            Val::Str(_) => "a string",
            Val::None => "none",
            Val::List(_) => "a list",
            Val::Tuple(_) => "a tuple",
            Val::Elem(_) => "an element type",
            Val::Tensor(_) | Val::Stored(_) => "a tensor",
            Val::Fn(..) | Val::Lambda(..) | Val::Kernel(_) | Val::Builtin(_) | Val::Primitive(_) | Val::Extern(_) => {
                "a function"
            }
            Val::Method(..) | Val::Given(..) => "a function",
            Val::Stream(_) => "a source of examples",
            Val::Metric(_) => "a metric",
            Val::Opaque(..) => "a part of training",
            Val::Module(_) => "an imported file",
            Val::Error => "nothing, for a mistake before it",
            Val::Layer(_) => "a layer that is not built",
            Val::Instance(_) => "a layer",
        }
    }

    /// Whether this belongs to one graph, or may hold what does.
    pub fn is_running(&self) -> bool {
        match self {
            Val::Tensor(_) | Val::Scalar(_) | Val::Stored(_) => true,
            Val::List(items) => items.iter().any(Val::is_running),
            Val::Tuple(fields) => fields.iter().any(|(_, v)| v.is_running()),
            Val::Lambda(_, scope) => scope.holds_running(),
            _ => false,
        }
    }

    pub fn is_tensor(&self) -> bool {
        matches!(self, Val::Tensor(_))
    }

    pub fn is_callable(&self) -> bool {
        use Val::*;
        matches!(
            self,
            Fn(..)
                | Lambda(..)
                | Builtin(_)
                | Primitive(_)
                | Kernel(_)
                | Extern(_)
                | Instance(_)
                | Method(..)
                | Given(..)
        )
    }

    /// Exact and approximate numbers, known now or when running.
    pub fn is_number(&self) -> bool {
        matches!(self, Val::Num(_) | Val::Float(_) | Val::Scalar(_))
    }

    /// The value of a number that is known now.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Val::Float(x) => Some(*x),
            Val::Num(d) => d.as_rational().map(|r| *r.numer() as f64 / *r.denom() as f64),
            _ => None,
        }
    }

    pub fn as_int(&self) -> Option<i64> {
        match self {
            Val::Num(d) => d.as_int(),
            _ => None,
        }
    }
}

/// Names of one function, layer or lambda; blocks of `if` and `for` share it.
#[derive(Default)]
pub(crate) struct Scope {
    vars: RefCell<HashMap<String, Val>>,
    parent: Option<Rc<Scope>>,
    /// Whose items stand above it.
    pub module: usize,
}

impl Scope {
    /// Above it are only the items of a module.
    pub fn root(module: usize) -> Rc<Scope> {
        Rc::new(Scope { module, ..Scope::default() })
    }

    pub fn inside(parent: &Rc<Scope>) -> Rc<Scope> {
        Rc::new(Scope { vars: RefCell::default(), parent: Some(parent.clone()), module: parent.module })
    }

    pub fn get(&self, name: &str) -> Option<Val> {
        self.vars.borrow().get(name).cloned().or_else(|| self.parent.as_ref()?.get(name))
    }

    pub fn set(&self, name: &str, value: Val) {
        self.vars.borrow_mut().insert(name.to_string(), value);
    }

    fn holds_running(&self) -> bool {
        self.vars.borrow().values().any(|v| !matches!(v, Val::Lambda(..)) && v.is_running())
            || self.parent.as_ref().is_some_and(|p| p.holds_running())
    }

    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.vars.borrow().keys().cloned().collect();
        names.extend(self.parent.iter().flat_map(|p| p.names()));
        names
    }
}
