//! What every graph keeps: checked after each pass, and on graphs read from text.

use crate::nodes::{Graph, Storage, Value};
use crate::ops::Op;
use crate::text::{is_reserved, is_word};
use crate::types::TensorType;
use crate::{Dim, Fact, Verdict};
use diag::Span;
use std::collections::HashSet;
use std::fmt;

/// What is wrong with a graph, and the origin of what is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyError {
    pub span: Option<Span>,
    pub message: String,
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for VerifyError {}

type Outcome = Result<(), VerifyError>;

impl Graph {
    /// Edges mirror operands and have no cycle, types are those inferred and sound, names are unique, guards can hold,
    /// updates fit, groups read only what is there.
    pub fn verify(&self) -> Result<(), VerifyError> {
        self.verify_edges()?;
        self.verify_operands()?;
        self.verify_types()?;
        self.verify_bodies()?;
        self.verify_guards()?;
        self.verify_leaving()?;
        self.verify_groups()
    }

    fn fail(&self, at: Value, message: String) -> Outcome {
        Err(VerifyError { span: Some(self.node(at).origin.span), message })
    }

    fn verify_edges(&self) -> Outcome {
        let order = self.order();
        if order.len() != self.len() {
            return Err(VerifyError { span: None, message: format!("{}: the graph has a cycle", self.name) });
        }
        for value in order {
            let operands = &self.node(value).operands;
            let mirrored: Vec<(u32, u32)> = (0..).zip(operands.iter().map(|o| o.node)).collect();
            if self.edges(value) != mirrored || !operands.iter().all(|o| self.contains(*o)) {
                return self.fail(value, format!("{value}: edges do not mirror operands"));
            }
        }
        Ok(())
    }

    fn verify_operands(&self) -> Outcome {
        let mut names = HashSet::new();
        for operand in &self.operands {
            let listed = self.contains(operand.value) && *self.op(operand.value) == Op::operand(operand.name.clone());
            if !listed {
                let message = format!("operand `{}` has no node of that name", operand.name);
                return Err(VerifyError { span: None, message });
            }
            if !names.insert(operand.name.as_str()) {
                return self.fail(operand.value, format!("two operands are called `{}`", operand.name));
            }
        }
        let listed: HashSet<Value> = self.operands.iter().map(|o| o.value).collect();
        match self.order().into_iter().find(|v| matches!(self.op(*v), Op::Operand(_)) && !listed.contains(v)) {
            Some(stray) => self.fail(stray, format!("{} is no operand of the graph", self.value_text(stray))),
            None => Ok(()),
        }
    }

    fn verify_types(&self) -> Outcome {
        for value in self.order() {
            let node = self.node(value);
            for ty in &node.types {
                if let Some(e) = ty.dims.iter().find_map(|d| self.flaw(d)) {
                    return self.fail(value, format!("{}: {ty}: {e}", self.value_text(value)));
                }
            }
            if matches!(node.op, Op::Operand(_)) {
                continue;
            }
            let types: Vec<TensorType> = node.operands.iter().map(|v| self.ty(*v).clone()).collect();
            let wrong = match node.op.infer(&types, &self.facts) {
                Ok(inferred) if inferred == node.types => continue,
                Ok(inferred) => {
                    let text =
                        |types: &[TensorType]| types.iter().map(TensorType::to_string).collect::<Vec<_>>().join(", ");
                    format!("stated {} but inferred {}", text(&node.types), text(&inferred))
                }
                Err(e) => e.to_string(),
            };
            return self.fail(value, format!("{value}: {}: {wrong}", node.op.name()));
        }
        Ok(())
    }

    fn verify_bodies(&self) -> Outcome {
        for value in self.order() {
            if let Some(body) = self.op(value).body() {
                body.verify()?;
                let stored = body.operands.iter().find(|o| o.storage != Storage::Input);
                if let Some(operand) = stored {
                    let message = format!("`{}` is stored; a body captures it", operand.name);
                    return body.fail(operand.value, message);
                }
            }
        }
        Ok(())
    }

