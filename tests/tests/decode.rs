//! GPT-2 token by token against its cache: what compiled code gives for the whole text at once, and what happens to the
//! cache.

use nnc::{Elem, Session, Tensor};

const SMALL: [(&str, i64); 5] = [("vocab", 50), ("context", 24), ("dim", 32), ("layers", 2), ("heads", 2)];

fn program(isa: nnc::Isa) -> nnc::Program {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../dsl-examples/gpt2.nn");
    let compiler = SMALL.iter().fold(nnc::compile(path).unwrap().isa(isa), |c, (n, v)| c.define(*n, v));
    compiler.build().unwrap_or_else(|e| panic!("{e}")).with_random_weights(3).unwrap()
}

/// Two texts of so many tokens.
fn text(len: usize) -> Vec<Vec<i32>> {
    (0..2).map(|row| (0..len).map(|i| ((7 * i + 3 + 13 * row) % 50) as i32).collect()).collect()
}

fn tokens(text: &[Vec<i32>], from: usize, to: usize) -> Tensor {
    let part: Vec<i32> = text.iter().flat_map(|row| row[from..to].to_vec()).collect();
    Tensor::new(&[text.len(), to - from], &part)
}

fn decode(session: &mut Session, tokens: Tensor, pos: i32) -> Result<Vec<f64>, nnc::Error> {
    session.call("decode", &[tokens, Tensor::new(&[], &[pos])]).map(|y| y[0].to_f64())
}

fn close(a: &[f64], b: &[f64], place: &str) {
    assert_eq!(a.len(), b.len(), "{place}");
    let off = a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
    assert!(off <= 1e-5, "{place}: off by {off:.1e}");
}

#[test]
fn decoding_equals_the_whole() {
    let text = text(24);
    for isa in nnc::Isa::ALL.iter().copied().filter(|isa| *isa <= nnc::Isa::host()) {
        let program = program(isa);
        for threads in [1, 2] {
            let mut session = program.session(threads);
            let whole = session.call("forward", &[tokens(&text, 0, 24)]).unwrap()[0].to_f64();
            // Several at once, then one after another; then all again, over what is in the cache.
            let ends: Vec<usize> = [0, 3, 4, 5, 11].into_iter().chain(12..=24).collect();
            for round in 0..2 {
                for part in ends.windows(2) {
                    let (from, to) = (part[0], part[1]);
                    let last = decode(&mut session, tokens(&text, from, to), from as i32).unwrap();
                    let row = |b: usize| &whole[(b * 24 + to - 1) * 50..][..50];
                    close(&last, &[row(0), row(1)].concat(), &format!("{isa}, {threads}, {round}: {from}..{to}"));
                }
            }
        }
    }
}

/// A call writes its rows of the cache, and no other memory holds one.
#[test]
fn caches_are_updated_in_place() {
    let program = program(nnc::Isa::host());
    let decode = program.entries().iter().find(|e| e.name == "decode").unwrap();
    assert!(decode.updates.is_empty(), "{:?}", decode.updates);
}

#[test]
fn a_call_that_fails_leaves_the_cache() {
    let (program, text) = (program(nnc::Isa::host()), text(9));
    let mut session = program.session(2);
    decode(&mut session, tokens(&text, 0, 8), 0).unwrap();
    let next = decode(&mut session, tokens(&text, 8, 9), 8).unwrap();
    let error = |r: Result<Vec<f64>, nnc::Error>| r.unwrap_err().to_string();
    // No such token; the rows of places 2 and 3 would be other ones.
    let wrong = Tensor::new(&[2, 2], &[1, 2, 3, 50]);
    let message = error(decode(&mut session, wrong, 2));
    assert!(message.starts_with("an index read from data is out of range in `decode`"), "{message}");
    assert_eq!(decode(&mut session, tokens(&text, 8, 9), 8).unwrap(), next);
    for (pos, expected) in [
        (-1, "input `pos` chooses a size and must be from 0 to 24, got -1"),
        (25, "input `pos` chooses a size and must be from 0 to 24, got 25"),
        (i32::MAX, "input `pos` chooses a size and must be from 0 to 24, got 2147483647"),
    ] {
        assert_eq!(error(decode(&mut session, tokens(&text, 8, 9), pos)), expected);
    }
    let message = error(decode(&mut session, tokens(&text, 0, 9), 16));
    assert!(message.ends_with("`decode` needs pos + T <= 24, got B = 2, T = 9, pos = 16"), "{message}");
    assert_eq!(decode(&mut session, tokens(&text, 8, 9), 8).unwrap(), next);
}

/// A failure after the rows would have been written: then the next version lies elsewhere.
#[test]
fn what_may_fail_later_is_not_updated_in_place() {
    let model = "
model Keep(x: [1, 4], pos: i32[], pick: i32[]) -> [4] where pick < 100 {
  cache rows: [8, 4]
  rows[pos..pos + 1, :] := x
  take(rows, pick, axis = 0) + 0 * sum(rows)
}
";
    let program = nnc::compile_text("keep.nn", model).build().unwrap_or_else(|e| panic!("{e}"));
    let program = program.with_random_weights(1).unwrap();
    let mut session = program.session(1);
    let mut keep = |x: f32, pos: i32, pick: i32| {
        let inputs = [Tensor::new(&[1, 4], &[x; 4]), Tensor::new(&[], &[pos]), Tensor::new(&[], &[pick])];
        session.call("forward", &inputs).map(|y| y[0].to_f64()[0])
    };
    assert_eq!(keep(1.0, 2, 2).unwrap(), 1.0);
    assert!(keep(5.0, 2, 9).is_err());
    assert_eq!(keep(3.0, 4, 2).unwrap(), 1.0);
}

#[test]
fn an_integer_of_any_type_chooses_a_size() {
    for elem in Elem::ALL.iter().copied().filter(|e| e.is_int()) {
        let model = format!("model Tail(x: [8], n: {elem}[]) -> [] where n <= 8 {{ sum(x[n..8]) }}");
        let program = nnc::compile_text("tail.nn", &model).build().unwrap_or_else(|e| panic!("{elem}: {e}"));
        let mut session = program.with_random_weights(1).unwrap().session(1);
        let x = Tensor::from_f64(Elem::F32, &[8], (0..8).map(|i| i as f64));
        let mut tail = |n: f64| session.call("forward", &[x.clone(), Tensor::from_f64(elem, &[], [n])]);
        for n in [3, 0, 8, 7] {
            assert_eq!(tail(n as f64).unwrap()[0].to_f64(), [(n..8).sum::<i32>() as f64], "{elem}");
        }
        let most = if elem.is_signed() { -1.0 } else { 255.0 };
        for wrong in [9.0, most] {
            assert!(tail(wrong).is_err(), "{elem}: {wrong}");
        }
    }
}
