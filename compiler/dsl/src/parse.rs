//! Text to syntax tree, by pest and its Pratt parser.

use crate::ast::*;
use diag::{Code, Diagnostic, FileId, Span};
use pest::Parser;
use pest::iterators::{Pair, Pairs};
use pest::pratt_parser::{Assoc, Op, PrattParser};
use std::cell::RefCell;
use std::sync::LazyLock;

#[derive(pest_derive::Parser)]
#[grammar = "nn.pest"]
struct Grammar;

/// Brackets and blocks inside each other, at most.
const DEPTH: usize = 200;

/// Parts of an expression one after another without brackets, at most.
const CHAIN: usize = 1000;

/// Rule calls that one file may cost: far above any real model, below what a hostile one could take.
const CALLS: usize = 200_000_000;

static PRATT: LazyLock<PrattParser<Rule>> = LazyLock::new(|| {
    use Assoc::{Left, Right};
    let left =
        |rules: &[Rule]| rules[1..].iter().fold(Op::infix(rules[0], Left), |op, rule| op | Op::infix(*rule, Left));
    PrattParser::new()
        .op(left(&[Rule::or_]))
        .op(left(&[Rule::and_]))
        .op(Op::prefix(Rule::not_))
        .op(left(&[Rule::eq, Rule::ne, Rule::le, Rule::ge, Rule::lt, Rule::gt]))
        .op(left(&[Rule::range]))
        .op(left(&[Rule::add, Rule::sub]))
        .op(left(&[Rule::mul, Rule::div, Rule::floordiv, Rule::rem, Rule::matmul]))
        .op(Op::prefix(Rule::neg))
        .op(Op::infix(Rule::pow, Right))
});

type Result<T> = std::result::Result<T, Box<Diagnostic>>;

/// The tree of a file. Where an item does not parse, parsing goes on at the next one, so that every item has its say.
pub fn parse(text: &str, file: FileId) -> std::result::Result<File, Vec<Diagnostic>> {
    if let Some((at, what)) = too_deep(text) {
        let end = (at + 1..=text.len()).find(|e| text.is_char_boundary(*e)).unwrap_or(text.len());
        let span = Span::new(file, at.min(text.len()), end);
        let message = match what {
            "brackets" => format!("brackets are nested more than {DEPTH} deep"),
            chain => format!("{chain} has more than {CHAIN} parts"),
        };
        return Err(vec![
            Diagnostic::new(Code::TOO_DEEP, span, message).help("give parts of the expression names of their own"),
        ]);
    }
    let first = match part(text, file, 0) {
        Ok(tree) => return Ok(tree),
        Err(e) => e,
    };
    let failed_at = first.primary.span.start as usize;
    let mut errors = vec![*first];
    // Items after the one that failed, each on its own.
    let mut chunks = item_starts(text);
    chunks.push(text.len());
    for pair in chunks.windows(2).filter(|w| w[0] > failed_at) {
        if let Err(e) = part(without_trailer(&text[pair[0]..pair[1]]), file, pair[0]) {
            errors.push(*e);
        }
    }
    Err(errors)
}

/// The tree of some items of a file, which start at `offset`.
pub(crate) fn part(text: &str, file: FileId, offset: usize) -> Result<File> {
    pest::set_call_limit(std::num::NonZeroUsize::new(CALLS));
    let mut pairs = Grammar::parse(Rule::file, text).map_err(|e| Box::new(syntax_error(&e, text, file, offset)))?;
    let file_pair = pairs.next().expect("a parse has its rule");
    Builder { file, offset, attributes: RefCell::default() }.file(file_pair)
}

/// Where the items of a file that is known to parse stand, by name; for those that start with `word name`.
pub(crate) fn outline(text: &str) -> impl Iterator<Item = (&str, usize, &str)> {
    let mut starts = item_starts(text);
    starts.push(text.len());
    (1..starts.len()).filter_map(move |i| {
        let item = without_trailer(&text[starts[i - 1]..starts[i]]);
        let mut words = item.split(|c: char| !c.is_alphanumeric() && c != '_');
        // `extern data mnist` has two words before its name.
        let name = if words.next() == Some("extern") { words.nth(1) } else { words.next() };
        Some((name?, starts[i - 1], item))
    })
}

/// An item without the documentation and attributes of the next one.
fn without_trailer(text: &str) -> &str {
    let mut text = text;
    loop {
        let trimmed = text.trim_end();
        let last = trimmed.rfind('\n').map_or(0, |i| i + 1);
        if last == 0 || !trimmed[last..].starts_with(['@', '#']) {
            return text;
        }
        text = &text[..last];
    }
}

/// Offsets of lines that start an item.
fn item_starts(text: &str) -> Vec<usize> {
    const WORDS: [&str; 10] =
        ["import ", "const ", "type ", "fn ", "layer ", "model ", "kernel ", "extern ", "train ", "weights "];
    let mut starts = vec![];
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        if WORDS.iter().any(|w| line.starts_with(w)) {
            starts.push(offset);
        }
        offset += line.len();
    }
    starts
}

/// Where brackets, or chains of what nests without brackets, go too deep, and which of the two. Runs before the parser,
/// whose stack is what this protects.
fn too_deep(text: &str) -> Option<(usize, &'static str)> {
    let bytes = text.as_bytes();
    let mut depth = 0usize;
    // Links of the chain under way at each depth: signs between values, `else`, `=>`.
    let mut chains = vec![0usize];
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'#' => {
                while at < bytes.len() && bytes[at] != b'\n' {
                    at += 1;
                }
                continue;
            }
            b'"' => {
                at = string_end(bytes, at, &mut depth);
                if depth > DEPTH {
                    return Some((at, "brackets"));
                }
                continue;
            }
            b'(' | b'[' | b'{' => {
                depth += 1;
                chains.push(0);
                if depth > DEPTH {
                    return Some((at, "brackets"));
                }
            }
            b')' | b']' | b'}' => {
                depth = depth.saturating_sub(1);
                if chains.len() > 1 {
                    chains.pop();
                }
            }
            b',' | b';' => *chains.last_mut()? = 0,
            // A line that ends a statement ends its chain; one that goes on does not.
            b'\n' if !goes_on(&bytes[..at]) && !text[at..].trim_start().starts_with("else") => *chains.last_mut()? = 0,
            b'+' | b'-' | b'*' | b'/' | b'%' | b'@' | b'<' | b'>' | b'=' | b'.' => *chains.last_mut()? += 1,
            b'n' | b'e' | b'a' | b'o' if starts_word(bytes, at) => *chains.last_mut()? += 1,
            _ => {}
        }
        if chains.last().is_some_and(|n| *n > CHAIN) {
            return Some((at, "a chain of operators"));
        }
        at += 1;
    }
    None
}