    /// Why no axis can have this size.
    fn flaw(&self, dim: &Dim) -> Option<String> {
        if let Some(name) = dim.vars().iter().find(|n| !is_word(n) || is_reserved(n)) {
            return Some(format!("`{name}` is no name for a size"));
        }
        if !self.is_integral(dim) {
            return Some(format!("{dim} may be no integer"));
        }
        let negative = self.facts.le(&Dim::int(0), dim) == Verdict::Refuted;
        negative.then(|| format!("{dim} is negative"))
    }

    /// Whether a size is an integer by what is known, or may be by what is known of divisibility.
    fn is_integral(&self, dim: &Dim) -> bool {
        let vars = dim.vars();
        let divides = |fact: &Fact| match fact {
            Fact::Divides { of, .. } => of.vars().iter().any(|v| vars.contains(v)),
            _ => false,
        };
        self.facts.normalize(dim).is_integral() || self.facts.assumed().iter().any(divides)
    }

    fn verify_guards(&self) -> Outcome {
        for guard in &self.guards {
            let fail = |message| Err(VerifyError { span: Some(guard.origin.span), message });
            if !self.facts.assumed().contains(&guard.fact) {
                return fail(format!("the guard {} is not assumed", guard.fact));
            }
            if crate::Facts::default().holds(&guard.fact) == Verdict::Refuted {
                return fail(format!("the guard {} never holds", guard.fact));
            }
        }
        Ok(())
    }

    fn verify_leaving(&self) -> Outcome {
        if let Some(gone) = self.leaving().find(|v| !self.contains(*v)) {
            return Err(VerifyError { span: None, message: format!("{gone} leaves the graph but is not in it") });
        }
        let mut names = HashSet::new();
        for (name, value) in &self.outputs {
            if !names.insert(name) {
                return self.fail(*value, format!("two outputs are called `{name}`"));
            }
        }
        let mut updated = HashSet::new();
        for (position, value) in &self.updates {
            let Some(operand) = self.operands.get(*position) else {
                return self.fail(*value, format!("there is no operand {position} to update"));
            };
            if operand.storage == Storage::Input {
                return self.fail(*value, format!("`{}` is an input and cannot be updated", operand.name));
            }
            if !updated.insert(position) {
                return self.fail(*value, format!("`{}` is updated twice", operand.name));
            }
            let (old, new) = (self.ty(operand.value), self.ty(*value));
            if old != new {
                return self.fail(*value, format!("`{}` is {old} and cannot become {new}", operand.name));
            }
        }
        Ok(())
    }

    /// Groups run in order: each reads what is given, what groups before it store, and its own nodes.
    fn verify_groups(&self) -> Outcome {
        let mut stored: HashSet<Value> = HashSet::new();
        let there = |stored: &HashSet<Value>, v: Value| {
            let owner = self.owner(v);
            stored.contains(&v) || stored.contains(&owner) || self.is_given(owner)
        };
        for group in &self.groups {
            let own: HashSet<u32> = group.nodes.iter().map(|v| v.node).collect();
            if let Some(root) = group.roots.iter().find(|r| !own.contains(&r.node)) {
                return self.fail(*root, format!("{root} is stored by a group that does not compute it"));
            }
            // From what is stored down to what is there: a group may list views that it has no need of.
            let mut seen: HashSet<Value> = HashSet::new();
            let mut stack: Vec<(Value, Value)> = group.roots.iter().map(|r| (*r, *r)).collect();
            while let Some((reader, value)) = stack.pop() {
                if !seen.insert(value) || there(&stored, value) {
                    continue;
                }
                if !own.contains(&value.node) {
                    let (reads, value) = (self.value_text(reader), self.value_text(value));
                    return self.fail(reader, format!("{reads} reads {value}, which no group before it stores"));
                }
                stack.extend(self.node(value).operands.iter().map(|x| (value, *x)));
            }
            for root in &group.roots {
                if !stored.insert(*root) {
                    return self.fail(*root, format!("{root} is stored by two groups"));
                }
            }
        }
        match self.leaving().find(|v| !self.groups.is_empty() && !there(&stored, *v)) {
            Some(value) => {
                let text = self.value_text(value);
                self.fail(value, format!("{text} leaves the graph, but no group stores it"))
            }
            None => Ok(()),
        }
    }
}
