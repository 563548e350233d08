//! Training through the Rust API: what decides a run, and how it goes on after a stop.

use nnc::TrainOptions;
use nnc::train::{End, Event, Trainer};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

const DIGITS: &str = "../dsl-examples/digits.nn";

fn digits(threads: usize, seed: u64) -> Trainer {
    let options = TrainOptions { threads, seed, data: None };
    nnc::compile(DIGITS).and_then(|c| c.trainer(None, &options)).unwrap_or_else(|e| panic!("{e}"))
}

/// All tensors of a run as bytes, and the last epoch's losses and metrics.
fn train(trainer: &mut Trainer, stop_after: Option<usize>) -> (End, Vec<(String, Vec<u8>)>, Vec<f64>) {
    let stop = AtomicBool::new(false);
    let (mut batches, mut numbers) = (0, vec![]);
    let end = trainer.run(&stop, &mut |_, event| {
        match event {
            Event::Batch { .. } => {
                batches += 1;
                stop.store(stop_after == Some(batches), Ordering::Relaxed);
            }
            Event::Epoch { losses, metrics, .. } => numbers = losses.iter().chain(metrics).map(|(_, v)| *v).collect(),
        }
        Ok(())
    });
    let end = end.unwrap_or_else(|e| panic!("{e}"));
    let kept = trainer
        .kept
        .iter()
        .map(|k| (k.name.clone(), trainer.session.kept(&k.name).unwrap().unwrap_or_default().to_vec()));
    (end, kept.collect(), numbers)
}

#[test]
fn digits_are_learned_in_a_few_epochs() {
    let mut trainer = digits(1, 0);
    let (end, _, numbers) = train(&mut trainer, None);
    assert!(matches!(end, End::Early | End::Done));
    let best = trainer.state.progress[0].best.expect("accuracy is watched");
    assert!(best > 0.96, "accuracy {best}, last numbers {numbers:?}");
}

#[test]
fn threads_change_no_bit_and_seeds_change_all() {
    let run = |threads, seed| {
        let mut trainer = digits(threads, seed);
        trainer.epochs = Some(2);
        train(&mut trainer, None).1
    };
    let one = run(1, 0);
    assert_eq!(one, run(2, 0));
    assert_ne!(one, run(1, 1));
}

#[test]
fn a_run_goes_on_bit_for_bit_after_a_stop_at_any_batch() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.resume.safetensors");
    let mut whole = digits(1, 3);
    whole.epochs = Some(2);
    let expected = train(&mut whole, None);
    for stop_after in [1, 30, 45, 60] {
        let mut first = digits(1, 3);
        first.epochs = Some(2);
        assert_eq!(train(&mut first, Some(stop_after)).0, End::Stopped);
        first.save_checkpoint(&path).unwrap();
        let mut second = digits(2, 3);
        second.epochs = Some(2);
        second.resume(&path).unwrap();
        assert!(train(&mut second, None) == expected, "stopped after {stop_after} batches");
    }
}

#[test]
fn checkpoints_of_other_programs_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.resume.safetensors");
    digits(1, 0).save_checkpoint(&path).unwrap();
    let options = TrainOptions { threads: 1, seed: 0, data: None };
    let mut other = nnc::compile(DIGITS).unwrap().define("hidden", 16).trainer(None, &options).unwrap();
    // A run that has not begun has no state to go on from.
    assert!(other.resume(&path).is_err());
    let mut begun = digits(1, 0);
    train(&mut begun, Some(1));
    begun.save_checkpoint(&path).unwrap();
    let message = other.resume(&path).err().expect("another shape").to_string();
    assert!(message.ends_with("the model has changed"), "{message}");
    let message =
        other.resume(Path::new("../dsl-examples/data/digits.safetensors")).err().expect("weights").to_string();
    assert!(message.contains("holds no state of a run"), "{message}");
}

#[test]
fn saved_weights_are_what_a_model_loads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("digits.safetensors");
    let mut trainer = digits(1, 0);
    trainer.epochs = Some(3);
    train(&mut trainer, None);
    trainer.save_weights(&path).unwrap();
    let program = nnc::compile(DIGITS).unwrap().build().unwrap().load(&[&path], None).unwrap();
    let seven = nnc::npy::read(Path::new("../dsl-examples/data/seven.npy")).unwrap();
    let probability = program.session(1).call("forward", &[seven]).unwrap()[0].to_f64();
    let likeliest = (0..10).max_by(|a, b| probability[*a].total_cmp(&probability[*b]));
    assert_eq!(likeliest, Some(7), "{probability:?}");
}