/// Whether one of the words that nest starts here.
fn starts_word(bytes: &[u8], at: usize) -> bool {
    let before = at == 0 || !bytes[at - 1].is_ascii_alphanumeric();
    before && [b"not ".as_slice(), b"else ", b"and ", b"or "].iter().any(|w| bytes[at..].starts_with(w))
}

fn goes_on(before: &[u8]) -> bool {
    before.iter().rev().find(|b| !b.is_ascii_whitespace()).is_some_and(|b| b"+-*/%@<>=,([{.".contains(b))
}

/// The end of a string that starts here; its holes nest too.
fn string_end(bytes: &[u8], start: usize, depth: &mut usize) -> usize {
    let mut at = start + 1;
    let outer = *depth;
    while at < bytes.len() && *depth <= DEPTH {
        match bytes[at] {
            b'\\' => at += 1,
            b'"' if *depth == outer => return at + 1,
            b'\n' => break,
            b'{' | b'(' | b'[' if bytes[at] == b'{' || *depth > outer => *depth += 1,
            b'}' | b')' | b']' if *depth > outer => *depth -= 1,
            _ => {}
        }
        at += 1;
    }
    if *depth <= DEPTH {
        *depth = outer;
    }
    at
}

fn syntax_error(error: &pest::error::Error<Rule>, text: &str, file: FileId, offset: usize) -> Diagnostic {
    use pest::error::{ErrorVariant, InputLocation};
    let at = match error.location {
        InputLocation::Pos(at) => at,
        InputLocation::Span((at, _)) => at,
    };
    let end = (at + 1..=text.len()).find(|e| text.is_char_boundary(*e)).unwrap_or(text.len());
    let span = Span::new(file, offset + at.min(text.len()), offset + end);
    let found = match text[at.min(text.len())..].chars().next() {
        None => "the end of the file".to_string(),
        Some('\n') => "the end of the line".to_string(),
        Some(c) => format!("`{c}`"),
    };
    let mut expected: Vec<&str> = match &error.variant {
        ErrorVariant::ParsingError { positives, .. } => positives.iter().map(readable).collect(),
        ErrorVariant::CustomError { .. } => vec![],
    };
    expected.retain(|e| *e != OTHER);
    expected.sort();
    expected.dedup();
    let message = match &expected[..] {
        [] => format!("unexpected {found}"),
        [one] => format!("expected {one}, found {found}"),
        [some @ .., last] if expected.len() <= 4 => format!("expected {} or {last}, found {found}", some.join(", ")),
        _ => format!("unexpected {found}"),
    };
    let diagnostic = Diagnostic::new(Code::SYNTAX, span, message);
    match hint(text, at) {
        Some(help) => diagnostic.help(help),
        None => diagnostic,
    }
}

/// Slips that people coming from other languages make: what stands at the place, on its line, or just before it.
const HINTS: &[(&str, Place, &str)] = &[
    ("//", Place::Before, "comments start with `#`; `//` divides and floors"),
    ("def ", Place::Line, "functions start with `fn`: fn f(x: [B, D]) -> [B, D] = x"),
    ("class ", Place::Line, "layers are written layer Block(out: int)(x: [B, D]) -> [B, out] { … }"),
    ("lambda ", Place::Line, "a function value is written x => …"),
    ("return ", Place::Line, "there is no `return`: the last line of a block is its value"),
    ("elif ", Place::Line, "write `else if`"),
    ("if ", Place::At, "a choice is written if c { a } else { b }"),
    (" in range(", Place::Line, "ranges are written 0..n"),
    ("'", Place::At, "strings stand in double quotes"),
    ("&&", Place::At, "write `and`"),
    ("||", Place::At, "write `or`"),
    ("!", Place::At, "write `not`"),
    ("&", Place::At, "on booleans write `and`, on integers bit_and(a, b)"),
    ("^", Place::At, "powers are written `**`"),
    ("++", Place::Line, "write i += 1"),
];

#[derive(Clone, Copy, PartialEq)]
enum Place {
    At,
    Before,
    Line,
}

fn hint(text: &str, at: usize) -> Option<&'static str> {
    let at = at.min(text.len());
    let line_start = text[..at].rfind('\n').map_or(0, |i| i + 1);
    let line = text[line_start..].lines().next().unwrap_or_default();
    let (before, rest) = (&text[line_start..at], &text[at..]);
    if before.trim().is_empty() && rest.starts_with(['[', '-']) {
        return Some("a line may not start with `[` or `-`: give the value a name first, y = […], then write y");
    }
    if before.contains('[') && rest.starts_with(':') {
        return Some("slices are written a..b, not a:b");
    }
    if before.trim_end().ends_with(']') && before.contains(" in ") && rest.starts_with("= ") {
        return Some("a list of layers is written stage = [Linear(8) for i in 0..n]; each has its place as its name");
    }
    if rest.starts_with(':') && ["if ", "for ", "else"].iter().any(|w| line.trim_start().starts_with(w)) {
        return Some("blocks stand in braces: if c { … }");
    }
    if line.contains("##") && !line.trim_start().starts_with("##") {
        return Some("`##` documents what follows on the next line; after code write `#`");
    }
    let found = HINTS.iter().find(|(slip, place, _)| match place {
        Place::At => rest.starts_with(slip),
        Place::Before => before.trim_end().ends_with(slip),
        Place::Line => line.trim_start().starts_with(slip.trim_start()) || line.contains(&format!(" {slip}")),
    });
    found.map(|(_, _, help)| *help)
}

/// What is not worth a word in a message.
const OTHER: &str = "";

