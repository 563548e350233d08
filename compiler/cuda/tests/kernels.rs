//! Emitted text, compiled by g++ over the emulator and run: results against the nest's interpreter.

use cuda::{PRELUDE, Source};
use kernel::scheduled::Place;
use kernel::*;
use std::path::Path;
use std::process::Command;

#[path = "../../kernel/tests/kernels/mod.rs"]
mod kernels;

use kernels::*;

/// Lanes of a thread's vector: 16 bytes of f32.
const LANES: i64 = 4;

/// Orders of threads and blocks that each kernel runs in.
const SEEDS: [u64; 2] = [1, 2];

fn has_compiler() -> bool {
    let found = Command::new("g++").arg("--version").output().is_ok_and(|o| o.status.success());
    if !found {
        eprintln!("skipped: no g++ to compile emitted text");
    }
    found
}

fn emit(kernel: &Kernel, schedule: &str) -> (Scheduled, Source) {
    let applied = apply(kernel, &schedule.parse().unwrap(), LANES).unwrap_or_else(|e| panic!("{e}\n{schedule}"));
    let source = cuda::emit(&applied).unwrap_or_else(|e| panic!("{e}\n{applied}"));
    (applied, source)
}

/// A kernel's text as a library of this process.
struct Library {
    library: libloading::Library,
    _folder: tempfile::TempDir,
}

type Launch = unsafe extern "C" fn(*const u32, *const u32, u32, u64, *const *const u64, *mut u8, usize);

impl Library {
    fn compile(source: &Source, text: &str) -> Library {
        let folder = tempfile::tempdir().unwrap();
        let (input, output) = (folder.path().join("kernel.cc"), folder.path().join("kernel.so"));
        std::fs::write(&input, format!("{PRELUDE}\n{text}\nNNC_LAUNCH({})\n", source.entry)).unwrap();
        let emulator = Path::new(env!("CARGO_MANIFEST_DIR")).join("emulator");
        let mut compiler = Command::new("g++");
        compiler.args(["-std=c++17", "-O1", "-shared", "-fPIC", "-DNNC_EMULATE", "-Wall", "-Werror"]);
        // Pragmas are for the device's compiler; not every kernel uses all of the prelude, or all sizes.
        compiler
            .args(["-Wno-unknown-pragmas", "-Wno-unused-function", "-Wno-unused-variable", "-ffp-contract=off", "-I"])
            .arg(emulator);
        let result = compiler.arg(&input).arg("-o").arg(&output).output().unwrap();
        assert!(result.status.success(), "{}\n{text}", String::from_utf8_lossy(&result.stderr));
        // SAFETY: the library was made here and runs no code when loaded.
        let library = unsafe { libloading::Library::new(&output) }.unwrap();
        Library { library, _folder: folder }
    }

    /// Runs the kernel on its argument buffers and returns the error word; what the emulator finds is an error.
    fn run(&self, kernel: &Scheduled, source: &Source, case: &Case, buffers: &mut [Vec<u64>]) -> Result<i64, String> {
        let all = kernel.sizes(case.sizes, 0, 0);
        let grid = source.grid.each_ref().map(|n| n.evaluate(&|_| 0, &|s| all[s.index()]) as u32);
        let mut error = 0i64;
        let mut slots = vec![&raw mut error as u64];
        slots.extend(buffers.iter_mut().map(|b| b.as_mut_ptr() as u64));
        slots.extend(case.sizes.iter().map(|n| *n as u64));
        assert_eq!(slots.len(), source.parameters.len());
        let arguments: Vec<*const u64> = slots.iter().map(|s| s as *const u64).collect();
        let mut message = vec![0u8; 400];
        // SAFETY: the text defines it with this type, and the arguments are those it was emitted for.
        unsafe {
            let launch = self.library.get::<Launch>(b"nnc_launch").unwrap();
            let (grid, block, shared) = (grid.as_ptr(), source.block.as_ptr(), source.shared as u32);
            launch(grid, block, shared, case.seed, arguments.as_ptr(), message.as_mut_ptr(), message.len());
        }
        let message = String::from_utf8_lossy(&message).trim_end_matches('\0').to_string();
        if message.is_empty() { Ok(error) } else { Err(message) }
    }
}

