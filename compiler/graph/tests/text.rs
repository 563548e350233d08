//! What graphs print parses to equal graphs; what does not parse says where and why.

use graph::dim::Dim;
use graph::ops::*;
use graph::{Array, Elem, Fact, Graph, Guard, Origin, Storage, TensorType};
use proptest::prelude::*;

fn ty(elem: Elem, dims: &[&str]) -> TensorType {
    TensorType::new(elem, dims.iter().map(|d| d.parse().unwrap()).collect())
}

/// Every kind of operand, condition, attribute and result.
fn everything() -> Graph {
    let mut g = Graph::new("every thing");
    let origin = Origin::default();
    g.facts.assume(&Fact::Le(Dim::int(2), Dim::var("H")));
    let fact = Fact::Le(Dim::var("T"), Dim::int(1024));
    g.guard(Guard { fact, text: "T <= context".into(), origin: origin.clone() });
    let fact = Fact::Divides { divisor: Dim::int(8), of: Dim::var("H") };
    g.guard(Guard { text: fact.to_string(), fact, origin: origin.clone() });
    let x = g.operand("x", Storage::Input, ty(Elem::F32, &["B", "T", "H"]), origin.clone());
    let w = g.operand("h.0.weight", Storage::Param, ty(Elem::F32, &["H", "floor(H, 16) + 3"]), origin.clone());
    let s = g.operand("state:0", Storage::State, ty(Elem::I64, &[]), origin.clone());
    let c = g.operand("keys", Storage::Cache, ty(Elem::Bf16, &["1024", "min(B, T)", "rem(T, 3)"]), origin.clone());
    let mut push = |op: Op, operands: &[graph::Value]| g.push(op, operands, &origin).unwrap();
    let product = Dot { contract_x: vec![2], contract_y: vec![0], batch_x: vec![], batch_y: vec![] };
    let xw = push(product.into(), &[x, w]);
    let wide = push(Cast { to: Elem::F64 }.into(), &[xw]);
    let values = vec![1.5, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e-300];
    push(Constant { value: Array::new(Elem::F64, vec![2, 3], values) }.into(), &[]);
    push(Constant { value: Array::new(Elem::Bool, vec![3], vec![0.0, 1.0, 1.0]) }.into(), &[]);
    push(Constant { value: Array::new(Elem::F32, vec![0, 4], vec![]) }.into(), &[]);
    push(Full { shape: vec![Dim::var("T")], value: f64::NAN, elem: Elem::F16 }.into(), &[]);
    push(Pad { before: vec![-1, 0, 2], after: vec![1, 0, 0], value: f64::NEG_INFINITY }.into(), &[wide]);
    let window = Pool { kind: "max".into(), kernel: vec![2], stride: vec![2], pad: vec![(1, 0)], dilation: vec![] };
    push(window.into(), &[x]);
    push(Sum { axes: vec![0, 2], keep: true }.into(), &[x]);
    let next = push(Add {}.into(), &[s, s]);
    g.set_output("y", wide);
    g.set_output("a \"name\"\n", x);
    g.updates.push((2, next));
    g.updates.push((3, c));
    g
}

#[test]
fn everything_round_trips() {
    let g = everything();
    assert_eq!(g.verify_text(), Ok(()));
    assert_eq!(g.verify(), Ok(()));
    insta::assert_snapshot!(g);
}

#[test]
fn numbers_are_kept_where_nodes_are_gone() {
    let mut g = Graph::new("g");
    let origin = Origin::default();
    let a = g.push(Arange { n: Dim::int(4) }, &[], &origin).unwrap();
    g.push(Neg {}, &[a], &origin).unwrap();
    let x = g.operand("x", Storage::Input, ty(Elem::I32, &["4"]), origin.clone());
    let y = g.push(Add {}, &[a, a], &origin).unwrap();
    let z = g.push(Mul {}, &[y, x], &origin).unwrap();
    g.set_output("y", y);
    // What comes later may be used earlier.
    g.replace(a, z);
    g.set_output("x", x);
    assert!(g.verify().unwrap_err().message.contains("cycle"));
    g.replace(z, x);
    assert!(g.remove_dead());
    assert_eq!(g.verify_text(), Ok(()));
    assert_eq!(Graph::parse(&g.to_string()).unwrap().to_string(), g.to_string());
}

#[test]
fn a_large_constant_is_known_by_its_hash() {
    let mut g = Graph::new("g");
    let value = Array::from_fn(Elem::F32, vec![3, 5], |i| i[0] as f64 - i[1] as f64);
    let c = g.push(Constant { value }, &[], &Origin::default()).unwrap();
    g.set_output("y", c);
    assert_eq!(g.verify_text(), Ok(()));
    let message = Graph::parse(&g.to_string()).unwrap_err().to_string();
    assert_eq!(message, "2: the elements of this constant are not in the text, only their hash");
}

/// A graph of one node, for mistakes in it.
fn node(text: &str) -> String {
    let text = format!("graph @g(%x: f32[4, 2], %i: i32[3]) {{\n  // what is wrong\n  {text}\n  return y = %0\n}}\n");
    Graph::parse(&text).map_or_else(|e| e.to_string(), |g| g.to_string())
}

