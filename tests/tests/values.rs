//! What does not change results: how many threads run, where inputs lie, and what stands in other rows of a batch; and
//! where values that are no ordinary numbers lead.

use nnc::{AsView, AsViewMut, Elem, Isa, Program, Tensor, View, ViewMut};
use tests::case::Random;

const ROWS: usize = 4;

/// Convolutions, normalisation and pooling.
const CNN: &str = "model Cnn(x: [B, 3, 16, 16]) -> [B, 10] {
  x |> c1: Conv2d(16, 3, pad = 1) |> relu |> c2: Conv2d(32, 3, stride = 2, pad = 1) |> gelu
    |> mean(axes = [2, 3]) |> fc: Linear(10)
}
";

/// A block of a transformer, as it stands in most.
const BLOCK: &str = "model Block(x: [B, 20, 64]) -> [B, 20, 64] {
  h = x |> ln1: LayerNorm()
  q = h |> query: Linear(64) |> split_heads(4)
  k = h |> key: Linear(64) |> split_heads(4)
  v = h |> value: Linear(64) |> split_heads(4)
  z = attention(q, k, v) |> merge_heads |> out: Linear(64)
  y = x + z
  w = y |> ln2: LayerNorm() |> up: Linear(256) |> gelu |> down: Linear(64)
  y + w
}
";

/// What routines of the engine compute.
const ROUTINES: &str = "model Routines(x: [B, 20, 64]) -> (sorted: [B, 20, 64], sums: [B, 20, 64]) {
  (values, _) = sort(x)
  (sorted = values, sums = cumsum(x, axis = 1))
}
";

const MODELS: [(&str, &[usize]); 2] = [(CNN, &[ROWS, 3, 16, 16]), (BLOCK, &[ROWS, 20, 64])];

fn program(text: &str, isa: Isa) -> Program {
    let model = nnc::compile_text("model.nn", text).isa(isa).build().unwrap_or_else(|e| panic!("{e}"));
    model.with_random_weights(3).unwrap()
}

fn random(shape: &[usize]) -> Tensor {
    let mut random = Random::new(11);
    let next = || random.unit() * 2.0 - 1.0;
    Tensor::from_f64(Elem::F32, shape, std::iter::repeat_with(next).take(shape.iter().product()))
}

fn run(program: &Program, threads: usize, x: &Tensor) -> Tensor {
    program.session(threads).call("forward", std::slice::from_ref(x)).unwrap().remove(0)
}

/// Each model for each instruction set of this machine.
fn each(check: impl Fn(&Program, Tensor, &str)) {
    for (text, shape) in MODELS {
        for isa in Isa::ALL.iter().filter(|isa| **isa <= Isa::host()) {
            let program = program(text, *isa);
            check(&program, random(shape), &format!("{} for {isa}", program.name()));
        }
    }
}

#[test]
fn threads_give_the_same_bits() {
    each(|program, x, place| {
        let alone = run(program, 1, &x);
        assert!(alone.to_f64().iter().all(|y| y.is_finite()), "{place}");
        for threads in [2, 5] {
            assert!(run(program, threads, &x) == alone, "{place}, {threads} threads");
        }
    });
}

/// The bytes of results where inputs and results lie `odd` bytes after the start of their memory.
fn called_at(program: &Program, x: &Tensor, shapes: &[Vec<usize>], odd: usize) -> Vec<Vec<u8>> {
    let from = [&vec![0; odd], &x.bytes[..]].concat();
    let mut to: Vec<Vec<u8>> = shapes.iter().map(|s| vec![0; odd + 4 * s.iter().product::<usize>()]).collect();
    let room = |(shape, bytes)| {
        let (shape, bytes): (&Vec<usize>, &mut Vec<u8>) = (shape, bytes);
        ViewMut { elem: Elem::F32, shape, bytes: &mut bytes[odd..] }
    };
    let mut outputs: Vec<ViewMut> = shapes.iter().zip(&mut to).map(room).collect();
    let input = View { elem: Elem::F32, shape: &x.shape, bytes: &from[odd..] };
    program.session(2).engine().call(0, &[input], &mut outputs).unwrap();
    to.into_iter().map(|bytes| bytes[odd..].to_vec()).collect()
}

#[test]
fn tensors_may_lie_anywhere() {
    let check = |program: &Program, x: Tensor, place: &str| {
        let shapes = program.session(1).engine().output_shapes(0, std::slice::from_ref(&x)).unwrap();
        let expected = called_at(program, &x, &shapes, 0);
        for odd in [1, 2, 4, 33] {
            assert!(called_at(program, &x, &shapes, odd) == expected, "{place}, {odd} bytes off");
        }
    };
    each(check);
    check(&program(ROUTINES, Isa::host()), random(&[ROWS, 20, 64]), "routines");
}

/// The results of each row where one row of the batch holds these values here and there.
fn with_row(program: &Program, x: &Tensor, row: usize, values: &[f32]) -> Vec<Vec<f64>> {
    let mut x = x.clone();
    let len = x.len() / ROWS;
    for i in (0..len).step_by(7) {
        let at = (row * len + i) * 4;
        x.bytes[at..at + 4].copy_from_slice(&values[i / 7 % values.len()].to_le_bytes());
    }
    let y = run(program, 1, &x).to_f64();
    y.chunks_exact(y.len() / ROWS).map(<[f64]>::to_vec).collect()
}

#[test]
fn what_is_no_ordinary_number_stays_in_its_row() {
    const ROW: usize = 1;
    each(|program, x, place| {
        let zeros = with_row(program, &x, ROW, &[0.0]);
        let tiny = with_row(program, &x, ROW, &[1e-40, -1e-45, f32::MIN_POSITIVE]);
        let infinite = with_row(program, &x, ROW, &[f32::INFINITY, f32::NEG_INFINITY]);
        let nan = with_row(program, &x, ROW, &[f32::NAN]);
        for row in (0..ROWS).filter(|row| *row != ROW) {
            for other in [&tiny, &infinite, &nan] {
                assert_eq!(other[row], zeros[row], "{place}, row {row}");
            }
        }
        let far = zeros[ROW].iter().zip(&tiny[ROW]).any(|(a, b)| !((a - b).abs() < 1e-6));
        assert!(!far, "{place}: denormals are next to zeros");
        assert!(infinite[ROW].iter().all(|y| !y.is_finite()), "{place}: {:?}", &infinite[ROW][..4]);
        assert!(nan[ROW].iter().all(|y| y.is_nan()), "{place}: {:?}", &nan[ROW][..4]);
    });
}

#[test]
fn views_are_checked_as_tensors_are() {
    let program = program(CNN, Isa::Baseline);
    let mut session = program.session(1);
    let x = random(&[ROWS, 3, 16, 16]);
    let huge = View { elem: Elem::F32, shape: &[usize::MAX, 3, 16, 16], bytes: &x.bytes };
    let mut room = Tensor::zeros(Elem::F32, &[ROWS, 10]);
    let message = session.engine().call(0, &[huge], &mut [room.as_view_mut()]).unwrap_err().to_string();
    assert!(message.contains("but has 12288 bytes"), "{message}");
    let message = session.engine().call(7, &[x.as_view()], &mut [room.as_view_mut()]).unwrap_err().to_string();
    assert_eq!(message, "no entry `7`; this program has `forward`");
}
