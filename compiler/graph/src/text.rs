//! The text of a graph, for dumps and tests.

use crate::nodes::{Graph, Storage};
use crate::ops::Op;
use std::fmt;

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let operands = self.operands.iter().map(|o| {
            let word = match o.storage {
                Storage::Input => "",
                Storage::Param => "param ",
                Storage::State => "state ",
                Storage::Cache => "cache ",
            };
            format!("{word}%{}: {}", o.name, self.ty(o.value))
        });
        writeln!(f, "graph @{}({}) {{", self.name, operands.collect::<Vec<_>>().join(", "))?;
        for guard in &self.guards {
            writeln!(f, "  guard {}", guard.fact)?;
        }
        let name = |v| match self.op(v) {
            Op::Operand(name) => format!("%{name}"),
            _ => v.to_string(),
        };
        for value in self.order() {
            let node = self.node(value);
            if matches!(node.op, Op::Operand(_)) {
                continue;
            }
            let operands: Vec<String> = node.operands.iter().map(|v| name(*v)).collect();
            let attributes: Vec<String> = node.op.attributes().iter().map(|(n, a)| format!("{n} = {a}")).collect();
            let attributes =
                if attributes.is_empty() { String::new() } else { format!(" {{{}}}", attributes.join(", ")) };
            let types: Vec<String> = node.types.iter().map(|t| t.to_string()).collect();
            let space = if operands.is_empty() { "" } else { " " };
            writeln!(
                f,
                "  {value} = {}{space}{}{attributes} : {}",
                node.op.name(),
                operands.join(", "),
                types.join(", ")
            )?;
        }
        for group in &self.groups {
            let list = |values: &[crate::Value]| values.iter().map(|v| name(*v)).collect::<Vec<_>>().join(", ");
            writeln!(f, "  group {} {{{}}} -> {}", group.kind.name(), list(&group.nodes), list(&group.roots))?;
        }
        let outputs: Vec<String> = self.outputs.iter().map(|(n, v)| format!("{n} = {}", name(*v))).collect();
        let updates = self.updates.iter().map(|(i, v)| format!("%{} := {}", self.operands[*i].name, name(*v)));
        writeln!(f, "  return {}", outputs.into_iter().chain(updates).collect::<Vec<_>>().join(", "))?;
        writeln!(f, "}}")
    }
}