fn readable(rule: &Rule) -> &'static str {
    match rule {
        Rule::or_ | Rule::and_ | Rule::eq | Rule::ne | Rule::le | Rule::ge | Rule::lt | Rule::gt => "an operator",
        Rule::range | Rule::add | Rule::sub | Rule::mul | Rule::div | Rule::floordiv | Rule::rem => "an operator",
        Rule::matmul | Rule::pow => "an operator",
        Rule::ident | Rule::word | Rule::path => "a name",
        Rule::args | Rule::params => "`(`",
        Rule::block | Rule::members | Rule::equations => "`{`",
        Rule::expr | Rule::opexpr | Rule::postfixed | Rule::primary => "an expression",
        Rule::ty | Rule::ty_tensor | Rule::ty_name | Rule::ty_tuple => "a type",
        Rule::stmt | Rule::bind | Rule::action => "a statement",
        Rule::item | Rule::k_item | Rule::EOI => "an item",
        Rule::doc => "an item",
        Rule::stage => "a stage",
        Rule::assign_op => "`=`",
        Rule::call | Rule::index | Rule::field => "an operator",
        Rule::neg | Rule::not_ => "an expression",
        _ => OTHER,
    }
}

struct Builder {
    file: FileId,
    offset: usize,
    attributes: RefCell<Vec<Attribute>>,
}

impl Builder {
    fn span(&self, pair: &Pair<Rule>) -> Span {
        let span = pair.as_span();
        let text = span.as_str().trim_end();
        Span::new(self.file, self.offset + span.start(), self.offset + span.start() + text.len())
    }

    fn error<T>(&self, span: Span, message: impl Into<String>) -> Result<T> {
        Err(Box::new(Diagnostic::new(Code::SYNTAX, span, message)))
    }

    fn name(&self, pair: &Pair<Rule>) -> Name {
        Name { text: pair.as_str().trim().to_string(), span: self.span(pair) }
    }

    fn file(&self, pair: Pair<Rule>) -> Result<File> {
        for attr in pair.clone().into_inner().flatten().filter(|p| p.as_rule() == Rule::attr) {
            let attribute = self.attribute(attr)?;
            self.attributes.borrow_mut().push(attribute);
        }
        let items = pair.into_inner().filter(|p| p.as_rule() == Rule::item);
        let items = items.map(|p| self.item(p)).collect::<Result<_>>()?;
        Ok(File { items, attributes: self.attributes.take() })
    }

    fn attribute(&self, pair: Pair<Rule>) -> Result<Attribute> {
        let name = self.name(&find(&pair, Rule::path));
        let args = pair.into_inner().find(|p| p.as_rule() == Rule::args);
        Ok(Attribute { name, args: args.map_or(Ok(vec![]), |a| self.args(a))? })
    }

    fn item(&self, pair: Pair<Rule>) -> Result<Item> {
        let span = self.span(&pair);
        let mut doc = vec![];
        let mut end = pair.as_span().start();
        for inner in pair.into_inner() {
            // What stands before a blank line documents the file.
            let place = inner.as_span();
            if place.get_input().get(end..place.start()).is_some_and(|gap| gap.matches('\n').count() > 1) {
                doc.clear();
            }
            end = place.end();
            let kind = match inner.as_rule() {
                Rule::doc => {
                    doc.push(inner.as_str()[2..].trim().to_string());
                    continue;
                }
                Rule::attr | Rule::k_item => continue,
                Rule::import => self.import(inner),
                Rule::const_def => {
                    let name = self.name(&find(&inner, Rule::ident));
                    let ty = inner.clone().into_inner().find(|p| p.as_rule() == Rule::ty);
                    let ty = ty.map(|t| self.ty(t)).transpose()?;
                    ItemKind::Const { name, ty, value: self.expr(find(&inner, Rule::expr))? }
                }
                Rule::type_def => {
                    ItemKind::Type { name: self.name(&find(&inner, Rule::ident)), ty: self.ty(find(&inner, Rule::ty))? }
                }
                Rule::fn_def => ItemKind::Fn(self.function(inner)?),
                Rule::layer_def => ItemKind::Layer(self.module(inner)?),
                Rule::model_def => self.model(inner)?,
                Rule::kernel_def => ItemKind::Kernel(self.kernel(inner)?),
                Rule::extern_def => ItemKind::Extern(self.extern_def(inner)?),
                Rule::train_def => ItemKind::Train(self.train(inner)?),
                Rule::weights_def => ItemKind::Weights(self.weights(inner)?),
                rule => unreachable!("the grammar puts no {rule:?} in an item"),
            };
            return Ok(Item { span, doc, kind });
        }
        self.error(span, "expected an item")
    }

    fn import(&self, pair: Pair<Rule>) -> ItemKind {
        let (mut path, mut names, mut alias, mut is_file) = (String::new(), vec![], None, false);
        for p in pair.into_inner() {
            match p.as_rule() {
                Rule::string => {
                    path = p.as_str().trim_matches('"').to_string();
                    is_file = true;
                }
                Rule::path => path = p.as_str().to_string(),
                Rule::import_names => names = p.into_inner().map(|n| self.name(&n)).collect(),
                _ => alias = Some(self.name(&p)),
            }
        }
        ItemKind::Import { path, is_file, names, alias }
    }

    fn function(&self, pair: Pair<Rule>) -> Result<Function> {
        let span = self.span(&pair);
        let mut f = Function {
            name: Name { text: String::new(), span },
            params: vec![],
            result: None,
            facts: vec![],
            body: Block { span, stmts: vec![] },
        };
        for p in pair.into_inner() {
            match p.as_rule() {
                Rule::ident => f.name = self.name(&p),
                Rule::params => f.params = self.params(p)?,
                Rule::ty => f.result = Some(self.ty(p)?),
                Rule::where_ => f.facts = self.facts(p)?,
                Rule::expr => f.body = self.expr_block(p)?,
                Rule::block => f.body = self.block(p)?,
                _ => {}
            }
        }
        Ok(f)
    }

