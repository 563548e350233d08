//! Removes what nothing that leaves the graph needs.

use crate::Cx;
use graph::{Graph, OpError};

pub fn run(graph: &mut Graph, _: &mut Cx) -> Result<(), OpError> {
    graph.remove_dead();
    Ok(())
}
