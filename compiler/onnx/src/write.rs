//! A graph of ONNX as a model of the language, node by node.

use crate::known::{self, Value, number};
use crate::proto::{self, Attribute, Graph, Model, Node, TensorProto, kind};
use crate::table::{self, Row};
use crate::{Import, Problem, tensors};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write;
use std::path::Path;
use tensor::Elem;

/// The newest version of the operators' standard that this knows.
const NEWEST: i64 = 25;

struct Writer<'m> {
    version: i64,
    folder: &'m Path,
    /// Values by their names in the file.
    values: HashMap<&'m str, Value>,
    /// Initializers by name; they are stored when somebody first reads them.
    initializers: HashMap<&'m str, &'m TensorProto>,
    stored: HashMap<String, TensorProto>,
    /// What the text calls those of the file that it stores.
    declared: HashMap<*const TensorProto, String>,
    storage: String,
    body: String,
    /// Sizes by their names in the file.
    sizes: HashMap<&'m str, String>,
    count: usize,
    problems: BTreeMap<String, usize>,
}

pub fn write(model: &Model, name: &str, folder: &Path) -> Result<Import, Problem> {
    let graph = model.graph.as_ref().ok_or_else(|| Problem::new("the file has no graph"))?;
    let version = model.opsets.iter().find(|o| o.domain.is_empty() || o.domain == "ai.onnx").map(|o| o.version);
    let version = version.ok_or_else(|| Problem::new("the file does not say which version of ONNX it is for"))?;
    if !(7..=NEWEST).contains(&version) {
        let text = format!("operators of version {version}; 7 to {NEWEST} are read. onnx.version_converter converts");
        return Err(Problem::new(text));
    }
    if let Some(function) = model.functions.first() {
        return Err(Problem::new(format!("functions such as `{}` are not read yet; inline them", function.name)));
    }
    if !graph.sparse_initializers.is_empty() {
        return Err(Problem::new("sparse weights are not read; store them dense"));
    }
    let writer = Writer {
        version,
        folder,
        values: HashMap::new(),
        initializers: graph.initializers.iter().map(|t| (t.name.as_str(), t)).collect(),
        stored: HashMap::new(),
        declared: HashMap::new(),
        storage: String::new(),
        body: String::new(),
        sizes: HashMap::new(),
        count: 0,
        problems: BTreeMap::new(),
    };
    writer.graph(model, graph, name)
}

impl<'m> Writer<'m> {
    fn graph(mut self, model: &Model, graph: &'m Graph, name: &str) -> Result<Import, Problem> {
        let mut inputs = vec![];
        // Older files list weights among the inputs.
        let given = graph.inputs.iter().filter(|i| !self.initializers.contains_key(i.name.as_str()));
        for (i, input) in given.collect::<Vec<_>>().into_iter().enumerate() {
            let own = format!("x{i}");
            inputs.push(format!("{own} as {}: {}", quoted(&input.name), self.input_type(input)?));
            self.values.insert(&input.name, Value::Tensor(own));
        }
        for node in &graph.nodes {
            if let Err(problem) = self.node(node) {
                *self.problems.entry(problem.to_string()).or_default() += 1;
                // What follows is read all the same, to tell everything at once.
                for output in &node.outputs {
                    self.values.insert(output, Value::Tensor("x0".into()));
                }
            }
        }
        if !self.problems.is_empty() {
            return Err(self.refusal());
        }
        let (mut types, mut results) = (vec![], vec![]);
        let mut names = HashSet::new();
        for output in &graph.outputs {
            let word = unique(&word(&output.name), &mut names);
            let value = self.value(&output.name)?.tensor();
            let elem =
                output.ty.as_ref().and_then(|t| t.tensor.as_ref()).map_or(Ok(Elem::F32), |t| tensors::elem(t.elem))?;
            types.push(format!("{word}: {elem}[.._]"));
            results.push(format!("{word} = {value}"));
        }
        if results.is_empty() {
            return Err(Problem::new("the graph has no output"));
        }
        let producer = if model.producer.is_empty() { "an unnamed program" } else { model.producer.as_str() };
        let producer = producer.replace(['\n', '\r'], " ");
        let mut text =
            format!("## Imported from ONNX, version {} of the operators, written by {producer}.\n", self.version);
        let _ = writeln!(text, "model {}({}) -> ({}) {{", capital(name), inputs.join(", "), types.join(", "));
        text.push_str(&self.storage);
        text.push_str(&self.body);
        let _ = writeln!(text, "  ({})\n}}", results.join(", "));
        Ok(Import { text, folder: self.folder.into(), stored: self.stored })
    }

