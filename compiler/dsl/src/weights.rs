//! `weights` blocks: from the names of tensors in a file to the names of a model.

use crate::ast::{self, Expr, ExprKind};
use crate::elaborate::Stored;
use diag::{Code, Diagnostic, Span};
use graph::{Dim, Storage};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

type Result<T> = std::result::Result<T, Box<Diagnostic>>;

/// The rules of one `weights` block. Without rules, names must be equal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Rule {
    /// Several are parts of one tensor.
    from: Vec<Pattern>,
    /// `None` drops what matches.
    to: Option<Pattern>,
    adapt: Vec<Adapt>,
}

/// What is done to a tensor of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Adapt {
    /// Swaps the last two axes.
    Transpose,
    Reshape(Vec<i64>),
    /// Joins the parts along an axis; the first step where there are several.
    Concat(usize),
}

/// A tensor of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileTensor {
    pub name: String,
    pub shape: Vec<i64>,
}

/// Where a stored tensor of the model comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub stored: String,
    /// Names in the file.
    pub from: Vec<String>,
    /// Steps, in order.
    pub adapt: Vec<Adapt>,
}

/// `a.weight, b.weight |> concat(0)`
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.from.join(", "))?;
        self.adapt.iter().try_for_each(|adapt| match adapt {
            Adapt::Transpose => f.write_str(" |> transpose"),
            Adapt::Reshape(dims) => write!(f, " |> reshape({dims:?})"),
            Adapt::Concat(axis) => write!(f, " |> concat({axis})"),
        })
    }
}

/// Why a file does not fit: everything at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// What the model needs and the file lacks, with the nearest unused name of the file.
    pub missing: Vec<(String, Option<String>)>,
    /// What the file has and the model does not take.
    pub unused: Vec<String>,
    /// What has another shape than the model's: name, expected, found.
    pub misshaped: Vec<(String, Vec<i64>, Vec<i64>)>,
    /// Model tensors that several tensors of the file are for, and those.
    pub doubled: Vec<(String, Vec<String>)>,
    /// Rules that would match what is missing.
    pub rules: Vec<String>,
}

/// Names with `*` for any run of characters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Pattern {
    /// The text between the stars.
    parts: Vec<String>,
}

impl Pattern {
    fn new(text: &str) -> Pattern {
        Pattern { parts: text.split('*').map(str::to_string).collect() }
    }

    fn stars(&self) -> usize {
        self.parts.len() - 1
    }

    /// What the stars stand for in `name`, each as short as it can be.
    fn captures(&self, name: &str) -> Option<Vec<String>> {
        fn rest(parts: &[String], name: &str, captures: &mut Vec<String>) -> bool {
            let [part, more @ ..] = parts else { return name.is_empty() };
            if more.is_empty() {
                let Some(capture) = name.strip_suffix(part.as_str()) else { return false };
                captures.push(capture.to_string());
                return true;
            }
            let places: Vec<usize> = match part.is_empty() {
                true => name.char_indices().map(|(i, _)| i).chain([name.len()]).collect(),
                false => name.match_indices(part.as_str()).map(|(i, _)| i).collect(),
            };
            for at in places {
                captures.push(name[..at].to_string());
                if rest(more, &name[at + part.len()..], captures) {
                    return true;
                }
                captures.pop();
            }
            false
        }
        let (first, parts) = self.parts.split_first()?;
        let name = name.strip_prefix(first.as_str())?;
        let mut captures = vec![];
        let matches = if parts.is_empty() { name.is_empty() } else { rest(parts, name, &mut captures) };
        matches.then_some(captures)
    }

    fn fill(&self, captures: &[String]) -> String {
        let mut name = self.parts[0].clone();
        for (capture, part) in captures.iter().zip(&self.parts[1..]) {
            name.push_str(capture);
            name.push_str(part);
        }
        name
    }
}

impl Rules {
    pub(crate) fn new(weights: &ast::Weights) -> Result<Rules> {
        Ok(Rules { rules: weights.rules.iter().map(rule).collect::<Result<_>>()? })
    }

