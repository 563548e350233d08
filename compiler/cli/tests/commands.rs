//! The command as its users meet it: exit codes, output, messages.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What a command came to: exit code, standard output, standard error.
struct Answer(i32, String, String);

impl Answer {
    /// Output of a command that succeeds.
    fn ok(self) -> String {
        assert_eq!(self.0, 0, "{}", self.2);
        self.1
    }

    /// Message of a command that fails with exit code 1.
    fn refused(self) -> String {
        assert_eq!(self.0, 1, "{}{}", self.1, self.2);
        self.2
    }
}

/// Runs `nnc` in the root of the repository.
fn nnc(line: &str) -> Answer {
    piped(line, "")
}

fn piped(line: &str, input: &str) -> Answer {
    answer(line, input, "off")
}

/// With a folder for what is kept.
fn answer(line: &str, input: &str, cache: &str) -> Answer {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nnc"));
    command.current_dir(root()).args(line.split_whitespace()).env("NNC_CACHE", cache);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Answer(output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

const DIGITS: &str = "dsl-examples/digits.nn";
const WEIGHTS: &str = "--weights dsl-examples/data/digits.safetensors";
const SEVEN: &str = "--input image=dsl-examples/data/seven.npy";

#[test]
fn a_digit_is_read() {
    let out = nnc(&format!("run {DIGITS} {WEIGHTS} {SEVEN}")).ok();
    let (ty, values) = out.trim().split_once(" = ").unwrap();
    assert_eq!(ty, "probability: f32[1, 10]");
    let values = values.trim_matches(['[', ']']).split(", ").map(|x| x.parse::<f64>().unwrap());
    let values: Vec<f64> = values.collect();
    assert_eq!(values.len(), 10);
    assert!((values[7] - 0.99876).abs() < 1e-5 && values.iter().sum::<f64>() - 1.0 < 1e-4, "{out}");
}

#[test]
fn a_picture_of_a_digit_is_read() {
    let line = format!("run {DIGITS} {WEIGHTS} --input image=dsl-examples/data/seven.png --json");
    let answer: serde_json::Value = serde_json::from_str(&nnc(&line).ok()).unwrap();
    assert_eq!(answer["probability"]["shape"], serde_json::json!([1, 10]));
    assert!((answer["probability"]["values"][0][7].as_f64().unwrap() - 0.99875).abs() < 1e-5);
}

/// Values go in and come out unchanged, whatever they are written in.
#[test]
fn values_in_and_out() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(at("same.nn"), "model Same(x: [C, H, W]) -> (y: [C, H, W]) = x\n").unwrap();
    std::fs::write(at("colours.nn"), "model Colours(x: [3, H, W]) -> (y: [3, H, W]) = x\n").unwrap();
    std::fs::write(at("whole.nn"), "model Whole(x: i32[N]) -> (y: i32[N]) = x + 1\n").unwrap();
    std::fs::write(at("wave.nn"), "model Wave(x: [B, T]) -> (y: [B, T]) = x * 0.5\n").unwrap();
    std::fs::write(at("pixels.nn"), "model Pixels(x: u8[4, 4, 3]) -> (y: u8[4, 4, 3]) = x\n").unwrap();
    let run = |model: &str, x: &str, rest: &str| nnc(&format!("run {} --input x={x} {rest}", at(model)));

    let colours = "[[[0,1]],[[0.2,0.4]],[[0.6,0.8]]]";
    for file in ["a.png", "a.npy", "a.json"] {
        assert_eq!(run("same.nn", colours, &format!("--output y={}", at(file))).ok(), "");
    }
    let shown = "y: f32[3, 1, 2] = [[[0.00000, 1.00000]], [[0.20000, 0.40000]], [[0.60000, 0.80000]]]\n";
    assert_eq!(run("colours.nn", &at("a.png"), "").ok(), shown);
    assert_eq!(run("same.nn", &at("a.npy"), "").ok(), shown);
    assert!(std::fs::read_to_string(at("a.json")).unwrap().contains("\"values\":[[[0,1]],[[0.2,0.4]],[[0.6,0.8]]]"));

    assert_eq!(run("wave.nn", "[[0.5,-1,0.25]]", &format!("--output y={} --rate 8000", at("a.wav"))).ok(), "");
    assert_eq!(run("wave.nn", &at("a.wav"), "").ok(), "y: f32[1, 3] = [[0.12500, -0.25000, 0.06250]]\n");
    assert_eq!(run("whole.nn", "[1,-2]", "").ok(), "y: i32[2] = [2, -1]\n");
    assert!(run("pixels.nn", &at("a.png"), "--resize --json").ok().starts_with("{\"y\":{\"shape\":[4,4,3],"));

    let told = [
        run("pixels.nn", &at("a.png"), ""),
        run("whole.nn", "[1.5]", ""),
        run("whole.nn", "[3000000000]", ""),
        run("whole.nn", "[[1]]", ""),
        run("pixels.nn", &at("a.wav"), ""),
        run("whole.nn", &at("a.png"), ""),
        run("whole.nn", &at("a.npy"), ""),
        run("same.nn", "[[[1],[2,3]]]", ""),
        run("same.nn", colours, "--output y=a.gif"),
        run("wave.nn", "[[1,2],[3,4],[5,6]]", &format!("--output y={}", at("no/a.png"))),
    ];
    let told = told.map(|answer| answer.refused().replace(&at(""), ""));
    insta::assert_snapshot!("values", told.concat());
}

#[test]
fn every_instruction_set_reads_it() {
    for isa in nnc::Isa::ALL.into_iter().filter(|isa| *isa <= nnc::Isa::host()) {
        let out = nnc(&format!("run {DIGITS} {WEIGHTS} {SEVEN} --target-cpu {isa} --threads 2")).ok();
        assert!(out.contains("0.9987"), "{isa}: {out}");
    }
}

#[test]
fn a_program_runs_without_its_source() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("digits.nnc");
    let path = file.display();
    nnc(&format!("compile {DIGITS} {WEIGHTS} -o {path}")).ok();
    let expected = nnc(&format!("run {DIGITS} {WEIGHTS} {SEVEN}")).ok();
    assert_eq!(nnc(&format!("run {path} {SEVEN}")).ok(), expected);
    let timed: serde_json::Value =
        serde_json::from_str(&nnc(&format!("bench {path} --size B=3 --seconds 0.01 --json")).ok()).unwrap();
    assert!(timed["median_us"].as_f64().unwrap() > 0.0);
    let message = nnc(&format!("run {path} {SEVEN} -D hidden=3")).refused();
    assert!(
        message.ends_with(
            "is compiled; --model, -D, --target, --target-cpu, --weights and --rules are for `nnc compile`\n"
        )
    );
    let message = nnc(&format!("check {path}")).refused();
    assert!(message.ends_with("is compiled; this needs its source\n"), "{message}");

    let whole = std::fs::read(&file).unwrap();
    let damaged = |change: fn(&mut Vec<u8>)| {
        let mut bytes = whole.clone();
        change(&mut bytes);
        std::fs::write(&file, bytes).unwrap();
        let message = nnc(&format!("run {path} {SEVEN}")).refused();
        message.trim().rsplit(": ").next().unwrap().to_string()
    };
    assert_eq!(damaged(|b| b[200] ^= 1), "its content does not match its hash; compile it anew");
    assert_eq!(damaged(|b| b.truncate(100)), "its content does not match its hash; compile it anew");
    assert_eq!(damaged(|b| b.truncate(20)), "the file is cut short; compile it anew");
}