/// One run: sizes, and the order of threads and blocks.
struct Case<'a> {
    sizes: &'a [i64],
    seed: u64,
}

/// Elements as they lie in memory, at a boundary of 8 bytes or more.
fn encode(elem: Elem, values: &[f64]) -> Vec<u64> {
    let bytes: Vec<u8> = match elem {
        Elem::F32 => values.iter().flat_map(|x| (*x as f32).to_ne_bytes()).collect(),
        Elem::I32 => values.iter().flat_map(|x| (*x as i32).to_ne_bytes()).collect(),
        elem => unreachable!("no test has buffers of {elem}"),
    };
    let word = |c: &[u8]| u64::from_ne_bytes(std::array::from_fn(|i| c.get(i).copied().unwrap_or(0)));
    bytes.chunks(8).map(word).collect()
}

fn decode(words: &[u64], len: usize) -> Vec<f64> {
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
    let float = |c: &[u8]| f32::from_ne_bytes(std::array::from_fn(|i| c[i])) as f64;
    bytes.chunks(4).map(float).take(len).collect()
}

/// Runs emitted text, which may have been tampered with, on `data`, one row of it for each buffer of the kernel. The
/// largest difference to the nest, or what the emulator says.
fn difference(
    kernel: &Kernel,
    schedule: &str,
    all_sizes: &[&[i64]],
    data: impl Fn(&Buffer, usize, u64) -> Vec<f64>,
    tamper: impl Fn(&str) -> String,
) -> Result<f64, String> {
    let (applied, source) = emit(kernel, schedule);
    let library = Library::compile(&source, &tamper(&source.text));
    let mut worst = 0f64;
    for sizes in all_sizes {
        let extent = |e: &Extent| match e {
            Extent::Const(n) => *n,
            Extent::Size(s) => sizes[s.index()],
        };
        let len = |b: &Buffer| b.dims.iter().map(extent).product::<i64>() as usize;
        let of = |(i, b): (usize, &Buffer)| data(b, len(b), i as u64 + 7);
        let mut exact: Vec<Vec<f64>> = kernel.buffers.iter().enumerate().map(of).collect();
        let arguments: Vec<usize> = (0..exact.len()).filter(|i| applied.storage[*i].place == Place::Argument).collect();
        let inputs: Vec<Vec<u64>> = arguments.iter().map(|i| encode(kernel.buffers[*i].elem, &exact[*i])).collect();
        interpret::nest(kernel, sizes, &mut exact).unwrap();
        for seed in SEEDS {
            let mut buffers = inputs.clone();
            assert_eq!(library.run(&applied, &source, &Case { sizes, seed }, &mut buffers)?, 0);
            for (slot, i) in arguments.iter().enumerate().filter(|(_, i)| kernel.buffers[**i].role == Role::Out) {
                let found = decode(&buffers[slot], exact[*i].len());
                let apart = |(a, b): (&f64, &f64)| if a.is_nan() { f64::INFINITY } else { (a - b).abs() };
                worst = found.iter().zip(&exact[*i]).map(apart).fold(worst, f64::max);
            }
        }
    }
    Ok(worst)
}

fn random(_: &Buffer, len: usize, seed: u64) -> Vec<f64> {
    values(len, seed)
}

fn check(kernel: &Kernel, schedule: &str, sizes: &[&[i64]]) {
    let worst = difference(kernel, schedule, sizes, random, str::to_string);
    let text = || emit(kernel, schedule).1.text;
    assert!(worst.clone().is_ok_and(|w| w < 1e-5), "{worst:?} with sizes {sizes:?}\n{schedule}\n{}", text());
}

