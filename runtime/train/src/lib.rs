//! Training: steps over batches, metrics after each epoch, rules that end it, and files to go on from.
//!
//! A run is decided by its program, its data and its seed: the same bits come out on any number of threads, and after a stop
//! and a resume at any batch.

mod checkpoint;
mod rules;

pub use checkpoint::resume_path;
pub use rules::Rule;

use data::{DataError, Epoch, Source};
use engine::{CallError, Session};
use rules::Progress;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tensor::{Elem, FileError, Tensor};

#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    File(#[from] FileError),
    /// The loss of a step is infinite or no number.
    #[error(
        "`{step}` is {loss} in epoch {epoch}, batch {batch}; lower the learning rate, or look for divisions by zero and \
         logarithms of it in the loss"
    )]
    Diverged { step: String, loss: f64, epoch: usize, batch: usize },
    #[error("{}: {message}", path.display())]
    Resume { path: std::path::PathBuf, message: String },
}

/// One kind of update.
pub struct Step {
    /// Of its loss.
    pub name: String,
    /// Which entry of the program. Its inputs: the fields of a batch, then those of `extras`; its output: the loss.
    pub entry: usize,
    pub data: Source,
    pub extras: Vec<Extra>,
    /// How often it runs in each turn.
    pub repeats: usize,
    /// Batches whose gradients make one update.
    pub accumulate: usize,
}

/// An input that the loop computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra {
    /// The number of updates so far, an i32.
    Updates,
    /// Whether this batch completes an update, a bool.
    Last,
    /// The rate of a rule, an f32.
    Rate { rule: usize },
}

/// A number on held-out data.
pub struct Metric {
    pub name: String,
    /// Which entry. Its inputs: the fields of a batch; its output: the value, which is averaged by rows.
    pub entry: usize,
    pub data: Source,
}

/// A tensor that training changes.
pub struct Kept {
    pub name: String,
    pub elem: Elem,
    pub shape: Vec<usize>,
    /// Whether it belongs to the model: a parameter or a state, and none of the optimiser's.
    pub of_model: bool,
}

/// Everything that a run needs.
pub struct Trainer {
    pub session: Session,
    pub steps: Vec<Step>,
    pub metrics: Vec<Metric>,
    pub rules: Vec<Rule>,
    pub kept: Vec<Kept>,
    /// What belongs to the models too but does not change.
    pub frozen: Vec<(String, Tensor)>,
    /// Passes over the data of the first step, at most.
    pub epochs: Option<usize>,
    /// Updates of the first step, at most.
    pub max_steps: Option<usize>,
    pub seed: u64,
    pub state: State,
}

/// Where a run is, but for the tensors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Whole epochs behind us, and batches of the first step in the present one.
    pub epoch: usize,
    pub batch: usize,
    /// For each step, how often it ran, and which pass over its data this is with how many batches of it.
    pub runs: Vec<usize>,
    pub passes: Vec<(usize, usize)>,
    /// Sum of losses and number of runs of each step in this epoch.
    pub losses: Vec<(f64, usize)>,
    pub progress: Vec<Progress>,
    pub ended: bool,
}

/// The loss of a step, or the value of a metric.
pub type Named<'e> = (&'e str, f64);

/// What happens, as it happens.
pub enum Event<'e> {
    /// A turn of all steps is done: batch `batch` of `batches`. Losses are means of this epoch; `rows` and `elapsed` count from its
    /// start, or from where a run was taken up.
    Batch { epoch: usize, batch: usize, batches: usize, losses: &'e [Named<'e>], rows: usize, elapsed: Duration },
    /// `best`: no epoch before was as good, by the rule that watches; `saves`: this is what a file should hold.
    Epoch {
        epoch: usize,
        losses: &'e [Named<'e>],
        metrics: &'e [Named<'e>],
        best: bool,
        saves: bool,
        elapsed: Duration,
    },
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All epochs or steps are done.
    Done,
    /// A rule ended it.
    Early,
    /// The caller asked for it.
    Stopped,
}

impl Trainer {
    /// Runs until a limit, a rule or `stop`. `observe` sees each event with the trainer as it is then, and may save it.
    pub fn run(
        &mut self,
        stop: &AtomicBool,
        observe: &mut dyn FnMut(&Trainer, Event) -> Result<(), TrainError>,
    ) -> Result<End, TrainError> {
        let count = self.steps.len();
        self.state.runs.resize(count, 0);
        self.state.passes.resize(count, (0, 0));
        self.state.losses.resize(count, (0.0, 0));
        self.state.progress.resize_with(self.rules.len(), Progress::default);
        let mut streams: Vec<Epoch> = (0..count).map(|i| self.stream(i)).collect();
        loop {
            if self.state.ended {
                return Ok(End::Early);
            }
            if self.epochs.is_some_and(|most| self.state.epoch >= most) || self.is_out_of_steps() {
                return Ok(End::Done);
            }
            let started = Instant::now();
            let batches = self.steps[0].data.batches();
            let mut rows = 0;
            while self.state.batch < batches && !self.is_out_of_steps() {
                if stop.load(Ordering::Relaxed) {
                    return Ok(End::Stopped);
                }
                rows += self.turn(&mut streams)?;
                let means = self.mean_losses();
                let losses: Vec<Named> = self.steps.iter().map(|s| &s.name[..]).zip(means).collect();
                let (epoch, batch) = (self.state.epoch + 1, self.state.batch);
                observe(
                    self,
                    Event::Batch { epoch, batch, batches, losses: &losses, rows, elapsed: started.elapsed() },
                )?;
            }
            self.end_epoch(started, observe)?;
        }
    }

