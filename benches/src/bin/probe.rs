use benches::timing::time;
use cpu::{CodeMemory, Isa, lower, x86};
use kernel::*;
#[path = "../../../compiler/kernel/tests/kernels/mod.rs"]
mod kernels;
use kernels::*;
fn run(name: &str, kernel: &Kernel, schedule: &str, sizes: &[i64], flops: f64) {
    let t = std::time::Instant::now();
    let sched: Schedule = schedule.parse().unwrap();
    let mut best = (f64::MAX, 0., 0., 0.);
    let mut code = vec![];
    let mut stats = Default::default();
    for _ in 0..5 {
        let t0 = std::time::Instant::now();
        let applied = apply(kernel, &sched, 16).unwrap();
        let a = t0.elapsed().as_secs_f64();
        let f = lower::lower(&applied).unwrap();
        let b = t0.elapsed().as_secs_f64();
        let (c, s) = x86::emit(&f, Isa::Avx512).unwrap();
        let e = t0.elapsed().as_secs_f64();
        if e < best.0 {
            best = (e, a, b - a, e - b)
        }
        code = c;
        stats = s;
    }
    let applied = apply(kernel, &sched, 16).unwrap();
    let mem = CodeMemory::new(&code).unwrap();
    let call: extern "C" fn(*const u64, i64, i64) = unsafe { std::mem::transmute(mem.as_ptr()) };
    let mut bufs: Vec<Vec<f32>> = vec![];
    let mut table = vec![0u64; 1];
    let mut err = 0i64;
    table[0] = &raw mut err as u64;
    for (b, s) in kernel.buffers.iter().zip(&applied.storage) {
        if b.role == Role::Temp {
            continue;
        }
        let n: i64 = b
            .dims
            .iter()
            .map(|d| match d {
                Extent::Const(n) => *n,
                Extent::Size(s) => sizes[s.index()],
            })
            .product();
        let n = n.max(s.len.unwrap_or(0)) as usize + 1024;
        let mut v: Vec<f32> = kernels::values(n, 3).iter().map(|x| *x as f32).collect();
        let off = (64 - (v.as_ptr() as usize % 64)) / 4 % 16;
        table.push(unsafe { v.as_mut_ptr().add(off) } as u64);
        bufs.push(v);
    }
    table.extend(sizes.iter().map(|s| *s as u64));
    let mut scratch = vec![0u64; applied.scratch / 8 + 16];
    table.push((scratch.as_mut_ptr() as u64 + 63) & !63);
    let tasks = applied.tasks.evaluate(&|_| 0, &|s| applied.sizes(sizes, 0, 0)[s.index()]);
    let (lo, med) = time(|| call(table.as_ptr(), 0, tasks), 0.01, 31);
    println!(
        "{name:<28} {:9.1} us (best {:9.1}) {:6.1} GF/s  {:4.0}%  compile {:.2} ms (apply {:.2} lower {:.2} emit {:.2}) cold {:?} {:?}",
        med * 1e6,
        lo * 1e6,
        flops / med / 1e9,
        flops / med / 1.17e9,
        best.0 * 1e3,
        best.1 * 1e3,
        best.2 * 1e3,
        best.3 * 1e3,
        t.elapsed() * 0,
        stats
    );
}
fn main() {
    for (n, k) in [(384, 384), (1536, 384), (384, 1536)] {
        for (h, v) in [("14+8+4+2+1", 2), ("8+4+2+1", 3), ("9+8+4+2+1", 3), ("6+4+2+1", 4), ("13+8+4+2+1", 2), ("12+8+4+2+1", 2), ("10+8+4+2+1", 2), ("16+8+4+2+1", 1), ("24+16+8+4+2+1", 1)] {
            for u in [1, 2, 4, 8] {
                let w = v * 16;
                let sched = format!("split i chain {h} io ii; split j {w} jo jt; split jt 16 jv l; split k {u} ko ki; layout B 1/{w} 0 1%{w}; nest jo io {{ C: ko ki* ii* jv* l@ }}");
                run(&format!("{n}x{k} {h} x{w} u{u}"), &product(None, n, k), &sched, &[128], 2. * 128. * n as f64 * k as f64);
            }
        }
    }
}