#[test]
fn a_model_is_compiled_once() {
    let folder = tempfile::tempdir().unwrap();
    let (model, cache) = (folder.path().join("twice.nn"), folder.path().join("kept"));
    let run = |factor: &str| {
        std::fs::write(&model, format!("model M(x: [N]) -> (y: [N]) = {factor} * x\n")).unwrap();
        answer(&format!("run {} --input x=[1,2]", model.display()), "", cache.to_str().unwrap()).ok()
    };
    let kept = || -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = std::fs::read_dir(&cache).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        files
    };
    let (twice, thrice) = ("y: f32[2] = [2.00000, 4.00000]\n", "y: f32[2] = [3.00000, 6.00000]\n");
    assert_eq!(run("2"), twice);
    let first = kept();
    assert_eq!(first.len(), 1);
    let written = std::fs::metadata(&first[0]).unwrap().modified().unwrap();
    assert_eq!(run("2"), twice);
    assert_eq!(std::fs::metadata(&first[0]).unwrap().modified().unwrap(), written);
    assert_eq!((run("3").as_str(), kept().len()), (thrice, 2));
    // What is damaged is made anew.
    let whole = std::fs::read(&first[0]).unwrap();
    for bytes in [&whole[..whole.len() / 2], &[], &[0; 99]] {
        std::fs::write(&first[0], bytes).unwrap();
        assert_eq!(run("2"), twice);
        assert_eq!(std::fs::read(&first[0]).unwrap(), whole);
    }
    // A folder that cannot be written keeps nothing.
    let line = format!("run {} --input x=[1,2]", model.display());
    assert_eq!(answer(&line, "", "/proc/none").ok(), twice);
}