/// Tiles of 32 x 32 in shared memory, 4 x 4 of them in registers of each thread.
const STAGED: &str = "stage A as P; stage B as Q; split i 32 io it; split it 4 ii ir; split j 32 jo jt; split jt 4 jj jr;\
                      split k 8 kq kt; layout P 0 1 local io; layout Q 0 1 local jo;\
                      nest io.by jo.bx { P: ii.ty ir kq kt.tx, Q: kq kt.ty jj.tx jr, C: ii.ty jj.tx k ir* jr* }";

/// Blocks of the reduction outside: shared memory is used again, the target holds partial sums.
const BLOCKED: &str = "stage A as P; stage B as Q; split i 16 io ii; split j 16 jo ji; split k 16 ko ki;\
                       layout P 0 1 local io ko; layout Q 0 1 local jo ko;\
                       nest io.by jo.bx ko { P: ii.ty ki.tx, Q: ki.ty ji.tx, C: ii.ty ji.tx ki }";

/// Results of a thread lie apart; the reduction and what threads copy may leave a rest.
const APART: &str = "stage A as P; stage B as Q; split i 16 io it; split it 4 ir ii; split j 16 jo jt; split jt 4 jr jj;\
                     split k 8 ko ki; split ki 4 kq kt; layout P 0 1 local io ko; layout Q 0 1 local jo ko;\
                     nest io.by jo.bx ko { P: ii.ty ir kq kt.tx, Q: kq kt.ty jj.tx jr, C: ii.ty jj.tx ki ir* jr* }";

/// The same where the number of rows is known only when running: what is left of a tile is done row by row.
const RUN_TIME_ROWS: &str = "stage A as P; stage B as Q; split i 32 io it; split it chain 4+1 ii ir;\
                             split j 32 jo jt; split jt 4 jj jr; split k 8 kq kt;\
                             layout P 0 1 local io; layout Q 0 1 local jo;\
                             nest io.by jo.bx { P: ii.ty ir kq kt.tx, Q: kq kt.ty jj.tx jr, C: ii.ty jj.tx k ir* jr* }";

/// A row for each block, a vector for each thread, reductions across the block.
const ROWS: &str = "split c 128 co cq; split cq 4 ct l; register m s; layout e 1 local r;\
                    nest r.bx { m: co ct.tx l@, e s: co ct.tx l@, Y: co ct.tx l@ }";

const POINTS: &str = "split i 512 io it; split it 4 ii l; nest Y: io.bx ii.tx l@";

/// `x (1 + tanh(…))`: a chain of element functions.
fn pointwise(n: i64) -> Kernel {
    let mut k = Kernel::new("pointwise");
    let i = k.axis("i", n);
    let x = k.buffer("X", Role::In, Elem::F32, &[n.into()]);
    let x = load(&mut k, x, &[i]);
    let cube = k.exprs.mul(x, x);
    let cube = k.exprs.mul(cube, x);
    let (a, b) = (k.exprs.constant(Elem::F32, 0.044715), k.exprs.constant(Elem::F32, 0.7978845608));
    let inner = k.exprs.fma(cube, a, x);
    let inner = k.exprs.mul(inner, b);
    let tanh = k.exprs.unary(Unary::Tanh, inner);
    let one = k.exprs.constant(Elem::F32, 1.0);
    let y = k.exprs.add(tanh, one);
    let y = k.exprs.mul(y, x);
    store(&mut k, "Y", &[i], y);
    k
}

#[test]
fn text_of_a_product() {
    insta::assert_snapshot!(emit(&product(Some(64), 64, 32), STAGED).1.text);
}

#[test]
fn text_of_rows() {
    insta::assert_snapshot!(emit(&softmax(7, 256.into(), &[]), ROWS).1.text);
}

#[test]
fn text_of_points() {
    insta::assert_snapshot!(emit(&pointwise(1000), POINTS).1.text);
}