    /// Everything that is not read, with how often it occurs.
    fn refusal(&self) -> Problem {
        let line = |(problem, count): (&String, &usize)| match count {
            1 => format!("  {problem}"),
            n => format!("  {problem} ({n} times)"),
        };
        let lines: Vec<String> = self.problems.iter().map(line).collect();
        Problem::new(format!("not all of it can be compiled:\n{}", lines.join("\n")))
    }

    fn input_type(&mut self, input: &'m proto::ValueInfo) -> Result<String, Problem> {
        let wrong = || Problem::new(format!("the input `{}` is no tensor of a known rank", input.name));
        let ty = input.ty.as_ref().and_then(|t| t.tensor.as_ref()).ok_or_else(wrong)?;
        let mut dims = vec![];
        for dim in &ty.shape.as_ref().ok_or_else(wrong)?.dims {
            dims.push(match &dim.size {
                Some(proto::Size::Value(n)) if *n > 0 => n.to_string(),
                // Some write a question mark for any size.
                Some(proto::Size::Name(name)) if name.contains(char::is_alphanumeric) => self.size(name),
                _ => {
                    self.count += 1;
                    format!("N{}", self.count)
                }
            });
        }
        Ok(format!("{}[{}]", tensors::elem(ty.elem)?, dims.join(", ")))
    }

    fn size(&mut self, name: &'m str) -> String {
        if let Some(known) = self.sizes.get(name) {
            return known.clone();
        }
        let mut taken: HashSet<String> = self.sizes.values().cloned().collect();
        let size = unique(&capital(name), &mut taken);
        self.sizes.insert(name, size.clone());
        size
    }

    /// A value by its name; an initializer becomes a part of the text now.
    fn value(&mut self, name: &'m str) -> Result<Value, Problem> {
        if let Some(value) = self.values.get(name) {
            return Ok(value.clone());
        }
        let Some(proto) = self.initializers.get(name).copied() else {
            return Err(Problem::new(format!("`{name}` is used before something computes it")));
        };
        let value = self.constant(name, proto)?;
        self.values.insert(name, value.clone());
        Ok(value)
    }

