//! Scheduled kernels as machine code, as vector IR interpreted, and as the schedule's interpreter sees them.

use cpu::{Isa, Module, lower, vir, x86};
use kernel::scheduled::Place;
use kernel::*;

#[path = "../../kernel/tests/kernels/mod.rs"]
mod kernels;

use kernels::*;

/// Argument table with owned buffers of f32.
struct Arguments {
    error: Box<i64>,
    buffers: Vec<Vec<f32>>,
    scratch: Vec<u64>,
    sizes: Vec<i64>,
}

impl Arguments {
    fn new(kernel: &Scheduled, data: &[Vec<f64>], sizes: &[i64]) -> Arguments {
        let arguments = kernel.storage.iter().zip(data).filter(|(s, _)| s.place == Place::Argument);
        let buffers = arguments.map(|(_, d)| d.iter().map(|x| *x as f32).collect()).collect();
        let scratch = vec![0; kernel.scratch / 8 + 8];
        Arguments { error: Box::new(0), buffers, scratch, sizes: sizes.to_vec() }
    }

    fn table(&mut self) -> Vec<u64> {
        let mut table = vec![&raw mut *self.error as u64];
        table.extend(self.buffers.iter_mut().map(|b| b.as_mut_ptr() as u64));
        table.extend(self.sizes.iter().map(|s| *s as u64));
        table.push((self.scratch.as_mut_ptr() as u64).next_multiple_of(64));
        table
    }
}

/// Instruction sets of this machine, Cranelift's 128 bits among them.
fn isas() -> impl Iterator<Item = Isa> {
    [Isa::Avx512, Isa::Avx2, Isa::Baseline].into_iter().filter(|isa| {
        let here = *isa <= Isa::host();
        if !here {
            eprintln!("skipped: this machine has no {isa}");
        }
        here
    })
}

/// Runs a kernel every way there is; machine code and interpreted vector IR must agree bit for bit, and both with the
/// schedule's interpreter but for the order in which lanes are added.
fn check(kernel: &Kernel, schedule: &str, sizes: &[i64]) {
    for isa in isas() {
        let lanes = isa.lanes() as i64;
        let text = schedule.replace("LANES", &lanes.to_string());
        let applied = apply(kernel, &text.parse().unwrap(), lanes).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let function = lower::lower(&applied).unwrap_or_else(|e| panic!("{e}\n{applied}"));
        assert_eq!(function.verify(), Ok(()), "{applied}\n{function}");
        let mut module = Module::new().unwrap();
        let id = module.kernel(&function, isa).unwrap_or_else(|e| panic!("{e}\n{function}"));
        let routes = [module.finish().unwrap(), module.finish_by_jit().unwrap()];

        let extent = |e: &Extent| match e {
            Extent::Const(n) => *n,
            Extent::Size(s) => sizes[s.index()],
        };
        // A layout may round an extent up.
        let len = |(b, s): (&Buffer, &scheduled::Storage)| {
            s.len.unwrap_or(0).max(b.dims.iter().map(extent).product::<i64>()) as usize
        };
        let lens = kernel.buffers.iter().zip(&applied.storage).map(len);
        let data: Vec<Vec<f64>> = lens.enumerate().map(|(i, n)| values(n, i as u64 + 7)).collect();
        let mut expected = data.clone();
        expected.resize(applied.storage.len(), vec![]);
        interpret::scheduled(&applied, sizes, &mut expected).unwrap_or_else(|e| panic!("{e}\n{applied}"));
        let mut padded = data;
        padded.resize(applied.storage.len(), vec![]);
        let tasks = applied.tasks.evaluate(&|_| 0, &|s| applied.sizes(sizes, 0, 0)[s.index()]);
        let run = |call: &dyn Fn(*const u64, i64, i64)| {
            let mut arguments = Arguments::new(&applied, &padded, sizes);
            // In two calls, so that a parallel loop starts in the middle.
            for (begin, end) in [(0, tasks / 2), (tasks / 2, tasks)] {
                call(arguments.table().as_ptr(), begin, end);
            }
            assert_eq!(*arguments.error, 0);
            let out = kernel.buffers.iter().position(|b| b.role == Role::Out).unwrap();
            let slot = kernel.buffers[..out].iter().filter(|b| b.role != Role::Temp).count();
            (out, arguments.buffers.swap_remove(slot))
        };
        // SAFETY: the table is one of this kernel.
        let (out, interpreted) = run(&|t, begin, end| unsafe { vir::interpret::run(&function, t, begin, end) });
        for code in routes {
            // SAFETY: as above.
            let (_, native) = run(&|t, begin, end| unsafe { code.kernel(id)(t, begin, end) });
            for (i, (n, v)) in native.iter().zip(&interpreted).enumerate() {
                assert!(
                    n.to_bits() == v.to_bits(),
                    "{isa} at {i}: machine {n}, interpreted {v}\n{text}\n{applied}\n{function}"
                );
                let e = expected[out][i];
                assert!((*n as f64 - e).abs() < 1e-5, "{isa} at {i}: machine {n}, schedule {e}\n{text}\n{applied}");
            }
        }
    }
}