/// The function itself; the library below which it stands is the same for all.
#[test]
fn text_of_a_routine() {
    let source = cuda::routine("Scatter", &[Elem::F32, Elem::I64, Elem::F32, Elem::F32], 7).unwrap();
    let start = source.text.find("NNC_KERNEL").unwrap();
    insta::assert_snapshot!(&source.text[start..]);
}

#[test]
fn products() {
    if !has_compiler() {
        return;
    }
    let plain = "split i 8 io ii; split j 16 jo ji; nest C: io.by jo.bx ii.ty ji.tx k";
    for (m, n, depth) in [(64, 64, 16), (37, 50, 19), (1, 3, 2)] {
        check(&product(Some(m), n, depth), plain, &[&[]]);
        check(&product(Some(m), n, depth), STAGED, &[&[]]);
    }
    for depth in [16, 40, 64] {
        check(&product(Some(20), 37, depth), BLOCKED, &[&[]]);
    }
}

#[test]
fn products_with_rests() {
    if !has_compiler() {
        return;
    }
    for (m, n, depth) in [(32, 32, 16), (20, 32, 16), (32, 20, 16), (32, 32, 13), (36, 20, 13), (20, 20, 28)] {
        check(&product(Some(m), n, depth), APART, &[&[]]);
    }
    // A loop over threads stands outside of the loop over tiles, which cannot then have a smaller one.
    let refused = apply(&product(Some(32), 23, 16), &APART.parse().unwrap(), LANES).unwrap_err().to_string();
    assert!(refused.contains("must stand outside that over `jj`"), "{refused}");
}

#[test]
fn products_with_rows_known_when_running() {
    if !has_compiler() {
        return;
    }
    let chain = RUN_TIME_ROWS.replace("split i 32", "split i chain 32+8+mask");
    for schedule in [RUN_TIME_ROWS, &chain] {
        check(&product(None, 50, 19), schedule, &[&[1], &[7], &[32], &[77]]);
    }
}

#[test]
fn rows() {
    if !has_compiler() {
        return;
    }
    let thread = "split r 32 rb rt; register m s; layout e 1 local r; nest rb.bx rt.tx { m: c, e s: c, Y: c }";
    let thread = thread.replace("local r;", "local rb rt;");
    let several = "split r 2 ro ri; split c 32 co ct; register m s; layout e 0 1 local ro;\
                   nest ro.bx ri.ty { m: co ct.tx, e s: co ct.tx, Y: co ct.tx }";
    for n in [1, 83, 300] {
        check(&softmax(7, n.into(), &[]), ROWS, &[&[]]);
        check(&softmax(40, n.into(), &[]), &thread, &[&[]]);
        check(&softmax(8, n.into(), &[]), several, &[&[]]);
    }
    let size = Size { name: "n".into(), min: 1, max: Some(512) };
    let kernel = softmax(5, SizeId(0).into(), &[size]);
    check(&kernel, &ROWS.replace("split c 128", "split c chain 128+mask"), &[&[1], &[83], &[511]]);
}

#[test]
fn points() {
    if !has_compiler() {
        return;
    }
    for n in [1, 4, 512, 1000, 1025] {
        check(&pointwise(n), POINTS, &[&[]]);
    }
}

