//! Fuzzing: inputs made of those in the repository, changed at random, for each reader of what users write or are given.
//! Whatever comes in, the answer is a result or a message, within bounds of memory and time.
//!
//! ```text
//! NNC_FUZZ_SECONDS=300 NNC_FUZZ_SEED=1 cargo test -p nnc-tests --test fuzz -- --ignored --test-threads 1 model
//! ```
//!
//! The input under way lies in `nnc-fuzz-TARGET` of the folder for temporary files: it is there to look at when the
//! process was ended by the system. One that panics is made smaller first. Findings become cases of ordinary tests.
//!
//! Runs of ten minutes each on a loaded machine, shorter where something was found, the last of schedules 330 seconds:
//!
//! | target | seed | executions | found |
//! |---|---|---|---|
//! | model | 1 | 655,421 | |
//! | graph | 1, 2 | 674,077 + 2,136,212 | a size with numbers of more than 64 bits, which printed and did not parse |
//! | code | 1, 2 | 412,167 + 583,102 | pads whose sum overflows |
//! | schedule | 1, 3, 5 | 15,234 + 173,210 + 1,664,080 | loops that stand twice in a nest, each doubling the work; tiles and layouts beyond counting; chains with a 0 |
//! | npy | 1 | 2,772,527 | |
//! | safetensors | 1 | 2,785,695 | |
//! | program | 1 | 1,278,240 | |
//! | picture | 1 | 729,703 | |
//! | sound | 1 | 1,934,483 | |
//! | table | 1 | 961,668 | |

use diag::SourceMap;
use graph::Graph;
use kernel::{Kernel, Schedule};
use sha2::{Digest, Sha256};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Bytes of address space for everything together.
const MEMORY: u64 = 6 << 30;

/// What one execution may take, in code that is hardly optimised.
const TIME: Duration = Duration::from_secs(30);

/// Bytes of an input, at most.
const LONGEST: usize = 1 << 16;

/// What mutations put in: numbers at edges, and what opens, closes or ends something.
const WORDS: &[&str] = &[
    "0",
    "1",
    "-1",
    "2147483647",
    "9223372036854775807",
    "-9223372036854775808",
    "1e308",
    "nan",
    "inf",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "\"",
    "\\",
    "%",
    "@",
    ",",
    ":",
    "=",
    "|>",
    "..",
    "#",
    "\n",
    " ",
    "\0",
    "é",
    "B",
    "x",
    "f32",
    "bool",
    "4096",
];

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n.max(1)
    }

    fn range(&mut self, len: usize, longest: usize) -> std::ops::Range<usize> {
        let start = self.below(len + 1);
        start..(start + self.below(longest)).min(len)
    }
}

/// One change: bytes or pieces of another input put in, left out, repeated, or moved.
fn mutate(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    let len = input.len();
    match random.below(8) {
        0 if len > 0 => input[random.below(len)] = random.below(256) as u8,
        1 if len > 0 => input[random.below(len)] ^= 1 << random.below(8),
        2 => drop(input.drain(random.range(len, 40))),
        3 => {
            let word = WORDS[random.below(WORDS.len())].bytes();
            drop(input.splice(random.range(len, 6), word));
        }
        4 => {
            let part = input[random.range(len, 30)].to_vec();
            let at = random.below(len + 1);
            drop(input.splice(at..at, part));
        }
        5 => {
            let part = input[random.range(len, 12)].to_vec();
            let (at, times) = (random.below(len + 1), 1 << random.below(11));
            drop(input.splice(at..at, part.repeat(times)));
        }
        6 => input.truncate(random.below(len + 1)),
        _ => {
            let other = &corpus[random.below(corpus.len())];
            let part = other[random.range(other.len(), 80)].to_vec();
            drop(input.splice(random.range(len, 80), part));
        }
    }
    input.truncate(LONGEST);
}

/// Fewer bytes of which the same can be said.
fn shrunk(input: &[u8], fails: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut input = input.to_vec();
    let mut size = input.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at < input.len() {
            let smaller = [&input[..at], &input[(at + size).min(input.len())..]].concat();
            match fails(&smaller) {
                true => input = smaller,
                false => at += size,
            }
        }
        size /= 2;
    }
    input
}

fn variable(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise)
}

