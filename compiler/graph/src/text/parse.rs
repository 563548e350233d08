//! Text to graph, by pest.

use super::STORAGE;
use crate::array::Array;
use crate::dim::{Dim, Rational};
use crate::facts::Fact;
use crate::nodes::{Graph, Group, GroupKind, Guard, Node, Operand, Origin, Storage, Value};
use crate::ops::{self, Attr, Op};
use crate::types::TensorType;
use diag::{FileId, Span};
use pest::Parser;
use pest::iterators::Pair;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use tensor::Elem;

#[derive(pest_derive::Parser)]
#[grammar = "text/graph.pest"]
struct Grammar;

/// Brackets inside each other, at most.
const DEPTH: usize = 100;

/// Node numbers are below this: numbers without a node take memory too.
const NUMBERS: u32 = 1 << 20;

/// What is wrong with a text, and on which line, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextError {
    pub line: usize,
    pub message: String,
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.message)
    }
}

impl std::error::Error for TextError {}

type Result<T> = std::result::Result<T, TextError>;

fn error<T>(at: &Pair<Rule>, message: impl Into<String>) -> Result<T> {
    Err(TextError { line: at.line_col().0, message: message.into() })
}

/// The graph of a text; constants that stand there as a hash are those of `constants`.
pub(super) fn graph(text: &str, constants: &HashMap<u64, Array>) -> Result<Graph> {
    graph_of(parse(Rule::graph_only, text)?, constants)
}

fn graph_of(pair: Pair<Rule>, constants: &HashMap<u64, Array>) -> Result<Graph> {
    let stated = numbers(&pair)?;
    let free: Vec<u32> = (0..).filter(|n| !stated.contains(n)).take(pair.as_str().matches('%').count()).collect();
    let mut reader = Reader {
        graph: Graph::default(),
        nodes: BTreeMap::new(),
        operands: HashMap::new(),
        free: free.into_iter(),
        constants,
    };
    for part in pair.into_inner() {
        match part.as_rule() {
            Rule::name => reader.graph.name = name(part)?,
            Rule::operand => reader.operand(part)?,
            Rule::condition => reader.condition(part)?,
            Rule::node => reader.node(part)?,
            Rule::group => reader.group(part)?,
            Rule::leaving => reader.leaving(part)?,
            _ => {}
        }
    }
    let mut graph = reader.graph;
    graph.set_nodes(reader.nodes);
    Ok(graph)
}

/// The dim of a text.
pub(crate) fn dim_of(text: &str) -> Result<Dim> {
    dim(first(parse(Rule::dim_only, text)?))
}

fn parse(rule: Rule, text: &str) -> Result<Pair<'_, Rule>> {
    if let Some(at) = too_deep(text) {
        let line = text[..at].matches('\n').count() + 1;
        return Err(TextError { line, message: format!("brackets are nested more than {DEPTH} deep") });
    }
    let mut pairs = Grammar::parse(rule, text).map_err(|e| {
        use pest::error::LineColLocation::{Pos, Span};
        let (Pos((line, column)) | Span((line, column), _)) = e.line_col;
        let rest: String = text.lines().nth(line - 1).unwrap_or_default().chars().skip(column - 1).take(20).collect();
        let found = if rest.is_empty() { "the end of the line".into() } else { format!("`{}`", rest.trim_end()) };
        TextError { line, message: format!("{}, found {found}", e.variant.message().replace('_', " ")) }
    })?;
    Ok(pairs.next().expect("a parse has its rule"))
}

fn too_deep(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (i, c) in text.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH {
            return Some(i);
        }
    }
    None
}

/// Numbers that nodes state.
fn numbers(graph: &Pair<Rule>) -> Result<BTreeSet<u32>> {
    let mut stated = BTreeSet::new();
    for node in graph.clone().into_inner().filter(|p| p.as_rule() == Rule::node) {
        let number = first(node);
        match number.as_str()[1..].parse() {
            Ok(n) if n >= NUMBERS => return error(&number, format!("node numbers are below {NUMBERS}")),
            Ok(n) if !stated.insert(n) => return error(&number, format!("`%{n}` is stated twice")),
            Ok(_) => {}
            Err(_) => return error(&number, format!("node numbers are below {NUMBERS}")),
        }
    }
    Ok(stated)
}