    fn module(&self, pair: Pair<Rule>) -> Result<Module> {
        let span = self.span(&pair);
        let mut lists = vec![];
        let mut name = Name { text: String::new(), span };
        let (mut result, mut facts, mut body, mut members) = (None, vec![], None, None);
        for p in pair.into_inner() {
            match p.as_rule() {
                Rule::ident => name = self.name(&p),
                Rule::params => lists.push(self.params(p)?),
                Rule::ty => result = Some(self.ty(p)?),
                Rule::where_ => facts = self.facts(p)?,
                Rule::expr => body = Some(self.expr_block(p)?),
                Rule::block => body = Some(self.block(p)?),
                Rule::members => {
                    let inner = p.into_inner().filter(|m| m.as_rule() == Rule::member);
                    members = Some(inner.map(|m| self.member(m)).collect::<Result<Vec<_>>>()?);
                }
                _ => {}
            }
        }
        if let Some(members) = members {
            return Ok(Module { name, config: lists.pop(), form: Form::Members { facts, members } });
        }
        let params = lists.pop().unwrap_or_default();
        let body = body.unwrap_or(Block { span, stmts: vec![] });
        let function = Function { name: name.clone(), params, result, facts, body };
        Ok(Module { name, config: lists.pop(), form: Form::Function(function) })
    }

    fn model(&self, pair: Pair<Rule>) -> Result<ItemKind> {
        let alias = {
            let mut inner = pair.clone().into_inner();
            let name = inner.next().map(|p| self.name(&p));
            match (name, inner.next()) {
                (Some(name), Some(value)) if value.as_rule() == Rule::expr => Some((name, value)),
                _ => None,
            }
        };
        match alias {
            Some((name, value)) => Ok(ItemKind::ModelAlias { name, value: self.expr(value)? }),
            None => Ok(ItemKind::Model(self.module(pair)?)),
        }
    }

    fn member(&self, pair: Pair<Rule>) -> Result<Member> {
        let span = self.span(&pair);
        for p in pair.into_inner() {
            return Ok(match p.as_rule() {
                Rule::storage => Member::Storage(self.storage(p)?),
                Rule::fn_def => Member::Fn(self.function(p)?),
                Rule::entry_def => Member::Entry(self.function(p)?),
                Rule::bind => Member::Bind(self.bind(p)?),
                _ => continue,
            });
        }
        self.error(span, "expected a member")
    }

    fn extern_def(&self, pair: Pair<Rule>) -> Result<Extern> {
        let word = pair.as_str().trim_start_matches("extern").trim_start();
        let kind = match () {
            _ if word.starts_with("kernel") => ExternKind::Kernel,
            _ if word.starts_with("data") => ExternKind::Data,
            _ => ExternKind::Train,
        };
        let name = self.name(&find(&pair, Rule::ident));
        let result = self.ty(find(&pair, Rule::ty))?;
        let mut e = Extern { kind, name, params: vec![], result, facts: vec![], binding: None };
        for p in pair.into_inner() {
            match p.as_rule() {
                Rule::params => e.params = self.params(p)?,
                Rule::where_ => e.facts = self.facts(p)?,
                Rule::expr => e.binding = Some(self.expr(p)?),
                _ => {}
            }
        }
        Ok(e)
    }

    fn train(&self, pair: Pair<Rule>) -> Result<Train> {
        let mut train = Train { name: self.name(&find(&pair, Rule::ident)), config: vec![], items: vec![] };
        for p in pair.into_inner() {
            match p.as_rule() {
                Rule::params => train.config = self.params(p)?,
                Rule::t_item => train.items.push(self.train_item(p)?),
                _ => {}
            }
        }
        Ok(train)
    }

    fn train_item(&self, pair: Pair<Rule>) -> Result<TrainItem> {
        let mut inner = pair.into_inner().filter(|p| !matches!(p.as_rule(), Rule::doc | Rule::attr));
        let item = inner.next().expect("an item of a train block has content");
        let span = self.span(&item);
        let kind = match item.as_rule() {
            Rule::t_data => TrainKind::Data {
                name: self.name(&find(&item, Rule::ident)),
                value: self.expr(find(&item, Rule::expr))?,
            },
            Rule::t_step => TrainKind::Step(Box::new(self.step(item)?)),
            Rule::t_metric => {
                let names: Vec<Name> =
                    item.clone().into_inner().filter(|p| p.as_rule() == Rule::ident).map(|p| self.name(&p)).collect();
                let [name, batch, stream] = <[Name; 3]>::try_from(names).expect("the grammar demands three names");
                TrainKind::Metric { name, batch, stream, value: self.expr(find(&item, Rule::expr))? }
            }
            Rule::bind => TrainKind::Bind(self.bind(item)?),
            _ => TrainKind::Rule(self.expr(item)?),
        };
        Ok(TrainItem { span, kind })
    }

    fn step(&self, pair: Pair<Rule>) -> Result<Step> {
        let (mut names, mut exprs, mut options, mut body) = (vec![], vec![], vec![], None);
        for p in pair.into_inner() {
            match p.as_rule() {
                Rule::ident => names.push(self.name(&p)),
                Rule::expr => exprs.push(self.expr(p)?),
                Rule::named => {
                    let name = self.name(&find(&p, Rule::word));
                    options.push(Arg { name: Some(name), value: self.expr(find(&p, Rule::expr))? });
                }
                _ => body = Some(self.block(p)?),
            }
        }
        let demanded = "the grammar demands them";
        let (stream, batch) = (names.pop().expect(demanded), names.pop().expect(demanded));
        let (optimiser, updates) = (exprs.pop().expect(demanded), exprs.pop().expect(demanded));
        let body = body.expect(demanded);
        Ok(Step { name: names.pop(), batch, stream, updates, optimiser, options, body })
    }