/// Runs `execute` on changed inputs of the corpus until the time is over; it is given the input and the file it lies in.
fn fuzz(target: &str, corpus: Vec<Vec<u8>>, execute: impl Fn(&[u8], &Path) + Sync) {
    assert!(!corpus.is_empty());
    let limit = libc::rlimit { rlim_cur: MEMORY, rlim_max: MEMORY };
    // SAFETY: only sets a limit of this process.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
    let file = std::env::temp_dir().join(format!("nnc-fuzz-{target}"));
    let run = || {
        let fails = |input: &[u8]| {
            std::fs::write(&file, input).unwrap();
            catch_unwind(AssertUnwindSafe(|| execute(input, &file))).is_err()
        };
        let seconds = Duration::from_secs(variable("NNC_FUZZ_SECONDS", 10));
        let seed = variable("NNC_FUZZ_SEED", 1);
        let (begin, mut random, mut executions) = (Instant::now(), Random(seed), 0u64);
        while begin.elapsed() < seconds {
            let mut input = corpus[random.below(corpus.len())].clone();
            for _ in 0..1 + random.below(4) {
                mutate(&mut input, &corpus, &mut random);
            }
            let start = Instant::now();
            if fails(&input) {
                let small = shrunk(&input, &fails);
                fails(&small);
                panic!("after {executions} executions, {}:\n{}", file.display(), String::from_utf8_lossy(&small));
            }
            assert!(start.elapsed() < TIME, "{} takes {:?}", file.display(), start.elapsed());
            executions += 1;
        }
        eprintln!("{target}: {executions} executions from seed {seed}");
        std::fs::remove_file(&file).unwrap();
    };
    // The stack of a main thread.
    std::thread::scope(|s| {
        std::thread::Builder::new().stack_size(8 << 20).spawn_scoped(s, run).unwrap().join().unwrap()
    });
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Contents of all files below these folders whose names end so.
fn files(folders: &[&str], end: &str) -> Vec<Vec<u8>> {
    let mut open: Vec<PathBuf> = folders.iter().map(|f| root().join(f)).collect();
    let mut found = vec![];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        } else if path.to_string_lossy().ends_with(end) {
            found.push(path);
        }
    }
    found.sort();
    found.into_iter().map(|path| std::fs::read(path).unwrap()).collect()
}

fn compiled(example: &str) -> nnc::Model {
    nnc::compile(root().join(example)).unwrap().isa(nnc::Isa::Baseline).build().unwrap()
}

/// Grammar, elaboration and formatter.
#[test]
#[ignore = "runs for as long as it is told"]
fn model() {
    let corpus =
        files(&["dsl-examples", "tests/dsl/bad", "compiler/dsl/tests/cases", "compiler/dsl/tests/equal"], ".nn");
    fuzz("model", corpus, |input, _| {
        let text = String::from_utf8_lossy(input);
        let mut sources = SourceMap::default();
        let id = sources.add("model.nn", text.clone());
        match dsl::elaborate_all(&mut sources, id, None, &[]) {
            Ok((model, _)) => model.entries.iter().for_each(|e| e.graph.verify().unwrap()),
            Err(errors) => errors.iter().for_each(|e| drop(e.render(&sources, false))),
        }
        if let Ok(tidy) = dsl::format(&text) {
            assert_eq!(dsl::format(&tidy).unwrap(), tidy, "formatting twice");
        }
    });
}

/// The text of graphs, with what operators infer and the verifier says.
#[test]
#[ignore = "runs for as long as it is told"]
fn graph() {
    fuzz("graph", files(&["tests"], ".graph"), |input, _| {
        if let Ok(graph) = Graph::parse(&String::from_utf8_lossy(input)) {
            let text = graph.to_string();
            assert_eq!(Graph::parse(&text).unwrap().to_string(), text);
            let _ = graph.verify();
        }
    });
}

/// Passes, lowering and code of graphs that the verifier lets through.
#[test]
#[ignore = "runs for as long as it is told"]
fn code() {
    fuzz("code", files(&["tests/lower", "tests/passes"], ".graph"), |input, _| {
        let graph = Graph::parse(&String::from_utf8_lossy(input));
        if let Some(graph) = graph.ok().filter(|g| g.verify().is_ok() && g.groups.is_empty()) {
            let _ = nnc::compile_graph(graph).build();
        }
    });
}

