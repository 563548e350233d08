//! Reverse mode over whole graphs; each operator's own `vjp` is tested by its cases.

use graph::{Array, Elem, Graph, Value, gradients, interpret};

/// The graph of a text, its first output and operands.
fn parse(text: &str) -> (Graph, Value, Vec<Value>) {
    let g = Graph::parse(text).unwrap_or_else(|e| panic!("{e}"));
    let (of, operands) = (g.outputs[0].1, g.operands.iter().map(|o| o.value).collect());
    (g, of, operands)
}

const LOSS: &str = "graph @loss(%x: f32[B, 3], param %w: f32[3, 2], %y: f32[B, 2]) {
  %0 = dot %x, %w {contract_x = [1], contract_y = [0], batch_x = [], batch_y = []} : f32[B, 2]
  %1 = sub %0, %y : f32[B, 2]
  %2 = mul %1, %1 : f32[B, 2]
  %3 = sum %2 {axes = [0, 1], keep = false} : f32[]
  return loss = %3
}";

#[test]
fn a_loss() {
    let (mut g, of, operands) = parse(LOSS);
    let dw = gradients(&mut g, of, &operands[1..2]).unwrap()[0];
    g.set_output("dw", dw);
    g.remove_dead();
    assert_eq!(g.verify(), Ok(()));
    insta::assert_snapshot!(g);
}

#[test]
fn what_does_not_take_part_has_gradient_zero() {
    let (mut g, of, operands) = parse(
        "graph @g(%x: f32[2], %i: i32[2], %z: f32[3]) {
          %0 = cast %i {to = f32} : f32[2]
          %1 = mul %x, %0 : f32[2]
          %2 = stop_gradient %x : f32[2]
          %3 = mul %1, %2 : f32[2]
          %4 = sum %3 {axes = [0], keep = false} : f32[]
          return y = %4
        }",
    );
    for (i, dx) in gradients(&mut g, of, &[operands[0], operands[2]]).unwrap().into_iter().enumerate() {
        g.set_output(format!("d{i}"), dx);
    }
    let array = |elem, data: &[f64]| Array::new(elem, vec![data.len()], data.to_vec());
    let operands = [array(Elem::F32, &[5.0, 7.0]), array(Elem::I32, &[2.0, 3.0]), array(Elem::F32, &[1.0, 1.0, 1.0])];
    let results = interpret::run(&g, &operands).unwrap();
    assert_eq!(results[1].data, [10.0, 21.0]);
    assert_eq!(results[2].data, [0.0, 0.0, 0.0]);
}

/// `relu` is `maximum(x, 0)`, and frameworks agree that it is flat at 0.
#[test]
fn a_maximum_with_zero_is_flat_at_zero() {
    let (mut g, of, operands) = parse(
        "graph @g(%x: f32[3]) {
          %0 = full {shape = [3], value = 0.0, elem = f32} : f32[3]
          %1 = maximum %x, %0 : f32[3]
          %2 = sum %1 {axes = [0], keep = false} : f32[]
          return y = %2
        }",
    );
    let dx = gradients(&mut g, of, &operands).unwrap()[0];
    g.set_output("dx", dx);
    let x = Array::new(Elem::F32, vec![3], vec![-1.0, 0.0, 1.0]);
    assert_eq!(interpret::run(&g, &[x]).unwrap()[1].data, [0.0, 0.0, 1.0]);
}

#[test]
fn what_has_no_gradient_says_why() {
    let message = |text: &str| {
        let (mut g, of, operands) = parse(text);
        gradients(&mut g, of, &operands).unwrap_err().to_string()
    };
    let vector = "graph @g(%x: f32[3]) { %0 = exp %x : f32[3] return y = %0 }";
    assert_eq!(message(vector), "%0: the gradient is that of a float without axes, not of f32[3]");
    let scatter = "graph @g(%x: f32[3], %i: i32[2], %y: f32[2]) {
      %0 = scatter %x, %i, %y {axis = 0, mode = \"mul\"} : f32[3]
      %1 = sum %0 {axes = [0], keep = false} : f32[]
      return y = %1
    }";
    let expected = "%0: scatter has no derivative in operand 0: only mode \"set\" has one";
    assert_eq!(message(scatter), expected);
}