/// A block with every option: several steps that take turns, accumulated gradients, running means, repeats and a plateau.
#[test]
fn options_of_steps() {
    let folder = tempfile::tempdir().unwrap();
    let rows: String =
        (0..40).map(|i| format!("{},{}\n", i as f32 / 20.0 - 1.0, 3.0 * (i as f32 / 20.0 - 1.0) + 0.5)).collect();
    std::fs::write(folder.path().join("line.csv"), format!("x,y\n{rows}")).unwrap();
    let text = r#"
model Line(x: [B, 1]) -> [B, 1] = x |> l: Linear(1)
model Curve(x: [B, 1]) -> [B, 1] = x |> a: Linear(8) |> tanh |> b: Linear(1)

fn pair(ex) = (x = ex.input, y = reshape(ex.target, [1]))

train Both {
  line = Line()
  curve = Curve()
  data points = csv("line.csv", ["x"], "y") |> map(pair) |> shuffle |> batch(8)
  data all = csv("line.csv", ["x"], "y") |> map(pair) |> batch(64)
  step straight(b in points) updates line using Sgd(lr = plateau(0.2, watch = error, factor = 0.5, patience = 1)), ema = 0.5 {
    mse(line(b.x), b.y)
  }
  step bent(b in points) updates curve using AdamW(lr = 1e-2), accumulate = 2, clip_norm = 1.0, repeats = 2 {
    mse(curve(b.x), b.y)
  }
  metric error(b in all) = mse(line(b.x), b.y)
  epochs = 30
}
"#;
    let path = folder.path().join("line.nn");
    std::fs::write(&path, text).unwrap();
    let options = TrainOptions { threads: 1, seed: 0, data: None };
    let mut trainer = nnc::compile(&path).and_then(|c| c.trainer(None, &options)).unwrap_or_else(|e| panic!("{e}"));
    let (end, kept, numbers) = train(&mut trainer, None);
    assert_eq!(end, End::Done);
    assert_eq!(trainer.state.runs, [150, 300]);
    let value = |name: &str| {
        let (_, bytes) = kept.iter().find(|(n, _)| n == name).unwrap_or_else(|| panic!("no {name} in {kept:?}"));
        f32::from_le_bytes(bytes[..4].try_into().unwrap())
    };
    assert!((value("line.l.weight") - 3.0).abs() < 1e-3 && (value("line.l.bias") - 0.5).abs() < 1e-3, "{kept:?}");
    assert!((value("ema.line.l.weight") - 3.0).abs() < 1e-2);
    assert!(trainer.state.progress[0].lowered > 0, "{:?}", trainer.state.progress);
    assert!(numbers[0] < 1e-5 && numbers[1] < 1.0, "{numbers:?}");
    let files = trainer.save_weights(&folder.path().join("both.safetensors")).unwrap();
    let names: Vec<_> = files.iter().map(|f| f.file_name().unwrap().to_string_lossy().into_owned()).collect();
    assert_eq!(names, ["both-line.safetensors", "both-curve.safetensors"]);
    nnc::compile(&path).unwrap().model("Curve").build().unwrap().load(&files[1..], None).unwrap();
}

/// Made by `scripts/golden-training.py` from the same first values.
#[test]
fn forty_steps_are_those_of_pytorch() {
    let data = Some("../dsl-examples".into());
    let options = TrainOptions { threads: 1, seed: 0, data };
    let mut trainer = nnc::compile("models/digits_in_order.nn").unwrap().trainer(None, &options).unwrap();
    trainer.max_steps = Some(40);
    let (stop, mut sums) = (AtomicBool::new(false), vec![0.0]);
    let end = trainer.run(&stop, &mut |trainer, event| {
        if let Event::Batch { .. } = event {
            sums.push(trainer.state.losses[0].0);
        }
        Ok(())
    });
    assert_eq!(end.unwrap(), End::Done);
    let golden = nnc::safetensors::Weights::open(Path::new("golden/training/digits.safetensors")).unwrap();
    let floats = |bytes: &[u8]| -> Vec<f64> {
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()) as f64).collect()
    };
    let losses = floats(golden.get("losses").unwrap().bytes);
    for (step, (expected, sum)) in losses.iter().zip(sums.windows(2)).enumerate() {
        let loss = sum[1] - sum[0];
        assert!((loss - expected).abs() < 1e-5 * expected, "step {step}: {loss}, PyTorch {expected}");
    }
    for kept in trainer.kept.iter().filter(|k| k.of_model) {
        let name = kept.name.strip_prefix("net.").unwrap();
        let (found, expected) = (trainer.session.kept(&kept.name).unwrap().unwrap(), golden.get(name).unwrap());
        let apart = floats(&found).iter().zip(floats(expected.bytes)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(apart < 1e-5, "{name} is {apart} from PyTorch's");
    }
}

/// As the README says it: six epochs on sixty thousand pictures.
#[test]
#[ignore = "needs Fashion-MNIST and takes a minute"]
fn fashion_mnist_is_learned() {
    let folder = std::env::var("NNC_FASHION_MNIST").unwrap_or("/usr/share/datasets/fashion-mnist".into());
    if !Path::new(&folder).is_dir() {
        eprintln!(
            "skipped: no {folder}; `apt-get install dataset-fashion-mnist`, or NNC_FASHION_MNIST says where it is"
        );
        return;
    }
    let options = TrainOptions { threads: 2, seed: 0, data: Some(folder.into()) };
    let mut trainer = nnc::compile("../dsl-examples/mnist_mlp.nn").unwrap().trainer(None, &options).unwrap();
    trainer.epochs = Some(6);
    let mut accuracy = 0.0;
    let stop = AtomicBool::new(false);
    let ran = trainer.run(&stop, &mut |_, event| {
        if let Event::Epoch { metrics, .. } = event {
            accuracy = metrics.iter().find(|(name, _)| *name == "accuracy").unwrap().1;
        }
        Ok(())
    });
    ran.unwrap();
    assert!(accuracy >= 0.87, "{accuracy}");
}
