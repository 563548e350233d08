//! Local rewrites that leave less to compute. Each rule looks at one node and answers with the value to use instead.

use crate::Cx;
use graph::{Array, Dim, Elem, Graph, Op, OpError, Value, ops};

type Rule = fn(&mut Graph, Value) -> Result<Option<Value>, OpError>;

const RULES: &[(&str, Rule)] = &[
    ("view of the same", same_view),
    ("view of a view", view_of_view),
    ("transposed product", transposed_product),
    ("neutral operand", neutral_operand),
    ("power", power),
    ("division by a constant", division),
    ("number from sizes", number_from_sizes),
];

/// More rounds than any sensible model needs: rules that undo each other stop here.
const ROUNDS: usize = 16;

pub fn run(graph: &mut Graph, cx: &mut Cx) -> Result<(), OpError> {
    for _ in 0..ROUNDS {
        let mut changed = false;
        for value in graph.order() {
            for (name, rule) in RULES {
                if matches!(graph.op(value), Op::Operand(_)) {
                    continue;
                }
                if let Some(new) = rule(graph, value)? {
                    if !cx.spend(name) {
                        return Ok(());
                    }
                    graph.replace(value, new);
                    changed = true;
                    break;
                }
            }
        }
        graph.remove_dead();
        if !changed {
            break;
        }
    }
    Ok(())
}

/// Views and casts that change nothing.
fn same_view(graph: &mut Graph, value: Value) -> Result<Option<Value>, OpError> {
    let node = graph.node(value);
    let same = match &node.op {
        Op::Reshape(_) | Op::Expand(_) | Op::Cast(_) | Op::Slice(_) => graph.ty(node.operands[0]) == &node.types[0],
        Op::Transpose(t) => t.order.iter().enumerate().all(|(i, a)| i == *a),
        Op::StopGradient(_) | Op::WithGradient(_) => true,
        _ => false,
    };
    Ok(same.then(|| node.operands[0]))
}

fn view_of_view(graph: &mut Graph, value: Value) -> Result<Option<Value>, OpError> {
    let node = graph.node(value).clone();
    let Some(inner) = node.operands.first().map(|v| graph.node(*v).clone()) else { return Ok(None) };
    let op: Op = match (&node.op, &inner.op) {
        (Op::Reshape(_), Op::Reshape(_)) | (Op::Expand(_), Op::Expand(_)) => node.op.clone(),
        (Op::Transpose(outer), Op::Transpose(inner)) => {
            ops::Transpose { order: outer.order.iter().map(|a| inner.order[*a]).collect() }.into()
        }
        // Axes of size 1 that only lead are what expanding adds by itself.
        (Op::Expand(_), Op::Reshape(_)) => {
            let (from, to) = (graph.ty(inner.operands[0]).dims.clone(), graph.ty(node.operands[0]).dims.clone());
            let more = to.len().saturating_sub(from.len());
            if to[more..] != from || to[..more].iter().any(|d| *d != Dim::int(1)) {
                return Ok(None);
            }
            node.op.clone()
        }
        _ => return Ok(None),
    };
    graph.push(op, &inner.operands, &node.origin).map(Some)
}

/// A product whose two sides change places is the product in the other order. What follows it, such as the step of an
/// optimiser, can then be computed with it.
fn transposed_product(graph: &mut Graph, value: Value) -> Result<Option<Value>, OpError> {
    let node = graph.node(value).clone();
    let Op::Transpose(transpose) = &node.op else { return Ok(None) };
    let product = graph.node(node.operands[0]).clone();
    let Op::Dot(dot) = &product.op else { return Ok(None) };
    let [x, y] = product.operands[..] else { return Ok(None) };
    let batch = dot.batch_x.len();
    let free = |operand: Value| graph.ty(operand).rank() - dot.contract_x.len() - batch;
    let middle = batch + free(x);
    let swapped: Vec<usize> = (0..batch).chain(middle..middle + free(y)).chain(batch..middle).collect();
    let alone = graph.users(node.operands[0]).len() == 1 && !graph.leaving().any(|v| v == node.operands[0]);
    if transpose.order != swapped || !alone {
        return Ok(None);
    }
    let dot = ops::Dot {
        contract_x: dot.contract_y.clone(),
        contract_y: dot.contract_x.clone(),
        batch_x: dot.batch_y.clone(),
        batch_y: dot.batch_x.clone(),
    };
    graph.push(dot, &[y, x], &product.origin).map(Some)
}

