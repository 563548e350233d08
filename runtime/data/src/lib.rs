//! Files of data: pictures and sounds as tensors, and for training examples that become batches.
//!
//! A source is a table in memory and the stages its rows go through. What a stage does depends on the seed and the epoch alone, so
//! a run that is taken up again sees the same batches.

pub mod channels;
mod order;
pub mod picture;
pub mod sound;
mod table;

pub use order::Stage;
pub use table::{Field, Table};

use engine::{CallError, Session};
use order::Order;
use std::sync::Arc;
use tensor::{FileError, Tensor};

#[derive(Debug, thiserror::Error)]
pub enum DataError {
    #[error(transparent)]
    File(#[from] FileError),
    /// A function of examples cannot run on one.
    #[error("a function given to `map` failed on example {index}: {error}")]
    Map { index: usize, error: CallError },
}

/// Rows of a table, and how they become batches.
#[derive(Clone)]
pub struct Source {
    pub table: Arc<Table>,
    /// In the order in which rows go through them.
    pub stages: Vec<Stage>,
}

/// One pass over a source.
pub struct Epoch {
    table: Arc<Table>,
    order: Order,
    maps: Vec<Map>,
}

/// A function that runs on examples, or on batches if it comes after them.
struct Map {
    session: Session,
    on_batches: bool,
}

impl Source {
    /// How many batches an epoch has.
    pub fn batches(&self) -> usize {
        order::count(&self.stages, self.table.rows())
    }

    /// The pass number `epoch` from 0 on; the same for equal seeds.
    pub fn epoch(&self, seed: u64, epoch: u64) -> Epoch {
        let mut maps = vec![];
        let mut on_batches = false;
        for stage in &self.stages {
            match stage {
                Stage::Map(program) => maps.push(Map { session: Session::new(program.clone(), 1), on_batches }),
                Stage::Batch { .. } | Stage::Streams { .. } => on_batches = true,
                Stage::Shuffle { .. } => {}
            }
        }
        let order = order::new(&self.stages, self.table.rows(), seed, epoch);
        Epoch { table: self.table.clone(), order, maps }
    }
}

impl Epoch {
    /// Passes over this many batches, without making them.
    pub fn skip(&mut self, batches: usize) {
        self.order.by_ref().take(batches).for_each(drop);
    }

    /// The fields of the next batch, if there is one.
    pub fn next_batch(&mut self) -> Result<Option<Vec<Tensor>>, DataError> {
        let Some(group) = self.order.next() else { return Ok(None) };
        let plain = self.maps.iter().all(|map| map.on_batches);
        let mut batch = match plain {
            true => self.table.gather(&group),
            false => {
                let mut examples = vec![];
                for row in group.rows() {
                    examples.push(self.mapped(self.table.example(row), false, row)?);
                }
                match group.is_batch() {
                    true => stacked(&examples),
                    false => examples.pop().unwrap_or_default(),
                }
            }
        };
        batch = self.mapped(batch, true, group.rows().next().unwrap_or(0))?;
        Ok(Some(batch))
    }

    fn mapped(&mut self, example: Vec<Tensor>, on_batches: bool, index: usize) -> Result<Vec<Tensor>, DataError> {
        let mut fields = example;
        for map in self.maps.iter_mut().filter(|m| m.on_batches == on_batches) {
            fields = map.session.results(0, &fields).map_err(|error| DataError::Map { index, error })?;
        }
        Ok(fields)
    }
}

/// Examples side by side along a new first axis.
fn stacked(examples: &[Vec<Tensor>]) -> Vec<Tensor> {
    let Some(first) = examples.first() else { return vec![] };
    let field = |i: usize| {
        let shape = [&[examples.len()], &first[i].shape[..]].concat();
        let mut bytes = Vec::with_capacity(first[i].bytes.len() * examples.len());
        examples.iter().for_each(|e| bytes.extend(&e[i].bytes[..]));
        Tensor { elem: first[i].elem, shape, bytes: bytes[..].into() }
    };
    (0..first.len()).map(field).collect()
}