#[test]
fn a_program_with_parameters_is_not_written_without_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("digits.nnc");
    let message = nnc(&format!("compile {DIGITS} -o {}", file.display())).refused();
    assert_eq!(message, "error: Digits has parameters; give their values with --weights FILE\n");
    assert!(!file.exists());
}

#[test]
fn files_are_laid_out() {
    let untidy = "model  M(x:[B,4])->[B,4]=relu( x )\n";
    let tidy = "model M(x: [B, 4]) -> [B, 4] = relu(x)\n";
    assert_eq!(piped("fmt -", untidy).ok(), tidy);
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a.nn"), folder.path().join("b.nn"));
    std::fs::write(&a, untidy).unwrap();
    std::fs::write(&b, tidy).unwrap();
    let files = format!("{} {}", a.display(), b.display());
    let Answer(code, diff, message) = nnc(&format!("fmt --check {files}"));
    assert_eq!((code, message.as_str()), (1, "error: 1 file is not laid out as `nnc fmt` does it\n"));
    let diff = diff.replace(&folder.path().display().to_string(), "");
    assert_eq!(diff, format!("--- /a.nn\n+++ /a.nn\n@@ -1 +1 @@\n-{untidy}+{tidy}"));
    assert_eq!(std::fs::read_to_string(&a).unwrap(), untidy);
    assert_eq!(nnc(&format!("fmt {files}")).ok(), "");
    assert_eq!(std::fs::read_to_string(&a).unwrap(), tidy);
    nnc(&format!("fmt --check {files}")).ok();
    let message = piped("fmt -", "model M(").refused();
    assert!(message.contains("standard input:1:"), "{message}");
}

#[test]
fn the_examples_are_laid_out() {
    let mut line = "fmt --check".to_string();
    for file in std::fs::read_dir(root().join("dsl-examples")).unwrap().flatten() {
        if file.path().extension().is_some_and(|e| e == "nn") {
            line += &format!(" {}", file.path().display());
        }
    }
    nnc(&line).ok();
}

#[test]
fn names_are_listed_and_matched() {
    let file = "dsl-examples/data/digits.safetensors";
    insta::assert_snapshot!("names", nnc(&format!("names {DIGITS}")).ok());
    assert!(nnc(&format!("names {DIGITS} --against {file}")).ok().ends_with("all 4 are there\n"));
    insta::assert_snapshot!(
        "names_that_differ",
        nnc(&format!("names {DIGITS} -D hidden=16 --against {file}")).refused()
    );
}

#[test]
fn a_bench_verifies_and_knows_the_limits() {
    let line = format!("bench {DIGITS} --size B=3 --seconds 0.01 --verify --roofline");
    let out = nnc(&line).ok();
    assert!(out.contains("largest error ") && out.contains("this machine: "), "{out}");
    let told: serde_json::Value = serde_json::from_str(&nnc(&format!("{line} --json --threads 2")).ok()).unwrap();
    // f32 rounds each of 64 products and sums.
    assert!(told["max_err"].as_f64().unwrap() < 1e-5, "{told}");
    assert!(told["limits"]["gbytes_per_s"].as_f64().unwrap() > 0.0);
    let first = &told["kernels"][0];
    assert_eq!(
        (&first["source"], &first["operations"]),
        (&"dsl-examples/digits.nn:8".into(), &(3 * 64 * 64 * 2).into())
    );
}

#[test]
fn what_differs_is_told_to_programs_too() {
    let file = "dsl-examples/data/digits.safetensors";
    let Answer(code, out, message) = nnc(&format!("names {DIGITS} -D hidden=16 --against {file} --json"));
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, message.is_empty()), (1, false));
    assert_eq!(told["differences"]["misshaped"][0]["expected"], serde_json::json!([16, 64]));
    let out = nnc(&format!("names {DIGITS} --against {file} --json")).ok();
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(told["stored"][0]["from"], "fc1.weight");
}

#[test]
fn every_form_is_shown() {
    for emit in ["graph", "kernel", "scheduled", "vir", "clif", "cuda"] {
        assert!(!nnc(&format!("dump {DIGITS} --emit {emit}")).ok().is_empty(), "{emit}");
    }
    insta::assert_snapshot!("boxes_and_arrows", nnc("dump dsl-examples/row_length.nn --emit dot").ok());
    // Two entries are one picture.
    let picture = nnc("dump dsl-examples/gpt2.nn -D layers=1 --emit svg").ok();
    assert!(picture.starts_with("<svg") && picture.matches("</svg>").count() == 1 && picture.ends_with("</svg>\n"));
    let message = nnc(&format!("dump {DIGITS} --entry backward")).refused();
    assert_eq!(message, "error: no entry `backward`; this model has forward\n");
    if nnc::Isa::host() > nnc::Isa::Baseline {
        assert!(nnc(&format!("dump {DIGITS} --emit asm")).ok().contains("ret"));
    }
}