    fn kernel(&self, pair: Pair<Rule>) -> Result<Kernel> {
        let span = self.span(&pair);
        let mut name = Name { text: String::new(), span };
        let (mut params, mut result, mut facts, mut equations, mut grad) = (vec![], None, vec![], vec![], None);
        for p in pair.into_inner() {
            match p.as_rule() {
                Rule::ident => name = self.name(&p),
                Rule::params => params = self.params(p)?,
                Rule::ty => result = Some(self.ty(p)?),
                Rule::where_ => facts = self.facts(p)?,
                Rule::equations => equations = self.equations(p)?,
                Rule::grad => {
                    grad = Some(KernelGrad {
                        span: self.span(&p),
                        params: self.params(find(&p, Rule::params))?,
                        equations: self.equations(find(&p, Rule::equations))?,
                    });
                }
                _ => {}
            }
        }
        match result {
            Some(result) => Ok(Kernel { name, params, result, facts, equations, grad }),
            None => self.error(span, "a kernel states its result type"),
        }
    }

    fn equations(&self, pair: Pair<Rule>) -> Result<Vec<Equation>> {
        pair.into_inner().filter(|e| e.as_rule() == Rule::equation).map(|e| self.equation(e)).collect()
    }

    fn equation(&self, pair: Pair<Rule>) -> Result<Equation> {
        let span = self.span(&pair);
        let mut e = Equation {
            target: Name { text: String::new(), span },
            indices: vec![],
            accumulate: false,
            value: Expr { span, kind: ExprKind::None },
        };
        for p in pair.into_inner() {
            match p.as_rule() {
                Rule::ident => e.target = self.name(&p),
                Rule::indices => e.indices = self.indices(p)?,
                Rule::eq_op => e.accumulate = p.as_str() == "+=",
                Rule::expr => e.value = self.expr(p)?,
                _ => {}
            }
        }
        Ok(e)
    }

    fn weights(&self, pair: Pair<Rule>) -> Result<Weights> {
        let mut names = vec![];
        let mut rules = vec![];
        for p in pair.into_inner() {
            match p.as_rule() {
                Rule::ident => names.push(self.name(&p)),
                Rule::w_rule => rules.push(self.weight_rule(p)?),
                _ => {}
            }
        }
        let model = names.pop().expect("the grammar demands two names");
        let name = names.pop().expect("the grammar demands two names");
        Ok(Weights { name, model, rules })
    }

    fn weight_rule(&self, pair: Pair<Rule>) -> Result<WeightRule> {
        let span = self.span(&pair);
        let mut rule = WeightRule { span, from: vec![], to: None, adapt: vec![] };
        let text = |p: &Pair<Rule>| p.as_str().trim_matches('"').to_string();
        for p in pair.into_inner() {
            match p.as_rule() {
                Rule::string if rule.from.is_empty() => rule.from.push(text(&p)),
                Rule::string => rule.to = Some(text(&p)),
                Rule::list => {
                    for item in p.into_inner() {
                        let item = self.expr(item)?;
                        match &item.kind {
                            ExprKind::Str(parts) => rule.from.push(plain(parts)),
                            _ => return self.error(item.span, "expected a string: a pattern of tensor names"),
                        }
                    }
                }
                Rule::stage_tail => {
                    let stage = p.into_inner().next().expect("a stage follows `|>`");
                    rule.adapt.push(self.postfixed(stage)?);
                }
                _ => {}
            }
        }
        Ok(rule)
    }

    fn params(&self, pair: Pair<Rule>) -> Result<Vec<Param>> {
        pair.into_inner().map(|p| self.param(p)).collect()
    }

    fn param(&self, pair: Pair<Rule>) -> Result<Param> {
        let span = self.span(&pair);
        let mut param = Param { name: Name { text: String::new(), span }, outer: None, ty: None, default: None };
        for p in pair.into_inner() {
            match p.as_rule() {
                Rule::ident => param.name = self.name(&p),
                Rule::outer => param.outer = p.into_inner().last().map(|o| o.as_str().trim_matches('"').to_string()),
                Rule::ty => param.ty = Some(self.ty(p)?),
                Rule::expr => param.default = Some(self.expr(p)?),
                _ => {}
            }
        }
        Ok(param)
    }

    fn facts(&self, pair: Pair<Rule>) -> Result<Vec<Fact>> {
        let fact = |p: Pair<Rule>| {
            let inner = p.into_inner().next().expect("a fact has a rule");
            match inner.as_rule() {
                Rule::dim_def => {
                    let name = self.name(&find(&inner, Rule::ident));
                    Ok(Fact::Define { name, value: self.expr(find(&inner, Rule::expr))? })
                }
                _ => Ok(Fact::Holds(self.expr(inner)?)),
            }
        };
        pair.into_inner().map(fact).collect()
    }

    fn ty(&self, pair: Pair<Rule>) -> Result<Ty> {
        let span = self.span(&pair);
        let mut kind = None;
        let mut optional = false;
        for p in pair.into_inner() {
            match p.as_rule() {
                Rule::optional => optional = true,
                Rule::ty_tensor => {
                    let (mut elem, mut dims) = (None, vec![]);
                    for d in p.into_inner() {
                        match d.as_rule() {
                            Rule::ident => elem = Some(self.name(&d)),
                            _ => dims.push(self.dim(d)?),
                        }
                    }
                    kind = Some(TyKind::Tensor { elem, dims });
                }
                Rule::ty_name => {
                    let mut inner = p.into_inner();
                    let path = inner.next().map(|p| p.as_str().trim().to_string()).unwrap_or_default();
                    let arguments = inner.map(|t| self.ty(t)).collect::<Result<_>>()?;
                    kind = Some(TyKind::Named { path, arguments });
                }
                Rule::ty_tuple => {
                    let mut fields = vec![];
                    for field in p.into_inner() {
                        let (mut name, mut ty) = (None, None);
                        for f in field.into_inner() {
                            match f.as_rule() {
                                Rule::ty => ty = Some(self.ty(f)?),
                                _ => name = Some(f.as_str().trim_matches('"').to_string()),
                            }
                        }
                        fields.push((name, ty.expect("a field has a type")));
                    }
                    kind = Some(TyKind::Tuple(fields));
                }
                _ => {}
            }
        }
        match kind {
            Some(kind) => Ok(Ty { span, kind, optional }),
            None => self.error(span, "expected a type"),
        }
    }

    fn dim(&self, pair: Pair<Rule>) -> Result<DimTy> {
        let inner = pair.into_inner().next().expect("a dim has a rule");
        Ok(match inner.as_rule() {
            Rule::shape_var => DimTy::Shape(self.name(&inner.into_inner().next().expect("`..` is followed by a name"))),
            Rule::hole_dim => DimTy::Hole(self.span(&inner)),
            _ => DimTy::Expr(self.expr(inner)?),
        })
    }

