//! What README, ARCHITECTURE, the tutorial and the reference show is what the command does.
//!
//! In a document, `<!-- file NAME -->` stands before a block that is a file, `<!-- cat NAME -->` before one that shows a file,
//! `<!-- nnc … -->` before one that is what a command prints (a `console` shows the command and its mistakes too), and `<!-- run … -->` before one that shows a command that must succeed; `<!-- checks -->` before a model that is
//! right, `<!-- refused E0304 -->` before one that is not, and `<!-- list … -->` before a list of what there is. `NNC_UPDATE=1`
//! writes outputs anew.

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Runs `nnc` in a folder: whether it succeeds, and all that it prints. `_` stands for a space inside of quotes.
fn nnc(line: &str, folder: &Path) -> (bool, String) {
    let word = |w: &str| if w.contains('"') { w.replace('_', " ") } else { w.to_string() };
    let mut command = Command::new(env!("CARGO_BIN_EXE_nnc"));
    command.env("NNC_CACHE", "off");
    let output = command.current_dir(folder).args(line.split_whitespace().map(word)).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

/// What a command prints that succeeds.
fn shown(line: &str, folder: &Path) -> String {
    let (done, said) = nnc(line, folder);
    assert!(done, "nnc {line}: {said}");
    said
}

/// The document as it should be, after doing all that it says in `folder`.
fn renewed(document: &str, folder: &Path) -> String {
    let mut out = String::new();
    let mut rest = document;
    while let Some((before, more)) = rest.split_once("<!-- ") {
        let (what, more) = more.split_once(" -->\n").expect("a comment ends");
        let (fence, more) = more.split_once('\n').expect("a block follows");
        let (block, more) = more.split_once("```\n").expect("the block ends");
        let block = match what.split_once(' ') {
            Some(("file", name)) => {
                std::fs::write(folder.join(name), block).unwrap();
                let tidy = nnc(&format!("fmt --check {name}"), folder);
                assert!(tidy.0, "{name} is not laid out as `nnc fmt` does it:\n{}", tidy.1);
                block.to_string()
            }
            Some(("cat", name)) => std::fs::read_to_string(folder.join(name)).unwrap().trim_end().to_string() + "\n",
            Some(("nnc", line)) if fence.ends_with("console") => {
                format!("$ nnc {line}\n{}\n", nnc(line, folder).1.trim_end())
            }
            Some(("nnc", line)) => shown(line, folder).trim_end().to_string() + "\n",
            Some(("run", line)) => {
                shown(line, folder);
                block.to_string()
            }
            None if what == "checks" => {
                std::fs::write(folder.join("checks.nn"), block).unwrap();
                let (right, said) = nnc("check checks.nn", folder);
                assert!(right, "{block}{said}");
                block.to_string()
            }
            Some(("refused", code)) => {
                std::fs::write(folder.join("refused.nn"), block).unwrap();
                let (right, said) = nnc("check refused.nn", folder);
                assert!(!right && said.starts_with(&format!("error[{code}]")), "{block}{said}");
                block.to_string()
            }
            Some(("list", kind)) => listed(kind, folder),
            _ => panic!("`{what}` is nothing that a document does"),
        };
        out += &format!("{before}<!-- {what} -->\n{fence}\n{block}```\n");
        rest = more;
    }
    out + rest
}

/// What `nnc doc` lists of operators, or of the library.
fn listed(kind: &str, folder: &Path) -> String {
    let (_, all) = nnc("doc", folder);
    let chosen = all.split("\n\n").filter(|part| part.starts_with("an operator") == (kind == "operators"));
    let lines = |part: &str| part.lines().map(|l| l.trim_end().to_string() + "\n").collect::<String>();
    let parts: Vec<String> = chosen.map(lines).collect();
    parts.join("\n").replace("an operator\n", "")
}

/// Does what a document says in `folder`, and holds it to that.
fn check_in(folder: &Path, path: &str) {
    let path = root().join(path);
    let before = std::fs::read_to_string(&path).unwrap();
    let after = renewed(&before, folder);
    if std::env::var_os("NNC_UPDATE").is_some() {
        std::fs::write(&path, &after).unwrap();
        return;
    }
    assert!(before == after, "{} is out of date; NNC_UPDATE=1 writes it anew", path.display());
}

/// The same in a folder of its own, with the data of the examples and some text to learn from.
fn check(path: &str) {
    let folder = tempfile::tempdir().unwrap();
    let data = root().join("dsl-examples/data").canonicalize().unwrap();
    std::os::unix::fs::symlink(data, folder.path().join("data")).unwrap();
    let text = ["compiler/ARCHITECTURE.md", "README.md"].map(|file| std::fs::read(root().join(file)).unwrap());
    std::fs::write(folder.path().join("text.txt"), text.concat()).unwrap();
    check_in(folder.path(), path);
}

#[test]
fn the_listings_of_architecture_are_true() {
    match nnc::Isa::host() < nnc::Isa::Avx2 {
        true => eprintln!("skipped: this machine has no avx2"),
        false => check_in(&root(), "compiler/ARCHITECTURE.md"),
    }
}

#[test]
fn the_readme_shows_the_example_and_what_it_prints() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let model = std::fs::read_to_string(root().join("dsl-examples/digits.nn")).unwrap();
    assert!(readme.contains(&format!("```nn\n{model}```\n")), "README.md and dsl-examples/digits.nn differ");
    let prompt = "$ cargo run --release -- run ";
    let (_, rest) = readme.split_once(prompt).expect("README.md runs the example");
    let (command, rest) = rest.split_once('\n').unwrap();
    let (example, out) = (rest.lines().next().unwrap(), shown(&format!("run {command}"), &root()));
    let numbers = |line: &str| {
        let (ty, values) = line.trim().split_once(" = ").unwrap();
        let values = values.trim_matches(['[', ']']).split(", ").map(|x| x.parse().unwrap());
        (ty.to_string(), values.collect::<Vec<f64>>())
    };
    let ((example_type, example), (ty, got)) = (numbers(example), numbers(&out));
    assert_eq!((example_type, example.len()), (ty, got.len()));
    // Other instruction sets round otherwise.
    assert!(example.iter().zip(&got).all(|(a, b)| (a - b).abs() < 1e-5), "{out}");
}

#[test]
fn the_tutorial_does_what_it_says() {
    check("dsl-examples/TUTORIAL.md");
}

#[test]
fn the_reference_says_what_is_so() {
    check("compiler/dsl/REFERENCE.md");
}