    /// A tensor of the file: numbers of the text if it is small, else something stored.
    fn constant(&mut self, name: &str, proto: &TensorProto) -> Result<Value, Problem> {
        let shape = tensors::shape(proto)?;
        let elem = tensors::elem(proto.data_type)?;
        if Value::is_written(&shape, elem) {
            return Ok(Value::written(&tensors::read(proto, self.folder)?));
        }
        // Branches of one graph may read the same tensor, and may give others its name.
        if let Some(known) = self.declared.get(&std::ptr::from_ref(proto)) {
            return Ok(Value::Tensor(known.clone()));
        }
        let names = std::iter::once(name.to_string()).chain((2..).map(|n| format!("{name}_{n}")));
        let name = names.into_iter().find(|name| !self.stored.contains_key(name)).unwrap_or_default();
        let (own, dims) = (self.fresh("w"), shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", "));
        let _ = writeln!(self.storage, "  param {own} as {}: {elem}[{dims}] = zeros()", quoted(&name));
        self.stored.insert(name, proto.clone());
        self.declared.insert(proto, own.clone());
        Ok(Value::Tensor(own))
    }

    /// The numbers of an initializer that a row wants to know.
    fn numbers(&self, row: &Row, input: usize, name: &str) -> Option<Value> {
        let wanted =
            ["list", "ratios", "number", "dims"].iter().any(|form| row.text.contains(&format!("{{{input}:{form}}}")));
        let proto = self.initializers.get(name).copied().filter(|_| wanted)?;
        let shape = tensors::shape(proto).ok()?;
        let few = shape.len() <= 1 && shape.iter().product::<usize>() <= known::WRITTEN;
        few.then(|| tensors::read(proto, self.folder).ok()).flatten().map(|t| Value::written(&t))
    }

    fn fresh(&mut self, letter: &str) -> String {
        self.count += 1;
        format!("{letter}{}", self.count)
    }

    fn node(&mut self, node: &'m Node) -> Result<(), Problem> {
        let row = table::find(&node.op, self.version);
        let mut inputs = vec![];
        for (i, input) in node.inputs.iter().enumerate() {
            inputs.push(match row.and_then(|row| self.numbers(row, i, input)) {
                Some(numbers) => Some(numbers),
                None if input.is_empty() || row.is_some_and(|row| row.ignored.contains(&i)) => None,
                None => Some(self.value(input)?),
            });
        }
        let domain = node.domain.as_str();
        if !domain.is_empty() && domain != "ai.onnx" {
            return Err(Problem::new(format!("{} of {domain} is not known", node.op)));
        }
        let first = node.outputs.first().ok_or_else(|| Problem::new(format!("{} has no output", node.op)))?;
        match (node.op.as_str(), &inputs[..]) {
            ("Identity", [Some(x)]) => {
                self.values.insert(first, x.clone());
                return Ok(());
            }
            ("Dropout", [Some(x), ..]) if node.outputs[1..].iter().all(String::is_empty) => {
                self.values.insert(first, x.clone());
                return Ok(());
            }
            ("Constant", _) => {
                let value = self.constant_node(node)?;
                self.values.insert(first, value);
                return Ok(());
            }
            // One place that is known is a part of the tensor, not a copy.
            ("Gather", [Some(x), Some(Value::Numbers { items, scalar: true, .. })])
                if items[0].parse::<i64>().is_ok() =>
            {
                if let Value::Tensor(x) = x {
                    let axis = attribute(node, "axis").map_or(0, |a| a.i);
                    return self.bind(node, &format!("onnx_pick({x}, {}, {axis})", items[0]), &[]);
                }
            }
            ("ConstantOfShape", [Some(shape)]) => {
                let (value, elem) = self.filling(node)?;
                if let Some(value) = shape.count().and_then(|n| Value::repeated(&value, n, elem)) {
                    self.values.insert(first, value);
                    return Ok(());
                }
                let shape = shape.list();
                let shape =
                    shape.ok_or_else(|| Problem::new("ConstantOfShape needs a shape that is known when compiling"))?;
                return self.bind(node, &format!("full({shape}, {value}, {elem})"), &[]);
            }
            ("If", [Some(condition)]) => return self.either(node, condition),
            _ => {}
        }
        let to = attribute(node, "to").and_then(|a| tensors::elem(a.i as i32).ok());
        let known: Vec<Option<&Value>> = inputs.iter().map(Option::as_ref).collect();
        if let Some(value) = known::fold(&node.op, &known, to) {
            self.values.insert(first, value);
            return Ok(());
        }
        let row = row.ok_or_else(|| Problem::new(format!("the operator {} is not known", node.op)))?;
        let text = Template { row, node, inputs: &inputs, used: HashSet::new() }.fill()?;
        self.bind(node, &text, row.results)
    }

    /// Gives the outputs of a node names.
    fn bind(&mut self, node: &'m Node, text: &str, results: &[&str]) -> Result<(), Problem> {
        let own = self.fresh("v");
        let comment = if node.name.is_empty() { node.outputs[0].as_str() } else { node.name.as_str() };
        let _ = writeln!(self.body, "  {own} = {text}  # {}", comment.replace(['\n', '\r'], " "));
        for (i, output) in node.outputs.iter().enumerate().filter(|(_, o)| !o.is_empty()) {
            let value = match (results.get(i), results.is_empty() && i == 0) {
                (Some(part), _) => format!("{own}{part}"),
                (None, true) => own.clone(),
                _ => return Err(Problem::new(format!("output {i} of {} is not known", node.op))),
            };
            self.values.insert(output, Value::Tensor(value));
        }
        Ok(())
    }

    fn constant_node(&mut self, node: &'m Node) -> Result<Value, Problem> {
        let [a] = &node.attributes[..] else { return Err(Problem::new("a Constant with several values")) };
        let ints =
            |items: &[i64], scalar| Value::ints(items.iter().map(|n| number(*n as f64, Elem::I64)).collect(), scalar);
        match (a.name.as_str(), &a.t) {
            ("value", Some(t)) => {
                self.initializers.insert(&node.outputs[0], t);
                self.constant(&node.outputs[0], t)
            }
            ("value_int", _) => Ok(ints(&[a.i], true)),
            ("value_ints", _) => Ok(ints(&a.ints, false)),
            ("value_float", _) => {
                let items = vec![number(a.f as f64, Elem::F32)];
                Ok(Value::Numbers { items, scalar: true, elem: Elem::F32 })
            }
            (name, _) => Err(Problem::new(format!("the {name} of a Constant is not read"))),
        }
    }

    /// What ConstantOfShape fills a tensor with.
    fn filling(&self, node: &Node) -> Result<(String, Elem), Problem> {
        let Some(t) = attribute(node, "value").and_then(|a| a.t.as_ref()) else { return Ok(("0".into(), Elem::F32)) };
        let t = tensors::read(t, self.folder)?;
        let x = t.to_f64().first().copied().ok_or_else(|| Problem::new("ConstantOfShape has no value"))?;
        Ok((if t.elem == Elem::Bool { (x != 0.0).to_string() } else { number(x, t.elem) }, t.elem))
    }

    /// One of two graphs: the one that is known to be chosen, or a choice between the values of both.
    fn either(&mut self, node: &'m Node, condition: &Value) -> Result<(), Problem> {
        let branch = |name: &str| {
            let graph = attribute(node, name).and_then(|a| a.g.as_ref());
            graph.ok_or_else(|| Problem::new(format!("If lacks its {name}")))
        };
        let (yes, no) = (branch("then_branch")?, branch("else_branch")?);
        let chosen = match (condition.truth(), condition) {
            (Some(true), _) => self.branch(yes)?,
            (Some(false), _) => self.branch(no)?,
            // Sizes decide: of the text's branches one is compiled.
            (None, Value::Numbers { .. }) => {
                let condition = condition.single().ok_or_else(|| Problem::new("If needs one condition"))?;
                let before = std::mem::take(&mut self.body);
                let mut sides = vec![];
                for graph in [yes, no] {
                    let values = self.branch(graph)?;
                    let named = values.iter().enumerate().map(|(i, v)| format!("y{i} = {}", v.tensor()));
                    let results = named.collect::<Vec<_>>().join(", ");
                    let lines = std::mem::take(&mut self.body);
                    let lines: String = lines.lines().map(|line| format!("  {line}\n")).collect();
                    sides.push(format!("{lines}    ({results})\n"));
                }
                let own = self.fresh("v");
                self.body = format!("{before}  {own} = if {condition} {{\n{}  }}\n", sides.join("  } else {\n"));
                (0..node.outputs.len()).map(|i| Value::Tensor(format!("{own}.y{i}"))).collect()
            }
            _ => {
                let (yes, no) = (self.branch(yes)?, self.branch(no)?);
                let condition = condition.tensor();
                let mut values = vec![];
                for (yes, no) in yes.iter().zip(&no) {
                    let own = self.fresh("v");
                    let text = format!("onnx_if({condition}, {}, {})", yes.tensor(), no.tensor());
                    let _ = writeln!(self.body, "  {own} = {text}");
                    values.push(Value::Tensor(own));
                }
                values
            }
        };
        if chosen.len() < node.outputs.len() {
            return Err(Problem::new("a branch of If has fewer outputs than If"));
        }
        self.values.extend(node.outputs.iter().map(String::as_str).zip(chosen));
        Ok(())
    }

    /// The outputs of a graph inside of this one, whose names it sees.
    fn branch(&mut self, graph: &'m Graph) -> Result<Vec<Value>, Problem> {
        let outside = (self.values.clone(), self.initializers.clone());
        self.initializers.extend(graph.initializers.iter().map(|t| (t.name.as_str(), t)));
        graph.initializers.iter().for_each(|t| drop(self.values.remove(t.name.as_str())));
        for node in &graph.nodes {
            self.node(node)?;
        }
        let outputs = graph.outputs.iter().map(|output| self.value(&output.name)).collect();
        (self.values, self.initializers) = outside;
        outputs
    }
}

