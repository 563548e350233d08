//! Example models beside their public implementations, torchvision's, timm's, Hugging Face's, with the same random weights:
//! results and gradients. `scripts/golden-models.py` computed what they must be.

use graph::{Storage, Value, gradients};
use nnc::{Compiler, Elem, Stored, Tensor, TensorType, Values, safetensors::Weights};
use std::path::{Path, PathBuf};
use tests::gradient::weighted_sum;

/// Of results, as a share of the largest: some hundred thousand products in f32 in another order.
const RESULTS: f64 = 1e-4;

/// Of sums over a gradient, as a share of its length: f32 on both sides, through all layers and back.
const GRADIENTS: f64 = 1e-4;

/// As in the script.
const SEED: u64 = 3;

struct Case {
    name: &'static str,
    file: &'static str,
    model: Option<&'static str>,
    entry: &'static str,
    defines: &'static [(&'static str, &'static str)],
}

const fn case(name: &'static str, file: &'static str, defines: &'static [(&'static str, &'static str)]) -> Case {
    Case { name, file, model: None, entry: "forward", defines }
}

const VAE: Case = case("vae_encode", "vae.nn", &[]);
const GAN: Case = case("generator", "gan.nn", &[("width", "8")]);

/// Small enough to run with all tests.
const SMALL: &[Case] = &[
    case("mnist_mlp", "mnist_mlp.nn", &[]),
    case("lstm_lm_small", "lstm_lm.nn", &[("vocab", "30"), ("dim", "24")]),
    case(
        "bert_small",
        "bert_encoder.nn",
        &[("vocab", "60"), ("dim", "48"), ("layers", "2"), ("heads", "3"), ("positions", "64")],
    ),
    case(
        "gpt2_small",
        "gpt2.nn",
        &[("vocab", "60"), ("context", "64"), ("dim", "48"), ("layers", "2"), ("heads", "3")],
    ),
    case(
        "vit_small",
        "vit.nn",
        &[("image", "32"), ("patch", "8"), ("dim", "48"), ("depth", "2"), ("heads", "3"), ("classes", "10")],
    ),
    case(
        "t5_small",
        "t5.nn",
        &[("vocab", "50"), ("dim", "32"), ("layers", "2"), ("heads", "4"), ("inner", "32"), ("ffn", "40")],
    ),
    case("unet_small", "unet_diffusion.nn", &[("widths", "[32, 64]"), ("attend", "[false, true]")]),
    case("resnet18_small", "resnet18.nn", &[("classes", "10")]),
    Case { entry: "encode", ..VAE },
    Case { name: "vae_decode", entry: "decode", ..VAE },
    Case { model: Some("Generator"), ..GAN },
    Case { name: "discriminator", model: Some("Discriminator"), ..GAN },
];

/// Of the published sizes.
const LARGE: &[Case] = &[
    case("resnet18", "resnet18.nn", &[]),
    case("vit", "vit.nn", &[]),
    case("t5", "t5.nn", &[]),
    case("unet", "unet_diffusion.nn", &[]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).into()
}

fn tensor(golden: &Weights, key: &str) -> Option<Tensor> {
    golden.get(key).map(Tensor::from)
}

/// What `random_weights.py` makes.
fn random(name: &str, shape: &[usize], seed: u64, storage: Storage) -> Tensor {
    let dims = shape.iter().map(|n| nnc::Dim::int(*n as i64)).collect();
    let ty = TensorType { elem: Elem::F32, dims };
    Values::Random { seed }.of(&Stored { name: name.into(), storage, ty, span: Default::default() }).unwrap()
}

impl Case {
    fn compiler(&self) -> Compiler {
        let compiler = nnc::compile(root().join("../dsl-examples").join(self.file)).unwrap();
        let compiler = self.model.into_iter().fold(compiler, |c, name| c.model(name));
        self.defines.iter().fold(compiler, |c, (n, v)| c.define(*n, v))
    }

    fn input(&self, golden: &Weights, name: &str) -> Tensor {
        if let Some(stored) = tensor(golden, &format!("input.{name}")) {
            return stored;
        }
        let shape =
            tensor(golden, &format!("shape.{name}")).unwrap_or_else(|| panic!("{}: no input {name}", self.name));
        let shape: Vec<usize> = shape.to_f64().into_iter().map(|n| n as usize).collect();
        let half_to_more = random(name, &shape, 105, Storage::State).to_f64();
        Tensor::from_f64(Elem::F32, &shape, half_to_more.into_iter().map(|x| x - 1.0))
    }

