//! What is known of values when the text is written: integers that shapes are made of stay numbers of the text.

use tensor::{Elem, Tensor};

/// Integers of a constant that are written out, at most.
const WRITTEN: usize = 64;

/// A value of a graph in the text.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// An expression that is a tensor.
    Tensor(String),
    /// Numbers that are known when compiling, as expressions: one, or a list of rank 1.
    Numbers { items: Vec<String>, scalar: bool, elem: Elem },
    /// The shape of this tensor.
    Shape(String),
    /// Another list of sizes, as an expression.
    List(String),
}

impl Value {
    /// Whether a constant may be numbers of the text: a few integers, or one float.
    pub fn is_written(shape: &[usize], elem: Elem) -> bool {
        let count = match shape {
            [] => 1,
            [n] => *n,
            _ => return false,
        };
        elem != Elem::Bool && if elem.is_float() { count == 1 } else { count <= WRITTEN }
    }

    /// The numbers of such a constant.
    pub fn written(t: &Tensor) -> Value {
        let items = t.to_f64().into_iter().map(|x| number(x, t.elem)).collect();
        Value::Numbers { items, scalar: t.shape.is_empty(), elem: t.elem }
    }

    pub fn ints(items: Vec<String>, scalar: bool) -> Value {
        Value::Numbers { items, scalar, elem: Elem::I64 }
    }

    /// As an operand of an operator that broadcasts.
    pub fn operand(&self) -> String {
        match self {
            Value::Numbers { items, .. } if items.len() == 1 => match items[0].starts_with('-') {
                true => format!("({})", items[0]),
                false => items[0].clone(),
            },
            _ => self.tensor(),
        }
    }

    /// As a tensor of its own shape.
    pub fn tensor(&self) -> String {
        match self {
            Value::Tensor(text) => text.clone(),
            Value::Numbers { items, scalar: true, elem } => format!("full([], {}, {elem})", items[0]),
            Value::Numbers { items, elem: Elem::I64, .. } if !items.is_empty() => {
                format!("onnx_integers([{}])", items.join(", "))
            }
            Value::Numbers { items, elem, .. } if items.is_empty() => format!("full([0], 0, {elem})"),
            Value::Numbers { items, elem, .. } => {
                let each: Vec<String> = items.iter().map(|x| format!("full([1], {x}, {elem})")).collect();
                if each.len() == 1 { each[0].clone() } else { format!("concat([{}], axis = 0)", each.join(", ")) }
            }
            Value::Shape(of) => format!("onnx_integers(shape({of}))"),
            Value::List(text) => format!("onnx_integers({text})"),
        }
    }

    /// As a list that is known when compiling.
    pub fn list(&self) -> Option<String> {
        match self {
            Value::Tensor(_) => None,
            Value::Numbers { items, .. } => Some(format!("[{}]", items.join(", "))),
            Value::Shape(of) => Some(format!("shape({of})")),
            Value::List(text) => Some(text.clone()),
        }
    }

    fn literals(&self) -> Option<Vec<i64>> {
        match self {
            Value::Numbers { items, .. } => items.iter().map(|n| n.parse().ok()).collect(),
            _ => None,
        }
    }

    fn is_known(&self) -> bool {
        !matches!(self, Value::Tensor(_))
    }

    fn item(&self, i: i64) -> Option<String> {
        match self {
            Value::Numbers { items, scalar: false, .. } => {
                let at = if i < 0 { i + items.len() as i64 } else { i };
                items.get(usize::try_from(at).ok()?).cloned()
            }
            Value::Shape(of) => Some(format!("size({of}, {i})")),
            Value::List(text) if i >= 0 => Some(format!("{text}[{i}]")),
            _ => None,
        }
    }
}

/// A number as the language writes it. Ends of slices may lie beyond what it has numbers for.
pub fn number(x: f64, elem: Elem) -> String {
    const FAR: f64 = i32::MAX as f64;
    match elem {
        _ if x.is_nan() => "nan".into(),
        _ if x.is_infinite() => if x > 0.0 { "inf" } else { "-inf" }.into(),
        Elem::F32 => format!("{:?}", x as f32),
        e if e.is_float() => format!("{x:?}"),
        _ => format!("{}", x.clamp(-FAR, FAR)),
    }
}