    /// The source of each parameter and state of the model in a file with these tensors, in the order of `stored`.
    pub fn assign(&self, file: &[FileTensor], stored: &[Stored]) -> std::result::Result<Vec<Source>, Mismatch> {
        let needed: Vec<&Stored> = stored.iter().filter(|s| s.storage != Storage::Cache).collect();
        let known: HashSet<&str> = needed.iter().map(|s| s.name.as_str()).collect();
        // The parts of each tensor of the model, by position in the rule's list.
        let mut parts: BTreeMap<String, Vec<(usize, &FileTensor)>> = BTreeMap::new();
        let mut adapts: HashMap<String, (usize, &[Adapt])> = HashMap::new();
        let mut mismatch = Mismatch::default();
        for tensor in file {
            let Some((target, part, count, adapt)) = self.target(&tensor.name) else { continue };
            if !known.contains(target.as_str()) {
                mismatch.unused.push(tensor.name.clone());
                continue;
            }
            adapts.insert(target.clone(), (count, adapt));
            parts.entry(target).or_default().push((part, tensor));
        }
        let mut sources = vec![];
        for want in &needed {
            let mut found = parts.remove(&want.name).unwrap_or_default();
            let (count, adapt) = adapts.get(&want.name).copied().unwrap_or((1, &[]));
            found.sort_by_key(|(part, _)| *part);
            if found.windows(2).any(|w| w[0].0 == w[1].0) {
                let names = found.iter().map(|(_, t)| t.name.clone()).collect();
                mismatch.doubled.push((want.name.clone(), names));
                continue;
            }
            if found.len() < count {
                mismatch.missing.push((want.name.clone(), None));
                mismatch.unused.extend(found.iter().map(|(_, t)| t.name.clone()));
                continue;
            }
            let shapes: Vec<Vec<i64>> = found.iter().map(|(_, t)| t.shape.clone()).collect();
            let expected = shape_of(want);
            let adapted = adapted_shape(shapes.clone(), adapt);
            if adapted.as_ref() != Some(&expected) {
                let actual = adapted.or_else(|| shapes.into_iter().next()).unwrap_or_default();
                mismatch.misshaped.push((want.name.clone(), expected, actual));
                continue;
            }
            let from = found.iter().map(|(_, t)| t.name.clone()).collect();
            sources.push(Source { stored: want.name.clone(), from, adapt: adapt.to_vec() });
        }
        if mismatch.is_empty() {
            return Ok(sources);
        }
        mismatch.find_nearest(file, &needed);
        Err(mismatch)
    }

    /// The model's name for a tensor of the file, which part of it this is, of how many, and what is done to it.
    fn target(&self, name: &str) -> Option<(String, usize, usize, &[Adapt])> {
        for rule in &self.rules {
            for (part, pattern) in rule.from.iter().enumerate() {
                let Some(captures) = pattern.captures(name) else { continue };
                let to = rule.to.as_ref()?;
                return Some((to.fill(&captures), part, rule.from.len(), &rule.adapt));
            }
        }
        Some((name.to_string(), 0, 1, &[]))
    }
}

