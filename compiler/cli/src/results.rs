//! Results: in files by their extension, as JSON, or for people.

use crate::Failure;
use nnc::{Elem, FileError, Tensor, picture, sound};
use serde_json::{Value, json};
use std::path::Path;

/// Kinds of files that results are written to.
const KINDS: &str = ".npy, .json, .txt, .png, .jpg or .wav";

/// Whether results can be written to a file of this name.
pub fn check(name: &str) -> Result<(), Failure> {
    let path = Path::new(name);
    // Pipes and devices have no extension, and get `.npy`.
    let known = extension(path).is_none_or(|e| ["npy", "json", "txt", "wav"].contains(&e.as_str()));
    match known || picture::is_named(path) {
        true => Ok(()),
        false => Err(Failure(format!("error: cannot tell what to write to {name}: name a file that ends in {KINDS}"))),
    }
}

/// Writes a result as the file's name says. Pictures and sounds may have a batch of one before their axes; `rate` is the
/// samples a second of sounds.
pub fn write(path: &Path, result: &Tensor, rate: u32) -> Result<(), FileError> {
    match extension(path).as_deref() {
        None | Some("npy") => nnc::npy::write(path, result),
        Some("json") => nnc::write_whole(path, format!("{}\n", to_json(result)).as_bytes()),
        Some("txt") => nnc::write_whole(path, &bytes(result)),
        Some("wav") => sound::write(path, rate, &single(result, 3)),
        _ => picture::write(path, &single(result, 4)),
    }
}

/// Integers as bytes of text; other numbers as they print, one on a line.
fn bytes(t: &Tensor) -> Vec<u8> {
    match t.elem.is_int() {
        true => t.to_f64().iter().map(|x| *x as u8).collect(),
        false => t.to_f64().iter().flat_map(|x| format!("{x}\n").into_bytes()).collect(),
    }
}

fn extension(path: &Path) -> Option<String> {
    Some(path.extension()?.to_str()?.to_ascii_lowercase())
}

/// Without the first axis where a tensor has `rank` axes and that is a batch of one.
fn single(t: &Tensor, rank: usize) -> Tensor {
    match &t.shape[..] {
        [1, rest @ ..] if t.shape.len() == rank => Tensor { shape: rest.to_vec(), ..t.clone() },
        _ => t.clone(),
    }
}

/// Element type, shape, and elements in nested lists; what JSON has no number for is a string.
pub fn to_json(t: &Tensor) -> Value {
    let number = |x: f64| match t.elem {
        Elem::Bool => json!(x != 0.0),
        elem if !elem.is_float() => json!(x as i64),
        _ if !x.is_finite() => json!(x.to_string()),
        Elem::F64 => json!(x),
        // As short as tells it from its neighbours.
        _ => serde_json::from_str(&(x as f32).to_string()).unwrap_or_else(|_| json!(x)),
    };
    let items: Vec<Value> = t.to_f64().into_iter().map(number).collect();
    json!({"type": t.elem.to_string(), "shape": t.shape, "values": nested(items, &t.shape)})
}

fn nested(mut items: Vec<Value>, shape: &[usize]) -> Value {
    for n in shape.iter().skip(1).rev() {
        items = items.chunks((*n).max(1)).map(|row| Value::from(row.to_vec())).collect();
    }
    match shape {
        [] => items.pop().unwrap_or(Value::Null),
        _ => items.into(),
    }
}

/// Small tensors whole, of others the first few elements.
pub fn preview(t: &Tensor) -> String {
    const WHOLE: usize = 64;
    const FIRST: usize = 8;
    let items: Vec<String> = t.to_f64().iter().map(|x| element(t.elem, *x)).collect();
    match items.len() {
        ..=WHOLE => brackets(&items, &t.shape),
        _ => format!("[{}, …]", items[..FIRST].join(", ")),
    }
}

/// `[[1, 2], [3, 4]]`
fn brackets(items: &[String], shape: &[usize]) -> String {
    match shape {
        [] => items.concat(),
        [_] => format!("[{}]", items.join(", ")),
        [_, inner @ ..] => {
            let size = inner.iter().product::<usize>().max(1);
            let rows: Vec<String> = items.chunks(size).map(|row| brackets(row, inner)).collect();
            format!("[{}]", rows.join(", "))
        }
    }
}

fn element(elem: Elem, x: f64) -> String {
    match elem {
        Elem::Bool => (x != 0.0).to_string(),
        e if e.is_float() && x != 0.0 && !(1e-3..1e6).contains(&x.abs()) && x.is_finite() => format!("{x:.3e}"),
        e if e.is_float() => format!("{x:.5}"),
        _ => x.to_string(),
    }
}
