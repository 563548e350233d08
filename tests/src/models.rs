//! Whole models, made small: compiled code against the graph's reference interpreter, at sizes that cross tile edges.

use graph::{Array, Storage, interpret};
use nnc::{Elem, Target, Tensor};
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

/// A model of `dsl-examples`, made small, and the inputs it gets.
pub struct Case {
    pub name: &'static str,
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
    fn compiler(&self, target: &Target) -> nnc::Compiler {
        let path = crate::folder().join("../dsl-examples").join(self.file);
        let compiler = nnc::compile(path).unwrap().target(target.clone());
        let compiler = self.model.into_iter().fold(compiler, |c, name| c.model(name));
        self.defines.iter().fold(compiler, |c, (n, v)| c.define(*n, v))
    }

    /// On each instruction set of this machine.
    pub fn check(&self) {
        for isa in nnc::Isa::ALL {
            if isa > nnc::Isa::host() {
                eprintln!("skipped: this machine has no {isa}");
                continue;
            }
            self.check_on(&Target::Cpu(isa), &[1, 2]);
        }
    }

    /// On one target, in a session for each number of threads.
    pub fn check_on(&self, target: &Target, threads: &[usize]) {
        let reference = self.compiler(target).elaborate().unwrap_or_else(|e| panic!("{e}"));
        let model = self.compiler(target).build().unwrap_or_else(|e| panic!("{e}"));
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
        let mut sessions: Vec<nnc::Session> = threads.iter().map(|threads| program.session(*threads)).collect();
        // What caches hold after the calls so far.
        let mut caches: HashMap<String, Array> = HashMap::new();
        let mut linked = matches!(target, Target::Cpu(_)).then(|| {
            let linked = self.compiler(target).jit().build().unwrap_or_else(|e| panic!("{e}"));
            linked.with(&mut |name| Ok(weights[name].clone())).unwrap().session(1)
        });
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
                            operands.push(kept.unwrap_or_else(|| Array::from(&Tensor::zeros(ty.elem, &shape))));
                            continue;
                        }
                        Storage::Input => random.tensor(ty.elem, &shape, 1.0, self.below),
                        _ => weights[&o.name].clone(),
                    };
                    operands.push(Array::from(&tensor));
                    if o.storage == Storage::Input {
                        inputs.push(tensor);
                    }
                }
                let values = interpret::values(graph, &operands).unwrap();
                let expected: Vec<&Array> = graph.outputs.iter().map(|(_, v)| &values[v]).collect();
                for (i, value) in &graph.updates {
                    caches.insert(graph.operands[*i].name.clone(), values[value].clone());
                }
                let mut call = |s: &mut nnc::Session| s.call(&entry.name, &inputs).unwrap_or_else(|e| panic!("{e}"));
                let by_jit = linked.as_mut().map(&mut call);
                for (n, session) in sessions.iter_mut().enumerate() {
                    let got = call(session);
                    if let (0, Some(by_jit)) = (n, &by_jit) {
                        let place = format!("{} {target}", self.name);
                        assert_eq!(*by_jit, got, "{place}: code linked by cranelift-jit gives something else");
                    }
                    for ((e, g), (output, _)) in expected.iter().zip(&got).zip(&graph.outputs) {
                        self.compare(e, g, &format!("{} {target} {sizes:?} {output}", self.name));
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

/// The case of this name.
pub fn case(name: &str) -> &'static Case {
    ALL.iter().find(|c| c.name == name).unwrap_or_else(|| panic!("no case `{name}`"))
}

const IMAGES: &str = "../tests/models/images.nn";
const SCANS: &str = "../tests/models/scans.nn";
const SCAN_SIZES: &[&[(&str, usize)]] = &[&[("B", 1), ("T", 1)], &[("B", 2), ("T", 6)], &[("B", 9), ("T", 5)]];

pub const ALL: &[Case] = &[
    // Sums of 784 products, rounded in f32.
    Case {
        name: "mlp",
        file: "mnist_mlp.nn",
        model: None,
        defines: &[("hidden", "70")],
        sizes: &[&[("B", 1)], &[("B", 5)], &[("B", 33)]],
        below: 1.0,
        tolerance: 2e-6,
    },
    Case {
        name: "bert",
        file: "bert_encoder.nn",
        model: None,
        defines: &[("vocab", "50"), ("dim", "64"), ("layers", "2"), ("heads", "2")],
        sizes: &[&[("B", 1), ("T", 1)], &[("B", 2), ("T", 7)], &[("B", 1), ("T", 45)], &[("B", 3), ("T", 16)]],
        below: 2.0,
        tolerance: 1e-5,
    },
    Case {
        name: "resnet",
        file: "resnet18.nn",
        model: None,
        defines: &[("classes", "10")],
        sizes: &[&[("B", 1), ("H", 32), ("W", 32)]],
        below: 1.0,
        tolerance: 1e-5,
    },
    Case {
        name: "images",
        file: IMAGES,
        model: Some("Images"),
        defines: &[("H", "30"), ("W", "26")],
        sizes: &[&[("B", 1)], &[("B", 3)]],
        below: 1.0,
        tolerance: 1e-5,
    },
    Case {
        name: "images of any size",
        file: IMAGES,
        model: Some("Images"),
        defines: &[],
        sizes: &[&[("B", 1), ("H", 16), ("W", 19)], &[("B", 2), ("H", 37), ("W", 70)]],
        below: 1.0,
        tolerance: 1e-5,
    },
    Case {
        name: "sounds",
        file: IMAGES,
        model: Some("Sounds"),
        defines: &[],
        sizes: &[&[("B", 1), ("T", 5)], &[("B", 2), ("T", 100)]],
        below: 1.0,
        tolerance: 1e-5,
    },
    // Caches go from call to call as long as their sizes stay.
    Case {
        name: "lstm",
        file: "lstm_lm.nn",
        model: None,
        defines: &[("vocab", "50"), ("dim", "40"), ("layers", "2")],
        sizes: &[&[("B", 1), ("T", 1)], &[("B", 1), ("T", 7)], &[("B", 3), ("T", 16)], &[("B", 17), ("T", 2)]],
        below: 50.0,
        tolerance: 1e-5,
    },
    Case {
        name: "scan of both",
        file: SCANS,
        model: Some("Both"),
        defines: &[],
        sizes: SCAN_SIZES,
        below: 1.0,
        tolerance: 1e-5,
    },
    Case {
        name: "scan of counts",
        file: SCANS,
        model: Some("Counts"),
        defines: &[],
        sizes: SCAN_SIZES,
        below: 1.0,
        tolerance: 1e-5,
    },
    Case {
        name: "scan of map",
        file: SCANS,
        model: Some("Map"),
        defines: &[],
        sizes: SCAN_SIZES,
        below: 1.0,
        tolerance: 1e-5,
    },
    Case {
        name: "scan of a grid",
        file: SCANS,
        model: Some("Grid"),
        defines: &[],
        sizes: &[&[("R", 1), ("C", 1)], &[("R", 2), ("C", 3)], &[("R", 5), ("C", 4)]],
        below: 1.0,
        tolerance: 1e-5,
    },
    Case {
        name: "scan of two with noise",
        file: SCANS,
        model: Some("Noise"),
        defines: &[],
        sizes: SCAN_SIZES,
        below: 1.0,
        tolerance: 1e-5,
    },
    Case {
        name: "diagonal",
        file: SCANS,
        model: Some("Diagonal"),
        defines: &[],
        sizes: &[&[("N", 1)], &[("N", 9)]],
        below: 1.0,
        tolerance: 0.0,
    },
    Case {
        name: "detections",
        file: "detections.nn",
        model: None,
        defines: &[],
        sizes: &[&[("N", 1)], &[("N", 7)], &[("N", 7)], &[("N", 90)]],
        below: 1.0,
        // Areas are differences of products that may be small.
        tolerance: 1e-4,
    },
    Case {
        name: "chosen sizes",
        file: "../tests/models/sizes.nn",
        model: None,
        defines: &[],
        sizes: &[&[("N", 1)], &[("N", 6)], &[("N", 6)], &[("N", 150)]],
        below: 1.0,
        tolerance: 1e-5,
    },
    Case {
        name: "vit",
        file: "vit.nn",
        model: None,
        defines: &[("classes", "10"), ("image", "32"), ("patch", "8"), ("dim", "64"), ("depth", "2"), ("heads", "2")],
        sizes: &[&[("B", 1)], &[("B", 3)]],
        below: 1.0,
        tolerance: 1e-5,
    },
    Case {
        name: "t5",
        file: "t5.nn",
        model: None,
        defines: &[("vocab", "50"), ("dim", "64"), ("layers", "2"), ("heads", "2"), ("inner", "64"), ("ffn", "96")],
        sizes: &[&[("B", 1), ("S", 1), ("T", 1)], &[("B", 2), ("S", 7), ("T", 5)]],
        below: 50.0,
        tolerance: 1e-5,
    },
    Case {
        name: "generator",
        file: "gan.nn",
        model: None,
        defines: &[("latent", "16"), ("width", "4")],
        sizes: &[&[("B", 1)]],
        below: 1.0,
        tolerance: 1e-5,
    },
    Case {
        name: "unet",
        file: "unet_diffusion.nn",
        model: None,
        defines: &[("widths", "[32, 32]"), ("attend", "[false, true]")],
        sizes: &[&[("B", 1), ("H", 8), ("W", 8)]],
        below: 1000.0,
        tolerance: 1e-5,
    },
    Case {
        name: "discriminator",
        file: "gan.nn",
        model: Some("Discriminator"),
        defines: &[("width", "4")],
        sizes: &[&[("B", 1)], &[("B", 2)]],
        below: 1.0,
        tolerance: 1e-5,
    },
    Case {
        name: "vae",
        file: "vae.nn",
        model: None,
        defines: &[("hidden", "70"), ("latent", "5")],
        sizes: &[&[("B", 1)], &[("B", 6)]],
        below: 1.0,
        tolerance: 1e-5,
    },
    Case {
        name: "silero_vad",
        file: "silero_vad.nn",
        model: None,
        defines: &[],
        sizes: &[&[("B", 1)], &[("B", 1)], &[("B", 3)]],
        below: 1.0,
        tolerance: 1e-5,
    },
];