impl Mismatch {
    fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.unused.is_empty() && self.misshaped.is_empty() && self.doubled.is_empty()
    }

    /// Fills in the nearest names and rules that follow from them. The name nearest to a missing one has the same shape,
    /// then the longest run of equal parts; each is given once.
    fn find_nearest(&mut self, file: &[FileTensor], needed: &[&Stored]) {
        /// Names compared with each other, at most.
        const COMPARED: usize = 1_000_000;
        if self.missing.len() * self.unused.len() > COMPARED {
            return;
        }
        let shapes: HashMap<&str, &[i64]> = file.iter().map(|t| (t.name.as_str(), t.shape.as_slice())).collect();
        let wanted: HashMap<&str, Vec<i64>> = needed.iter().map(|s| (s.name.as_str(), shape_of(s))).collect();
        let mut free: Vec<&String> = self.unused.iter().collect();
        let mut rules: Vec<(String, String)> = vec![];
        for (name, nearest) in &mut self.missing {
            let shape = &wanted[name.as_str()];
            let near = |found: &String| {
                let same_shape = shapes.get(found.as_str()) == Some(&shape.as_slice());
                (same_shape, common(found, name).0)
            };
            // Of equals, the first in the file.
            let best = (0..free.len()).rev().max_by_key(|i| near(free[*i]));
            if let Some(best) = best.filter(|i| near(free[*i]) > (false, 0)) {
                let found = free.remove(best);
                let rule = rename(found, name);
                if !rules.contains(&rule) {
                    rules.push(rule);
                }
                *nearest = Some(found.clone());
            }
        }
        // A rule for each name is no rule.
        if rules.len() <= 6 && (rules.len() < self.missing.len() || self.missing.len() == 1) {
            self.rules = rules.into_iter().map(|(from, to)| format!("\"{from}\" -> \"{to}\"")).collect();
        }
    }

    /// The whole message.
    pub fn message(&self, file: &str, model: &str) -> String {
        format!("error[{}]: {file} does not fit {model}: {self}", Code::WEIGHTS)
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        /// Lines of one kind that are shown.
        const SHOWN: usize = 8;
        let (missing, unused, misshaped) = (self.missing.len(), self.unused.len(), self.misshaped.len());
        writeln!(f, "{missing} missing, {unused} unused, {misshaped} mis-shaped")?;
        let mut lines: Vec<Vec<String>> = vec![vec![]; 4];
        for (name, nearest) in &self.missing {
            let nearest = nearest.as_ref().map_or(String::new(), |n| format!("        nearest in file: {n}"));
            lines[0].push(format!("  missing    {name}{nearest}"));
        }
        lines[1].extend(self.unused.iter().map(|name| format!("  unused     {name}")));
        let misshaped = |(name, expected, found): &(String, Vec<i64>, Vec<i64>)| {
            format!("  mis-shaped {name}        {expected:?} in the model, {found:?} in the file")
        };
        lines[2].extend(self.misshaped.iter().map(misshaped));
        let doubled =
            |(name, from): &(String, Vec<String>)| format!("  doubled    {name}        from {}", from.join(", "));
        lines[3].extend(self.doubled.iter().map(doubled));
        for kind in lines {
            let more = kind.len().saturating_sub(SHOWN);
            for (i, line) in kind.iter().take(SHOWN).enumerate() {
                let last = i + 1 == SHOWN && more > 0;
                writeln!(f, "{line}{}", if last { format!("      … {more} more") } else { String::new() })?;
            }
        }
        if !self.rules.is_empty() {
            writeln!(f, "help: rules that match the missing ones (add to the `weights` block):")?;
            self.rules.iter().try_for_each(|rule| writeln!(f, "      {rule}"))?;
        }
        Ok(())
    }
}

impl std::error::Error for Mismatch {}

/// The longest run of parts that two names share: its length, and where it ends in each.
fn common(a: &str, b: &str) -> (usize, usize, usize) {
    let (a, b): (Vec<&str>, Vec<&str>) = (a.split('.').collect(), b.split('.').collect());
    let mut best = (0, 0, 0);
    let mut row = vec![0usize; b.len() + 1];
    for i in 0..a.len() {
        let mut next = vec![0; b.len() + 1];
        for j in 0..b.len() {
            if a[i] == b[j] {
                next[j + 1] = row[j] + 1;
                best = best.max((next[j + 1], i + 1, j + 1));
            }
        }
        row = next;
    }
    best
}

/// The rule that renames one name to the other: the parts they have in common become a star.
fn rename(from: &str, to: &str) -> (String, String) {
    let (length, i, j) = common(from, to);
    let star = |name: &str, end: usize| {
        let mut parts: Vec<&str> = name.split('.').collect();
        parts.splice(end - length..end, (length > 0).then_some("*"));
        parts.join(".")
    };
    (star(from, i), star(to, j))
}