    fn block(&self, pair: Pair<Rule>) -> Result<Block> {
        let span = self.span(&pair);
        let stmts =
            pair.into_inner().filter(|p| p.as_rule() == Rule::stmt).map(|p| self.stmt(p)).collect::<Result<_>>()?;
        Ok(Block { span, stmts })
    }

    fn expr_block(&self, pair: Pair<Rule>) -> Result<Block> {
        let expr = self.expr(pair)?;
        let span = expr.span;
        Ok(Block { span, stmts: vec![Stmt { span, kind: StmtKind::Expr(expr) }] })
    }

    fn stmt(&self, pair: Pair<Rule>) -> Result<Stmt> {
        let span = self.span(&pair);
        for p in pair.into_inner() {
            let kind = match p.as_rule() {
                Rule::storage => StmtKind::Storage(self.storage(p)?),
                Rule::for_ => {
                    let (mut pattern, mut over, mut body) = (None, None, None);
                    for f in p.into_inner() {
                        match f.as_rule() {
                            Rule::pattern => pattern = Some(self.pattern(f)),
                            Rule::opexpr => over = Some(self.opexpr(f)?),
                            Rule::block => body = Some(self.block(f)?),
                            _ => {}
                        }
                    }
                    match (pattern, over, body) {
                        (Some(pattern), Some(over), Some(body)) => StmtKind::For { pattern, over, body },
                        _ => return self.error(span, "expected for NAME in RANGE { … }"),
                    }
                }
                Rule::bind => StmtKind::Bind(self.bind(p)?),
                Rule::action => {
                    let mut inner = p.into_inner();
                    let first = self.expr(inner.next().expect("an action has an expression"))?;
                    match inner.next() {
                        Some(value) => StmtKind::Update { target: first, value: self.expr(value)? },
                        None => StmtKind::Expr(first),
                    }
                }
                _ => continue,
            };
            return Ok(Stmt { span, kind });
        }
        self.error(span, "expected a statement")
    }

    fn storage(&self, pair: Pair<Rule>) -> Result<Storage> {
        let span = self.span(&pair);
        let (mut kind, mut name, mut outer, mut ty, mut init) = (StorageKind::Param, None, None, None, None);
        for p in pair.into_inner() {
            match p.as_rule() {
                Rule::store_kind => {
                    kind = match p.as_str().trim() {
                        "state" => StorageKind::State,
                        "cache" => StorageKind::Cache,
                        _ => StorageKind::Param,
                    }
                }
                Rule::ident => name = Some(self.name(&p)),
                Rule::outer => {
                    let o = p.into_inner().last().expect("`as` is followed by a name");
                    outer = Some(match o.as_rule() {
                        Rule::string => self.primary_of(o)?,
                        _ => {
                            let part = StrPart::Text(o.as_str().to_string());
                            Expr { span: self.span(&o), kind: ExprKind::Str(vec![part]) }
                        }
                    });
                }
                Rule::ty => ty = Some(self.ty(p)?),
                Rule::expr => init = Some(self.expr(p)?),
                _ => {}
            }
        }
        match (name, ty) {
            (Some(name), Some(ty)) => Ok(Storage { kind, name, outer, ty, init }),
            _ => self.error(span, "expected NAME: TYPE"),
        }
    }

    fn bind(&self, pair: Pair<Rule>) -> Result<Bind> {
        let span = self.span(&pair);
        let (mut pattern, mut ty, mut op, mut value) = (None, None, None, None);
        for p in pair.into_inner() {
            match p.as_rule() {
                Rule::pattern => pattern = Some(self.pattern(p)),
                Rule::ty => ty = Some(self.ty(p)?),
                Rule::assign_op => {
                    op = match p.as_str().trim() {
                        "+=" => Some(BinaryOp::Add),
                        "-=" => Some(BinaryOp::Sub),
                        "*=" => Some(BinaryOp::Mul),
                        "/=" => Some(BinaryOp::Div),
                        _ => None,
                    }
                }
                Rule::expr => value = Some(self.expr(p)?),
                _ => {}
            }
        }
        match (pattern, value) {
            (Some(pattern), Some(value)) => Ok(Bind { pattern, ty, op, value }),
            _ => self.error(span, "expected NAME = VALUE"),
        }
    }

    fn pattern(&self, pair: Pair<Rule>) -> Pattern {
        let span = self.span(&pair);
        let inner: Vec<Pair<Rule>> = pair.into_inner().collect();
        match &inner[..] {
            [one] if one.as_rule() == Rule::ident => Pattern::Name(self.name(one)),
            _ => Pattern::Tuple(inner.into_iter().map(|p| self.pattern(p)).collect(), span),
        }
    }

    fn expr(&self, pair: Pair<Rule>) -> Result<Expr> {
        let span = self.span(&pair);
        let mut inner = pair.into_inner();
        let first = inner.next().expect("an expression has content");
        if first.as_rule() == Rule::lambda {
            return self.lambda(first);
        }
        let source = self.opexpr(first)?;
        let stages = inner.map(|p| self.stage(p)).collect::<Result<Vec<_>>>()?;
        match stages.is_empty() {
            true => Ok(source),
            false => Ok(Expr { span, kind: ExprKind::Pipe { source: Box::new(source), stages } }),
        }
    }

    fn lambda(&self, pair: Pair<Rule>) -> Result<Expr> {
        let span = self.span(&pair);
        let (mut params, mut body) = (vec![], None);
        for p in pair.into_inner() {
            match p.as_rule() {
                Rule::ident => params.push(self.name(&p)),
                Rule::block => body = Some(self.block(p)?),
                Rule::expr => body = Some(self.expr_block(p)?),
                _ => {}
            }
        }
        let body = body.unwrap_or(Block { span, stmts: vec![] });
        Ok(Expr { span, kind: ExprKind::Lambda { params, body } })
    }