struct Reader<'a> {
    graph: Graph,
    nodes: BTreeMap<u32, Node>,
    operands: HashMap<String, Value>,
    /// Numbers that no node states, for the operands.
    free: std::vec::IntoIter<u32>,
    constants: &'a HashMap<u64, Array>,
}

impl Reader<'_> {
    fn operand(&mut self, pair: Pair<Rule>) -> Result<()> {
        let origin = origin(&pair);
        let mut storage = Storage::Input;
        let mut named = String::new();
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::storage => {
                    storage = STORAGE.iter().find(|(_, w)| *w == part.as_str()).map_or(storage, |(s, _)| *s)
                }
                Rule::name => {
                    let at = part.clone();
                    named = name(part)?;
                    if self.operands.contains_key(&named) {
                        return error(&at, format!("two operands are called `{named}`"));
                    }
                }
                _ => {
                    let node = self.free.next().expect("as many numbers are free as there are names");
                    let value = Value { node, result: 0 };
                    let op = Op::operand(named.clone());
                    let ty = tensor_type(part)?;
                    self.nodes.insert(node, Node { op, operands: vec![], types: vec![ty], origin: origin.clone() });
                    self.operands.insert(named.clone(), value);
                    self.graph.operands.push(Operand { name: named.clone(), storage, value });
                }
            }
        }
        Ok(())
    }

    fn condition(&mut self, pair: Pair<Rule>) -> Result<()> {
        let origin = origin(&pair);
        let mut parts = pair.into_inner();
        let guards = parts.next().is_some_and(|known| known.as_str() == "guard");
        let fact = fact(parts.next().expect("a condition has a fact"))?;
        match (guards, parts.next()) {
            (true, Some(text)) => self.graph.guard(Guard { fact, text: string(text)?, origin }),
            (true, None) => self.graph.guard(Guard { text: fact.to_string(), fact, origin }),
            (false, Some(text)) => return error(&text, "only a guard quotes its text"),
            (false, None) => self.graph.facts.assume(&fact),
        }
        Ok(())
    }

    fn group(&mut self, pair: Pair<Rule>) -> Result<()> {
        let mut group = Group { kind: GroupKind::Pointwise, nodes: vec![], roots: vec![] };
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::kind => {
                    let kind = GroupKind::ALL.into_iter().find(|k| k.name() == part.as_str());
                    group.kind = kind.expect("the grammar lists the kinds");
                }
                Rule::value => group.nodes.push(self.value(part)?),
                _ => group.roots = part.into_inner().map(|v| self.value(v)).collect::<Result<_>>()?,
            }
        }
        self.graph.groups.push(group);
        Ok(())
    }

    fn node(&mut self, pair: Pair<Rule>) -> Result<()> {
        let (origin, whole) = (origin(&pair), pair.clone());
        let mut parts = pair.into_inner();
        let number = parts.next().expect("a node has a number").as_str()[1..].parse().unwrap_or(NUMBERS);
        let op_name = parts.next().expect("a node has an operator").as_str();
        let (mut operands, mut attributes, mut stated) = (vec![], vec![], vec![]);
        for part in parts {
            match part.as_rule() {
                Rule::value => operands.push(self.value(part)?),
                Rule::attributes => attributes = self.attributes(part)?,
                _ => stated.push(tensor_type(part)?),
            }
        }
        let types: Vec<TensorType> = operands.iter().map(|v| self.ty(*v).clone()).collect();
        let op = match ops::build(op_name, &attributes) {
            None => return error(&whole, format!("there is no operator `{op_name}`")),
            Some(Err(e)) => return error(&whole, format!("{op_name}: {e}")),
            Some(Ok(op)) => op,
        };
        let inferred = match op.infer(&types, &self.graph.facts) {
            Ok(inferred) => inferred,
            Err(e) => return error(&whole, format!("{op_name}: {e}")),
        };
        if inferred != stated {
            let (stated, inferred) = (super::join(&stated), super::join(&inferred));
            return error(&whole, format!("{op_name}: stated {stated} but inferred {inferred}"));
        }
        self.nodes.insert(number, Node { op, operands, types: stated, origin });
        Ok(())
    }

    fn ty(&self, value: Value) -> &TensorType {
        &self.nodes[&value.node].types[value.result as usize]
    }

    /// A value stated above.
    fn value(&self, pair: Pair<Rule>) -> Result<Value> {
        let text = pair.as_str();
        let inner = first(pair.clone());
        let known = match inner.as_rule() {
            Rule::operand_name => self.operands.get(&name(first(inner))?).copied(),
            _ => {
                let (node, result) = text[1..].split_once('.').unwrap_or((&text[1..], "0"));
                let value = node.parse().ok().zip(result.parse().ok()).map(|(node, result)| Value { node, result });
                value.filter(|v| {
                    let node = self.nodes.get(&v.node).filter(|n| !matches!(n.op, Op::Operand(_)));
                    node.is_some_and(|n| (v.result as usize) < n.types.len())
                })
            }
        };
        match known {
            Some(value) => Ok(value),
            None => error(&pair, format!("`{text}` is not stated above")),
        }
    }

    fn leaving(&mut self, pair: Pair<Rule>) -> Result<()> {
        for leaf in pair.into_inner().map(first) {
            let updates = leaf.as_rule() == Rule::update;
            let mut parts = leaf.into_inner();
            let named = parts.next().expect("what leaves has a name");
            let value = self.value(parts.next().expect("what leaves has a value"))?;
            let key = name(named.clone())?;
            if !updates {
                self.graph.outputs.push((key, value));
                continue;
            }
            match self.graph.operands.iter().position(|o| o.name == key) {
                Some(operand) => self.graph.updates.push((operand, value)),
                None => return error(&named, format!("there is no operand `{key}` to update")),
            }
        }
        Ok(())
    }

    fn attributes(&self, pair: Pair<Rule>) -> Result<Vec<(String, Attr)>> {
        let mut attributes: Vec<(String, Attr)> = vec![];
        for attribute in pair.into_inner() {
            let mut parts = attribute.clone().into_inner();
            let key = parts.next().expect("an attribute has a name").as_str();
            if attributes.iter().any(|(n, _)| n == key) {
                return error(&attribute, format!("attribute `{key}` is stated twice"));
            }
            attributes.push((key.into(), self.attr(parts.next().expect("an attribute has a value"))?));
        }
        Ok(attributes)
    }

    fn attr(&self, pair: Pair<Rule>) -> Result<Attr> {
        let pair = first(pair);
        Ok(match pair.as_rule() {
            Rule::graph => Attr::Graph(graph_of(pair, self.constants)?.into()),
            Rule::list => Attr::List(pair.into_inner().map(|a| self.attr(a)).collect::<Result<_>>()?),
            Rule::string => Attr::Str(string(pair)?),
            Rule::truth => Attr::Bool(pair.as_str() == "true"),
            Rule::elem => Attr::Elem(elem(&pair)?),
            Rule::float => Attr::Float(float(&pair)?),
            Rule::array => Attr::Array(self.array(pair)?),
            _ => Attr::Dim(dim(pair)?),
        })
    }

    fn array(&self, pair: Pair<Rule>) -> Result<Array> {
        let mut array = Array::new(Elem::F32, vec![0], vec![]);
        let mut hashed = None;
        for part in pair.clone().into_inner() {
            match part.as_rule() {
                Rule::elem => (array.elem, array.shape) = (elem(&part)?, vec![]),
                Rule::int => match part.as_str().parse() {
                    Ok(n) => array.shape.push(n),
                    Err(_) => return error(&part, format!("`{}` is not the size of an axis", part.as_str())),
                },
                Rule::hash => hashed = u64::from_str_radix(&part.as_str()[1..], 16).ok(),
                _ => array.data.push(float(&first(part))?),
            }
        }
        if let Some(key) = hashed {
            return match self.constants.get(&key) {
                Some(known) if known.elem == array.elem && known.shape == array.shape => Ok(known.clone()),
                _ => error(&pair, "the elements of this constant are not in the text, only their hash"),
            };
        }
        let count = array.shape.iter().try_fold(1usize, |n, size| n.checked_mul(*size));
        match count == Some(array.data.len()) {
            true => Ok(array),
            false => error(&pair, format!("{} elements in a constant of shape {:?}", array.data.len(), array.shape)),
        }
    }
}