    fn check(&self) {
        let golden = Weights::open(&root().join(format!("golden/models/{}.safetensors", self.name))).unwrap();
        let mut compiler = self.compiler();
        let model = compiler.elaborate().unwrap_or_else(|e| panic!("{e}"));
        let entry = model.entries.into_iter().find(|e| e.name == self.entry).unwrap();
        let mut graph = entry.graph;
        let inputs = graph.operands.iter().filter(|o| o.storage == Storage::Input);
        let mut inputs: Vec<Tensor> = inputs.map(|o| self.input(&golden, &o.name)).collect();
        let outputs = graph.outputs.clone();
        let expected: Vec<Tensor> = (outputs.iter())
            .map(|(name, _)| {
                tensor(&golden, &format!("output.{name}")).unwrap_or_else(|| panic!("{}: {name}", self.name))
            })
            .collect();

        // Gradients become results too.
        let wanted: Vec<(String, Value)> = (graph.operands.iter())
            .filter(|o| golden.get(&format!("gradient.{}", o.name)).is_some())
            .map(|o| (o.name.clone(), o.value))
            .collect();
        if !wanted.is_empty() {
            let values: Vec<Value> = outputs.iter().map(|(_, v)| *v).collect();
            let total = weighted_sum(&mut graph, &values, &mut |_| {}).unwrap();
            let weights = expected.iter().enumerate();
            inputs.extend(weights.map(|(i, y)| random(&format!("weight {i}"), &y.shape, 104, Storage::Param)));
            let parameters: Vec<Value> = wanted.iter().map(|(_, v)| *v).collect();
            let found = gradients(&mut graph, total, &parameters).unwrap();
            wanted.iter().zip(found).for_each(|((name, _), g)| graph.set_output(format!("gradient.{name}"), g));
        }
        let built = nnc::compile_graph(graph).build().unwrap_or_else(|e| panic!("{}: {e}", self.name));
        let program = built.with_random_weights(SEED).unwrap();
        let results = program.session(2).call(&program.entries()[0].name, &inputs);
        let results = results.unwrap_or_else(|e| panic!("{}: {e}", self.name));

        for ((name, _), (got, expected)) in outputs.iter().zip(results.iter().zip(&expected)) {
            // Of the largest vocabulary the first words are stored.
            let columns = *expected.shape.last().unwrap_or(&1);
            let all = *got.shape.last().unwrap_or(&1);
            let got: Vec<f64> = got.to_f64().chunks(all).flat_map(|row| row[..columns].to_vec()).collect();
            let expected = expected.to_f64();
            assert_eq!(got.len(), expected.len(), "{}: {name}", self.name);
            let most = expected.iter().fold(0f64, |m, x| m.max(x.abs()));
            let worst = got.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(
                worst <= RESULTS * most && most > 0.0,
                "{}: {name} differs by {worst:.2e} of {most:.2e}",
                self.name
            );
        }
        let exact = |name: &str| tensor(&golden, &format!("gradient.{name}")).unwrap().to_f64();
        // A gradient that is 0 by nature, such as that of the bias of keys, is noise on both sides.
        let noise = wanted.iter().map(|(name, _)| exact(name)[1]).fold(0.0, f64::max) * 1e-2;
        for ((name, _), gradient) in wanted.iter().zip(&results[outputs.len()..]) {
            let expected = exact(name);
            let g = gradient.to_f64();
            let sum: f64 = g.iter().sum();
            let length = g.iter().map(|x| x * x).sum::<f64>().sqrt();
            let direction = |seed: u64| random(name, &gradient.shape, seed, Storage::Param).to_f64();
            let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            // What each number is at most, in lengths of the gradient.
            let mut got = vec![(sum, (g.len() as f64).sqrt()), (length, 1.0)];
            got.extend([101, 102, 103].map(direction).map(|d| (product(&g, &d), product(&d, &d).sqrt())));
            let off = |((got, most), exact): (&(f64, f64), &f64)| (got - exact).abs() / (most * (expected[1] + noise));
            let close = got.iter().zip(&expected).all(|pair| off(pair) <= GRADIENTS);
            assert!(close, "{}: the gradient of {name}: {got:?}, expected {expected:?}", self.name);
        }
    }
}

#[test]
fn small_models_are_those_of_their_authors() {
    SMALL.iter().for_each(Case::check);
}

#[test]
#[ignore = "takes half a minute and two gigabytes"]
fn published_models_are_those_of_their_authors() {
    LARGE.iter().for_each(Case::check);
}
