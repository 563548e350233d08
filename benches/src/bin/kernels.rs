//! Single kernels on one thread: what the chooser's schedule reaches of this machine's limits, with the schedule.
//!
//! ```text
//! cargo run --release -p nnc-benches --bin kernels [-- NAME… [--source TEXT] [--schedule TEXT…] [--hand] [--print]]
//! ```
//!
//! Each case is a model of a line or two; its kernels come from `compute` of its operators. `--source` times the model
//! given instead of these; `--schedule` another schedule, and given several times, all of them in turn beside the chosen
//! one; `--hand` also the schedules of `hand.txt`, written by hand for
//! the cases where the machine's limit leaves room for a better one; `--print` shows kernels and schedules.

use benches::kernels::lowered;
use cpu::{CodeMemory, Isa, lower as to_vir, x86};
use kernel::{Extent, Kernel, Role, Schedule, apply};
use nnc::measure::{self, time};
use std::time::Instant;

struct Case {
    name: &'static str,
    source: String,
    /// Values of run-time sizes, by the dims' names.
    sizes: &'static [(&'static str, i64)],
    /// Operations of one call, or bytes moved if `moves` says so.
    work: f64,
    moves: bool,
}

fn case(name: &'static str, source: &str, work: f64) -> Case {
    Case { name, source: source.into(), sizes: &[], work, moves: false }
}

