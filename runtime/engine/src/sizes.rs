//! Sizes of a call: what the inputs choose, what they must satisfy, and between what they lie.

use crate::Formula;
use crate::formula::Range;
use crate::plan::{Chosen, Condition, Entry, Port, Size};
use crate::session::{CallError, View};
use tensor::Elem;

/// The integer that a step has read, if it can be the size that it is for.
pub(crate) fn checked(plan: &Entry, size: &Size, got: i128, symbols: &[i64]) -> Result<i64, CallError> {
    let most = match &plan.symbols[size.symbol].chosen {
        Chosen::ByStep { most } => most.evaluate(symbols).ok_or_else(|| overflow(plan, symbols))?,
        Chosen::ByDims | Chosen::ByValue { .. } => i64::MAX,
    };
    match i64::try_from(got) {
        Ok(n) if (0..=most).contains(&n) => Ok(n),
        _ => Err(CallError::Computed { at: size.source.clone(), most, got }),
    }
}

/// Between what each symbol lies: those that the inputs have chosen are what they are.
pub(crate) fn ranges(plan: &Entry, symbols: &[i64]) -> Option<Vec<Range>> {
    let mut ranges: Vec<Range> = symbols.iter().map(|n| (*n, *n)).collect();
    for (s, symbol) in plan.symbols.iter().enumerate() {
        if let Chosen::ByStep { most } = &symbol.chosen {
            ranges[s] = (0, most.range(&ranges)?.1.max(0));
        }
    }
    Some(ranges)
}

/// The shape of a port, in bytes that can be counted.
pub(crate) fn shape(port: &Port, value: impl Fn(&Formula) -> Option<i64>) -> Option<Vec<usize>> {
    let shape: Vec<usize> = port.dims.iter().map(|d| usize::try_from(value(d)?).ok()).collect::<Option<_>>()?;
    tensor::size_in_bytes(port.elem, &shape).map(|_| shape)
}

pub(crate) fn overflow(plan: &Entry, symbols: &[i64]) -> CallError {
    CallError::Overflow(named(plan, symbols))
}

pub(crate) fn fits(port: &Port, view: &View, symbols: &[i64]) -> bool {
    let same = |(dim, n): (&Formula, &usize)| match dim {
        Formula::Const(c) => *c == *n as i64,
        Formula::Symbol(s) => symbols.get(*s) == Some(&(*n as i64)),
        dim => dim.evaluate(symbols) == Some(*n as i64),
    };
    let kind = port.elem == view.elem && port.dims.len() == view.shape.len();
    kind && port.dims.iter().zip(view.shape).all(same) && view.is_whole()
}

/// The integer that these bytes of its type are.
pub(crate) fn integer(elem: Elem, bytes: &[u8]) -> i128 {
    let negative = elem.is_signed() && bytes.last().is_some_and(|byte| *byte > 127);
    let bytes = bytes.iter().copied().chain(std::iter::repeat(if negative { 255 } else { 0 }));
    let mut whole = [0; 16];
    whole.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    i128::from_le_bytes(whole)
}

/// The symbols' values from the shapes of the inputs, and from the values of those that choose a size.
pub(crate) fn solve(plan: &Entry, inputs: &[View]) -> Result<Vec<i64>, CallError> {
    let mut symbols: Vec<Option<i64>> = vec![None; plan.symbols.len()];
    for (port, view) in plan.inputs.iter().zip(inputs) {
        if port.elem != view.elem || port.dims.len() != view.shape.len() || !view.is_whole() {
            return Err(mismatch(plan, port, view));
        }
        for (dim, n) in port.dims.iter().zip(view.shape) {
            if let Formula::Symbol(s) = dim
                && symbols[*s].is_none()
            {
                symbols[*s] = Some(*n as i64);
            }
        }
    }
    let mut known: Vec<i64> = symbols.iter().map(|s| s.unwrap_or(0)).collect();
    for (s, symbol) in plan.symbols.iter().enumerate() {
        let (input, most) = match &symbol.chosen {
            Chosen::ByDims => continue,
            Chosen::ByValue { input, most } => (Some(*input), most),
            Chosen::ByStep { most } => (None, most),
        };
        let most = most.evaluate(&known).ok_or_else(|| overflow(plan, &known))?;
        let Some(input) = input else {
            known[s] = most;
            continue;
        };
        let got = integer(inputs[input].elem, inputs[input].bytes);
        known[s] = match i64::try_from(got) {
            Ok(n) if (0..=most).contains(&n) => n,
            _ => return Err(CallError::Size { name: plan.inputs[input].name.clone(), most, got }),
        };
    }
    let wrong = plan.inputs.iter().zip(inputs).find(|(port, view)| !fits(port, view, &known));
    if let Some((port, view)) = wrong {
        return Err(mismatch(plan, port, view));
    }
    match plan.symbols.iter().zip(&known).find(|(s, n)| matches!(s.chosen, Chosen::ByDims) && **n < 1) {
        Some((s, _)) => Err(CallError::Guard(format!("`{}` needs {} >= 1, got 0", plan.name, s.name))),
        None => Ok(known),
    }
}

pub(crate) fn check_guards(plan: &Entry, symbols: &[i64]) -> Result<(), CallError> {
    for guard in &plan.guards {
        let holds = match &guard.condition {
            Condition::Equal(a, b) => a.evaluate(symbols) == b.evaluate(symbols),
            Condition::AtMost(a, b) => a.evaluate(symbols) <= b.evaluate(symbols),
        };
        if !holds {
            return Err(CallError::Guard(format!("{}, got {}", guard.text, named(plan, symbols))));
        }
    }
    Ok(())
}

fn mismatch(plan: &Entry, port: &Port, view: &View) -> CallError {
    if !view.is_whole() {
        let (name, ty) = (port.name.clone(), concrete(view.elem, view.shape));
        return CallError::InputBytes { name, ty, bytes: view.bytes.len() };
    }
    let dim = |d: &Formula| match d {
        Formula::Const(n) => n.to_string(),
        Formula::Symbol(s) => plan.symbols[*s].name.clone(),
        _ => "_".into(),
    };
    let dims: Vec<String> = port.dims.iter().map(dim).collect();
    let expected = format!("{}[{}]", port.elem, dims.join(", "));
    CallError::Input { name: port.name.clone(), expected, got: concrete(view.elem, view.shape) }
}

pub(crate) fn concrete(elem: Elem, shape: &[usize]) -> String {
    let dims: Vec<String> = shape.iter().map(usize::to_string).collect();
    format!("{elem}[{}]", dims.join(", "))
}

pub(crate) fn named(plan: &Entry, symbols: &[i64]) -> String {
    let each: Vec<String> = plan.symbols.iter().zip(symbols).map(|(s, v)| format!("{} = {v}", s.name)).collect();
    each.join(", ")
}