/// What an operator makes of values that are all known, where that is known too. `axes` stands for an attribute that newer
/// versions have as an input.
pub fn fold(op: &str, x: &[Option<&Value>], to: Option<Elem>) -> Option<Value> {
    let first = (*x.first()?)?;
    let given = |i: usize| x.get(i).copied().flatten();
    if op == "Shape" {
        return match first {
            Value::Tensor(name) => Some(Value::Shape(name.clone())),
            _ => None,
        };
    }
    if x.iter().flatten().any(|v| !v.is_known()) {
        return None;
    }
    match op {
        "Gather" => match given(1)? {
            Value::Numbers { items, scalar, .. } => {
                let items = items.iter().map(|i| first.item(i.parse().ok()?)).collect::<Option<Vec<_>>>()?;
                match first {
                    Value::Numbers { elem, .. } => Some(Value::Numbers { items, scalar: *scalar, elem: *elem }),
                    _ => Some(Value::ints(items, *scalar)),
                }
            }
            _ => None,
        },
        "Slice" => {
            let one = |i: usize, default: i64| match given(i) {
                None => Some(default),
                Some(v) => v.literals().filter(|n| n.len() == 1).map(|n| n[0]),
            };
            let (from, to, step) = (one(1, 0)?, one(2, 0)?, one(4, 1)?);
            if step != 1 || one(3, 0)? != 0 {
                return None;
            }
            slice(first, from, to)
        }
        "Concat" => {
            let parts = x.iter().copied().collect::<Option<Vec<_>>>()?;
            let items = parts.iter().map(|v| match v {
                Value::Numbers { items, scalar: false, .. } => Some(items.clone()),
                _ => None,
            });
            match items.collect::<Option<Vec<_>>>() {
                Some(items) => {
                    let elem = match first {
                        Value::Numbers { elem, .. } => *elem,
                        _ => Elem::I64,
                    };
                    Some(Value::Numbers { items: items.concat(), scalar: false, elem })
                }
                None => {
                    let lists = parts.iter().map(|v| v.list()).collect::<Option<Vec<_>>>()?;
                    Some(Value::List(format!("({})", lists.join(" + "))))
                }
            }
        }
        "Unsqueeze" => match first {
            Value::Numbers { items, scalar: true, elem } => {
                Some(Value::Numbers { items: items.clone(), scalar: false, elem: *elem })
            }
            _ => None,
        },
        "Squeeze" => match first {
            Value::Numbers { items, elem, .. } if items.len() == 1 => {
                Some(Value::Numbers { items: items.clone(), scalar: true, elem: *elem })
            }
            _ => None,
        },
        "Cast" => match first {
            // From floats to integers digits are cut off.
            Value::Numbers { items, scalar, elem } if to?.is_float() || !elem.is_float() => {
                Some(Value::Numbers { items: items.clone(), scalar: *scalar, elem: to? })
            }
            _ => None,
        },
        "Sqrt" => map(first, |x| format!("sqrt({x})")),
        "Neg" => map(first, |x| format!("-({x})")),
        "Add" | "Sub" | "Mul" | "Div" => {
            let second = given(1)?;
            let (Value::Numbers { items: a, scalar, elem }, Value::Numbers { items: b, scalar: other, .. }) =
                (first, second)
            else {
                return None;
            };
            // Integers are divided towards zero, sizes downwards: the same unless one is negative.
            if op == "Div" && !elem.is_float() && a.iter().chain(b).any(|x| may_be_negative(x)) {
                return None;
            }
            let sign = match op {
                "Add" => "+",
                "Sub" => "-",
                "Mul" => "*",
                _ if elem.is_float() => "/",
                _ => "//",
            };
            let n = a.len().max(b.len());
            let at = |items: &[String], i: usize| match items.len() {
                1 => Some(items[0].clone()),
                len if len == n => Some(items[i].clone()),
                _ => None,
            };
            let items = (0..n).map(|i| Some(format!("({} {sign} {})", at(a, i)?, at(b, i)?))).collect::<Option<_>>()?;
            Some(Value::Numbers { items, scalar: *scalar && *other, elem: *elem })
        }
        _ => None,
    }
}

/// Whether an expression is a negative number, a difference or a negation. The last axis of a shape, `size(x, -1)`, is none.
fn may_be_negative(item: &str) -> bool {
    item.starts_with('-') || item.contains("-(") || item.contains(" - ")
}

fn map(value: &Value, f: impl Fn(&str) -> String) -> Option<Value> {
    match value {
        Value::Numbers { items, scalar, elem } => {
            Some(Value::Numbers { items: items.iter().map(|x| f(x)).collect(), scalar: *scalar, elem: *elem })
        }
        _ => None,
    }
}

fn slice(list: &Value, from: i64, to: i64) -> Option<Value> {
    match list {
        Value::Numbers { items, scalar: false, elem } => {
            let n = items.len() as i64;
            let end = |at: i64| if at < 0 { (at + n).max(0) } else { at.min(n) } as usize;
            let items = items.get(end(from)..end(to).max(end(from)))?.to_vec();
            Some(Value::Numbers { items, scalar: false, elem: *elem })
        }
        // Of a shape that ends nobody knows where, what is counted from one end.
        Value::Shape(_) if from >= 0 && to >= from && to < WRITTEN as i64 || from < 0 && to < 0 => {
            Some(Value::ints((from..to).map(|i| list.item(i)).collect::<Option<_>>()?, false))
        }
        Value::Shape(_) if from < 0 && to >= WRITTEN as i64 => {
            Some(Value::ints((from..0).map(|i| list.item(i)).collect::<Option<_>>()?, false))
        }
        Value::Shape(of) if from >= 0 => Some(Value::List(format!("shape({of})[{from}..]"))),
        _ => None,
    }
}
