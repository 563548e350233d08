//! Scheduled kernels as machine code of this machine, run on arrays.

use cpu::x86::EmitError;
use cpu::{Isa, Module, lower};
use kernel::scheduled::{Place, Scheduled};
use tensor::{Elem, Tensor};

/// Instruction sets that code is made for and that this machine runs.
pub fn isas() -> impl Iterator<Item = Isa> {
    [Isa::Avx512, Isa::Avx2, Isa::Baseline].into_iter().filter(|isa| *isa <= Isa::host())
}

/// Bytes beyond a buffer's end that must stay as they are.
const BEYOND: usize = 64;
const MARK: u8 = 0xa5;

/// How a kernel becomes machine code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    Vectors,
    Scalars,
}

/// Runs a kernel on its argument buffers, in order of its storage. A set error word is a failure too.
pub fn run(kernel: &Scheduled, isa: Isa, made: Made, sizes: &[i64], buffers: &mut [Vec<f64>]) -> Result<(), Failure> {
    let wrong = |e: EmitError| Failure::Wrong(e.to_string());
    let mut module = Module::new().map_err(wrong)?;
    let id = match made {
        Made::Vectors => {
            let function = lower::lower(kernel).map_err(|e| Failure::Unsupported(e.to_string()))?;
            function.verify().map_err(|e| Failure::Wrong(format!("{e}\n{function}")))?;
            module.kernel(&function, isa).map_err(|e| Failure::Unsupported(e.to_string()))?
        }
        Made::Scalars => {
            let function = module.scalars(kernel).map_err(|e| Failure::Unsupported(e.to_string()))?;
            module.scalar_kernel(function)
        }
    };
    let code = module.finish().map_err(wrong)?;

    let arguments: Vec<usize> =
        (0..kernel.storage.len()).filter(|i| kernel.storage[*i].place == Place::Argument).collect();
    let mut bytes = vec![];
    for i in &arguments {
        let mut data = tensor(kernel.storage[*i].elem, &buffers[*i]).bytes.to_vec();
        data.resize(data.len() + BEYOND, MARK);
        bytes.push(data);
    }
    let mut error = 0i64;
    let mut scratch = vec![0u64; kernel.scratch / 8 + 16];
    let mut table = vec![&raw mut error as u64];
    table.extend(bytes.iter_mut().map(|b| b.as_mut_ptr() as u64));
    table.extend(sizes.iter().map(|s| *s as u64));
    table.push((scratch.as_mut_ptr() as u64).next_multiple_of(64));
    let tasks = kernel.tasks.evaluate(&|_| 0, &|s| kernel.sizes(sizes, 0, 0)[s.index()]);
    // SAFETY: the function takes the argument table and a range of tasks.
    unsafe { code.kernel(id)(table.as_ptr(), 0, tasks) };
    if error != 0 {
        return Err(Failure::Wrong(format!("the error word is {error:#x}")));
    }
    for (i, data) in arguments.into_iter().zip(bytes) {
        let (data, beyond) = data.split_at(data.len() - BEYOND);
        if beyond.iter().any(|b| *b != MARK) {
            return Err(Failure::Wrong(format!("`{}` was written beyond its end", kernel.storage[i].name)));
        }
        let shape = vec![buffers[i].len()];
        buffers[i] = Tensor { elem: kernel.storage[i].elem, shape, bytes: data.into() }.to_f64();
    }
    Ok(())
}

#[derive(Debug)]
pub enum Failure {
    /// The back end says that it cannot do this.
    Unsupported(String),
    Wrong(String),
}

fn tensor(elem: Elem, data: &[f64]) -> Tensor {
    Tensor::from_f64(elem, &[data.len()], data.iter().copied())
}
