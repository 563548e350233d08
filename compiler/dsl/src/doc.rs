//! What a name means to its readers: its signature and documentation.

use crate::ast::{Form, Item, ItemKind, Member};
use diag::{FileId, SourceMap, Span};

/// One thing that has a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doc {
    pub name: String,
    pub signature: String,
    pub text: String,
    /// The file it stands in, or what provides it.
    pub from: String,
}

impl Doc {
    /// The first sentence, for lists.
    pub fn summary(&self) -> &str {
        let line = self.text.lines().next().unwrap_or_default();
        line.split_once(". ").map_or(line, |(first, _)| first).trim_end_matches('.')
    }
}

/// What the compiler itself provides, as the language spells it.
const PROVIDED: &[(&str, &str, &str)] = &[
    ("shape", "shape(x) -> list(int)", "The sizes of a tensor, as a list."),
    ("size", "size(x, axis: int) -> int", "The size of one axis; negative ones count from the end."),
    ("rank", "rank(x) -> int", "The number of axes."),
    ("len", "len(items) -> int", "The number of items of a list or tuple."),
    ("product", "product(numbers: list(int)) -> int", "All numbers multiplied."),
    ("is_fn", "is_fn(value) -> bool", "Whether a value can be called."),
    (
        "is_known",
        "is_known(n: int) -> bool",
        "Whether an integer is known when compiling; one that the caller chooses is not.",
    ),
    ("is_list", "is_list(value) -> bool", "Whether a value is a list."),
    ("is_tuple", "is_tuple(value) -> bool", "Whether a value is a tuple."),
    ("is_float", "is_float(type) -> bool", "Whether an element type is one of floats."),
    (
        "rearrange",
        "rearrange(x, \"b (h d) -> b h d\", h = 8)",
        "Splits, orders and joins axes by their names. Brackets group; one size of a group follows from the others.",
    ),
    ("einsum", "einsum(\"b i, o i -> b o\", x, w)", "Sums of products: what stands on the left only is summed over."),
    (
        "random_bits",
        "random_bits(shape: list(int)) -> u32[..shape]",
        "Random bits. Each use has a stream of its own, known by the path of its layer; each call draws new ones.",
    ),
    ("training", "training: bool", "Whether a training step is compiled."),
    ("step", "step: i32[]", "The number of updates so far, in `train` blocks."),
    ("float", "float", "The element type that a type without one means; -D float=bf16 sets it."),
    ("inf", "inf: float", "Infinity."),
    ("pi", "pi: float", "Half the circumference of a circle of radius 1."),
];

/// Everything of the standard library and of the compiler, in the order of their files.
pub fn library() -> Vec<Doc> {
    let mut docs = vec![];
    for (name, text) in crate::STANDARD_LIBRARY {
        docs.extend(file(name, text).unwrap_or_default());
    }
    docs.extend(PROVIDED.iter().map(|(name, signature, text)| Doc {
        name: name.to_string(),
        signature: signature.to_string(),
        text: text.to_string(),
        from: "the compiler".into(),
    }));
    let known: Vec<String> = docs.iter().map(|d| d.name.clone()).collect();
    let operators = graph::ops::ALL.iter().filter(|op| !known.iter().any(|k| k == op.name));
    docs.extend(operators.map(operator));
    docs
}

/// Every item of a file; `None` if it does not parse.
pub fn file(name: &str, text: &str) -> Option<Vec<Doc>> {
    let mut sources = SourceMap::default();
    let id = sources.add(name, text);
    let tree = crate::parse(text, id).ok()?;
    Some(tree.items.iter().filter_map(|i| item(&sources, id, i)).collect())
}

fn item(sources: &SourceMap, file: FileId, item: &Item) -> Option<Doc> {
    let (name, end) = match &item.kind {
        ItemKind::Import { .. } => return None,
        ItemKind::Const { name, .. } | ItemKind::Type { name, .. } | ItemKind::ModelAlias { name, .. } => {
            (name, item.span.end)
        }
        ItemKind::Fn(f) => (&f.name, f.body.span.start),
        ItemKind::Layer(m) | ItemKind::Model(m) => match &m.form {
            Form::Function(f) => (&m.name, f.body.span.start),
            Form::Members { members, .. } => (&m.name, members.first().map_or(item.span.end, member_start)),
        },
        ItemKind::Kernel(k) => (&k.name, k.equations.first().map_or(item.span.end, |e| e.target.span.start)),
        ItemKind::Extern(e) => (&e.name, e.binding.as_ref().map_or(item.span.end, |b| b.span.start)),
        ItemKind::Train(t) => (&t.name, t.items.first().map_or(item.span.end, |i| i.span.start)),
        ItemKind::Weights(w) => (&w.name, w.rules.first().map_or(item.span.end, |r| r.span.start)),
    };
    let text = sources.snippet(Span { end, ..item.span });
    // Documentation and attributes stand before the item.
    let before = |l: &&str| l.trim().is_empty() || l.trim_start().starts_with(['#', '@']);
    let header = text.lines().skip_while(before).collect::<Vec<_>>().join("\n");
    let words = ["param", "state", "cache", "fn", "entry"];
    let mut signature = header.trim_end();
    // The first member starts with a word before its name.
    signature = words.iter().find_map(|w| signature.strip_suffix(w)).unwrap_or(signature).trim_end();
    let mut signature = signature.trim_end_matches(['=', '{']).trim_end().to_string();
    if let ItemKind::Model(m) = &item.kind
        && let Form::Members { members, .. } = &m.form
    {
        for member in members {
            if let Member::Entry(f) = member {
                let entry = sources.snippet(Span::new(file, f.name.span.start as usize, f.body.span.start as usize));
                signature += &format!("\n  entry {}", entry.trim_end().trim_end_matches(['=', '{']).trim_end());
            }
        }
    }
    let from = sources.name(file).to_string();
    Some(Doc { name: name.text.clone(), signature, text: item.doc.join("\n"), from })
}

fn member_start(member: &Member) -> u32 {
    match member {
        Member::Storage(s) => s.name.span.start,
        Member::Fn(f) | Member::Entry(f) => f.name.span.start,
        Member::Bind(b) => b.pattern.span().start,
    }
}

fn operator(op: &graph::ops::OpInfo) -> Doc {
    let attributes = op.attributes.iter().map(|a| {
        let name = if a.name == "elem" { "type" } else { a.name };
        format!("{name}: {}{}", a.kind, if a.optional { ", optional" } else { "" })
    });
    let arguments: Vec<String> = op.operands.iter().map(|o| o.to_string()).chain(attributes).collect();
    let text: Vec<&str> = op.doc.lines().map(str::trim).collect();
    Doc {
        name: op.name.into(),
        signature: format!("{}({})", op.name, arguments.join(", ")),
        text: text.join("\n").trim().to_string(),
        from: "an operator".into(),
    }
}

/// What is called `name`, in the file if there is one, else in the library; else the name that is nearest.
pub fn find<'d>(name: &str, docs: &'d [Doc]) -> Result<&'d Doc, Option<&'d str>> {
    match docs.iter().find(|d| d.name == name) {
        Some(doc) => Ok(doc),
        None => Err(crate::elaborate::nearest(name, docs.iter().map(|d| d.name.as_str()))),
    }
}
