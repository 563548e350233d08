//! Slopes of whole models in f64: gradients along random directions of all parameters, against difference quotients.

use graph::{Array, Dim, Graph, Storage, Value, gradients, interpret};
use tests::case::Random;
use tests::gradient::weighted_sum;

/// Half the distance of the two points of a quotient. Rounding leaves 1e-16 / H of it, curvature H² of it.
const H: f64 = 1e-5;

/// Of the gradient's length: quotients of functions with kinks are off where one lies between the points.
const TOLERANCE: f64 = 1e-6;

const DIRECTIONS: usize = 20;

struct Case {
    file: &'static str,
    model: Option<&'static str>,
    defines: &'static [(&'static str, &'static str)],
    sizes: &'static [(&'static str, i64)],
    /// Integer inputs are below this.
    below: f64,
}

impl Case {
    fn graph(&self) -> Graph {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../dsl-examples").join(self.file);
        let compiler = nnc::compile(path).unwrap();
        let compiler = self.model.into_iter().fold(compiler, |c, name| c.model(name));
        let mut compiler = self.defines.iter().fold(compiler, |c, (n, v)| c.define(*n, v));
        let model = compiler.elaborate().unwrap_or_else(|e| panic!("{e}"));
        let forward = model.entries.into_iter().find(|e| e.name == "forward");
        forward.unwrap_or_else(|| panic!("{} has no forward", self.file)).graph
    }

    fn size(&self, name: &str) -> Option<i64> {
        self.sizes.iter().find(|(n, _)| *n == name).map(|(_, size)| *size)
    }

    fn operand(&self, graph: &Graph, operand: &graph::Operand, random: &mut Random) -> Array {
        let ty = graph.ty(operand.value);
        let known = |d: &Dim| d.eval(&|name: &str| self.size(name)).expect("sizes are given") as usize;
        let shape: Vec<usize> = ty.dims.iter().map(known).collect();
        let bound = match operand.storage {
            Storage::Input => 1.0,
            _ => 1.0 / (*shape.last().unwrap_or(&1) as f64).sqrt(),
        };
        let variance = operand.name.ends_with("running_var");
        Array::from_fn(ty.elem, shape, |_| match ty.elem {
            graph::Elem::Bool => (random.unit() < 0.8) as u8 as f64,
            e if !e.is_float() => (random.unit() * self.below).floor(),
            _ if variance => random.unit() + 0.5,
            _ => (2.0 * random.unit() - 1.0) * bound,
        })
    }

    fn check(&self) {
        let (mut graph, mut random) = (self.graph(), Random::new(5));
        let operands = graph.operands.clone();
        let mut given: Vec<Array> = operands.iter().map(|o| self.operand(&graph, o, &mut random)).collect();
        let params: Vec<usize> = (0..operands.len())
            .filter(|i| operands[*i].storage == Storage::Param && graph.ty(operands[*i].value).elem.is_float())
            .collect();
        let floats = graph.outputs.iter().map(|(_, y)| *y).filter(|y| graph.ty(*y).elem.is_float());
        let results: Vec<Value> = floats.collect();
        let of = weighted_sum(&mut graph, &results, &mut |_| {}).expect("a model has a result");
        for weight in &graph.operands[given.len()..] {
            given.push(self.operand(&graph, weight, &mut random));
        }
        let mut forward = graph.clone();
        forward.outputs = vec![("of".into(), of)];
        forward.updates.clear();
        forward.remove_dead();
        let values: Vec<Value> = params.iter().map(|i| operands[*i].value).collect();
        let found = gradients(&mut graph, of, &values).unwrap_or_else(|e| panic!("{}: {e}", self.file));
        graph.verify().unwrap_or_else(|e| panic!("{}: {e}", self.file));
        let evaluate = |graph: &Graph, given: &[Array]| {
            let values = interpret::values_of_sizes(graph, given, &|name| self.size(name));
            values.unwrap_or_else(|e| panic!("{}: {e}", self.file))
        };
        let all = evaluate(&graph, &given);
        let length = found.iter().flat_map(|g| &all[g].data).map(|x| x * x).sum::<f64>().sqrt();
        assert!(length > 0.0, "{}: the gradient is zero", self.file);
        for number in 0..DIRECTIONS {
            // Of length 1, so that what it gives is at most the gradient's length.
            let mut direction: Vec<Vec<f64>> =
                params.iter().map(|i| given[*i].data.iter().map(|_| 2.0 * random.unit() - 1.0).collect()).collect();
            let norm = direction.iter().flatten().map(|x| x * x).sum::<f64>().sqrt();
            direction.iter_mut().flatten().for_each(|x| *x /= norm);
            let slopes = found.iter().zip(&direction).map(|(g, d)| dot(&all[g].data, d));
            let slope: f64 = slopes.sum();
            let at = |step: f64| {
                let mut moved = given.clone();
                for (i, d) in params.iter().zip(&direction) {
                    moved[*i].data.iter_mut().zip(d).for_each(|(x, d)| *x += step * d);
                }
                evaluate(&forward, &moved)[&of].data[0]
            };
            let quotient = (at(H) - at(-H)) / (2.0 * H);
            assert!(
                (slope - quotient).abs() <= TOLERANCE * length,
                "{}, direction {number}: the gradient gives {slope}, the quotient {quotient}; it has length {length}",
                self.file
            );
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[test]
fn mlp() {
    Case { file: "mnist_mlp.nn", model: None, defines: &[("hidden", "16")], sizes: &[("B", 3)], below: 1.0 }.check();
}

#[test]
fn lstm() {
    let defines = &[("vocab", "20"), ("dim", "12"), ("layers", "2")];
    Case { file: "lstm_lm.nn", model: None, defines, sizes: &[("B", 2), ("T", 5)], below: 20.0 }.check();
}

#[test]
fn bert() {
    let defines = &[("vocab", "50"), ("dim", "32"), ("layers", "2"), ("heads", "2")];
    Case { file: "bert_encoder.nn", model: None, defines, sizes: &[("B", 2), ("T", 5)], below: 2.0 }.check();
}

#[test]
fn vae() {
    let defines = &[("hidden", "24"), ("latent", "5")];
    Case { file: "vae.nn", model: None, defines, sizes: &[("B", 2)], below: 1.0 }.check();
}

#[test]
fn gan() {
    let defines = &[("latent", "8"), ("width", "1")];
    Case { file: "gan.nn", model: None, defines, sizes: &[("B", 1)], below: 1.0 }.check();
    Case { file: "gan.nn", model: Some("Discriminator"), defines: &[("width", "1")], sizes: &[("B", 1)], below: 1.0 }
        .check();
}

/// Eleven million parameters in an interpreter: minutes.
#[test]
#[ignore = "slow"]
fn resnet() {
    let sizes = &[("B", 1), ("H", 16), ("W", 16)];
    Case { file: "resnet18.nn", model: None, defines: &[("classes", "10")], sizes, below: 1.0 }.check();
}
