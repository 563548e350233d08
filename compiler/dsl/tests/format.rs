//! The formatter keeps the meaning, is idempotent, and leaves what is in order as it is.

use diag::FileId;
use std::path::{Path, PathBuf};

fn files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["std", "../../dsl-examples", "../../tests/dsl/bad", "tests/cases", "tests/equal"];
    let all = folders.iter().flat_map(|f| std::fs::read_dir(root.join(f)).unwrap());
    let mut files: Vec<PathBuf> =
        all.map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "nn")).collect();
    // One of the mistakes is that a file does not parse.
    files.retain(|p| dsl::parse(&std::fs::read_to_string(p).unwrap(), FileId(0)).is_ok());
    files.sort();
    files
}

/// The syntax tree without places.
fn tree(text: &str) -> String {
    let tree = format!("{:?}", dsl::parse(text, FileId(0)).unwrap());
    let mut out = String::new();
    let mut rest = tree.as_str();
    while let Some(at) = rest.find("Span { file") {
        out.push_str(&rest[..at]);
        rest = rest[at..].split_once(" }").unwrap().1;
    }
    out + rest
}

fn comments(text: &str) -> Vec<&str> {
    text.lines().filter_map(|l| l.find('#').map(|at| l[at..].trim())).collect()
}

#[test]
fn meaning_and_comments_are_kept() {
    for path in files() {
        let text = std::fs::read_to_string(&path).unwrap();
        let formatted = dsl::format(&text).unwrap();
        assert_eq!(tree(&text), tree(&formatted), "{}", path.display());
        assert_eq!(comments(&text), comments(&formatted), "{}", path.display());
        assert_eq!(dsl::format(&formatted).unwrap(), formatted, "{}", path.display());
    }
}

#[test]
fn library_and_examples_are_in_order() {
    for path in files() {
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(dsl::format(&text).unwrap(), text, "{}", path.display());
    }
}

#[test]
fn untidy_text_is_laid_out() {
    let text = include_str!("layout/untidy.nn");
    let formatted = dsl::format(text).unwrap();
    assert_eq!(dsl::format(&formatted).unwrap(), formatted);
    insta::assert_snapshot!("untidy", formatted);
}

/// `cargo test -p nnc-dsl --test format -- --ignored`
#[test]
#[ignore = "measures time"]
fn twice_the_lines_take_twice_the_time() {
    let text = |lines: usize| {
        let item = |i: usize| {
            format!(
                "## Doc {i}.\nfn f{i}(x: [..S], a: float = {i}) -> [..S] {{\n  y = x * {i} + a   # comment\n  z   = y |> relu |> silu\n  if a > 1 {{ z = z + 1 }}\n  z + y\n}}\n\n"
            )
        };
        (0..lines / 8).map(item).collect::<String>()
    };
    let time = |text: &str| {
        let once = || {
            let start = std::time::Instant::now();
            dsl::format(text).unwrap();
            start.elapsed().as_secs_f64()
        };
        (0..3).map(|_| once()).fold(f64::INFINITY, f64::min)
    };
    let (one, two) = (time(&text(10_000)), time(&text(20_000)));
    assert!(two <= 2.3 * one, "{one:.2} s and {two:.2} s");
}