const TILE: &str = "split j 32 jo jt; split jt LANES jv l; split k 4 ko ki; nest jo io { C: ko ki* ii* jv* l@ }";

#[test]
fn products() {
    for (m, n, depth) in [(37, 50, 19), (14, 32, 4), (1, 16, 1), (30, 70, 33), (5, 3, 2)] {
        check(&product(Some(m), n, depth), &format!("split i even 6 io ii; {TILE}"), &[]);
        check(&product(Some(m), n, depth), &format!("split i shift 6 io ii; {TILE}"), &[]);
    }
}

#[test]
fn products_in_blocks_of_the_reduction() {
    let schedule = "split i 6 io ii; split j 32 jo jt; split jt LANES jv l; split k 32 kb kk; split kk 4 ko ki;\
                    nest kb jo io { C: ko ki* ii* jv* l@ }";
    for depth in [20, 32, 64, 70, 130] {
        check(&product(Some(20), 37, depth), schedule, &[]);
    }
}

#[test]
fn products_with_rows_known_when_running() {
    let kernel = product(None, 40, 20);
    for m in [1, 2, 3, 7, 13, 14, 15, 28, 37, 300] {
        check(&kernel, &format!("split i chain 6+4+2+1 io ii; {TILE}"), &[m]);
        check(&kernel, "split i chain 6+4+1 io ii; split j LANES jo l; nest io| jo { C: k ii* l@ }", &[m]);
    }
}

#[test]
fn convolutions() {
    let schedule = "split x 7 xo xi; split o LANES ob l; border y 1 1; border xo 1 1;\
                    layout W 0/LANES 1 2 3 0%LANES; layout Y 0/LANES 1 2 0%LANES; nest ob y xo { Y: c u v! xi* l@ }";
    check(&convolution(5, 40, 13, 15, 3, 1), schedule, &[]);
    check(&convolution(3, 20, 6, 29, 5, 2), &schedule.replace("border y 1 1", "border y 2 2"), &[]);
    let along = "split x LANES xo l; split o even 7 ob oi; nest y ob { Y: c u! v! oi* xo* l@ }";
    check(&convolution(4, 9, 7, 33, 3, 1), along, &[]);
    // Nothing decided when compiling: every tap is guarded while running.
    check(&convolution(4, 9, 7, 33, 3, 1), "split x LANES xo l; nest y o { Y: xo c u v l@ }", &[]);
}

#[test]
fn rows() {
    let schedule = "split c 64 co ct; split ct LANES cu l; register m s; layout e 1 local r;\
                    nest r| { m: co cu+ l@, e s: co cu+ l@, Y: co cu* l@ }";
    for n in [1, 16, 64, 83, 100, 128, 147] {
        check(&softmax(7, n.into(), &[]), schedule, &[]);
    }
    let size = Size { name: "n".into(), min: 1, max: Some(512) };
    let kernel = softmax(5, SizeId(0).into(), &[size]);
    let chain = schedule.replace("split c 64", "split c chain 64+LANES+mask");
    for n in [1, 7, 16, 32, 64, 83, 100, 511] {
        check(&kernel, &chain, &[n]);
    }
}

#[test]
fn staged_copies() {
    let schedule = "stage A as P; split i 7 io ii; split j LANES jo l; split k LANES kq kl; layout P 1 0;\
                    nest P: k i, jo io { C: k ii* l@ }";
    check(&product(Some(20), 50, 24), schedule, &[]);
    // The same copy by squares transposed in registers.
    let squares = schedule.replace("nest P: k i", "split i LANES ip iq; split k LANES kc kd; nest P: kc ip kd* iq@");
    check(&product(Some(20), 50, 24), &squares, &[]);
    check(&product(Some(20), 37, 32), &squares, &[]);
}