    fn stage(&self, pair: Pair<Rule>) -> Result<Stage> {
        let span = self.span(&pair);
        let mut parts = vec![];
        for p in pair.into_inner() {
            match p.as_rule() {
                Rule::attr => {}
                Rule::kw_label => parts.push(self.keyword_label(p)?),
                _ => parts.push(self.postfixed(p)?),
            }
        }
        let call = parts.pop().expect("a stage has a call");
        Ok(Stage { span, label: parts.pop(), call })
    }

    fn keyword_label(&self, pair: Pair<Rule>) -> Result<Expr> {
        let mut inner = pair.into_inner();
        let word = inner.next().expect("a label starts with a word");
        let base = Expr { span: self.span(&word), kind: ExprKind::Name(word.as_str().trim().to_string()) };
        self.postfixes(base, inner)
    }

    fn opexpr(&self, pair: Pair<Rule>) -> Result<Expr> {
        let binary = |left: Result<Expr>, op: Pair<Rule>, right: Result<Expr>| {
            let (left, right) = (left?, right?);
            let op = match op.as_rule() {
                Rule::or_ => BinaryOp::Or,
                Rule::and_ => BinaryOp::And,
                Rule::eq => BinaryOp::Eq,
                Rule::ne => BinaryOp::Ne,
                Rule::le => BinaryOp::Le,
                Rule::ge => BinaryOp::Ge,
                Rule::lt => BinaryOp::Lt,
                Rule::gt => BinaryOp::Gt,
                Rule::range => BinaryOp::Range,
                Rule::add => BinaryOp::Add,
                Rule::sub => BinaryOp::Sub,
                Rule::mul => BinaryOp::Mul,
                Rule::div => BinaryOp::Div,
                Rule::floordiv => BinaryOp::FloorDiv,
                Rule::rem => BinaryOp::Rem,
                Rule::matmul => BinaryOp::Matmul,
                _ => BinaryOp::Pow,
            };
            if chains(op)
                && matches!(&left.kind, ExprKind::Binary { op: l, .. } if chains(*l))
                && !self.bracketed(&left)
            {
                return self.error(left.span.to(right.span), "comparisons do not chain; write a < b and b < c");
            }
            let span = left.span.to(right.span);
            Ok(Expr { span, kind: ExprKind::Binary { op, left: Box::new(left), right: Box::new(right) } })
        };
        let prefix = |op: Pair<Rule>, operand: Result<Expr>| {
            let operand = operand?;
            let span = self.span(&op).to(operand.span);
            let op = if op.as_rule() == Rule::neg { UnaryOp::Neg } else { UnaryOp::Not };
            Ok(Expr { span, kind: ExprKind::Unary { op, operand: Box::new(operand) } })
        };
        PRATT.map_primary(|p| self.postfixed(p)).map_prefix(prefix).map_infix(binary).parse(pair.into_inner())
    }

    /// Brackets leave no node; their comparison starts before its left operand.
    fn bracketed(&self, e: &Expr) -> bool {
        matches!(&e.kind, ExprKind::Binary { left, .. } if left.span.start > e.span.start)
    }

    fn postfixed(&self, pair: Pair<Rule>) -> Result<Expr> {
        let mut inner = pair.into_inner();
        let base = self.primary(inner.next().expect("a chain starts with a primary"))?;
        self.postfixes(base, inner)
    }

    fn postfixes(&self, base: Expr, pairs: Pairs<Rule>) -> Result<Expr> {
        let mut e = base;
        for p in pairs {
            let span = e.span.to(self.span(&p));
            let kind = match p.as_rule() {
                Rule::call => {
                    let args = p.into_inner().next().expect("a call has arguments");
                    ExprKind::Call { callee: Box::new(e), args: self.args(args)? }
                }
                Rule::index => {
                    let indices = p.into_inner().next().expect("an index has items");
                    ExprKind::Index { base: Box::new(e), items: self.indices(indices)? }
                }
                Rule::field => {
                    let name = p.into_inner().next().expect("a field has a name");
                    let text = name.as_str().trim_matches('"').to_string();
                    ExprKind::Field { base: Box::new(e), name: Name { text, span: self.span(&name) } }
                }
                _ => continue,
            };
            e = Expr { span, kind };
        }
        Ok(e)
    }

    fn args(&self, pair: Pair<Rule>) -> Result<Vec<Arg>> {
        pair.into_inner().filter(|p| p.as_rule() == Rule::arg).map(|p| self.arg(p)).collect()
    }

    fn arg(&self, pair: Pair<Rule>) -> Result<Arg> {
        let inner = pair.into_inner().next().expect("an argument has a value");
        match inner.as_rule() {
            Rule::named => {
                let name = self.name(&find(&inner, Rule::word));
                Ok(Arg { name: Some(name), value: self.expr(find(&inner, Rule::expr))? })
            }
            _ => Ok(Arg { name: None, value: self.expr(inner)? }),
        }
    }

    fn indices(&self, pair: Pair<Rule>) -> Result<Vec<Ix>> {
        pair.into_inner().map(|p| self.ix(p)).collect()
    }

    fn ix(&self, pair: Pair<Rule>) -> Result<Ix> {
        let span = self.span(&pair);
        let mut inner = pair.into_inner();
        let first = inner.next().expect("an index item has content");
        Ok(match first.as_rule() {
            Rule::ellipsis => Ix::Ellipsis(span),
            Rule::full => Ix::Full(span),
            Rule::group => Ix::Group(self.name(&find(&first, Rule::ident))),
            Rule::slice_to => {
                let to = self.opexpr(first.into_inner().next().expect("`..` is followed by an end"))?;
                Ix::Slice { from: None, to: Some(to), span }
            }
            Rule::each => {
                Ix::Each { name: self.name(&find(&first, Rule::ident)), over: self.expr(find(&first, Rule::expr))? }
            }
            _ => {
                let value = self.expr(first)?;
                match (inner.next(), value.kind) {
                    (Some(_), kind) => Ix::Slice { from: Some(Expr { span: value.span, kind }), to: None, span },
                    (None, ExprKind::Binary { op: BinaryOp::Range, left, right }) => {
                        Ix::Slice { from: Some(*left), to: Some(*right), span }
                    }
                    (None, kind) => Ix::At(Expr { span: value.span, kind }),
                }
            }
        })
    }