/// `x + 0`, `x * 1` and the like.
fn neutral_operand(graph: &mut Graph, value: Value) -> Result<Option<Value>, OpError> {
    let node = graph.node(value);
    let [x, y] = node.operands[..] else { return Ok(None) };
    let is = |v: Value, n: f64| graph.uniform(v) == Some(n);
    let (left, right) = match &node.op {
        // 0 + x is x but for the sign of a zero, which addition of +0 would lose.
        Op::Add(_) => (is(x, 0.0), is(y, 0.0)),
        Op::Sub(_) => (false, is(y, 0.0)),
        Op::Mul(_) => (is(x, 1.0), is(y, 1.0)),
        Op::Div(_) | Op::Pow(_) => (false, is(y, 1.0)),
        _ => (false, false),
    };
    Ok(if right {
        Some(x)
    } else if left {
        Some(y)
    } else {
        None
    })
}

/// Powers with small exponents are products and roots.
fn power(graph: &mut Graph, value: Value) -> Result<Option<Value>, OpError> {
    let node = graph.node(value).clone();
    let (Op::Pow(_), [x, y]) = (&node.op, &node.operands[..]) else { return Ok(None) };
    let Some(exponent) = graph.uniform(*y) else { return Ok(None) };
    let origin = &node.origin;
    if exponent == 2.0 {
        graph.push(ops::Mul {}, &[*x, *x], origin).map(Some)
    } else if exponent == 3.0 {
        let square = graph.push(ops::Mul {}, &[*x, *x], origin)?;
        graph.push(ops::Mul {}, &[square, *x], origin).map(Some)
    } else if exponent == 0.5 && node.types[0].elem.is_float() {
        graph.push(ops::Sqrt {}, &[*x], origin).map(Some)
    } else if exponent == -0.5 && node.types[0].elem.is_float() {
        graph.push(ops::Rsqrt {}, &[*x], origin).map(Some)
    } else {
        Ok(None)
    }
}

/// `x / c` is `x * (1 / c)`: within one rounding of the quotient, and a tenth of its time.
fn division(graph: &mut Graph, value: Value) -> Result<Option<Value>, OpError> {
    let node = graph.node(value).clone();
    let (Op::Div(_), [x, y]) = (&node.op, &node.operands[..]) else { return Ok(None) };
    let ty = node.types[0].clone();
    let divisor = graph.uniform(*y).filter(|c| ty.elem.is_float() && c.is_normal() && (1.0 / c).is_normal());
    let Some(divisor) = divisor else { return Ok(None) };
    let scalar = ops::Constant { value: Array::scalar(ty.elem, 1.0 / divisor) };
    let factor = graph.push(scalar, &[], &node.origin)?;
    let factor = graph.push(ops::Expand { shape: ty.dims }, &[factor], &node.origin)?;
    graph.push(ops::Mul {}, &[*x, factor], &node.origin).map(Some)
}

/// Products and quotients of sizes that end in f32 are computed there: vectors have no f64, and each operation adds one
/// rounding.
fn number_from_sizes(graph: &mut Graph, value: Value) -> Result<Option<Value>, OpError> {
    let node = graph.node(value).clone();
    let (Op::Cast(to), [x]) = (&node.op, &node.operands[..]) else { return Ok(None) };
    if to.to != Elem::F32 || graph.ty(*x).elem != Elem::F64 || !is_from_sizes(graph, *x) {
        return Ok(None);
    }
    let inner = graph.node(*x).clone();
    match inner.op {
        Op::Cast(_) => graph.push(to.clone(), &inner.operands, &node.origin).map(Some),
        Op::Mul(_) | Op::Div(_) => {
            let mut narrow = |x: &Value| graph.push(to.clone(), &[*x], &node.origin);
            let operands = inner.operands.iter().map(&mut narrow).collect::<Result<Vec<_>, _>>()?;
            graph.push(inner.op, &operands, &node.origin).map(Some)
        }
        _ => Ok(None),
    }
}

/// Whether a value is made of sizes and constants by products and quotients.
fn is_from_sizes(graph: &Graph, value: Value) -> bool {
    match graph.op(value) {
        Op::DimValue(_) => true,
        Op::Cast(_) | Op::Mul(_) | Op::Div(_) => {
            graph.node(value).operands.iter().all(|x| is_from_sizes(graph, *x) || graph.uniform(*x).is_some())
        }
        _ => false,
    }
}
