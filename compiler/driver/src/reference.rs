//! What an entry gives by definition: each operator as it is written down, in f64.

use crate::constants::Values;
use crate::error::Error;
use crate::session::key;
use dsl::Stored;
use graph::{Array, Graph, Storage, interpret};
use tensor::Tensor;

/// Results of a graph that no pass has changed, in order, for inputs in order and the `values` of what is stored. Caches
/// are as at first, random numbers those of `seed`. Slow: a second for each ten million operations or so.
///
/// ```
/// let compiler = || nnc::compile("../../dsl-examples/mnist_mlp.nn").map(|c| c.define("hidden", 32));
/// let (defined, model) = (compiler()?.elaborate()?, compiler()?.build()?);
/// let values = nnc::Values::Random { seed: 1 };
/// let image = nnc::Tensor::zeros(nnc::Elem::F32, &[2, 28, 28]);
/// let results = model.with_values(&values)?.session(1).call("forward", &[image.clone()])?;
/// let exact = nnc::reference(&defined.entries[0].graph, &[image], &values, 0)?;
/// assert!(nnc::max_error(&results, &exact) < 1e-5);
/// # Ok::<(), nnc::Error>(())
/// ```
pub fn reference(graph: &Graph, inputs: &[Tensor], values: &Values, seed: u64) -> Result<Vec<Array>, Error> {
    let of_inputs = graph.operands.iter().filter(|o| o.storage == Storage::Input);
    let sizes = interpret::sizes(graph, of_inputs.zip(inputs.iter().map(|input| &input.shape[..])));
    let size = |name: &str| sizes.get(name).copied();
    let mut inputs = inputs.iter();
    let mut operands = vec![];
    for operand in &graph.operands {
        let ty = graph.ty(operand.value);
        let tensor = match operand.storage {
            Storage::Input => inputs.next().cloned(),
            Storage::Cache => {
                let dims = ty.dims.iter().map(|d| usize::try_from(d.eval(&size)?).ok());
                let zeros = dims.collect::<Option<Vec<_>>>().and_then(|dims| Tensor::try_zeros(ty.elem, &dims));
                match operand.name == dsl::RANDOM_KEY {
                    true => zeros.map(|t| Tensor { bytes: key(seed)[..].into(), ..t }),
                    false => zeros,
                }
            }
            Storage::Param | Storage::State => {
                let (name, ty) = (operand.name.clone(), ty.clone());
                Some(values.of(&Stored { name, storage: operand.storage, ty, span: Default::default() })?)
            }
        };
        let tensor = tensor.ok_or_else(|| Error::Defect(format!("no value for `{}`", operand.name)))?;
        let tensor = tensor.cast(ty.elem);
        operands.push(Array::from(&tensor));
    }
    let results = interpret::run(graph, &operands);
    results.map_err(|e| Error::Defect(format!("the reference of `{}`: {e}", graph.name)))
}

/// The largest difference of results from the reference, as a share of the reference's largest magnitude, over all
/// results; the way in which benchmarks of peers state it. Infinite where one is a number and the other not.
pub fn max_error(results: &[Tensor], reference: &[Array]) -> f64 {
    let of_one = |(result, exact): (&Tensor, &Array)| {
        let scale = exact.data.iter().filter(|x| x.is_finite()).fold(0f64, |m, x| m.max(x.abs()));
        let difference = |(a, b): (f64, &f64)| match a == *b || (a.is_nan() && b.is_nan()) {
            true => 0.0,
            false if a.is_finite() && b.is_finite() => (a - b).abs() / scale.max(f64::MIN_POSITIVE),
            false => f64::INFINITY,
        };
        result.to_f64().into_iter().zip(&exact.data).map(difference).fold(0.0, f64::max)
    };
    results.iter().zip(reference).map(of_one).fold(0.0, f64::max)
}
