//! What is known of values when the text is written: integers that shapes are made of stay numbers of the text.

use tensor::{Elem, Tensor};

/// Integers of a constant that are written out, at most.
pub const WRITTEN: usize = 64;

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
    /// Numbers of rank 2.
    Table { rows: Vec<Vec<String>>, elem: Elem },
}

impl Value {
    /// Whether a constant may be numbers of the text: a few integers, one float, or nothing.
    pub fn is_written(shape: &[usize], elem: Elem) -> bool {
        let count = match shape {
            [] => 1,
            [n] => *n,
            _ => return false,
        };
        elem != Elem::Bool && count <= if elem.is_float() { 1 } else { WRITTEN }
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
            Value::Table { rows, elem } => {
                let (n, items) = (rows.first().map_or(0, Vec::len), rows.concat());
                let all = Value::Numbers { items, scalar: false, elem: *elem };
                format!("reshape({}, [{}, {n}])", all.tensor(), rows.len())
            }
        }
    }

    /// As a list that is known when compiling.
    pub fn list(&self) -> Option<String> {
        match self {
            Value::Tensor(_) | Value::Table { .. } => None,
            Value::Numbers { items, .. } => Some(format!("[{}]", items.join(", "))),
            Value::Shape(of) => Some(format!("shape({of})")),
            Value::List(text) => Some(text.clone()),
        }
    }

    /// A list of one number, so often; nothing if it is too long for a text.
    pub fn repeated(item: &str, n: usize, elem: Elem) -> Option<Value> {
        let list = || Value::Numbers { items: vec![item.to_string(); n], scalar: false, elem };
        (n <= WRITTEN && !elem.is_float()).then(list)
    }

    /// The one number of a list that is one, as a length.
    pub fn count(&self) -> Option<usize> {
        self.count_or_negative().and_then(|n| usize::try_from(n).ok())
    }

    fn count_or_negative(&self) -> Option<i64> {
        match &self.literals()?[..] {
            [n] => Some(*n),
            _ => None,
        }
    }

    /// As a truth value.
    pub fn truth(&self) -> Option<bool> {
        self.single()?.parse().ok()
    }

    /// As a shape in which 0 stands for what `of` has there; what stands for the rest, -1, is told apart.
    pub fn dims(&self, of: &str) -> Option<String> {
        let Value::Numbers { items, .. } = self else { return self.list() };
        let dim = |(i, item): (usize, &String)| match item.as_str() {
            "0" => format!("size({of}, {i})"),
            "-1" => "1".into(),
            _ => item.clone(),
        };
        let rest = items.iter().position(|item| item == "-1").map_or(String::new(), |at| format!(", rest = {at}"));
        Some(format!("[{}]{rest}", items.iter().enumerate().map(dim).collect::<Vec<_>>().join(", ")))
    }

    /// Its items, of which there are `n`.
    fn items(&self, n: usize) -> Option<Vec<String>> {
        match self {
            Value::Numbers { items, .. } if items.len() == n => Some(items.clone()),
            Value::Numbers { items, .. } if items.len() == 1 => Some(vec![items[0].clone(); n]),
            Value::Numbers { .. } | Value::Tensor(_) | Value::Table { .. } => None,
            list => (0..n).map(|i| list.item(i as i64)).collect(),
        }
    }

    pub fn is_empty(&self) -> bool {
        matches!(self, Value::Numbers { items, scalar: false, .. } if items.is_empty())
    }

    /// As the one number that it is.
    pub fn single(&self) -> Option<String> {
        match self {
            Value::Numbers { items, .. } if items.len() == 1 => Some(items[0].clone()),
            _ => None,
        }
    }

    /// Numbers as pairs of integers, the second at most 64: `[(2, 1), (1, 2)]`.
    pub fn ratios(&self) -> Option<String> {
        let Value::Numbers { items, .. } = self else { return None };
        let pair = |x: &String| {
            let x: f64 = x.parse().ok()?;
            let near = |by: &i64| (x * *by as f64 - (x * *by as f64).round()).abs() < 1e-6 * *by as f64;
            let by = (1..=64).find(near).filter(|_| x > 0.0 && x < 1024.0)?;
            Some(format!("({}, {by})", (x * by as f64).round()))
        };
        Some(format!("[{}]", items.iter().map(pair).collect::<Option<Vec<_>>>()?.join(", ")))
    }

    fn literals(&self) -> Option<Vec<i64>> {
        match self {
            Value::Numbers { items, .. } => items.iter().map(|n| n.parse().ok()).collect(),
            _ => None,
        }
    }

    fn written_len(&self) -> Option<usize> {
        match self {
            Value::Numbers { items, .. } => Some(items.len()),
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
            Value::Numbers { scalar: true, .. } => Some(Value::ints(vec![], false)),
            Value::Numbers { items, .. } => Some(Value::ints(vec![items.len().to_string()], false)),
            Value::Shape(_) | Value::List(_) | Value::Table { .. } => None,
        };
    }
    if let ("Size", Value::Tensor(name)) = (op, first) {
        return Some(Value::ints(vec![format!("product(shape({name}))")], true));
    }
    if x.iter().flatten().any(|v| !v.is_known()) {
        return None;
    }
    if op == "Size" {
        return match first {
            Value::Numbers { items, .. } => Some(Value::ints(vec![items.len().to_string()], true)),
            Value::Shape(of) => Some(Value::ints(vec![format!("rank({of})")], true)),
            list => Some(Value::ints(vec![format!("len({})", list.list()?)], true)),
        };
    }
    if let Value::Table { rows, elem } = first {
        return of_table(op, rows, *elem, &x[1..]);
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
        // One number, as one or as a list.
        "Reshape" => match (first, given(1)?.literals()?.as_slice()) {
            (Value::Numbers { items, elem, .. }, to @ ([] | [1] | [-1])) if items.len() == 1 => {
                Some(Value::Numbers { items: items.clone(), scalar: to.is_empty(), elem: *elem })
            }
            (Value::Numbers { items, scalar: false, elem }, [-1, n]) if *n > 0 && items.len() as i64 % n == 0 => {
                let rows = items.chunks(*n as usize).map(<[String]>::to_vec).collect();
                Some(Value::Table { rows, elem: *elem })
            }
            (value @ Value::Numbers { scalar: false, .. }, [-1]) => Some(value.clone()),
            (value @ (Value::Shape(_) | Value::List(_)), [-1]) => Some(value.clone()),
            _ => None,
        },
        "Squeeze" => match first {
            Value::Numbers { items, elem, .. } if items.len() == 1 => {
                Some(Value::Numbers { items: items.clone(), scalar: true, elem: *elem })
            }
            _ => None,
        },
        "Cast" if to? == Elem::Bool => match first {
            Value::Numbers { items, scalar, elem } if *elem != Elem::Bool => {
                let truth =
                    |x: &String| x.parse().map_or_else(|_| format!("({x} != 0)"), |n: f64| (n != 0.0).to_string());
                Some(Value::Numbers { items: items.iter().map(truth).collect(), scalar: *scalar, elem: Elem::Bool })
            }
            Value::Numbers { .. } => Some(first.clone()),
            _ => None,
        },
        "Cast" => match first {
            Value::Numbers { elem: Elem::Bool, .. } => None,
            // From floats to integers digits are cut off.
            Value::Numbers { items, scalar, elem } if to?.is_float() || !elem.is_float() => {
                Some(Value::Numbers { items: items.clone(), scalar: *scalar, elem: to? })
            }
            Value::Numbers { items, scalar, .. } => {
                let whole = |x: &String| x.parse().ok().map(|x: f64| number(x.trunc(), Elem::I64));
                let items = items.iter().map(whole).collect::<Option<_>>()?;
                Some(Value::Numbers { items, scalar: *scalar, elem: to? })
            }
            Value::Shape(_) | Value::List(_) if to?.is_int() => Some(first.clone()),
            _ => None,
        },
        "Equal" => {
            let second = given(1)?;
            let n = [first, second].iter().filter_map(|v| v.written_len()).max()?;
            let same = |(a, b): (String, String)| match (a.parse::<i64>(), b.parse::<i64>()) {
                (Ok(a), Ok(b)) => (a == b).to_string(),
                // No size is negative.
                (Ok(n), Err(_)) | (Err(_), Ok(n)) if n < 0 => "false".to_string(),
                _ if a == b => "true".to_string(),
                _ => format!("({a} == {b})"),
            };
            let items = first.items(n)?.into_iter().zip(second.items(n)?).map(same).collect();
            let scalar = [first, second].iter().all(|v| matches!(v, Value::Numbers { scalar: true, .. }));
            Some(Value::Numbers { items, scalar, elem: Elem::Bool })
        }
        "Where" => {
            let Value::Numbers { items: conditions, scalar, elem: Elem::Bool } = first else { return None };
            let (yes, no) = (given(1)?.items(conditions.len())?, given(2)?.items(conditions.len())?);
            let chosen = conditions.iter().zip(yes.into_iter().zip(no));
            let choice = |(c, (yes, no)): (&String, (String, String))| match c.as_str() {
                "true" => yes,
                "false" => no,
                _ => format!("(if {c} {{ {yes} }} else {{ {no} }})"),
            };
            Some(Value::ints(chosen.map(choice).collect(), *scalar))
        }
        "Sqrt" => map(first, |x| format!("sqrt({x})")),
        "Neg" => map(first, |x| format!("-({x})")),
        "Not" => map(first, |x| match x {
            "true" => "false".into(),
            "false" => "true".into(),
            x => format!("(not {x})"),
        }),
        "Add" | "Sub" | "Mul" | "Div" | "Pow" => {
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
                "Pow" => "**",
                _ if elem.is_float() => "/",
                _ => "//",
            };
            let n = a.len().max(b.len());
            let pairs = first.items(n)?.into_iter().zip(second.items(n)?);
            let items = pairs.map(|(a, b)| computed(op, &a, &b, *elem).unwrap_or_else(|| format!("({a} {sign} {b})")));
            Some(Value::Numbers { items: items.collect(), scalar: *scalar && *other, elem: *elem })
        }
        _ => None,
    }
}