#[test]
fn mistakes_are_told_apart() {
    let told = [
        format!("run {DIGITS}"),
        format!("run {DIGITS} {WEIGHTS}"),
        format!("run {DIGITS} {WEIGHTS} --input picture=random"),
        format!("run {DIGITS} {WEIGHTS} --input image=random"),
        format!("run {DIGITS} {WEIGHTS} {SEVEN} --output p=p.npy"),
        format!("run {DIGITS} {WEIGHTS} {SEVEN} --entry backward"),
        format!("run {DIGITS} {WEIGHTS} --rules hub {SEVEN}"),
        "check nothing.nn".to_string(),
        "explain E9999".to_string(),
    ];
    let told = told.map(|line| format!("{line}\n  {}", nnc(&line).refused()));
    let short = told.join("").replace("dsl-examples/", "").replace("data/", "");
    insta::assert_snapshot!("mistakes", short);
    let passes = nnc(&format!("dump {DIGITS} --stop-after fuze")).refused();
    assert!(passes.starts_with("error: no pass `fuze`; there are ") && passes.ends_with(", fuse\n"), "{passes}");
    for line in ["", "compile", "run --threads 0 x.nn", "bench x.nn --target-cpu mmx", "fly"] {
        assert_eq!(nnc(line).0, 2, "{line}");
    }
}

#[test]
fn the_small_commands_answer() {
    assert!(nnc("doctor").ok().contains("code for  baseline"));
    assert!(nnc("doctor --json").ok().contains("\"isas\":[\"baseline\""));
    assert!(nnc("completions bash").ok().contains("nnc"));
    assert!(nnc("explain E0301").ok().starts_with("E0301"));
    let check: serde_json::Value = serde_json::from_str(&nnc(&format!("check {DIGITS} --json")).ok()).unwrap();
    assert_eq!(check["parameters"], 64 * 64 + 64 + 64 * 10 + 10);
}

#[test]
fn a_model_is_told_without_compiling_it() {
    let out = nnc("check dsl-examples/gpt2.nn --model Gpt2Medium -D B=1").ok();
    assert!(out.starts_with("Gpt2Medium: 354,823,168 parameters, 1419.3 MB\n"), "{out}");
    assert!(out.contains("    where pos + T <= 1024\n"), "{out}");
    let json: serde_json::Value = serde_json::from_str(&nnc("check dsl-examples/mnist_mlp.nn --json").ok()).unwrap();
    assert_eq!(json["parameters"], 203_530);
    assert_eq!(json["entries"][0]["inputs"][0], "image: f32[B, 28, 28]");
    assert_eq!(json["entries"][0]["operations"], "407050*B");
    assert_eq!(json["training"][0]["metrics"][0], "accuracy");
}

#[test]
fn anything_is_looked_up() {
    let out = nnc("doc gelu").ok();
    assert!(out.starts_with("fn gelu(x: [..S]) -> [..S]\n\n"), "{out}");
    assert!(nnc("doc Block --file dsl-examples/gpt2.nn").ok().starts_with("layer Block(heads: int, context: int)"));
    assert!(nnc("doc").ok().contains("\nstd/layers.nn\n  Linear "));
    assert_eq!(nnc("doc Linera").refused(), "error: there is no `Linera`; did you mean `Linear`?\n");
}

#[test]
fn models_of_several_files() {
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join("main.nn");
    std::fs::write(&main, "import \"parts/block.nn\" as parts\nmodel M(x: [B, 8]) -> [B, 8] = x |> b: parts.Block()\n")
        .unwrap();
    let message = nnc(&format!("check {}", main.display())).refused();
    assert!(message.contains("error[E0203]: cannot read `") && message.contains("parts/block.nn`"), "{message}");
    std::fs::create_dir(folder.path().join("parts")).unwrap();
    let block = "layer Block(x: [B, D]) -> [B, D] = x |> fc: Linear(D) |> relu\n";
    std::fs::write(folder.path().join("parts/block.nn"), block).unwrap();
    assert!(nnc(&format!("check {}", main.display())).ok().starts_with("M: 72 parameters"));
}