#[test]
fn a_tile_that_fits_does_not_spill() {
    let kernel = product(Some(28), 64, 64);
    let schedule = "split i even 14 io ii; split j 32 jo jt; split jt 16 jv l; split k 4 ko ki; layout B 1/32 0 1%32;\
                    nest jo io { C: ko ki* ii* jv* l@ }";
    let applied = apply(&kernel, &schedule.parse().unwrap(), 16).unwrap();
    let (_, stats) = x86::emit(&lower::lower(&applied).unwrap(), Isa::Avx512).unwrap();
    assert_eq!((stats.vector_spills, stats.vector_moves), (0, 0), "{stats:?}");
}

#[test]
fn an_entry_calls_its_kernels_in_order() {
    // relu(relu(A B + bias) B + bias): the second step reads what the first wrote, each with code of its own kind.
    let kernel = product(Some(8), 8, 8);
    let schedule = "split j LANES jo l; nest i jo { C: k l@ }";
    let mut module = Module::new().unwrap();
    let mut ids = vec![];
    for isa in [Isa::host(), Isa::Baseline] {
        let lanes = isa.lanes() as i64;
        let text = schedule.replace("LANES", &lanes.to_string());
        let applied = apply(&kernel, &text.parse().unwrap(), lanes).unwrap();
        ids.push(module.kernel(&lower::lower(&applied).unwrap(), isa).unwrap());
    }
    let entry = module.entry(&ids).unwrap();
    let empty = module.entry(&[]).unwrap();
    for code in [module.finish().unwrap(), module.finish_by_jit().unwrap()] {
        run_twice(&code, entry, empty);
    }
}

/// Runs the entry above and an empty one.
fn run_twice(code: &engine::Code, entry: usize, empty: usize) {
    let mut error = 0i64;
    let matrix = |seed| values(64, seed).into_iter().map(|x| x as f32).collect::<Vec<f32>>();
    let (a, b, bias) = (matrix(1), matrix(2), matrix(3));
    let (mut once, mut twice) = (vec![0f32; 64], vec![0f32; 64]);
    let table = |error: &mut i64, from: &[f32], to: &mut [f32]| {
        [
            &raw mut *error as u64,
            from.as_ptr() as u64,
            b.as_ptr() as u64,
            bias.as_ptr() as u64,
            to.as_mut_ptr() as u64,
            0,
        ]
    };
    let first = table(&mut error, &a, &mut once);
    let second = table(&mut error, &once, &mut twice);
    unsafe {
        code.entry(empty)(std::ptr::null(), std::ptr::null());
        code.entry(entry)([first.as_ptr(), second.as_ptr()].as_ptr(), [1, 1].as_ptr());
    }
    let multiply = |x: &[f32]| -> Vec<f32> {
        let dot = |i: usize, j: usize| (0..8).map(|k| x[8 * i + k] as f64 * b[8 * k + j] as f64).sum::<f64>();
        (0..64).map(|at| (dot(at / 8, at % 8) + bias[at % 8] as f64).max(0.0) as f32).collect()
    };
    let expected = multiply(&multiply(&a));
    let worst = twice.iter().zip(&expected).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-5, "{worst}");
    assert!(expected.iter().any(|x| *x > 0.1), "{expected:?}");
}

#[test]
fn memory_is_never_writable_and_executable() {
    let applied = apply(&product(Some(8), 8, 8), &"nest i j { C: k }".parse().unwrap(), 4).unwrap();
    let mut module = Module::new().unwrap();
    module.kernel(&lower::lower(&applied).unwrap(), Isa::Baseline).unwrap();
    let codes = [module.finish().unwrap(), module.finish_by_jit().unwrap()];
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    for code in codes {
        let at = code.kernel(0) as usize;
        let line = maps.lines().find(|l| {
            let (from, to) = l.split_once(' ').unwrap().0.split_once('-').unwrap();
            let number = |text| usize::from_str_radix(text, 16).unwrap();
            (number(from)..number(to)).contains(&at)
        });
        let flags = line.unwrap().split(' ').nth(1).unwrap();
        assert_eq!(flags, "r-xp");
    }
}
