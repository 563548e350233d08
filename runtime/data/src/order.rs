//! In which order rows come, and in what groups.

use engine::Program;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;

/// What rows go through on their way to a step.
#[derive(Clone)]
pub enum Stage {
    /// A function of one example, or of one batch if it stands after [`Stage::Batch`]: the only entry of a program, with one
    /// input and one output for each field.
    Map(Arc<Program>),
    /// Random order, as far as a window of so many reaches.
    Shuffle { window: usize },
    /// Groups of `rows`; a last one with fewer is kept unless `drop_last`.
    Batch { rows: usize, drop_last: bool },
    /// A sequence cut into `rows` parallel ones, read `window` places at a time: inputs, and targets one place later.
    Streams { rows: usize, window: usize },
}

/// Rows that make one batch.
pub enum Group {
    /// One row, which is not a batch.
    One(usize),
    Many(Vec<usize>),
    /// So many places from each of these on; the targets are one place later.
    Windows {
        starts: Vec<usize>,
        len: usize,
    },
}

impl Group {
    pub fn rows(&self) -> impl Iterator<Item = usize> + '_ {
        let rows = match self {
            Group::One(row) => std::slice::from_ref(row),
            Group::Many(rows) | Group::Windows { starts: rows, .. } => rows,
        };
        rows.iter().copied()
    }

    pub fn is_batch(&self) -> bool {
        !matches!(self, Group::One(_))
    }
}

pub type Order = Box<dyn Iterator<Item = Group> + Send>;

/// How many groups `rows` rows become.
pub fn count(stages: &[Stage], rows: usize) -> usize {
    stages.iter().fold(rows, |n, stage| match stage {
        Stage::Map(_) | Stage::Shuffle { .. } => n,
        Stage::Batch { rows, drop_last: true } => n / rows,
        Stage::Batch { rows, drop_last: false } => n.div_ceil(*rows),
        Stage::Streams { rows, window } => windows(n, *rows, *window),
    })
}

/// Windows of each of `parallel` sequences; the last place has a target too.
fn windows(rows: usize, parallel: usize, window: usize) -> usize {
    (rows / parallel).saturating_sub(1) / window
}

pub fn new(stages: &[Stage], rows: usize, seed: u64, epoch: u64) -> Order {
    let mut order: Order = Box::new((0..rows).map(Group::One));
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(epoch);
    for stage in stages {
        order = match stage {
            Stage::Map(_) => order,
            Stage::Shuffle { window } => {
                let random = ChaCha8Rng::from_rng(&mut random);
                Box::new(Shuffled { of: order, held: vec![], window: (*window).max(1), random })
            }
            Stage::Batch { rows, drop_last } => Box::new(Batches { of: order, rows: *rows, drop_last: *drop_last }),
            Stage::Streams { rows: parallel, window } => {
                let (len, parallel, window) = (rows / parallel, *parallel, *window);
                let group = move |i: usize| Group::Windows {
                    starts: (0..parallel).map(|row| row * len + i * window).collect(),
                    len: window,
                };
                Box::new((0..windows(rows, parallel, window)).map(group))
            }
        };
    }
    order
}

struct Shuffled {
    of: Order,
    held: Vec<Group>,
    window: usize,
    random: ChaCha8Rng,
}

impl Iterator for Shuffled {
    type Item = Group;

    /// Any of the next `window`.
    fn next(&mut self) -> Option<Group> {
        while self.held.len() < self.window
            && let Some(group) = self.of.next()
        {
            self.held.push(group);
        }
        match self.held.len() {
            0 => None,
            n => Some(self.held.swap_remove(self.random.random_range(0..n))),
        }
    }
}

struct Batches {
    of: Order,
    rows: usize,
    drop_last: bool,
}

impl Iterator for Batches {
    type Item = Group;

    fn next(&mut self) -> Option<Group> {
        let mut rows = vec![];
        while rows.len() < self.rows
            && let Some(group) = self.of.next()
        {
            rows.extend(group.rows());
        }
        let enough = rows.len() == self.rows || !self.drop_last && !rows.is_empty();
        enough.then_some(Group::Many(rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(stages: &[Stage], n: usize, seed: u64, epoch: u64) -> Vec<Vec<usize>> {
        let order = new(stages, n, seed, epoch);
        let rows: Vec<Vec<usize>> = order.map(|g| g.rows().collect()).collect();
        assert_eq!(rows.len(), count(stages, n));
        rows
    }

    #[test]
    fn batches_keep_or_drop_the_rest() {
        let batch = |drop_last| Stage::Batch { rows: 3, drop_last };
        assert_eq!(rows(&[batch(false)], 7, 0, 0), [vec![0, 1, 2], vec![3, 4, 5], vec![6]]);
        assert_eq!(rows(&[batch(true)], 7, 0, 0), [vec![0, 1, 2], vec![3, 4, 5]]);
    }

    #[test]
    fn every_row_comes_once_and_epochs_differ() {
        let stages = [Stage::Shuffle { window: 1000 }, Stage::Batch { rows: 4, drop_last: false }];
        let first = rows(&stages, 10, 7, 0);
        assert_eq!(first, rows(&stages, 10, 7, 0));
        assert_ne!(first, rows(&stages, 10, 7, 1));
        assert_ne!(first, rows(&stages, 10, 8, 0));
        let mut all = first.concat();
        all.sort();
        assert_eq!(all, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn a_window_bounds_how_far_rows_move_forward() {
        let order = rows(&[Stage::Shuffle { window: 3 }], 100, 1, 0).concat();
        assert!(order.iter().enumerate().all(|(place, row)| *row < place + 3), "{order:?}");
    }

    #[test]
    fn streams_go_on_in_the_next_window() {
        assert_eq!(rows(&[Stage::Streams { rows: 2, window: 3 }], 15, 0, 0), [vec![0, 7], vec![3, 10]]);
    }
}