    /// Whether a rule says which epoch was best.
    pub fn watches(&self) -> bool {
        self.rules.iter().any(Rule::ends_training)
    }

    fn is_out_of_steps(&self) -> bool {
        let updates = |i: usize| self.state.runs[i] / self.steps[i].accumulate;
        self.max_steps.is_some_and(|most| updates(0) >= most)
    }

    /// The rest of the pass that a step is in.
    fn stream(&self, step: usize) -> Epoch {
        let (pass, batches) = self.state.passes[step];
        let mut epoch = self.steps[step].data.epoch(self.seed, pass as u64);
        epoch.skip(batches);
        epoch
    }

    /// Each step once, or as often as it repeats; gives the rows that the first one saw.
    fn turn(&mut self, streams: &mut [Epoch]) -> Result<usize, TrainError> {
        let mut seen = 0;
        for i in 0..self.steps.len() {
            for _ in 0..self.steps[i].repeats {
                let batch = self.next_batch(i, streams)?;
                if i == 0 {
                    seen += rows(&batch);
                }
                let loss = self.update(i, batch)?;
                self.state.losses[i].0 += loss;
                self.state.losses[i].1 += 1;
                self.state.runs[i] += 1;
            }
        }
        self.state.batch += self.steps[0].repeats;
        Ok(seen)
    }

    fn next_batch(&mut self, step: usize, streams: &mut [Epoch]) -> Result<Vec<Tensor>, TrainError> {
        loop {
            if let Some(batch) = streams[step].next_batch()? {
                self.state.passes[step].1 += 1;
                return Ok(batch);
            }
            self.state.passes[step] = (self.state.passes[step].0 + 1, 0);
            streams[step] = self.stream(step);
        }
    }

    fn update(&mut self, i: usize, mut inputs: Vec<Tensor>) -> Result<f64, TrainError> {
        let step = &self.steps[i];
        let runs = self.state.runs[i];
        for extra in &step.extras {
            inputs.push(match extra {
                Extra::Updates => Tensor::new(&[], &[(runs / step.accumulate) as i32]),
                Extra::Last => Tensor::new(&[], &[(runs + 1) % step.accumulate == 0]),
                Extra::Rate { rule } => Tensor::new(&[], &[self.rules[*rule].rate(&self.state.progress[*rule]) as f32]),
            });
        }
        let loss = number(&mut self.session, step.entry, &inputs)?;
        match loss.is_finite() {
            true => Ok(loss),
            false => Err(TrainError::Diverged {
                step: step.name.clone(),
                loss,
                epoch: self.state.epoch + 1,
                batch: self.state.batch + 1,
            }),
        }
    }

    /// Of each step in this epoch.
    fn mean_losses(&self) -> Vec<f64> {
        self.state.losses.iter().map(|(sum, n)| sum / (*n).max(1) as f64).collect()
    }

    fn end_epoch(
        &mut self,
        started: Instant,
        observe: &mut dyn FnMut(&Trainer, Event) -> Result<(), TrainError>,
    ) -> Result<(), TrainError> {
        let mut values = vec![];
        for i in 0..self.metrics.len() {
            values.push(self.evaluate(i)?);
        }
        let named = |value: &str| self.metrics.iter().position(|m| m.name == value).map(|i| values[i]);
        let (mut best, mut watched) = (false, false);
        for (rule, progress) in self.rules.iter().zip(&mut self.state.progress) {
            let Some(value) = named(rule.watch()) else { continue };
            let better = rule.observe(value, progress);
            if rule.ends_training() {
                (watched, best) = (true, best || better);
                self.state.ended |= rule.is_over(progress);
            }
        }
        let means = self.mean_losses();
        self.state.epoch += 1;
        self.state.batch = 0;
        self.state.losses.iter_mut().for_each(|l| *l = (0.0, 0));
        let losses: Vec<Named> = self.steps.iter().map(|s| &s.name[..]).zip(means).collect();
        let metrics: Vec<Named> = self.metrics.iter().map(|m| &m.name[..]).zip(values).collect();
        let (epoch, elapsed) = (self.state.epoch, started.elapsed());
        let saves = best || !watched;
        observe(self, Event::Epoch { epoch, losses: &losses, metrics: &metrics, best, saves, elapsed })
    }

    /// A metric on all of its data, averaged by rows.
    fn evaluate(&mut self, metric: usize) -> Result<f64, TrainError> {
        let Metric { entry, data, .. } = &self.metrics[metric];
        let mut batches = data.epoch(self.seed, 0);
        let (mut sum, mut count) = (0.0, 0);
        while let Some(batch) = batches.next_batch()? {
            let rows = rows(&batch);
            sum += number(&mut self.session, *entry, &batch)? * rows as f64;
            count += rows;
        }
        Ok(sum / count.max(1) as f64)
    }
}

/// The only result of an entry, a number.
fn number(session: &mut Session, entry: usize, inputs: &[Tensor]) -> Result<f64, CallError> {
    Ok(session.results(entry, inputs)?[0].to_f64()[0])
}

/// How many examples a batch has.
fn rows(batch: &[Tensor]) -> usize {
    batch.first().and_then(|t| t.shape.first().copied()).unwrap_or(1)
}