fn first(pair: Pair<Rule>) -> Pair<Rule> {
    pair.into_inner().next().expect("the grammar gives this rule a part")
}

/// The place in the text.
fn origin(pair: &Pair<Rule>) -> Origin {
    let span = pair.as_span();
    Origin { span: Span::new(FileId::default(), span.start(), span.end()), calls: None }
}

fn name(pair: Pair<Rule>) -> Result<String> {
    let inner = first(pair);
    match inner.as_rule() {
        Rule::string => string(inner),
        _ => Ok(inner.as_str().into()),
    }
}

/// A string as Rust writes it.
fn string(pair: Pair<Rule>) -> Result<String> {
    let text = first(pair);
    let mut out = String::new();
    let mut chars = text.as_str().chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let escape = chars.next().unwrap_or('\\');
        out.push(match escape {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            '0' => '\0',
            '\\' | '"' | '\'' => escape,
            'u' => {
                let digits: String = chars.by_ref().skip(1).take_while(|c| *c != '}').collect();
                match u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32) {
                    Some(c) => c,
                    None => return error(&text, format!("`\\u{{{digits}}}` is no character")),
                }
            }
            other => return error(&text, format!("`\\{other}` is no escape")),
        });
    }
    Ok(out)
}

fn elem(pair: &Pair<Rule>) -> Result<Elem> {
    pair.as_str().parse().or_else(|()| error(pair, format!("`{}` is no element type", pair.as_str())))
}

