//! Files and streams that are not what the command expects: a message with something to do about it, exit code 1,
//! nothing half-written.

use std::path::Path;
use std::process::{Command, Stdio};

const DIGITS: &str = "dsl-examples/digits.nn";
const WEIGHTS: &str = "--weights dsl-examples/data/digits.safetensors";
const SEVEN: &str = "--input image=dsl-examples/data/seven.npy";

/// A line of a shell in the root of the repository, where `nnc` is the command and `$T` an empty folder: exit code,
/// standard output, standard error.
fn shell(line: &str) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("bash");
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).stdin(Stdio::null());
    let path = Path::new(env!("CARGO_BIN_EXE_nnc")).parent().unwrap().display().to_string();
    command
        .env("PATH", format!("{path}:{}", std::env::var("PATH").unwrap()))
        .env("T", folder.path())
        .env("NNC_CACHE", "off");
    let output = command.args(["-o", "pipefail", "-c", line]).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).replace(&folder.path().display().to_string(), "$T");
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

fn refused(line: &str) -> String {
    let (code, _, message) = shell(line);
    assert_eq!(code, 1, "{line}\n{message}");
    assert!(!message.contains("panicked"), "{line}\n{message}");
    message.lines().next().unwrap_or_default().to_string()
}

#[test]
fn what_is_read() {
    let run = |weights: &str, input: &str| format!("nnc run {DIGITS} --weights {weights} --input image={input}");
    let lines = [
        "nnc check $T/missing.nn".to_string(),
        "nnc check $T".to_string(),
        "nnc check /etc/passwd/a.nn".to_string(),
        "nnc check /dev/zero".to_string(),
        "nnc check /dev/null".to_string(),
        "printf 'a\\n\\xff' > $T/a.nn; nnc check $T/a.nn".to_string(),
        "nnc fmt - < /dev/zero".to_string(),
        "nnc doc --file $T".to_string(),
        "nnc names dsl-examples/digits.nn --against $T".to_string(),
        run("$T", "$T"),
        run("/dev/zero", "$T"),
        run(&WEIGHTS[10..], "/dev/zero"),
        run(&WEIGHTS[10..], "<(cat dsl-examples/data/seven.npy)").replace("image=<(", "image=/dev/stdin < <("),
        run("<(:)", "$T").replace("<(:)", "dsl-examples/digits.nn"),
        format!("head -c 60 {} > $T/w; {}", &WEIGHTS[10..], run("$T/w", "$T")),
        format!("head -c 140 dsl-examples/data/seven.npy > $T/i; {}", run(&WEIGHTS[10..], "$T/i")),
        format!("head -c 20 dsl-examples/data/seven.npy > $T/i; {}", run(&WEIGHTS[10..], "$T/i")),
    ];
    let told = lines.map(|line| format!("{line}\n  {}\n", refused(&line)));
    insta::assert_snapshot!("read", told.concat());
}

#[test]
fn what_is_written() {
    let run = |place: &str| format!("nnc run {DIGITS} {WEIGHTS} {SEVEN} --output probability={place}");
    let compile = |place: &str| format!("nnc compile {DIGITS} {WEIGHTS} -o {place}");
    let lines = [
        run("/dev/full"),
        run("$T"),
        run("$T/no/a.npy"),
        run("/proc/a.npy"),
        format!("touch $T/a.npy; chmod 400 $T/a.npy; {}", run("$T/a.npy")),
        compile("/dev/full"),
        compile("$T"),
        compile("$T/no/a.nnc"),
        compile(&format!("$T/{}", "n".repeat(300))),
        format!("nnc check {DIGITS} > /dev/full"),
        "nnc completions bash > /dev/full".to_string(),
    ];
    let told = lines.map(|line| format!("{line}\n  {}\n", refused(&line)));
    insta::assert_snapshot!("written", told.concat());
    assert!(!Path::new("/dev/full").is_file());
}

#[test]
fn a_disk_that_fills_up_leaves_nothing() {
    // A file may grow to 1024 bytes here; the signal that would end the process is ignored.
    let (code, out, message) =
        shell(&format!("trap '' XFSZ; ulimit -f 1; nnc compile {DIGITS} {WEIGHTS} -o $T/a.nnc; echo $?; ls $T"));
    assert_eq!((code, out.as_str()), (0, "1\n"), "{message}");
    assert!(message.starts_with("error: $T/a.nnc: "), "{message}");
}

#[test]
fn readers_and_writers_that_go_away() {
    for line in [
        format!("nnc dump {DIGITS} --emit vir | head -1"),
        format!("nnc dump {DIGITS} --emit vir >&-"),
        format!("nnc check {DIGITS} | true"),
        format!("nnc check <(cat {DIGITS})"),
        format!("nnc run {DIGITS} {WEIGHTS} {SEVEN} --output probability=/dev/stdout | tail -c 40 | wc -c"),
    ] {
        let (code, out, message) = shell(&line);
        assert_eq!(code, 0, "{line}\n{out}{message}");
    }
    for line in ["nnc check $T/a.nn 2>/dev/full", "nnc check $T/a.nn 2>&-", "nnc check $T/a.nn 2>&1 | true"] {
        assert_eq!(shell(line).0, 1, "{line}");
    }
}

#[test]
fn what_is_too_large() {
    let lines = [
        format!("nnc bench {DIGITS} --size B=9223372036854775807"),
        format!("nnc bench {DIGITS} --size B=100000000000"),
        format!("nnc bench {DIGITS} -D hidden=1000000000000 --size B=1"),
        "echo 'model M(x: [B, 3000000]) -> [B, 3000000] = x |> a: Linear(3000000)' > $T/a.nn; nnc bench $T/a.nn --size B=1"
            .to_string(),
        "echo 'model M(x: [B, 2]) -> [B, 2000000000] = concat([x for i in 0..1000000000], 1)' > $T/a.nn; nnc check $T/a.nn"
            .to_string(),
        "echo 'model M(x: [B, 9]) -> [B, B] = (x @ x.T)' > $T/a.nn; nnc bench $T/a.nn --size B=2000000".to_string(),
    ];
    let told = lines.map(|line| format!("{line}\n  {}\n", refused(&line)));
    insta::assert_snapshot!("too_large", told.concat());
}
