//! Kernels as CUDA C++ with schedules for a GPU, one JSON object a line: `benches/gpu.sh` compiles, checks and times them.

use benches::kernels::lowered;
use kernel::scheduled::Place;
use kernel::{Extent, Kernel, Role, apply};
use serde_json::json;

/// Lanes of a thread's vector: 16 bytes of f32.
const LANES: i64 = 4;

/// A name, what the entry computes by the word that `gpu.py` knows, the model, and the schedule of its one kernel.
const CASES: &[[&str; 4]] = &[
    [
        "product 512, whole rows staged",
        "product",
        "model M(a: [512, 512], b: [512, 512]) -> [512, 512] = a @ b",
        STAGED,
    ],
    [
        "product 500 x 700 x 300, ragged",
        "product",
        "model M(a: [500, 300], b: [300, 700]) -> [500, 700] = a @ b",
        STAGED,
    ],
    [
        "product 2048, tiles staged",
        "product",
        "model M(a: [2048, 2048], b: [2048, 2048]) -> [2048, 2048] = a @ b",
        TILED,
    ],
    [
        "product 2048, larger tiles",
        "product",
        "model M(a: [2048, 2048], b: [2048, 2048]) -> [2048, 2048] = a @ b",
        LARGER,
    ],
    [
        "product 4096, larger tiles",
        "product",
        "model M(a: [4096, 4096], b: [4096, 4096]) -> [4096, 4096] = a @ b",
        LARGER,
    ],
    [
        "product 1008 x 1104 x 900, ragged",
        "product",
        "model M(a: [1008, 900], b: [900, 1104]) -> [1008, 1104] = a @ b",
        LARGER,
    ],
    ["softmax 8192 x 1024", "softmax", "model M(x: [8192, 1024]) -> [8192, 1024] = softmax(x)", SOFTMAX],
    ["softmax 8192 x 1000, ragged", "softmax", "model M(x: [8192, 1000]) -> [8192, 1000] = softmax(x)", SOFTMAX],
    ["layer norm 8192 x 1024", "layer norm", "model M(x: [8192, 1024]) -> [8192, 1024] = x |> n: LayerNorm()", SOFTMAX],
    ["gelu of 64 Mi", "gelu", "model M(x: [67108864]) -> [67108864] = gelu(x)", POINTS],
    ["exp of 1000003, ragged", "exp", "model M(x: [1000003]) -> [1000003] = exp(x)", POINTS],
    ["tanh of 64 Mi", "tanh", "model M(x: [67108864]) -> [67108864] = tanh(x)", POINTS],
    ["sum of rows 8192 x 1024", "sum", "model M(x: [8192, 1024]) -> [8192] = sum(x, [-1])", SUM],
];

const STAGED: &str = "stage x0 as P; stage x1 as Q; split i0 32 io it; split it 4 ii ir; split i1 32 jo jt; \
                      split jt 4 jj jr; split k 8 kq kt; layout P 0 1 local io; layout Q 0 1 local jo; \
                      nest io.by jo.bx { P: ii.ty ir kq kt.tx, Q: kq kt.ty jj.tx jr, y0: ii.ty jj.tx k ir* jr* }";

const TILED: &str = "stage x0 as P; stage x1 as Q; split i0 64 io it; split it 4 ii ir; split i1 64 jo jt; \
                     split jt 4 jj jr; split k 64 ko ki; split ki 16 kq kt; layout P 0 1 local io ko; \
                     layout Q 0 1 local jo ko; \
                     nest io.by jo.bx ko { P: ii.ty ir kq kt.tx, Q: kq kt.ty jj.tx jr, y0: ii.ty jj.tx ki ir* jr* }";

/// Eight by eight results for each thread, apart by the number of threads, so that neighbours touch neighbouring memory.
const LARGER: &str = "stage x0 as P; stage x1 as Q; split i0 128 io it; split it 16 ir ii; split i1 128 jo jt; \
                      split jt 16 jr jj; split k 64 ko ki; split ki 16 kq kt; layout P 0 1 local io ko; \
                      layout Q 0 1 local jo ko; \
                      nest io.by jo.bx ko { P: ii.ty ir kq kt.tx, Q: kq kt.ty jj.tx jr, y0: ii.ty jj.tx ki ir* jr* }";

/// Of all rows that two reductions read.
const SOFTMAX: &str = "split i1 1024 co cq; split cq 4 ct l; register t1 t2; layout t0 1 local i0; \
                       nest i0.bx { t1: co ct.tx l@, t0 t2: co ct.tx l@, y0: co ct.tx l@ }";

const POINTS: &str = "split i0 1024 io it; split it 4 ii l; nest y0: io.bx ii.tx l@";

const SUM: &str = "split r 1024 co cq; split cq 4 ct l; nest i0.bx { y0: co ct.tx l@ }";

fn main() {
    for [name, computes, source, schedule] in CASES {
        match case(source, schedule) {
            Ok(mut line) => {
                line["name"] = json!(name);
                line["computes"] = json!(computes);
                println!("{line}");
            }
            Err(e) => {
                eprintln!("{name}: {e}");
                std::process::exit(1);
            }
        }
    }
}

fn case(source: &str, schedule: &str) -> Result<serde_json::Value, String> {
    let kernel = kernel_of(source)?;
    let schedule: kernel::Schedule = schedule.parse().map_err(|e| format!("{e}"))?;
    let scheduled = apply(&kernel, &schedule, LANES).map_err(|e| format!("{e}\n{kernel}"))?;
    let cuda = cuda::emit(&scheduled).map_err(|e| format!("{e}\n{scheduled}"))?;
    let extent = |e: &Extent| e.as_const().ok_or("sizes are known here");
    let mut buffers = vec![];
    for (buffer, storage) in kernel.buffers.iter().zip(&scheduled.storage) {
        if storage.place == Place::Argument {
            let dims = buffer.dims.iter().map(extent).collect::<Result<Vec<_>, _>>()?;
            buffers.push(json!({"out": buffer.role == Role::Out, "dims": dims}));
        }
    }
    let grid = cuda.grid.each_ref().map(|n| n.as_constant().unwrap_or(1));
    let text = format!("{}\n{}", cuda::PRELUDE, cuda.text);
    let (entry, block, shared) = (cuda.entry, cuda.block, cuda.shared);
    Ok(json!({"entry": entry, "text": text, "grid": grid, "block": block, "shared": shared, "buffers": buffers}))
}

/// The one kernel that a model becomes.
fn kernel_of(source: &str) -> Result<Kernel, String> {
    match &lowered(source)?.kernels[..] {
        [lower::LoweredKernel::Loops(loops)] => Ok(loops.kernel.clone()),
        kernels => Err(format!("{} kernels instead of one", kernels.len())),
    }
}