    fn primary(&self, pair: Pair<Rule>) -> Result<Expr> {
        let inner = pair.into_inner().next().expect("a primary has content");
        self.primary_of(inner)
    }

    fn primary_of(&self, pair: Pair<Rule>) -> Result<Expr> {
        let span = self.span(&pair);
        let kind = match pair.as_rule() {
            Rule::int => {
                let text = pair.as_str().trim().replace('_', "");
                let value = match text.strip_prefix("0x") {
                    Some(hex) => i64::from_str_radix(hex, 16),
                    None => text.parse(),
                };
                match value {
                    Ok(n) => ExprKind::Int(n),
                    Err(_) => return self.error(span, "this number does not fit 64 bits"),
                }
            }
            Rule::float => match pair.as_str().trim().replace('_', "").parse() {
                Ok(x) => ExprKind::Float(x),
                Err(_) => return self.error(span, "this is not a number"),
            },
            Rule::string => ExprKind::Str(self.string(pair)?),
            Rule::bool => ExprKind::Bool(pair.as_str().trim() == "true"),
            Rule::none => ExprKind::None,
            Rule::ident => ExprKind::Name(pair.as_str().trim().to_string()),
            Rule::list => self.list(pair)?,
            Rule::tuple => {
                let mut args = vec![];
                let mut trailing = false;
                for p in pair.into_inner() {
                    match p.as_rule() {
                        Rule::arg => args.push(self.arg(p)?),
                        Rule::trailing => trailing = true,
                        _ => {}
                    }
                }
                match &args[..] {
                    [Arg { name: None, value }] if !trailing => {
                        return Ok(Expr { span, kind: value.kind.clone() });
                    }
                    _ => ExprKind::Tuple(args),
                }
            }
            Rule::if_ => self.if_(pair)?,
            Rule::scan_ => self.scan(pair)?,
            rule => unreachable!("the grammar puts no {rule:?} in a primary"),
        };
        Ok(Expr { span, kind })
    }

    fn string(&self, pair: Pair<Rule>) -> Result<Vec<StrPart>> {
        let mut parts = vec![];
        for p in pair.into_inner() {
            match p.as_rule() {
                Rule::hole => parts.push(StrPart::Hole(self.expr(find(&p, Rule::expr))?)),
                _ => {
                    let mut text = String::new();
                    let mut chars = p.as_str().chars();
                    while let Some(c) = chars.next() {
                        match (c, c == '\\') {
                            (_, true) => match chars.next() {
                                Some('n') => text.push('\n'),
                                Some('t') => text.push('\t'),
                                Some(other) => text.push(other),
                                None => {}
                            },
                            (c, _) => text.push(c),
                        }
                    }
                    parts.push(StrPart::Text(text));
                }
            }
        }
        Ok(parts)
    }

    fn list(&self, pair: Pair<Rule>) -> Result<ExprKind> {
        let span = self.span(&pair);
        let inner: Vec<Pair<Rule>> = pair.into_inner().collect();
        if inner.iter().any(|p| p.as_rule() == Rule::each) {
            return self.error(span, "`i in …` stands in labels only; a list is written [e for i in …]");
        }
        match inner.iter().position(|p| p.as_rule() == Rule::pattern) {
            Some(at) => Ok(ExprKind::ListFor {
                value: Box::new(self.expr(inner[0].clone())?),
                pattern: self.pattern(inner[at].clone()),
                over: Box::new(self.expr(inner[inner.len() - 1].clone())?),
            }),
            None => Ok(ExprKind::List(inner.into_iter().map(|p| self.expr(p)).collect::<Result<_>>()?)),
        }
    }

    fn if_(&self, pair: Pair<Rule>) -> Result<ExprKind> {
        let span = self.span(&pair);
        let (mut condition, mut then, mut otherwise) = (None, None, None);
        for p in pair.into_inner() {
            match p.as_rule() {
                Rule::opexpr => condition = Some(Box::new(self.opexpr(p)?)),
                Rule::block if then.is_none() => then = Some(self.block(p)?),
                Rule::block => otherwise = Some(Box::new(Else::Block(self.block(p)?))),
                Rule::if_ => {
                    let span = self.span(&p);
                    otherwise = Some(Box::new(Else::If(Expr { span, kind: self.if_(p)? })));
                }
                _ => {}
            }
        }
        match (condition, then) {
            (Some(condition), Some(then)) => Ok(ExprKind::If { condition, then, otherwise }),
            _ => self.error(span, "expected if CONDITION { … }"),
        }
    }

    fn scan(&self, pair: Pair<Rule>) -> Result<ExprKind> {
        let span = self.span(&pair);
        let (mut carry, mut pattern, mut exprs, mut reversed, mut body) = (vec![], None, vec![], false, None);
        for p in pair.into_inner() {
            match p.as_rule() {
                Rule::args => carry = self.args(p)?,
                Rule::pattern => pattern = Some(self.pattern(p)),
                Rule::opexpr => exprs.push(self.opexpr(p)?),
                Rule::reversed => reversed = true,
                Rule::block => body = Some(self.block(p)?),
                _ => {}
            }
        }
        let mut exprs = exprs.into_iter();
        match (pattern, exprs.next(), body) {
            (Some(pattern), Some(over), Some(body)) => {
                Ok(ExprKind::Scan(Box::new(Scan { carry, pattern, over, along: exprs.next(), reversed, body })))
            }
            _ => self.error(span, "expected scan (h = h0) for x in xs { … }"),
        }
    }
}

fn chains(op: BinaryOp) -> bool {
    use BinaryOp::*;
    matches!(op, Eq | Ne | Le | Ge | Lt | Gt | Range)
}

fn plain(parts: &[StrPart]) -> String {
    let text = |p: &StrPart| match p {
        StrPart::Text(t) => t.clone(),
        StrPart::Hole(_) => String::new(),
    };
    parts.iter().map(text).collect()
}

fn find<'i>(pair: &Pair<'i, Rule>, rule: Rule) -> Pair<'i, Rule> {
    pair.clone().into_inner().find(|p| p.as_rule() == rule).expect("the grammar demands it")
}