/// An output for each function and for operations on integers and truth values, of `X + 1` in [0.5, 1.5].
fn everything(n: i64) -> Kernel {
    use Unary::*;
    let mut k = Kernel::new("everything");
    let i = k.axis("i", n);
    let x = k.buffer("X", Role::In, Elem::F32, &[n.into()]);
    let x = load(&mut k, x, &[i]);
    let (one, seven) = (k.exprs.constant(Elem::F32, 1.0), k.exprs.constant(Elem::I32, 7.0));
    let x = k.exprs.add(x, one);
    let mut values = vec![];
    for op in
        [Neg, Abs, Sqrt, Floor, Ceil, Round, Trunc, Exp, Expm1, Log, Log1p, Rsqrt, Sin, Cos, Atan, Tanh, Sigmoid, Erf]
    {
        values.push(k.exprs.unary(op, x));
    }
    values.push(k.exprs.binary(Binary::Pow, x, x));
    values.push(k.exprs.binary(Binary::Rem, one, x));
    let hundred = k.exprs.constant(Elem::F32, 100.0);
    let many = k.exprs.mul(x, hundred);
    let many = k.exprs.cast(Elem::I32, many);
    let negative = k.exprs.unary(Neg, many);
    for op in [Binary::Add, Binary::Sub, Binary::Mul, Binary::Rem, Binary::Min, Binary::Max, Binary::Xor, Binary::Shr] {
        let value = k.exprs.binary(op, negative, seven);
        values.push(k.exprs.cast(Elem::F32, value));
    }
    let (above, odd) = (k.exprs.compare(Compare::Lt, one, x), k.exprs.binary(Binary::And, many, seven));
    let odd = k.exprs.cast(Elem::Bool, odd);
    let both = k.exprs.binary(Binary::And, above, odd);
    let neither = k.exprs.unary(Not, both);
    values.push(k.exprs.cast(Elem::F32, neither));
    for value in values {
        store(&mut k, "Y", &[i], value);
    }
    k
}

#[test]
fn functions() {
    if !has_compiler() {
        return;
    }
    let kernel = everything(100);
    let stages: Vec<String> = kernel.stages.iter().map(|s| kernel.buffers[s.target.index()].name.clone()).collect();
    check(&kernel, &format!("split i 32 io ii; nest {}: io.bx ii.tx", stages.join(" ")), &[&[]]);
}

#[test]
fn convolutions() {
    if !has_compiler() {
        return;
    }
    let schedule = "split x 16 xo xi; split o 4 ob oi; nest Y: ob.by y.bx xo xi.tx c u v oi*";
    check(&convolution(3, 8, 7, 33, 3, 1), schedule, &[&[]]);
}

/// `Y[i, j] = X[index[i], j]`
fn rows_by_index() -> Kernel {
    let mut k = Kernel::new("take");
    let (i, j) = (k.axis("i", 10), k.axis("j", 33));
    let x = k.buffer("X", Role::In, Elem::F32, &[5.into(), 33.into()]);
    let index = k.buffer("index", Role::In, Elem::I32, &[10.into()]);
    let at = load(&mut k, index, &[i]);
    let y = k.load(x, vec![Subscript::Data(at), j.into()]);
    store(&mut k, "Y", &[i, j], y);
    k
}