#[test]
fn mistakes_are_named() {
    let mistakes = [
        "%0 = relu %x : f32[4, 2]",
        "%0 = exp %x : f32[2, 4]",
        "%0 = exp %x : f32[4, 2], f32[4, 2]",
        "%0 = exp %i : i32[3]",
        "%0 = exp %x, %x : f32[4, 2]",
        "%0 = exp %y : f32[4, 2]",
        "%0 = exp %0 : f32[4, 2]",
        "%0 = exp %x.1 : f32[4, 2]",
        "%0 = exp %x {axis = 1} : f32[4, 2]",
        "%0 = sum %x {axes = 1} : f32[4]",
        "%0 = sum %x {keep = true} : f32[4]",
        "%0 = sum %x {axes = [1], axes = [1]} : f32[4]",
        "%0 = sum %x {axes = [2]} : f32[4]",
        "%0 = cast %x {to = f3} : f32[4, 2]",
        "%0 = constant {value = f32[2] [1.0]} : f32[2]",
        "%0 = constant {value = f32[-2] [1.0]} : f32[2]",
        "%0 = full {shape = [9223372036854775808], value = 1, elem = f32} : f32[1]",
        "%0 = full {shape = [1/4294967296*1/4294967296], value = 1, elem = f32} : f32[1]",
        "%0 = full {shape = [1/0], value = 1, elem = f32} : f32[1]",
        "%0 = exp %x : f32[4, 2] %0 = exp %x : f32[4, 2]",
        "%1048576 = exp %x : f32[4, 2]",
        "%99999999999 = exp %x : f32[4, 2]",
        "%1 = exp %x : f32[4, 2]",
        "%0 = exp %x f32[4, 2]",
        "%0 = exp %x : f32[4, 2",
        "guard N <= 4 \"\\q\" %0 = exp %x : f32[4, 2]",
        "assume N <= 4 \"N\" %0 = exp %x : f32[4, 2]",
        "%0 = exp %x : f32[4, 2] return %z := %0 }",
    ];
    let said: Vec<String> = mistakes.iter().map(|text| format!("{text}\n    {}", node(text))).collect();
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn deep_nesting_is_refused() {
    let mut dim = "N".to_string();
    for _ in 0..100_000 {
        dim = format!("floor({dim}, M)");
        if dim.len() > 100_000 {
            break;
        }
    }
    assert_eq!(dim.parse::<Dim>().unwrap_err().to_string(), "1: brackets are nested more than 100 deep");
}

/// A dim built by operations, and its value where A = 3, B = 5, C = 8; `None` where a divisor is 0.
fn dims() -> impl Strategy<Value = (Dim, Option<i64>)> {
    let sizes = [("A", 3), ("B", 5), ("C", 8)];
    let leaf = prop_oneof![
        (-9i64..20).prop_map(|n| (Dim::int(n), Some(n))),
        (0usize..3).prop_map(move |i| (Dim::var(sizes[i].0), Some(sizes[i].1))),
    ];
    leaf.prop_recursive(3, 12, 2, |inner| {
        (inner.clone(), inner, 0..7usize).prop_map(|((a, m), (b, n), op)| {
            let both = m.zip(n);
            let divided = both.filter(|(_, n)| *n != 0);
            let floor = |(m, n): (i64, i64)| if n < 0 { (-m).div_euclid(-n) } else { m.div_euclid(n) };
            match op {
                0 => (a + b, both.map(|(m, n)| m + n)),
                1 => (a - b, both.map(|(m, n)| m - n)),
                2 => (a * b, both.map(|(m, n)| m * n)),
                3 => (a.floor_div(&b), divided.map(floor)),
                4 => (a.rem(&b), divided.map(|p| p.0 - p.1 * floor(p))),
                5 => (a.minimum(&b), both.map(|(m, n)| m.min(n))),
                _ => (a.maximum(&b), both.map(|(m, n)| m.max(n))),
            }
        })
    })
}

proptest! {
    #[test]
    fn a_dim_round_trips_and_means_what_it_was_built_from((dim, value) in dims()) {
        prop_assert_eq!(dim.to_string().parse::<Dim>().map_err(|e| e.to_string()), Ok(dim.clone()), "{}", dim);
        let size = |name: &str| Some(match name { "A" => 3, "B" => 5, _ => 8 });
        if value.is_some() {
            prop_assert_eq!(dim.eval(&size), value, "{}", dim);
        }
        prop_assert_eq!(dim.clone() - dim.clone(), Dim::int(0));
    }

    #[test]
    fn strings_round_trip(name in "\\PC*|[a-z\\\\\"'\n\t]*") {
        let mut g = Graph::new(name.clone());
        g.operand(name, Storage::Input, ty(Elem::F32, &[]), Origin::default());
        prop_assert_eq!(g.verify_text(), Ok(()));
    }

    #[test]
    fn nothing_panics(text in "(graph|@|%|\\(|\\)|\\{|\\}|\\[|\\]|g|f32|: |, | = |return|exp|0|1\\.5|[ -~]){0,40}") {
        let _ = Graph::parse(&text);
        let _ = text.parse::<Dim>();
    }
}

#[test]
fn sizes_that_data_chooses() {
    let text = "graph @g(%x: f32[8], %pos: i32[]) {\n  assume 0 <= pos\n  guard pos <= 8\n  \
                %2 = size %pos {name = \"pos\", most = 8} : i64[]\n  \
                %3 = slice %x {axis = 0, start = 0, stop = pos, step = 1} : f32[pos]\n  \
                %4 = sum %3 {axes = [0], keep = false} : f32[]\n  return y = %4\n}\n";
    let graph = graph::Graph::parse(text).unwrap();
    graph.verify().unwrap();
    assert_eq!(graph.to_string(), text);
    let x = graph::Array::from_fn(graph::Elem::F32, vec![8], |i| i[0] as f64);
    let run = |pos: f64| graph::interpret::run(&graph, &[x.clone(), graph::Array::scalar(graph::Elem::I32, pos)]);
    assert_eq!(run(4.0).unwrap()[0].data, [6.0]);
    assert_eq!(run(0.0).unwrap()[0].data, [0.0]);
    assert!(run(9.0).is_err());
}