/// Schedules, and applying them. Kernels print but do not parse.
#[test]
#[ignore = "runs for as long as it is told"]
fn schedule() {
    let mut kernels: Vec<(Kernel, Schedule)> = vec![];
    for example in ["digits", "row_length", "bert_encoder", "resnet18", "custom_kernel"] {
        for compiled in compiled(&format!("dsl-examples/{example}.nn")).compiled {
            let loops = compiled.lowered.kernels.iter().filter_map(|k| k.loops());
            kernels.extend(loops.map(|l| (l.kernel.clone(), l.schedule.clone())));
        }
    }
    let corpus = kernels.iter().map(|(_, s)| s.to_string().into_bytes()).collect();
    fuzz("schedule", corpus, |input, _| {
        let Ok(schedule) = String::from_utf8_lossy(input).parse::<Schedule>() else { return };
        // A schedule goes with the kernels that have its names.
        let named = schedule.to_string();
        let goes =
            |k: &&(Kernel, Schedule)| k.0.buffers.iter().all(|b| !b.name.starts_with('y') || named.contains(&b.name));
        for (kernel, _) in kernels.iter().filter(goes).take(8) {
            if let Ok(scheduled) = kernel::apply(kernel, &schedule, 8) {
                let _ = scheduled.to_string();
            }
        }
    });
}

#[test]
#[ignore = "runs for as long as it is told"]
fn npy() {
    fuzz("npy", files(&["dsl-examples"], ".npy"), |_, file| drop(tensor::npy::read(file)));
}

#[test]
#[ignore = "runs for as long as it is told"]
fn safetensors() {
    fuzz("safetensors", files(&["dsl-examples"], ".safetensors"), |_, file| {
        if let Ok(weights) = tensor::safetensors::Weights::open(file) {
            weights.entries().iter().for_each(|(name, ..)| {
                let _ = weights.get(name);
            });
        }
    });
}

#[test]
#[ignore = "runs for as long as it is told"]
fn picture() {
    let jpeg = std::env::temp_dir().join("nnc-fuzz-picture.jpg");
    let pixels = (0..3 * 20 * 30).map(|i| (i * 37 % 101) as f64 / 100.0);
    nnc::picture::write(&jpeg, &nnc::Tensor::from_f64(nnc::Elem::F32, &[3, 20, 30], pixels)).unwrap();
    let corpus = [files(&["dsl-examples"], ".png"), vec![std::fs::read(&jpeg).unwrap()]].concat();
    std::fs::remove_file(&jpeg).unwrap();
    fuzz("picture", corpus, |_, file| drop(nnc::picture::read(file, 3, Some([9, 7]))));
}

#[test]
#[ignore = "runs for as long as it is told"]
fn sound() {
    let wave = std::env::temp_dir().join("nnc-fuzz-sound.wav");
    let samples = nnc::Tensor::new(&[2, 3], &[0f32, 0.5, -1.0, 0.25, 1.0, 0.125]);
    nnc::sound::write(&wave, 16_000, &samples).unwrap();
    let corpus = vec![std::fs::read(&wave).unwrap()];
    std::fs::remove_file(&wave).unwrap();
    fuzz("sound", corpus, |_, file| drop(nnc::sound::read(file)));
}

/// Tables for training.
#[test]
#[ignore = "runs for as long as it is told"]
fn table() {
    let corpus = vec![b"a,b,label\n1,2.5,0\n3,-4e3,1\n".to_vec(), b"a,\"b\",label\r\n\"1\",2,0\r\n".to_vec()];
    let input = ["a".to_string(), "b".to_string()];
    fuzz("table", corpus, |_, file| drop(data::Table::csv(file, &input, "label")));
}

/// Programs in files, whose hash is right and whose content is not.
#[test]
#[ignore = "runs for as long as it is told"]
fn program() {
    let folder = std::env::temp_dir();
    let mut corpus = vec![];
    let mut first_line = vec![];
    for example in ["dsl-examples/row_length.nn", "benches/add.nn", "tests/models/scans.nn"] {
        let file = folder.join("nnc-fuzz-program.nnc");
        compiled(example).with_random_weights(0).unwrap().save(&file).unwrap();
        let whole = std::fs::read(&file).unwrap();
        let line = whole.iter().position(|b| *b == b'\n').unwrap() + 1;
        first_line = whole[..line].to_vec();
        corpus.push(whole[line + 32..].to_vec());
        std::fs::remove_file(&file).unwrap();
    }
    // The first line and the hash are right, or nothing behind them would be read.
    fuzz("program", corpus, |input, file| {
        std::fs::write(file, [&first_line, &Sha256::digest(input)[..], input].concat()).unwrap();
        drop(engine::Program::open(file));
    });
}