#[test]
fn rows_are_taken_by_index() {
    if !has_compiler() {
        return;
    }
    let (kernel, schedule) = (rows_by_index(), "split j 16 jo ji; nest Y: i.bx jo ji.tx");
    let data = |b: &Buffer, len: usize, seed: u64| match b.elem {
        Elem::I32 => (0..len).map(|i| (i * 3 % 5) as f64).collect(),
        _ => values(len, seed),
    };
    assert_eq!(difference(&kernel, schedule, &[&[]], data, str::to_string), Ok(0.0));
    // An index out of range reads something in range, and the call fails.
    let (applied, source) = emit(&kernel, schedule);
    let library = Library::compile(&source, &source.text);
    let index = [0.0, 1.0, 2.0, 3.0, 5.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    let buffers = [encode(Elem::F32, &values(165, 1)), encode(Elem::I32, &index), vec![0; 165]];
    assert_eq!(library.run(&applied, &source, &Case { sizes: &[], seed: 1 }, &mut buffers.clone()), Ok(1));
}

#[test]
fn a_missing_barrier_is_found() {
    if !has_compiler() {
        return;
    }
    let kernel = product(Some(37), 50, 19);
    let without = |n: usize| {
        move |text: &str| {
            let at = text.match_indices("__syncthreads();").nth(n).map(|(at, _)| at);
            let at = at.unwrap_or_else(|| panic!("barrier {n} of\n{text}"));
            format!("{}{}", &text[..at], &text[at + "__syncthreads();".len()..])
        }
    };
    let found = |kernel: &Kernel, schedule: &str, n: usize| {
        let worst = difference(kernel, schedule, &[&[]], random, without(n)).unwrap();
        assert!(worst > 1e-3, "{worst} without barrier {n} of\n{}", emit(kernel, schedule).1.text);
    };
    found(&kernel, STAGED, 0);
    let kernel = product(Some(16), 16, 64);
    let barriers = emit(&kernel, BLOCKED).1.text.matches("__syncthreads();").count();
    (0..barriers).for_each(|n| found(&kernel, BLOCKED, n));
    // A barrier that some threads miss.
    let some = |text: &str| text.replacen("__syncthreads();", "if (threadIdx.x > 2) __syncthreads();", 1);
    let message = difference(&kernel, STAGED, &[&[]], random, some).unwrap_err();
    assert!(message.contains("waits at line"), "{message}");
}

/// Mistakes that an emitter could make, as replacements in what it makes: each changes results, or is named by the emulator.
#[test]
fn planted_mistakes_are_found() {
    if !has_compiler() {
        return;
    }
    let (ragged, rows, points) = (product(Some(37), 50, 19), softmax(7, 256.into(), &[]), pointwise(1000));
    let planted: [(&Kernel, &str, &str, &str); 10] = [
        (&ragged, STAGED, "__syncthreads();", ""),
        (&ragged, STAGED, "threadIdx.x", "threadIdx.y"),
        (&ragged, STAGED, "blockIdx.y", "blockIdx.x"),
        (&ragged, STAGED, "fmaf(", "0.5f * fmaf("),
        (&ragged, STAGED, "32 * ", "31 * "),
        (
            &rows,
            ROWS,
            "threadIdx.x, 32, [](float a, float b) { return a + b",
            "threadIdx.x, 16, [](float a, float b) { return a + b",
        ),
        (&rows, ROWS, "blockIdx.x", "blockIdx.x / 2"),
        (&rows, ROWS, "return a + b", "return a - b"),
        (&points, POINTS, "threadIdx.x", "threadIdx.x / 2 * 2"),
        (&points, POINTS, "0.044715f", "0.054715f"),
    ];
    for (kernel, schedule, from, to) in planted {
        let tamper = |text: &str| {
            assert!(text.contains(from), "no `{from}` in\n{text}");
            text.replacen(from, to, 1)
        };
        let outcome = difference(kernel, schedule, &[&[]], random, tamper);
        assert!(outcome.clone().map_or(true, |worst| worst > 1e-4), "`{from}` as `{to}`: {outcome:?}");
    }
}

#[test]
fn what_is_not_offered_is_named() {
    let refuse = |kernel: &Kernel, schedule: &str| {
        let applied = apply(kernel, &schedule.parse().unwrap(), LANES).unwrap();
        cuda::emit(&applied).unwrap_err().to_string()
    };
    let product = product(Some(40), 64, 32);
    insta::assert_snapshot!(
        [
            refuse(&product, "nest C: i| j k"),
            refuse(&product, "nest C: i.tx j.ty k"),
            refuse(&product, "nest C: i j.bx k"),
            refuse(&product, "stage A as P; nest P: i.bx k.tx, C: i.bx j.tx k"),
            refuse(
                &softmax(7, 83.into(), &[]),
                "register m s; layout e 1 local r; nest r.tx { m: c, e: c.ty, s: c, Y: c }"
            ),
            refuse(
                &softmax(7, 83.into(), &[]),
                "split r 4 ro ri; register m s; layout e 0 1 local ro;\
                nest ro.bx ri.ty { m: c.tx, e: c.tx, s: c.tx, Y: c.tx }"
            ),
        ]
        .join("\n")
    );
}
