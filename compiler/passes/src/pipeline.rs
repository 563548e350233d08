//! The passes in order, and what runs them.

use crate::{common, dead, decompose, fold, fuse, hoist, padding, simplify, sink};
use graph::{Graph, OpError};
use std::time::{Duration, Instant};

/// What a graph satisfies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What elaboration yields.
    Primitive,
    /// Every node that is no view belongs to a group.
    Grouped,
}

pub struct Pass {
    pub name: &'static str,
    pub run: fn(&mut Graph, &mut Cx) -> Result<(), OpError>,
    /// What the graph satisfies once the pass has run.
    pub leaves: Level,
}

pub const PIPELINE: &[Pass] = &[
    // First: what it makes is simplified like what the model says.
    Pass { name: "decompose", run: decompose::run, leaves: Level::Primitive },
    // After decompose: scans run along axis 0.
    Pass { name: "sink", run: sink::run, leaves: Level::Primitive },
    // After sink: what the steps leave for sums may need no loop.
    Pass { name: "hoist", run: hoist::run, leaves: Level::Primitive },
    Pass { name: "simplify", run: simplify::run, leaves: Level::Primitive },
    Pass { name: "fold", run: fold::run, leaves: Level::Primitive },
    Pass { name: "padding", run: padding::run, leaves: Level::Primitive },
    // After fold: constants that were made twice are equal only now.
    Pass { name: "common", run: common::run, leaves: Level::Primitive },
    Pass { name: "dead", run: dead::run, leaves: Level::Primitive },
    Pass { name: "fuse", run: fuse::run, leaves: Level::Grouped },
];

impl Pass {
    /// Runs the pass on the graphs inside of nodes, then on the graph itself.
    pub fn apply(&self, graph: &mut Graph, cx: &mut Cx) -> Result<(), OpError> {
        graph.bodies_mut().try_for_each(|body| self.apply(body, cx))?;
        (self.run)(graph, cx)
    }
}

/// What passes share: how many rewrites may still happen, for bisecting a wrong one.
#[derive(Clone, Debug)]
pub struct Cx {
    fuel: u64,
    /// Whether kernels take their vectors along the channels of images, as those for CPUs do.
    pub channels_last: bool,
    /// Rewrites done so far, by rule.
    pub rewrites: Vec<&'static str>,
}

impl Default for Cx {
    fn default() -> Cx {
        Cx { fuel: u64::MAX, channels_last: true, rewrites: vec![] }
    }
}

impl Cx {
    pub fn with_fuel(fuel: u64) -> Cx {
        Cx { fuel, ..Cx::default() }
    }

    /// Whether one more rewrite may happen; it counts.
    pub fn spend(&mut self, rule: &'static str) -> bool {
        match self.fuel.checked_sub(1) {
            Some(left) => {
                self.fuel = left;
                self.rewrites.push(rule);
                true
            }
            None => false,
        }
    }
}

/// A pass that failed or left the graph ill-formed: a defect of the compiler, not of the model.
#[derive(Clone, Debug, thiserror::Error)]
#[error("pass `{pass}`: {message}; this is a defect of nnc")]
pub struct PassError {
    pub pass: &'static str,
    pub message: String,
}

/// Runs the pipeline up to `stop`, verifying after each pass when debug assertions are on. `after` sees the graph.
pub fn run(
    graph: &mut Graph,
    cx: &mut Cx,
    stop: Option<&str>,
    after: &mut dyn FnMut(&Pass, &Graph, Duration),
) -> Result<(), PassError> {
    for pass in PIPELINE {
        let start = Instant::now();
        pass.apply(graph, cx).map_err(|e| PassError { pass: pass.name, message: e.to_string() })?;
        let spent = start.elapsed();
        if cfg!(debug_assertions) {
            let checked = graph.verify().map_err(|e| e.to_string()).and_then(|()| graph.verify_text());
            checked.map_err(|message| PassError { pass: pass.name, message })?;
        }
        after(pass, graph, spent);
        if stop == Some(pass.name) {
            break;
        }
    }
    Ok(())
}