fn float(pair: &Pair<Rule>) -> Result<f64> {
    pair.as_str().parse().or_else(|_| error(pair, format!("`{}` is no number", pair.as_str())))
}

fn tensor_type(pair: Pair<Rule>) -> Result<TensorType> {
    let whole = pair.clone();
    let mut parts = pair.into_inner();
    let elem = elem(&parts.next().expect("a type has an element type"))?;
    let ty = TensorType::new(elem, parts.map(dim).collect::<Result<_>>()?);
    match ty.is_countable() {
        true => Ok(ty),
        false => error(&whole, format!("{ty} has more elements than any memory")),
    }
}

fn fact(pair: Pair<Rule>) -> Result<Fact> {
    let mut parts = pair.into_inner();
    let left = dim(parts.next().expect("a fact has a left side"))?;
    let next = parts.next().expect("a fact has a right side");
    if next.as_rule() == Rule::dim {
        return Ok(Fact::Divides { divisor: dim(next)?, of: left });
    }
    let right = dim(parts.next().expect("a relation has a right side"))?;
    Ok(if next.as_str() == "==" { Fact::Eq(left, right) } else { Fact::Le(left, right) })
}

fn dim(pair: Pair<Rule>) -> Result<Dim> {
    let mut sum = Dim::int(0);
    let mut negative = false;
    for part in pair.clone().into_inner() {
        match part.as_rule() {
            Rule::sign => negative = part.as_str() == "-",
            _ => {
                let term = part.into_inner().map(factor).product::<Result<Dim>>()?;
                sum = if negative { sum - term } else { sum + term };
            }
        }
    }
    // What is computed here must be a text again.
    let fits = |n: &i128| i64::try_from(*n).is_ok();
    let all_fit = sum.terms().all(|(_, factor)| fits(factor.numer()) && fits(factor.denom()));
    match all_fit {
        true => Ok(sum),
        false => error(&pair, "this size has numbers of more than 64 bits"),
    }
}

fn factor(pair: Pair<Rule>) -> Result<Dim> {
    let pair = first(pair);
    match pair.as_rule() {
        Rule::rational => {
            let (above, below) = pair.as_str().split_once('/').unwrap_or((pair.as_str(), "1"));
            match (above.parse::<i64>(), below.parse::<i64>()) {
                (Ok(above), Ok(below)) if below > 0 => Ok(Dim::rational(Rational::new(above.into(), below.into()))),
                _ => error(&pair, format!("`{}` is no number that a size can have", pair.as_str())),
            }
        }
        Rule::call => {
            let mut parts = pair.into_inner();
            let function = parts.next().expect("a call has a function").as_str();
            let (a, b) = (parts.next().expect("two operands"), parts.next().expect("two operands"));
            let (a, b) = (dim(a)?, dim(b)?);
            Ok(match function {
                "floor" => a.floor_div(&b),
                "rem" => a.rem(&b),
                "min" => a.minimum(&b),
                _ => a.maximum(&b),
            })
        }
        _ => Ok(Dim::var(pair.as_str())),
    }
}
