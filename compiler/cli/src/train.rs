//! `nnc train`: runs a `train` block, with progress, files to go on from, and an orderly end on Ctrl-C.

use crate::{Failure, Source, Wanted};
use nnc::TrainOptions;
use nnc::train::{End, Event, Named, TrainError, Trainer, resume_path};
use serde_json::{Map, Value, json};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// After Ctrl-C, as a shell says it.
const INTERRUPTED: i32 = 130;

/// Between two updates of the progress line.
const REFRESH: Duration = Duration::from_millis(100);

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    source: Source,
    /// Which `train` block; the only one if not given
    #[arg(long, value_name = "NAME")]
    train: Option<String>,
    /// Where data files are; beside the model if not given
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Write weights to this safetensors file after each epoch, the best ones if a rule watches a metric, and what
    /// --resume needs to FILE.resume.safetensors
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Go on from a FILE.resume.safetensors, bit for bit as if there had been no stop
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    /// Passes over the data, in place of the block's `epochs`
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Updates of the first step at most, in place of the block's `max_steps`
    #[arg(long, value_name = "N")]
    max_steps: Option<usize>,
    /// Threads, at least 1; results do not depend on it
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: u32,
    /// Seed of first values, of the order of examples and of random numbers
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// One JSON object a line for each epoch, and one at the end
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<String, Failure> {
    if !matches!(arguments.source.target, None | Some(Wanted::These(nnc::Target::Cpu(_)))) {
        return Err(Failure("error: training runs on CPUs; leave out --target".into()));
    }
    let options =
        TrainOptions { threads: arguments.threads as usize, seed: arguments.seed, data: arguments.data.clone() };
    let mut trainer = arguments.source.compiler()?.trainer(arguments.train.as_deref(), &options)?;
    trainer.epochs = arguments.epochs.or(trainer.epochs);
    trainer.max_steps = arguments.max_steps.or(trainer.max_steps);
    if let Some(file) = &arguments.resume {
        trainer.resume(file)?;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let asked = stop.clone();
    // Without a handler Ctrl-C ends the process at once, which loses nothing that is on disk.
    let _ = ctrlc::set_handler(move || asked.store(true, Ordering::Relaxed));
    let mut report = Report { json: arguments.json, terminal: std::io::stderr().is_terminal(), shown: None };
    let save = arguments.save.as_deref();
    let end = trainer.run(&stop, &mut |trainer, event| {
        if let (Event::Epoch { saves, .. }, Some(path)) = (&event, save) {
            write(trainer, path, *saves)?;
        }
        report.show(&event, trainer);
        Ok(())
    });
    report.clear();
    let end = end?;
    let mut text = String::new();
    if let Some(path) = save {
        if end == End::Stopped || trainer.state.epoch == 0 {
            write(&trainer, path, end == End::Stopped && !trainer.watches())?;
        }
        text = format!("saved {}, {}\n", path.display(), resume_path(path).display());
    }
    let reason = match end {
        End::Done => "done",
        End::Early => "no better for long enough",
        End::Stopped => "stopped",
    };
    let text = match arguments.json {
        true => format!("{}\n", json!({"end": reason, "epochs": trainer.state.epoch, "saved": save})),
        false => format!("{reason} after {} epochs\n{text}", trainer.state.epoch),
    };
    if end == End::Stopped {
        crate::print(&text)?;
        std::process::exit(INTERRUPTED);
    }
    Ok(text)
}

fn write(trainer: &Trainer, path: &Path, weights: bool) -> Result<(), TrainError> {
    if weights || !path.exists() {
        trainer.save_weights(path)?;
    }
    Ok(trainer.save_checkpoint(&resume_path(path))?)
}

/// What is shown while training runs.
struct Report {
    json: bool,
    terminal: bool,
    /// When the progress line was last written, if it stands.
    shown: Option<Instant>,
}

impl Report {
    fn show(&mut self, event: &Event, trainer: &Trainer) {
        match event {
            Event::Batch { epoch, batch, batches, losses, rows, elapsed } => {
                let due = self.shown.is_none_or(|at| at.elapsed() >= REFRESH);
                if !self.terminal || self.json || !due {
                    return;
                }
                let seconds = elapsed.as_secs_f64().max(1e-9);
                let speed = *rows as f64 / seconds;
                let epochs = trainer.epochs.map_or(String::new(), |n| format!("/{n}"));
                let here = (batches - batch) as f64;
                let later = trainer.epochs.map_or(0, |n| n.saturating_sub(*epoch)) as f64 * *batches as f64;
                let left = (here + later) * seconds / (*batch).max(1) as f64;
                let losses = listed(losses);
                eprint!(
                    "\r\x1b[Kepoch {epoch}{epochs}  batch {batch}/{batches}  {losses}  {speed:.0} examples/s  {} left",
                    clock(left)
                );
                let _ = std::io::stderr().flush();
                self.shown = Some(Instant::now());
            }
            Event::Epoch { epoch, losses, metrics, best, elapsed, .. } => {
                self.clear();
                let seconds = elapsed.as_secs_f64();
                let line = match self.json {
                    true => {
                        let object = |values: &[Named]| {
                            Value::Object(values.iter().map(|(n, v)| (n.to_string(), json!(v))).collect::<Map<_, _>>())
                        };
                        let (losses, metrics) = (object(losses), object(metrics));
                        let line = json!({"epoch": epoch, "losses": losses, "metrics": metrics, "best": best, "seconds": seconds});
                        line.to_string()
                    }
                    false => {
                        let epochs = trainer.epochs.map_or(String::new(), |n| format!("/{n}"));
                        let best = if *best { "  best so far" } else { "" };
                        format!("epoch {epoch}{epochs}  {}  {}  {seconds:.1} s{best}", listed(losses), listed(metrics))
                    }
                };
                // A reader that has gone away stops nothing.
                let _ = writeln!(std::io::stdout(), "{line}");
            }
        }
    }

    fn clear(&mut self) {
        if self.shown.take().is_some() {
            eprint!("\r\x1b[K");
            let _ = std::io::stderr().flush();
        }
    }
}

/// `loss 0.1234  accuracy 0.9750`
fn listed(values: &[Named]) -> String {
    values.iter().map(|(name, value)| format!("{name} {value:.4}")).collect::<Vec<_>>().join("  ")
}

/// `3:07`
fn clock(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match seconds / 3600 {
        0 => format!("{}:{:02}", seconds / 60, seconds % 60),
        hours => format!("{hours}:{:02}:{:02}", seconds / 60 % 60, seconds % 60),
    }
}
