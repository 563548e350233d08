//! `rearrange` and `einsum`: patterns of axes become reshapes, transposes and products.

use super::call::Given;
use super::{Elaborator, Result, Val};
use diag::{Code, Diagnostic, Span};
use graph::ops;
use graph::{Dim, Value, Verdict};

/// One side of a `rearrange` pattern: each axis of the tensor is a group of names; a group may be empty.
type Side = Vec<Vec<String>>;

impl Elaborator<'_> {
    /// The pattern and the tensors of a call.
    fn pattern_call(&self, what: &str, args: &[Given], pattern_at: usize, span: Span) -> Result<String> {
        match args.get(pattern_at) {
            Some(Given { name: None, value: Val::Str(text), .. }) => Ok(text.to_string()),
            _ => {
                let example = match what {
                    "rearrange" => r#"rearrange(x, "b (h d) -> b h d", h = 8)"#,
                    _ => r#"einsum("b i, o i -> b o", x, w)"#,
                };
                self.fail(Code::STATIC_TYPE, span, format!("`{what}` takes a pattern in quotes: {example}"))
            }
        }
    }

    fn bad_pattern<T>(&self, span: Span, message: impl Into<String>) -> Result<T> {
        Err(Box::new(Diagnostic::new(Code::PATTERN, span, message)))
    }

    pub(super) fn rearrange(&mut self, args: Vec<Given>, span: Span) -> Result<Val> {
        let pattern = self.pattern_call("rearrange", &args, 1, span)?;
        let at = args[1].span;
        let x = self.tensor(&args[0].value, None, args[0].span)?;
        let Some((left, right)) = pattern.split_once("->") else {
            return self.bad_pattern(at, "a pattern has two sides: \"b (h d) -> b h d\"");
        };
        let (from, to) = match (side(left), side(right)) {
            (Some(from), Some(to)) => (from, to),
            _ => {
                return self.bad_pattern(
                    at,
                    "brackets of a pattern group neighbouring names and are not nested: \"b (h d) -> b h d\"",
                );
            }
        };
        let dims = self.ty(x).dims;
        if from.len() != dims.len() {
            let shape = super::shape::shape_text(&dims);
            return self.bad_pattern(at, format!("`{}` names {} axes; x is {shape}", left.trim(), from.len()));
        }
        let names: Vec<&String> = from.iter().flatten().collect();
        let wanted: Vec<&String> = to.iter().flatten().collect();
        if let Some(name) = names.iter().find(|n| names.iter().filter(|m| m == n).count() > 1) {
            return self.bad_pattern(at, format!("`{name}` stands twice on the left"));
        }
        let lost = names.iter().find(|n| wanted.iter().filter(|w| w == n).count() != 1);
        if let Some(name) = lost.or_else(|| wanted.iter().find(|w| !names.contains(w))) {
            return self.bad_pattern(
                at,
                format!("`{name}` must stand once on each side; `rearrange` neither drops nor repeats axes"),
            );
        }
        let mut sizes: Vec<(String, Dim)> = vec![];
        for given in &args[2..] {
            let Some(name) = &given.name else {
                return self.bad_pattern(given.span, "sizes of names are given as h = 8");
            };
            if !names.iter().any(|n| **n == name.text) {
                return self.bad_pattern(name.span, format!("`{}` does not stand in the pattern", name.text));
            }
            sizes.push((name.text.clone(), self.as_dim(&given.value, given.span)?));
        }
        for (axis, group) in from.iter().enumerate() {
            self.split_axis(axis, group, &dims[axis], &mut sizes, at)?;
        }
        let size = |name: &String| sizes.iter().find(|(n, _)| n == name).map_or(Dim::int(1), |(_, d)| d.clone());
        let split = names.iter().map(|n| size(n)).collect();
        let value = self.reshape(x, split, span)?;
        let order = wanted.iter().filter_map(|w| names.iter().position(|n| n == w)).collect();
        let value = self.transpose(value, order, span)?;
        let merged = to.iter().map(|group| group.iter().map(size).product()).collect();
        self.reshape(value, merged, span).map(Val::Tensor)
    }

    /// Finds the size of the one name of a group that has none yet, and checks the product.
    fn split_axis(
        &self,
        axis: usize,
        group: &[String],
        dim: &Dim,
        sizes: &mut Vec<(String, Dim)>,
        at: Span,
    ) -> Result<()> {
        let size = |name: &String| sizes.iter().find(|(n, _)| n == name).map(|(_, d)| d.clone());
        let known: Dim = group.iter().filter_map(size).product();
        let open: Vec<&String> = group.iter().filter(|n| size(n).is_none()).collect();
        let text = match group {
            [one] => format!("`{one}`"),
            group => format!("`({})`", group.join(" ")),
        };
        let given = |sep: &str| {
            let parts = group.iter().filter_map(|n| {
                size(n).map(|d| if d.to_string() == *n { d.to_string() } else { format!("{n} = {d}") })
            });
            parts.collect::<Vec<_>>().join(sep)
        };
        match open[..] {
            [] => match self.graph.facts.eq(&known, dim) {
                Verdict::Proved => Ok(()),
                _ if group.is_empty() => self.bad_pattern(at, format!("axis {axis} is {dim}, not 1")),
                _ => self.bad_pattern(
                    at,
                    format!("{text} must multiply to axis {axis}, which is {dim}; it gives {known}: {}", given(", ")),
                ),
            },
            [name] => {
                match dim.div(&known).filter(|q| q.is_integral() || self.graph.facts.normalize(q).is_integral()) {
                    Some(quotient) => {
                        sizes.push((name.clone(), quotient));
                        Ok(())
                    }
                    None => {
                        let message = format!(
                            "{text} splits axis {axis} of x, which is {dim} and not divisible by {}",
                            given(" * ")
                        );
                        let error = Diagnostic::new(Code::PATTERN, at, message);
                        Err(Box::new(match dim.as_int() {
                            Some(n) => error.help(format!("{n} is divisible by {}", super::shape::divisors(n))),
                            None => error
                                .help(format!("state it, and it is checked on each call: where {dim} % {known} == 0")),
                        }))
                    }
                }
            }
            [a, b, ..] => {
                self.bad_pattern(at, format!("{text}: give the size of `{a}` or `{b}`: rearrange(…, {a} = 8)"))
            }
        }
    }

    pub(super) fn einsum(&mut self, args: Vec<Given>, span: Span) -> Result<Val> {
        let pattern = self.pattern_call("einsum", &args, 0, span)?;
        let at = args[0].span;
        let Some((left, right)) = pattern.split_once("->") else {
            return self.bad_pattern(at, "a pattern has two sides: \"b i, o i -> b o\"");
        };
        let words = |text: &str| text.split_whitespace().map(str::to_string).collect::<Vec<_>>();
        let inputs: Vec<Vec<String>> = left.split(',').map(words).collect();
        let output = words(right);
        if inputs.len() != args.len() - 1 {
            return self
                .bad_pattern(at, format!("the pattern has {} inputs, the call {}", inputs.len(), args.len() - 1));
        }
        let mut terms: Vec<(Value, Vec<String>)> = vec![];
        for (names, given) in inputs.into_iter().zip(&args[1..]) {
            let value = self.tensor(&given.value, None, given.span)?;
            let rank = self.ty(value).rank();
            if rank != names.len() {
                return self.bad_pattern(
                    at,
                    format!("`{}` names {} axes; the tensor has {rank}", names.join(" "), names.len()),
                );
            }
            if let Some(name) = names.iter().enumerate().find(|(i, n)| names[..*i].contains(n)).map(|(_, n)| n) {
                return self.bad_pattern(at, format!("`{name}` stands twice for one tensor"));
            }
            terms.push((value, names));
        }
        if let Some(name) = output.iter().find(|n| !terms.iter().any(|(_, names)| names.contains(n))) {
            return self.bad_pattern(at, format!("`{name}` stands on the right only"));
        }
        let mut terms = std::collections::VecDeque::from(terms);
        while let Some((x, names)) = terms.pop_front() {
            let needed = |name: &String| output.contains(name) || terms.iter().any(|(_, names)| names.contains(name));
            let (summed, kept): (Vec<usize>, Vec<usize>) = (0..names.len()).partition(|i| !needed(&names[*i]));
            let x = match summed.is_empty() {
                true => x,
                false => self.push(ops::Sum { axes: summed, keep: false }, &[x], span)?,
            };
            let names: Vec<String> = kept.iter().map(|i| names[*i].clone()).collect();
            let Some((y, others)) = terms.pop_front() else {
                let order = output.iter().filter_map(|n| names.iter().position(|m| m == n)).collect();
                return self.transpose(x, order, span).map(Val::Tensor);
            };
            let later = |name: &String| output.contains(name) || terms.iter().any(|(_, names)| names.contains(name));
            let (mut contract, mut batch) = ((vec![], vec![]), (vec![], vec![]));
            for (i, name) in names.iter().enumerate() {
                if let Some(j) = others.iter().position(|n| n == name) {
                    let pairs = if later(name) { &mut batch } else { &mut contract };
                    pairs.0.push(i);
                    pairs.1.push(j);
                }
            }
            let shared = |name: &&String| names.contains(name) && others.contains(name);
            let batch_names = batch.0.iter().map(|i| names[*i].clone());
            let free = names.iter().chain(&others).filter(|n| !shared(n)).cloned();
            let result_names = batch_names.chain(free).collect();
            let op = ops::Dot { contract_x: contract.0, contract_y: contract.1, batch_x: batch.0, batch_y: batch.1 };
            terms.push_front((self.push(op, &[x, y], span)?, result_names));
        }
        self.bad_pattern(at, "a pattern has at least one input")
    }
}

fn side(text: &str) -> Option<Side> {
    let mut groups: Side = vec![];
    let mut open = false;
    let spaced = text.replace('(', " ( ").replace(')', " ) ");
    for word in spaced.split_whitespace() {
        match word {
            "(" if open => return None,
            "(" => {
                open = true;
                groups.push(vec![]);
            }
            ")" if !open => return None,
            ")" => open = false,
            "1" if open => {}
            "1" => groups.push(vec![]),
            name if open => groups.last_mut()?.push(name.to_string()),
            name => groups.push(vec![name.to_string()]),
        }
    }
    (!open).then_some(groups)
}
