//! Tensors of a file: what they hold, wherever it is.

use crate::Problem;
use crate::proto::TensorProto;
use bytes::Bytes;
use memmap2::Mmap;
use std::fs::File;
use std::path::{Component, Path};
use tensor::{Elem, Tensor};

/// The number that ONNX has for strings, of which nothing is read.
const STRING: i32 = 8;

/// The element type of a number of `TensorProto.DataType`.
pub fn elem(number: i32) -> Result<Elem, Problem> {
    Ok(match number {
        1 => Elem::F32,
        2 => Elem::U8,
        3 => Elem::I8,
        4 => Elem::U16,
        5 => Elem::I16,
        6 => Elem::I32,
        7 => Elem::I64,
        9 => Elem::Bool,
        10 => Elem::F16,
        11 => Elem::F64,
        12 => Elem::U32,
        13 => Elem::U64,
        16 => Elem::Bf16,
        STRING => return Err(Problem::new("strings are not imported")),
        other => return Err(Problem::new(format!("element type {other} of ONNX is not imported"))),
    })
}

/// The shape of a tensor.
pub fn shape(t: &TensorProto) -> Result<Vec<usize>, Problem> {
    let size = |d: &i64| usize::try_from(*d).map_err(|_| Problem::new(format!("`{}` has a size of {d}", t.name)));
    t.dims.iter().map(size).collect()
}

/// What a tensor holds; `folder` is that of the file, beyond which nothing is read.
pub fn read(t: &TensorProto, folder: &Path) -> Result<Tensor, Problem> {
    let (elem, shape) = (elem(t.data_type)?, shape(t)?);
    let bytes = tensor::size_in_bytes(elem, &shape);
    let bytes = bytes.ok_or_else(|| Problem::new(format!("`{}` is too large: {:?}", t.name, t.dims)))?;
    let wrong = |got: usize| Problem::new(format!("`{}` must hold {bytes} bytes for {:?}, got {got}", t.name, t.dims));
    let raw = match t.data_location {
        1 => external(t, folder)?,
        _ => t.raw_data.clone(),
    };
    if !raw.is_empty() || bytes == 0 {
        return match raw.len() == bytes {
            true => Ok(Tensor { elem, shape, bytes: raw[..].into() }),
            false => Err(wrong(raw.len())),
        };
    }
    let count = bytes / elem.size();
    let numbers: Vec<f64> = match elem {
        Elem::F32 => t.float_data.iter().map(|x| *x as f64).collect(),
        Elem::F64 => t.double_data.clone(),
        // Beyond 2^53 an f64 rounds.
        Elem::I64 => return whole(elem, shape, t.int64_data.iter().map(|n| n.to_le_bytes()), count, wrong),
        Elem::U64 => return whole(elem, shape, t.uint64_data.iter().map(|n| n.to_le_bytes()), count, wrong),
        Elem::U32 => t.uint64_data.iter().map(|n| *n as f64).collect(),
        // These are stored by their bits.
        Elem::F16 | Elem::Bf16 => {
            return whole(elem, shape, t.int32_data.iter().map(|n| (*n as u16).to_le_bytes()), count, wrong);
        }
        _ => t.int32_data.iter().map(|n| *n as f64).collect(),
    };
    match numbers.len() == count {
        true => Ok(Tensor::from_f64(elem, &shape, numbers)),
        false => Err(wrong(numbers.len() * elem.size())),
    }
}

fn whole<const N: usize>(
    elem: Elem,
    shape: Vec<usize>,
    items: impl Iterator<Item = [u8; N]>,
    count: usize,
    wrong: impl Fn(usize) -> Problem,
) -> Result<Tensor, Problem> {
    let bytes: Vec<u8> = items.flatten().collect();
    match bytes.len() == count * N {
        true => Ok(Tensor { elem, shape, bytes: bytes[..].into() }),
        false => Err(wrong(bytes.len())),
    }
}

/// The part of another file that holds a tensor.
fn external(t: &TensorProto, folder: &Path) -> Result<Bytes, Problem> {
    let text = |key: &str| t.external_data.iter().find(|e| e.key == key).map(|e| e.value.as_str());
    let number = |key: &str| match text(key) {
        None => Ok(None),
        Some(n) => n.parse::<usize>().map(Some).map_err(|_| Problem::new(format!("`{}`: {key} = {n}", t.name))),
    };
    let location = text("location").ok_or_else(|| Problem::new(format!("`{}` is in no file", t.name)))?;
    let inside = Path::new(location).components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
    if !inside {
        let message = format!("`{}` is in `{location}`, which may lie outside of the model's folder", t.name);
        return Err(Problem::new(message));
    }
    let path = folder.join(location);
    let file = File::open(&path).map_err(|e| Problem::new(format!("`{}` is in {}: {e}", t.name, path.display())))?;
    // SAFETY: the mapping is private and read-only, and a file that is cut short meanwhile ends the process, as any does.
    let map = unsafe { Mmap::map(&file) };
    let map = Bytes::from_owner(map.map_err(|e| Problem::new(format!("{}: {e}", path.display())))?);
    let start = number("offset")?.unwrap_or(0);
    let end = number("length")?.map_or(Some(map.len()), |n| start.checked_add(n));
    match end {
        Some(end) if start <= end && end <= map.len() => Ok(map.slice(start..end)),
        _ => Err(Problem::new(format!("`{}` lies beyond the end of {}", t.name, path.display()))),
    }
}