fn shape_of(stored: &Stored) -> Vec<i64> {
    stored.ty.dims.iter().map(|d| Dim::as_int(d).unwrap_or(-1)).collect()
}

/// The shape after all steps; `None` if a step does not go with it.
fn adapted_shape(parts: Vec<Vec<i64>>, adapt: &[Adapt]) -> Option<Vec<i64>> {
    let mut shapes = parts;
    for step in adapt {
        match step {
            Adapt::Concat(axis) => {
                let (first, rest) = shapes.split_first()?;
                let mut whole = first.clone();
                for other in rest {
                    let same =
                        other.len() == whole.len() && (0..whole.len()).all(|i| i == *axis || other[i] == whole[i]);
                    if !same {
                        return None;
                    }
                    *whole.get_mut(*axis)? += other[*axis];
                }
                shapes = vec![whole];
            }
            Adapt::Transpose => {
                for shape in &mut shapes {
                    let rank = shape.len();
                    if rank < 2 {
                        return None;
                    }
                    shape.swap(rank - 1, rank - 2);
                }
            }
            Adapt::Reshape(to) => {
                for shape in &mut shapes {
                    if shape.iter().product::<i64>() != to.iter().product::<i64>() {
                        return None;
                    }
                    shape.clone_from(to);
                }
            }
        }
    }
    match &shapes[..] {
        [one] => Some(one.clone()),
        _ => None,
    }
}

fn rule(rule: &ast::WeightRule) -> Result<Rule> {
    let from: Vec<Pattern> = rule.from.iter().map(|p| Pattern::new(p)).collect();
    let to = rule.to.as_deref().map(Pattern::new);
    if let Some(to) = &to
        && let Some(pattern) = from.iter().find(|p| p.stars() != to.stars())
    {
        let message = format!(
            "the patterns have {} and {} stars; each `*` on the left fills one on the right",
            pattern.stars(),
            to.stars()
        );
        return Err(Box::new(Diagnostic::new(Code::WEIGHTS, rule.span, message)));
    }
    let adapt: Vec<Adapt> = rule.adapt.iter().map(step).collect::<Result<_>>()?;
    let joins = adapt.iter().filter(|a| matches!(a, Adapt::Concat(_))).count();
    if (from.len() > 1) != (joins == 1) {
        let error = Diagnostic::new(Code::WEIGHTS, rule.span, "several tensors become one by `|> concat(axis)`");
        return Err(Box::new(error.help("[\"*.q.weight\", \"*.k.weight\"] -> \"*.qk.weight\" |> concat(0)")));
    }
    Ok(Rule { from, to, adapt })
}

fn step(e: &Expr) -> Result<Adapt> {
    let (name, args) = match &e.kind {
        ExprKind::Name(name) => (name.as_str(), &[][..]),
        ExprKind::Call { callee, args } => match &callee.kind {
            ExprKind::Name(name) => (name.as_str(), &args[..]),
            _ => ("", &args[..]),
        },
        _ => ("", &[][..]),
    };
    let int = |e: &Expr| match e.kind {
        ExprKind::Int(n) => Some(n),
        _ => None,
    };
    let values: Vec<&Expr> = args.iter().filter(|a| a.name.is_none()).map(|a| &a.value).collect();
    let adapt = match (name, &values[..]) {
        ("transpose", []) => Some(Adapt::Transpose),
        ("reshape", [shape]) => match &shape.kind {
            ExprKind::List(items) => items.iter().map(int).collect::<Option<Vec<_>>>().map(Adapt::Reshape),
            _ => None,
        },
        ("concat", [axis]) => int(axis).and_then(|a| usize::try_from(a).ok()).map(Adapt::Concat),
        _ => None,
    };
    adapt.ok_or_else(|| Box::new(bad_step(e.span)))
}

fn bad_step(span: Span) -> Diagnostic {
    Diagnostic::new(
        Code::WEIGHTS,
        span,
        "a tensor of a file is adapted by transpose, reshape([…]) or concat(axis), with numbers",
    )
}
