//! The text of a graph, for dumps and tests: what is printed parses to an equal graph.

mod parse;

use crate::array::Array;
use crate::facts::Fact;
use crate::nodes::{Graph, Guard, Storage, Value};
use crate::ops::{Attr, Op};
pub use parse::TextError;
pub(crate) use parse::dim_of;
use std::collections::HashMap;
use std::fmt;

/// Constants of more elements print as a hash.
const SHOWN: usize = 8;

/// Words for the roles of operands; an input has none.
const STORAGE: [(Storage, &str); 3] = [(Storage::Param, "param"), (Storage::State, "state"), (Storage::Cache, "cache")];

/// A name, quoted where it is no word of the grammar.
struct Name<'a>(&'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match is_word(self.0) {
            true => f.write_str(self.0),
            false => write!(f, "{:?}", self.0),
        }
    }
}

/// A letter or `_`, then letters, digits, `_`, `.` and `'`.
pub(crate) fn is_word(name: &str) -> bool {
    let tail = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '\'');
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(tail)
}

/// Words that an attribute reads as something else than a size.
pub(crate) fn is_reserved(word: &str) -> bool {
    matches!(word, "true" | "false" | "inf" | "nan") || word.parse::<tensor::Elem>().is_ok()
}

struct Float(f64);

impl fmt::Display for Float {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.0.is_nan() {
            true => f.write_str("nan"),
            false => write!(f, "{:?}", self.0),
        }
    }
}

fn join<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Attr {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Attr::Dim(d) => write!(f, "{d}"),
            Attr::Float(x) => write!(f, "{}", Float(*x)),
            Attr::Bool(b) => write!(f, "{b}"),
            Attr::Str(s) => write!(f, "{s:?}"),
            Attr::Elem(e) => write!(f, "{e}"),
            Attr::List(items) => write!(f, "[{}]", join(items)),
            // As it stands inside of a node.
            Attr::Graph(graph) => write!(f, "{}", graph.to_string().trim_end().replace('\n', "\n  ")),
            Attr::Array(a) => {
                write!(f, "{}[{}] ", a.elem, join(&a.shape))?;
                match (a.data.len() <= SHOWN, a.elem.is_float()) {
                    (false, _) => write!(f, "#{:016x}", hash(a)),
                    (true, true) => write!(f, "[{}]", join(a.data.iter().map(|x| Float(*x)))),
                    (true, false) => write!(f, "[{}]", join(&a.data)),
                }
            }
        }
    }
}

/// What stands for the elements of a large constant, which no constant of another type shares.
fn hash(a: &Array) -> u64 {
    let ty = std::iter::once(a.elem as u64).chain(a.shape.iter().map(|n| *n as u64));
    let words = ty.chain(a.data.iter().map(|x| x.to_bits()));
    words.fold(0, |h: u64, word| (h.rotate_left(5) ^ word).wrapping_mul(0x9e3779b97f4a7c15))
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let operands = self.operands.iter().map(|o| {
            let word = STORAGE.iter().find(|(s, _)| *s == o.storage).map_or(String::new(), |(_, w)| format!("{w} "));
            format!("{word}%{}: {}", Name(&o.name), self.ty(o.value))
        });
        writeln!(f, "graph @{}({}) {{", Name(&self.name), join(operands))?;
        for (fact, guard) in self.conditions() {
            match guard {
                None => writeln!(f, "  assume {fact}")?,
                Some(guard) if guard.text == fact.to_string() => writeln!(f, "  guard {fact}")?,
                Some(guard) => writeln!(f, "  guard {fact} {:?}", guard.text)?,
            }
        }
        for value in self.order() {
            self.write_node(f, value)?;
        }
        for group in &self.groups {
            let list = |values: &[Value]| join(values.iter().map(|v| self.value_text(*v)));
            writeln!(f, "  group {} {{{}}} -> {}", group.kind.name(), list(&group.nodes), list(&group.roots))?;
        }
        let outputs = self.outputs.iter().map(|(n, v)| format!("{} = {}", Name(n), self.value_text(*v)));
        let updates = self
            .updates
            .iter()
            .map(|(operand, v)| format!("%{} := {}", Name(&self.operands[*operand].name), self.value_text(*v)));
        let leaving = join(outputs.chain(updates));
        writeln!(f, "  return{}{leaving}", if leaving.is_empty() { "" } else { " " })?;
        writeln!(f, "}}")
    }
}

impl Graph {
    /// The value as it stands in the text.
    pub fn value_text(&self, value: Value) -> String {
        match self.op(value) {
            Op::Operand(name) => format!("%{}", Name(name)),
            _ => value.to_string(),
        }
    }

    fn write_node(&self, f: &mut fmt::Formatter, value: Value) -> fmt::Result {
        let node = self.node(value);
        if matches!(node.op, Op::Operand(_)) {
            return Ok(());
        }
        write!(f, "  {value} = {}", node.op.name())?;
        if !node.operands.is_empty() {
            write!(f, " {}", join(node.operands.iter().map(|v| self.value_text(*v))))?;
        }
        let attributes = node.op.attributes();
        if !attributes.is_empty() {
            write!(f, " {{{}}}", join(attributes.iter().map(|(n, a)| format!("{n} = {a}"))))?;
        }
        writeln!(f, " : {}", join(&node.types))
    }

    /// Facts in the order in which they were assumed, with the guards that state them; then guards that nothing assumes.
    fn conditions(&self) -> Vec<(&Fact, Option<&Guard>)> {
        let mut guards: Vec<&Guard> = self.guards.iter().collect();
        let mut conditions = vec![];
        for fact in self.facts.assumed() {
            let guard = guards.iter().position(|g| g.fact == *fact).map(|i| guards.remove(i));
            conditions.push((fact, guard));
        }
        conditions.extend(guards.into_iter().map(|g| (&g.fact, Some(g))));
        conditions
    }

    /// The graph of a text.
    pub fn parse(text: &str) -> Result<Graph, TextError> {
        parse::graph(text, &HashMap::new())
    }

    /// Whether the text says all there is to say: parsing it yields this graph again. Constants that print as a hash
    /// are taken from here.
    pub fn verify_text(&self) -> Result<(), String> {
        let text = self.to_string();
        let mut large = HashMap::new();
        self.collect_large(&mut large);
        match parse::graph(&text, &large) {
            Ok(parsed) if parsed == *self => Ok(()),
            Ok(parsed) => Err(format!("the text of `{}` parses to another graph:\n{text}\nand\n{parsed}", self.name)),
            Err(e) => Err(format!("the text of `{}` does not parse: {e}\n{text}", self.name)),
        }
    }

    /// Constants that print as a hash, by it.
    fn collect_large(&self, large: &mut HashMap<u64, Array>) {
        for value in self.order() {
            match self.op(value) {
                Op::Constant(c) if c.value.data.len() > SHOWN => {
                    large.insert(hash(&c.value), c.value.clone());
                }
                op => op.body().into_iter().for_each(|body| body.collect_large(large)),
            }
        }
    }
}
