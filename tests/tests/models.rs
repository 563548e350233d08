//! Whole models: compiled code against the graph's reference interpreter, at sizes that cross tile edges.

use graph::{Array, Storage, interpret};
use nnc::{Elem, Tensor};
use std::collections::HashMap;

/// A reproducible source of numbers.
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 40) as f64 / (1u64 << 24) as f64
    }

    /// Floats in ±bound; integers below `below`; mostly true.
    fn tensor(&mut self, elem: Elem, shape: &[usize], bound: f64, below: f64) -> Tensor {
        let len = shape.iter().product();
        let next = || match elem {
            Elem::Bool => (self.unit() < 0.8) as u8 as f64,
            e if e.is_float() => ((self.unit() * 2.0 - 1.0) * bound) as f32 as f64,
            _ => (self.unit() * below).floor(),
        };
        Tensor::from_f64(elem, shape, std::iter::repeat_with(next).take(len))
    }
}

fn array(t: &Tensor) -> Array {
    Array::new(t.elem, t.shape.clone(), t.to_f64())
}

/// A model of `dsl-examples`, made small, and the inputs it gets.
struct Case {
    file: &'static str,
    /// One of several models in the file.
    model: Option<&'static str>,
    defines: &'static [(&'static str, &'static str)],
    sizes: &'static [&'static [(&'static str, usize)]],
    /// Integer inputs are below this.
    below: f64,
    /// Largest error, relative to the largest magnitude of the exact result.
    tolerance: f64,
}

impl Case {
    fn compiler(&self, isa: nnc::Isa) -> nnc::Compiler {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../dsl-examples").join(self.file);
        let compiler = nnc::compile(path).unwrap().isa(isa);
        let compiler = self.model.into_iter().fold(compiler, |c, name| c.model(name));
        self.defines.iter().fold(compiler, |c, (n, v)| c.define(*n, v))
    }

    fn check(&self) {
        for isa in nnc::Isa::ALL {
            if isa > nnc::Isa::host() {
                eprintln!("skipped: this machine has no {isa}");
                continue;
            }
            self.check_on(isa);
        }
    }

    fn check_on(&self, isa: nnc::Isa) {
        let reference = self.compiler(isa).elaborate().unwrap_or_else(|e| panic!("{e}"));
        let model = self.compiler(isa).build().unwrap_or_else(|e| panic!("{e}"));
        let mut random = Random(7);
        let mut weights: HashMap<String, Tensor> = HashMap::new();
        for stored in model.stored.iter().filter(|s| s.storage != Storage::Cache) {
            let shape: Vec<usize> = stored.ty.dims.iter().map(|d| d.as_int().unwrap() as usize).collect();
            let bound = 1.0 / (*shape.last().unwrap_or(&1) as f64).sqrt();
            let mut t = random.tensor(stored.ty.elem, &shape, bound, 10.0);
            if stored.name.ends_with("running_var") {
                t = Tensor::from_f64(t.elem, &t.shape, t.to_f64().into_iter().map(|x| x.abs() + 0.5));
            }
            weights.insert(stored.name.clone(), t);
        }
        let program = model.with(&mut |name| Ok(weights[name].clone())).unwrap();
        let mut sessions: Vec<nnc::Session> = [1, 2].map(|threads| program.session(threads)).into();
        // What caches hold after the calls so far.
        let mut caches: HashMap<String, Array> = HashMap::new();
        let linked = self.compiler(isa).jit().build().unwrap_or_else(|e| panic!("{e}"));
        let mut linked = linked.with(&mut |name| Ok(weights[name].clone())).unwrap().session(1);
        for entry in &reference.entries {
            for sizes in self.sizes {
                let graph = &entry.graph;
                let size = |n: &str| sizes.iter().find(|(s, _)| *s == n).map(|(_, v)| *v as i64);
                let mut inputs = vec![];
                let mut operands = vec![];
                for o in &graph.operands {
                    let ty = graph.ty(o.value);
                    let shape: Vec<usize> =
                        ty.dims.iter().map(|d| d.eval(&size).expect("all sizes are given") as usize).collect();
                    let tensor = match o.storage {
                        Storage::Cache => {
                            let kept = caches.remove(&o.name).filter(|a| a.shape == shape);
                            operands.push(kept.unwrap_or_else(|| array(&Tensor::zeros(ty.elem, &shape))));
                            continue;
                        }
                        Storage::Input => random.tensor(ty.elem, &shape, 1.0, self.below),
                        _ => weights[&o.name].clone(),
                    };
                    operands.push(array(&tensor));
                    if o.storage == Storage::Input {
                        inputs.push(tensor);
                    }
                }
                let values = interpret::values(graph, &operands).unwrap();
                let expected: Vec<&Array> = graph.outputs.iter().map(|(_, v)| &values[v]).collect();
                for (i, value) in &graph.updates {
                    caches.insert(graph.operands[*i].name.clone(), values[value].clone());
                }
                let by_jit = linked.call(&entry.name, &inputs).unwrap_or_else(|e| panic!("{e}"));
                for (n, session) in sessions.iter_mut().enumerate() {
                    let got = session.call(&entry.name, &inputs).unwrap_or_else(|e| panic!("{e}"));
                    if n == 0 {
                        let place = format!("{} {isa}", self.file);
                        assert_eq!(by_jit, got, "{place}: code linked by cranelift-jit gives something else");
                    }
                    for ((e, g), (output, _)) in expected.iter().zip(&got).zip(&graph.outputs) {
                        self.compare(e, g, &format!("{} {isa} {sizes:?} {output}", self.file));
                    }
                }
            }
        }
    }

    fn compare(&self, expected: &Array, got: &Tensor, place: &str) {
        assert_eq!(expected.shape, got.shape, "{place}");
        let most = expected.data.iter().fold(0.0, |m: f64, x| m.max(x.abs())).max(1e-6);
        for (i, (e, g)) in expected.data.iter().zip(got.to_f64()).enumerate() {
            let off = (e - g).abs() / most;
            // A row that is masked everywhere has no softmax, here or there.
            assert!(
                off <= self.tolerance || e.is_nan() && g.is_nan(),
                "{place}[{i}] is {g}, expected {e}: off by {off:.1e} of the largest"
            );
        }
    }
}

#[test]
fn mlp() {
    let sizes: &[&[(&str, usize)]] = &[&[("B", 1)], &[("B", 5)], &[("B", 33)]];
    // Sums of 784 products, rounded in f32.
    Case { file: "mnist_mlp.nn", model: None, defines: &[("hidden", "70")], sizes, below: 1.0, tolerance: 2e-6 }
        .check();
}

#[test]
fn bert() {
    let defines = &[("vocab", "50"), ("dim", "64"), ("layers", "2"), ("heads", "2")];
    let sizes: &[&[(&str, usize)]] =
        &[&[("B", 1), ("T", 1)], &[("B", 2), ("T", 7)], &[("B", 1), ("T", 45)], &[("B", 3), ("T", 16)]];
    Case { file: "bert_encoder.nn", model: None, defines, sizes, below: 2.0, tolerance: 1e-5 }.check();
}

#[test]
fn resnet() {
    let sizes: &[&[(&str, usize)]] = &[&[("B", 1), ("H", 32), ("W", 32)]];
    Case { file: "resnet18.nn", model: None, defines: &[("classes", "10")], sizes, below: 1.0, tolerance: 1e-5 }
        .check();
}

/// Caches go from call to call as long as their sizes stay.
#[test]
fn lstm() {
    let defines = &[("vocab", "50"), ("dim", "40"), ("layers", "2")];
    let sizes: &[&[(&str, usize)]] =
        &[&[("B", 1), ("T", 1)], &[("B", 1), ("T", 7)], &[("B", 3), ("T", 16)], &[("B", 17), ("T", 2)]];
    Case { file: "lstm_lm.nn", model: None, defines, sizes, below: 50.0, tolerance: 1e-5 }.check();
}

#[test]
fn scans() {
    let (file, defines) = ("../tests/models/scans.nn", &[]);
    let sizes: &[&[(&str, usize)]] = &[&[("B", 1), ("T", 1)], &[("B", 2), ("T", 6)], &[("B", 9), ("T", 5)]];
    Case { file, model: Some("Both"), defines, sizes, below: 1.0, tolerance: 1e-5 }.check();
    Case { file, model: Some("Counts"), defines, sizes, below: 1.0, tolerance: 1e-5 }.check();
    Case { file, model: Some("Map"), defines, sizes, below: 1.0, tolerance: 1e-5 }.check();
    let sizes: &[&[(&str, usize)]] = &[&[("R", 1), ("C", 1)], &[("R", 2), ("C", 3)], &[("R", 5), ("C", 4)]];
    Case { file, model: Some("Grid"), defines, sizes, below: 1.0, tolerance: 1e-5 }.check();
}

#[test]
fn vit() {
    let defines = &[("classes", "10"), ("image", "32"), ("patch", "8"), ("dim", "64"), ("depth", "2"), ("heads", "2")];
    let sizes: &[&[(&str, usize)]] = &[&[("B", 1)], &[("B", 3)]];
    Case { file: "vit.nn", model: None, defines, sizes, below: 1.0, tolerance: 1e-5 }.check();
}

#[test]
fn t5() {
    let defines = &[("vocab", "50"), ("dim", "64"), ("layers", "2"), ("heads", "2"), ("inner", "64"), ("ffn", "96")];
    let sizes: &[&[(&str, usize)]] = &[&[("B", 1), ("S", 1), ("T", 1)], &[("B", 2), ("S", 7), ("T", 5)]];
    Case { file: "t5.nn", model: None, defines, sizes, below: 50.0, tolerance: 1e-5 }.check();
}

#[test]
fn generator() {
    let sizes: &[&[(&str, usize)]] = &[&[("B", 1)]];
    Case {
        file: "gan.nn",
        model: None,
        defines: &[("latent", "16"), ("width", "4")],
        sizes,
        below: 1.0,
        tolerance: 1e-5,
    }
    .check();
}

#[test]
fn unet() {
    let defines = &[("widths", "[32, 32]"), ("attend", "[false, true]")];
    let sizes: &[&[(&str, usize)]] = &[&[("B", 1), ("H", 8), ("W", 8)]];
    Case { file: "unet_diffusion.nn", model: None, defines, sizes, below: 1000.0, tolerance: 1e-5 }.check();
}

#[test]
fn discriminator() {
    let sizes: &[&[(&str, usize)]] = &[&[("B", 1)], &[("B", 2)]];
    let model = Some("Discriminator");
    Case { file: "gan.nn", model, defines: &[("width", "4")], sizes, below: 1.0, tolerance: 1e-5 }.check();
}

#[test]
fn vae() {
    let defines = &[("hidden", "70"), ("latent", "5")];
    let sizes: &[&[(&str, usize)]] = &[&[("B", 1)], &[("B", 6)]];
    Case { file: "vae.nn", model: None, defines, sizes, below: 1.0, tolerance: 1e-5 }.check();
}

#[test]
fn silero_vad() {
    let sizes: &[&[(&str, usize)]] = &[&[("B", 1)], &[("B", 1)], &[("B", 3)]];
    Case { file: "silero_vad.nn", model: None, defines: &[], sizes, below: 1.0, tolerance: 1e-5 }.check();
}