fn attribute<'n>(node: &'n Node, name: &str) -> Option<&'n Attribute> {
    node.attributes.iter().find(|a| a.name == name)
}

/// The text of a row with what a node gives.
struct Template<'t> {
    row: &'static Row,
    node: &'t Node,
    inputs: &'t [Option<Value>],
    /// Inputs and attributes that the text has.
    used: HashSet<String>,
}

impl Template<'_> {
    fn fill(mut self) -> Result<String, Problem> {
        let mut text = String::new();
        let mut rest = self.row.text;
        // `<` and `>` alone are comparisons.
        while let Some(start) = rest.find("<,") {
            text.push_str(&self.part(&rest[..start])?.ok_or_else(|| self.missing())?);
            let end = rest[start..].find('>').map_or(rest.len(), |n| start + n);
            text.push_str(&self.part(&rest[start + 1..end])?.unwrap_or_default());
            rest = &rest[(end + 1).min(rest.len())..];
        }
        text.push_str(&self.part(rest)?.ok_or_else(|| self.missing())?);
        self.nothing_is_left()?;
        Ok(text)
    }

    fn missing(&self) -> Problem {
        Problem::new(format!("{} lacks an input or an attribute", self.node.op))
    }

    /// A part with its placeholders filled; nothing if one is not given.
    fn part(&mut self, part: &str) -> Result<Option<String>, Problem> {
        let mut text = String::new();
        let mut rest = part;
        while let Some(start) = rest.find('{') {
            let end = rest[start..].find('}').map_or(rest.len(), |n| start + n);
            text.push_str(&rest[..start]);
            let Some(value) = self.placeholder(&rest[start + 1..end])? else { return Ok(None) };
            text.push_str(&value);
            rest = &rest[end + 1..];
        }
        text.push_str(rest);
        Ok(Some(text))
    }

    fn placeholder(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let (name, form) = name.split_once(':').unwrap_or((name, ""));
        if name == "*" {
            self.used.extend((0..self.inputs.len()).map(|i| i.to_string()));
            let all: Option<Vec<String>> = self.inputs.iter().map(|v| v.as_ref().map(Value::tensor)).collect();
            return Ok(all.map(|all| all.join(", ")));
        }
        if name == "outputs" {
            return Ok(Some(self.node.outputs.len().to_string()));
        }
        self.used.insert(name.to_string());
        if let Some(name) = name.strip_prefix('@') {
            let Some(attribute) = attribute(self.node, name) else { return Ok(None) };
            return match form {
                "type" => tensors::elem(attribute.i as i32).map(|e| Some(e.to_string())),
                _ => self.attribute_text(attribute).map(Some),
            };
        }
        let Some(Some(value)) = name.parse().ok().and_then(|i: usize| self.inputs.get(i)) else { return Ok(None) };
        let unknown = || Problem::new(format!("input {name} of {} must be known when compiling", self.node.op));
        Ok(Some(match form {
            // An empty list stands for what is not given.
            "ratios" | "list" if value.is_empty() && !self.row.text.contains(&format!("({{{name}:")) => {
                return Ok(None);
            }
            "list" => value.list().ok_or_else(unknown)?,
            "dims" => {
                value.dims(&self.inputs[0].as_ref().map_or_else(String::new, Value::tensor)).ok_or_else(unknown)?
            }
            "number" => value.single().ok_or_else(unknown)?,
            "ratios" => value.ratios().ok_or_else(|| {
                Problem::new(format!("input {name} of {} must be ratios of small integers", self.node.op))
            })?,
            // Numbers alone would be computed as the language does it, exactly.
            "" if self.inputs.iter().flatten().any(|x| matches!(x, Value::Tensor(_))) => value.operand(),
            _ => value.tensor(),
        }))
    }

    fn attribute_text(&self, a: &Attribute) -> Result<String, Problem> {
        let int = |n: &i64| number(*n as f64, Elem::I64);
        Ok(match a.kind {
            kind::FLOAT => number(a.f as f64, Elem::F32),
            kind::INT => int(&a.i),
            kind::STRING => quoted(&String::from_utf8_lossy(&a.s)),
            kind::FLOATS => {
                format!("[{}]", a.floats.iter().map(|x| number(*x as f64, Elem::F32)).collect::<Vec<_>>().join(", "))
            }
            kind::INTS => format!("[{}]", a.ints.iter().map(int).collect::<Vec<_>>().join(", ")),
            _ => return Err(Problem::new(format!("`{}` of {} is of a kind that is not read", a.name, self.node.op))),
        })
    }

    /// What the text leaves out changes nothing.
    fn nothing_is_left(&self) -> Result<(), Problem> {
        let op = &self.node.op;
        for a in &self.node.attributes {
            let (name, fixed) = (&a.name, self.row.fixed.iter().find(|(name, _)| *name == a.name));
            match fixed {
                _ if self.used.contains(&format!("@{name}")) => {}
                Some((_, None)) => {}
                Some((_, Some(value))) if self.attribute_text(a)? == *value => {}
                Some((_, Some(value))) => {
                    return Err(Problem::new(format!("{name} of {op} other than {value} is not known")));
                }
                None => return Err(Problem::new(format!("the attribute {name} of {op} is not known"))),
            }
        }
        match (0..self.inputs.len()).find(|i| self.inputs[*i].is_some() && !self.used.contains(&i.to_string())) {
            Some(i) => Err(Problem::new(format!("input {i} of {op} is not known"))),
            None => Ok(()),
        }
    }
}

/// A text in quotes, in which nothing is filled in.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' | '{' => out.extend(['\\', c]),
            '\n' | '\r' => out.push(' '),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A name that is a word of the language.
fn word(name: &str) -> String {
    let text: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let text = text.trim_matches('_');
    match text.chars().next() {
        None => "y".into(),
        Some(c) if c.is_ascii_digit() => format!("y{text}"),
        Some(_) => text.into(),
    }
}

/// A word that starts with a capital.
fn capital(name: &str) -> String {
    let word = word(name);
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |c| c.to_ascii_uppercase().to_string() + chars.as_str())
}

fn unique(word: &str, taken: &mut HashSet<String>) -> String {
    let mut name = word.to_string();
    let mut n = 1;
    while !taken.insert(name.clone()) {
        n += 1;
        name = format!("{word}_{n}");
    }
    name
}