/// Whether an expression is a negative number, a difference or a negation. The last axis of a shape, `size(x, -1)`, is none.
fn may_be_negative(item: &str) -> bool {
    item.starts_with('-') || item.contains("-(") || item.contains(" - ")
}

/// What exporters do to a table of pads: its rows or columns in reverse, its sides exchanged, a list of it.
fn of_table(op: &str, rows: &[Vec<String>], elem: Elem, more: &[Option<&Value>]) -> Option<Value> {
    let one = |i: usize| more.get(i).copied().flatten().and_then(Value::count_or_negative);
    match op {
        "Cast" => Some(Value::Table { rows: rows.to_vec(), elem }),
        "Reshape" if one(0) == Some(-1) => Some(Value::Numbers { items: rows.concat(), scalar: false, elem }),
        "Slice" if (one(0), one(2).unwrap_or(0), one(3)) == (Some(-1), 0, Some(-1)) && one(1)? < -(WRITTEN as i64) => {
            Some(Value::Table { rows: rows.iter().rev().cloned().collect(), elem })
        }
        "Transpose" => {
            let columns = rows.first()?.len();
            let column = |i: usize| rows.iter().map(|row| row[i].clone()).collect();
            Some(Value::Table { rows: (0..columns).map(column).collect(), elem })
        }
        _ => None,
    }
}

/// What two numbers make that are written out; of integers no quotients or powers.
fn computed(op: &str, a: &str, b: &str, elem: Elem) -> Option<String> {
    if elem.is_float() {
        let (a, b): (f64, f64) = (a.parse().ok()?, b.parse().ok()?);
        let result = match op {
            "Add" => a + b,
            "Sub" => a - b,
            "Mul" => a * b,
            "Div" => a / b,
            _ => a.powf(b),
        };
        return Some(number(result, elem));
    }
    let (a, b): (i64, i64) = (a.parse().ok()?, b.parse().ok()?);
    let result = match op {
        "Add" => a.checked_add(b),
        "Sub" => a.checked_sub(b),
        "Mul" => a.checked_mul(b),
        _ => None,
    };
    result.map(|n| n.to_string())
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