fn rows(name: &'static str, m: &'static [(&'static str, i64)], source: &str, work: f64) -> Case {
    Case { sizes: m, ..case(name, source, work) }
}

const RUN_TIME: &str = "model M(x: [M, 512]) -> [M, 512] where M <= 600 = x |> l: Linear(512, bias = false)";

fn cases() -> Vec<Case> {
    let mm = |m: f64, n: f64, k: f64| 2.0 * m * n * k;
    vec![
        case(
            "dot 128",
            "model M(x: [128, 128]) -> [128, 128] = x |> l: Linear(128, bias = false)",
            mm(128., 128., 128.),
        ),
        case(
            "dot 512",
            "model M(x: [512, 512]) -> [512, 512] = x |> l: Linear(512, bias = false)",
            mm(512., 512., 512.),
        ),
        case(
            "dot 1024",
            "model M(x: [1024, 1024]) -> [1024, 1024] = x |> l: Linear(1024, bias = false)",
            mm(1024., 1024., 1024.),
        ),
        case(
            "dot 8x1024",
            "model M(x: [8, 1024]) -> [8, 1024] = x |> l: Linear(1024, bias = false)",
            mm(8., 1024., 1024.),
        ),
        Case {
            moves: true,
            ..case(
                "dot 1x4096",
                "model M(x: [1, 4096]) -> [1, 4096] = x |> l: Linear(4096, bias = false)",
                4096. * 4096. * 4.,
            )
        },
        case(
            "dot 512 gelu",
            "model M(x: [512, 512]) -> [512, 512] = x |> l: Linear(512) |> gelu",
            mm(512., 512., 512.),
        ),
        case("dot 512 bias", "model M(x: [512, 512]) -> [512, 512] = x |> l: Linear(512)", mm(512., 512., 512.)),
        case("dot two 512", "model M(a: [512, 512], b: [512, 512]) -> [512, 512] = a @ b", mm(512., 512., 512.)),
        rows("rows 1", &[("M", 1)], RUN_TIME, mm(1., 512., 512.)),
        rows("rows 8", &[("M", 8)], RUN_TIME, mm(8., 512., 512.)),
        rows("rows 17", &[("M", 17)], RUN_TIME, mm(17., 512., 512.)),
        rows("rows 128", &[("M", 128)], RUN_TIME, mm(128., 512., 512.)),
        rows("rows 300", &[("M", 300)], RUN_TIME, mm(300., 512., 512.)),
        rows("rows 512", &[("M", 512)], RUN_TIME, mm(512., 512., 512.)),
        case("fixed 1", "model M(x: [1, 512]) -> [1, 512] = x |> l: Linear(512, bias = false)", mm(1., 512., 512.)),
        case("fixed 8", "model M(x: [8, 512]) -> [8, 512] = x |> l: Linear(512, bias = false)", mm(8., 512., 512.)),
        case("fixed 17", "model M(x: [17, 512]) -> [17, 512] = x |> l: Linear(512, bias = false)", mm(17., 512., 512.)),
        case(
            "fixed 128",
            "model M(x: [128, 512]) -> [128, 512] = x |> l: Linear(512, bias = false)",
            mm(128., 512., 512.),
        ),
        case(
            "fixed 300",
            "model M(x: [300, 512]) -> [300, 512] = x |> l: Linear(512, bias = false)",
            mm(300., 512., 512.),
        ),
        case(
            "conv 3x3 64 56",
            "model M(x: [1, 64, 56, 56]) -> [1, 64, 56, 56] = x |> c: Conv2d(64, 3, pad = 1, bias = false)",
            2. * 9. * 4096. * 3136.,
        ),
        case(
            "conv 1x1 256 64 56",
            "model M(x: [1, 256, 56, 56]) -> [1, 64, 56, 56] = x |> c: Conv2d(64, 1, bias = false)",
            2. * 256. * 64. * 3136.,
        ),
        case(
            "conv 3x3 512 7",
            "model M(x: [1, 512, 7, 7]) -> [1, 512, 7, 7] = x |> c: Conv2d(512, 3, pad = 1, bias = false)",
            2. * 9. * 512. * 512. * 49.,
        ),
        case(
            "conv 7x7 s2 3",
            "model M(x: [1, 3, 224, 224]) -> [1, 64, 112, 112] = x |> c: Conv2d(64, 7, stride = 2, pad = 3, bias = false)",
            2. * 49. * 3. * 64. * 12544.,
        ),
        case(
            "transposed 4x4 s2",
            "model M(x: [1, 128, 28, 28]) -> [1, 64, 56, 56] = x |> c: ConvTranspose2d(64, 4, stride = 2, pad = 1, bias = false)",
            2. * 16. * 128. * 64. * 784.,
        ),
        case(
            "depthwise 3x3 144 56",
            "model M(x: [1, 144, 56, 56]) -> [1, 144, 56, 56] = x |> c: Conv2d(144, 3, pad = 1, groups = 144, bias = false)",
            2. * 9. * 144. * 3136.,
        ),
        Case {
            moves: true,
            ..case(
                "softmax 4096x1024",
                "model M(x: [4096, 1024]) -> [4096, 1024] = softmax(x)",
                2. * 4. * 4096. * 1024.,
            )
        },
        Case {
            moves: true,
            ..case(
                "layer norm 4096x768",
                "model M(x: [4096, 768]) -> [4096, 768] = x |> n: LayerNorm()",
                2. * 4. * 4096. * 768.,
            )
        },
        Case { moves: true, ..case("gelu cache", "model M(x: [65536]) -> [65536] = gelu(x * 1.5 + 0.25)", 65536.) },
        case(
            "attention 12 512 64",
            "model M(q: [1, 12, 512, 64], k: [1, 12, 512, 64], v: [1, 12, 512, 64]) -> [1, 12, 512, 64] = attention(q, k, v)",
            4. * 12. * 512. * 512. * 64.,
        ),
    ]
}

/// Median and best seconds of a call, and the least milliseconds of compiling.
fn run(kernel: &Kernel, schedule: &Schedule, sizes: &[i64]) -> Result<(f64, f64, f64, x86::Stats), String> {
    let isa = Isa::host();
    let mut least = f64::INFINITY;
    let mut made = None;
    for _ in 0..5 {
        let start = Instant::now();
        let scheduled = apply(kernel, schedule, isa.lanes() as i64).map_err(|e| e.to_string())?;
        let function = to_vir::lower(&scheduled).map_err(|e| e.to_string())?;
        let (code, stats) = x86::emit(&function, isa).map_err(|e| e.to_string())?;
        least = least.min(start.elapsed().as_secs_f64() * 1e3);
        made = Some((scheduled, code, stats));
    }
    let (scheduled, code, stats) = made.ok_or("nothing was compiled")?;
    let memory = CodeMemory::new(&code).map_err(|e| e.to_string())?;
    // SAFETY: the emitter made a function of this signature.
    let call: engine::KernelFn = unsafe { std::mem::transmute(memory.as_ptr()) };
    let extent = |e: &Extent| match e {
        Extent::Const(n) => *n,
        Extent::Size(s) => sizes[s.index()],
    };
    let mut error = 0i64;
    let mut buffers = vec![];
    let mut table = vec![&raw mut error as u64];
    for (buffer, storage) in kernel.buffers.iter().zip(&scheduled.storage).filter(|(b, _)| b.role != Role::Temp) {
        let elements = buffer.dims.iter().map(extent).product::<i64>().max(storage.len.unwrap_or(0)) as usize;
        let mut data = tensor::AlignedBytes::zeroed(elements * buffer.elem.size() + 4096);
        for (i, chunk) in data.chunks_exact_mut(4).enumerate() {
            chunk.copy_from_slice(&((i % 17) as f32 / 17.0 - 0.5).to_le_bytes());
        }
        table.push(data.as_mut_ptr() as u64);
        buffers.push(data);
    }
    table.extend(sizes.iter().map(|s| *s as u64));
    let mut scratch = tensor::AlignedBytes::zeroed(scheduled.scratch);
    table.push(scratch.as_mut_ptr() as u64);
    let values = scheduled.sizes(sizes, 0, 0);
    let tasks = scheduled.tasks.evaluate(&|_| 0, &|s| values[s.index()]);
    // SAFETY: the table holds what the kernel expects, of the sizes it was made for.
    let (best, median) = time(|| unsafe { call(table.as_ptr(), 0, tasks) }, 0.01, 31);
    Ok((median, best, least, stats))
}

/// Schedules by hand: a line `# case`, then a schedule a line.
const HAND: &str = include_str!("hand.txt");

/// The chosen schedule beside those written by hand that apply to the kernel.
fn compare(case: &str, kernel: &Kernel, chosen: &Schedule, sizes: &[i64]) {
    let mut best: Option<(f64, &str)> = None;
    let (mut ours, _, _, _) = run(kernel, chosen, sizes).unwrap_or_else(|e| panic!("{case}: {e}"));
    let of_case = HAND.split("\n# ").find_map(|part| part.strip_prefix(case)?.strip_prefix('\n'));
    for text in of_case.unwrap_or_default().lines().filter(|l| !l.is_empty()) {
        let Ok((median, _, _, _)) =
            text.parse().map_err(|e: kernel::ScheduleError| e.to_string()).and_then(|s| run(kernel, &s, sizes))
        else {
            continue;
        };
        if best.is_none_or(|(least, _)| median < least) {
            best = Some((median, text));
        }
        // In turn, so that both see the same machine.
        ours = ours.min(run(kernel, chosen, sizes).map_or(ours, |r| r.0));
    }
    if let Some((median, text)) = best {
        println!(
            "{case:<22} {:<10} chosen {:9.1} µs, by hand {:9.1}, ratio {:.3}: {text}",
            kernel.name,
            ours * 1e6,
            median * 1e6,
            ours / median
        );
    }
}

/// The chosen schedule and others, again and again one after the other, so that all see the same machine: least and median
/// microseconds of each.
fn in_turn(kernel: &Kernel, chosen: &Schedule, others: &[Schedule], sizes: &[i64]) {
    const TURNS: usize = 9;
    let all: Vec<&Schedule> = [chosen].into_iter().chain(others).collect();
    let mut times = vec![vec![]; all.len()];
    for _ in 0..TURNS {
        for (times, schedule) in times.iter_mut().zip(&all) {
            match run(kernel, schedule, sizes) {
                Ok((median, least, _, _)) => times.push((least * 1e6, median * 1e6)),
                Err(e) => return println!("{e}\n{schedule}"),
            }
        }
    }
    for (index, times) in times.iter().enumerate() {
        let least = times.iter().map(|t| t.0).fold(f64::INFINITY, f64::min);
        let mut medians: Vec<f64> = times.iter().map(|t| t.1).collect();
        medians.sort_by(f64::total_cmp);
        println!("  {index:2} {:<10} least {least:9.1} µs, median {:9.1}", kernel.name, medians[TURNS / 2]);
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let flag = |name: &str| arguments.iter().position(|a| a == name);
    let parse = |text: &String| text.parse::<Schedule>().unwrap_or_else(|e| panic!("{e}"));
    let given = arguments.windows(2).filter(|pair| pair[0] == "--schedule").map(|pair| parse(&pair[1]));
    let given: Vec<Schedule> = given.collect();
    let print = flag("--print").is_some();
    let cases = match flag("--source") {
        Some(i) => vec![case("given", &arguments[i + 1], f64::NAN)],
        None => cases(),
    };
    let names: Vec<&String> = arguments.iter().take_while(|a| !a.starts_with("--")).collect();
    let (peak, bandwidth) = (measure::peak_flops(), measure::read_bandwidth());
    println!("peak {:.1} GFLOP/s, reads {:.1} GB/s, {}", peak / 1e9, bandwidth / 1e9, Isa::host());
    for case in cases.iter().filter(|c| names.is_empty() || names.iter().any(|n| c.name.contains(n.as_str()))) {
        let lowered = lowered(&case.source).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        let mut total = 0.0;
        for step in lowered.steps.iter().filter_map(lower::Step::launch) {
            let Some(made) = lowered.kernels[step.kernel].loops() else { continue };
            let value = |name: &str| case.sizes.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
            let sizes: Vec<i64> = step.sizes.iter().map(|d| d.eval(&value).expect("sizes of the case")).collect();
            let schedule = given.first().unwrap_or(&made.schedule);
            if print {
                println!("{}{schedule}\n", made.kernel);
            }
            if flag("--hand").is_some() {
                compare(case.name, &made.kernel, schedule, &sizes);
                continue;
            }
            if given.len() > 1 {
                in_turn(&made.kernel, &made.schedule, &given, &sizes);
                continue;
            }
            match run(&made.kernel, schedule, &sizes) {
                Err(e) => println!("{:<22} {e}", case.name),
                Ok((median, best, compile, stats)) => {
                    total += median;
                    println!(
                        "{:<22} {:<10} {:9.1} µs (least {:9.1}), compile {:5.2} ms, {} spills, {} moves",
                        case.name,
                        made.kernel.name,
                        median * 1e6,
                        best * 1e6,
                        compile,
                        stats.vector_spills,
                        stats.vector_moves
                    );
                }
            }
        }
        if total > 0.0 && case.work > 0.0 {
            let rate = case.work / total;
            let share = 100.0 * rate / if case.moves { bandwidth } else { peak };
            println!("{:<22} {:<10} {:9.1} µs, {:7.1} G/s, {share:4.0}%", case.name, "", total * 1e6, rate / 1e9);
        }
    }
}
