//! Whatever is written, the answer is a graph or a message.

use diag::SourceMap;

/// Words and signs that are put in place of others.
const TOKENS: &[&str] = &[
    "",
    "0",
    "1",
    "-1",
    "7",
    "0.5",
    "B",
    "T",
    "x",
    "y",
    "none",
    "true",
    "\"a\"",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    "..",
    ":",
    "=",
    "+",
    "-",
    "*",
    "/",
    "//",
    "%",
    "**",
    "@",
    "|>",
    "==",
    "<=",
    "and",
    "or",
    "not",
    "if",
    "for i in 0..3",
    "relu",
    "Linear",
    "Linear(4)",
    "sum",
    "shape",
    "reshape",
    "concat",
    "float",
    "i32",
    "[1, 2]",
    "x[0]",
    "x.T",
    "_",
    "9223372036854775807",
    "1000000",
    "B * T",
    "T - 5",
    "softmax",
    "take",
    "arange",
    "rearrange",
    "(x = 1)",
    "a => a",
];

fn pieces(text: &str) -> Vec<&str> {
    let kind = |c: char| {
        if c.is_alphanumeric() || c == '_' {
            0
        } else if c.is_whitespace() {
            1
        } else {
            2
        }
    };
    let mut pieces = vec![];
    let mut start = 0;
    let chars: Vec<(usize, char)> = text.char_indices().collect();
    for pair in chars.windows(2) {
        if kind(pair[0].1) != kind(pair[1].1) || kind(pair[1].1) == 2 {
            pieces.push(&text[start..pair[1].0]);
            start = pair[1].0;
        }
    }
    pieces.push(&text[start..]);
    pieces
}

#[test]
fn changed_models_do_not_panic() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let rounds: usize = std::env::var("NNC_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(40);
    let mut state = 1u64;
    let mut random = |n: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % n
    };
    for folder in ["tests/cases", "tests/equal", "../../tests/dsl/bad"] {
        let mut files: Vec<_> = std::fs::read_dir(root.join(folder)).unwrap().map(|e| e.unwrap().path()).collect();
        files.retain(|p| p.extension().is_some_and(|e| e == "nn"));
        files.sort();
        for path in files {
            let text = std::fs::read_to_string(&path).unwrap();
            for _ in 0..rounds {
                let mut changed = pieces(&text);
                for _ in 0..1 + random(2) {
                    let at = random(changed.len());
                    changed[at] = TOKENS[random(TOKENS.len())];
                }
                let changed = changed.concat();
                let run = std::panic::catch_unwind(|| {
                    let mut sources = SourceMap::default();
                    let id = sources.add("model.nn", changed.clone());
                    match dsl::elaborate_all(&mut sources, id, None, &[]) {
                        Ok((model, _)) => model.entries.iter().for_each(|e| e.graph.verify().unwrap()),
                        Err(errors) => drop(errors.iter().map(|e| e.render(&sources, false)).collect::<Vec<_>>()),
                    }
                    if let Ok(formatted) = dsl::format(&changed) {
                        assert_eq!(dsl::format(&formatted).unwrap(), formatted, "formatting twice");
                    }
                });
                assert!(run.is_ok(), "{}:\n{changed}", path.display());
            }
        }
    }
}
