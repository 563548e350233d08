//! Tensors in numpy's `.npy` and `.npz` files.

use crate::file::{FileError, open_data, write_whole};
use crate::{Elem, Tensor};
use npyz::{DType, NpyFile, TypeChar, WriterBuilder};
use std::io::Read;
use std::path::Path;

pub fn read(path: &Path) -> Result<Tensor, FileError> {
    let (mut file, len) = open_data(path)?;
    let mut bytes = vec![];
    file.read_to_end(&mut bytes).map_err(|e| FileError::io(path, e))?;
    parse(&bytes, len, path)
}

/// The array called `name` of an `.npz` file; the only one if that is empty.
pub fn read_from_archive(path: &Path, name: &str) -> Result<Tensor, FileError> {
    let wrong = |message: String| FileError::content(path, message);
    let (file, _) = open_data(path)?;
    let mut archive = zip::ZipArchive::new(file).map_err(|e| wrong(format!("no npz file: {e}")))?;
    let names = archive.file_names().filter_map(|n| Some(n.ok()?.trim_end_matches(".npy").to_string()));
    let names: Vec<String> = names.collect();
    let known = || names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
    let name = match (name, &names[..]) {
        ("", [only]) => only,
        ("", _) => return Err(wrong(format!("holds {}: name one", known()))),
        (name, _) if names.iter().any(|n| n == name) => name,
        _ => return Err(wrong(format!("has no array `{name}`; it holds {}", known()))),
    };
    let mut entry = archive.by_name(&format!("{name}.npy")).map_err(|e| wrong(format!("`{name}`: {e}")))?;
    let mut bytes = vec![];
    entry.read_to_end(&mut bytes).map_err(|e| FileError::io(path, e))?;
    parse(&bytes, bytes.len() as u64, path)
}

fn parse(bytes: &[u8], len: u64, path: &Path) -> Result<Tensor, FileError> {
    if !header_is_plain(bytes) {
        return Err(FileError::content(path, "no npy file: its header is not one that numpy writes for numbers"));
    }
    let file = NpyFile::new(bytes).map_err(|e| FileError::content(path, format!("no npy file: {e}")))?;
    array(file, len, path)
}

/// Whether the parser can be trusted with the header: it calls itself for each bracket, and multiplies sizes unchecked.
fn header_is_plain(bytes: &[u8]) -> bool {
    // The magic word, two bytes of version, then the length: of two bytes in the first version, of four later.
    let (start, len) = match bytes {
        [_, _, _, _, _, _, 1, _, a, b, ..] => (10, u16::from_le_bytes([*a, *b]) as usize),
        [_, _, _, _, _, _, _, _, a, b, c, d, ..] => (12, u32::from_le_bytes([*a, *b, *c, *d]) as usize),
        // Too short for a header: the parser says so.
        _ => return true,
    };
    let Ok(header) = std::str::from_utf8(&bytes[start..bytes.len().min(len.saturating_add(start))]) else {
        return false;
    };
    let shape = header.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
    let Some((shape, _)) = shape.filter(|_| header.matches(['(', '[', '{']).count() == 2) else { return false };
    let mut sizes = shape.split(',').map(str::trim).filter(|size| !size.is_empty());
    // Above the largest element's bytes, and room for what the parser makes of sizes of zero.
    let bytes = sizes.try_fold(64u64, |n, size| n.checked_mul(size.parse::<u64>().ok()?.max(1)));
    bytes.is_some()
}

/// `limit` is the file's length: a header that lies about its shape must not exhaust memory.
fn array<R: Read>(file: NpyFile<R>, limit: u64, path: &Path) -> Result<Tensor, FileError> {
    let shape: Vec<usize> = file.shape().iter().map(|n| *n as usize).collect();
    let DType::Plain(kind) = file.dtype() else {
        return Err(FileError::content(path, "holds records; expected an array of numbers"));
    };
    let elem = match (kind.type_char(), kind.size_field()) {
        (TypeChar::Float, 8) => Elem::F64,
        (TypeChar::Float, 4) => Elem::F32,
        (TypeChar::Int, 8) => Elem::I64,
        (TypeChar::Int, 4) => Elem::I32,
        (TypeChar::Int, 2) => Elem::I16,
        (TypeChar::Int, 1) => Elem::I8,
        (TypeChar::Uint, 8) => Elem::U64,
        (TypeChar::Uint, 4) => Elem::U32,
        (TypeChar::Uint, 2) => Elem::U16,
        (TypeChar::Uint, 1) => Elem::U8,
        (TypeChar::Bool, _) => Elem::Bool,
        _ => return Err(FileError::content(path, format!("holds elements of type {kind}; expected numbers"))),
    };
    let bytes = shape.iter().try_fold(elem.size() as u64, |n, d| n.checked_mul(*d as u64));
    if bytes.is_none_or(|n| n > limit) {
        return Err(FileError::content(path, format!("is too short for its shape {shape:?}")));
    }
    if file.order() == npyz::Order::Fortran && shape.len() > 1 {
        return Err(FileError::content(path, "is in Fortran order; save numpy.ascontiguousarray of it"));
    }
    fn data<T: npyz::Deserialize + crate::Native, R: Read>(
        file: NpyFile<R>,
        shape: &[usize],
        path: &Path,
    ) -> Result<Tensor, FileError> {
        let items: Result<Vec<T>, std::io::Error> =
            file.data().map_err(|e| FileError::content(path, e.to_string()))?.collect();
        let items = items.map_err(|e| FileError::io(path, e))?;
        if items.len() != shape.iter().product::<usize>() {
            return Err(FileError::content(path, format!("is too short for its shape {shape:?}")));
        }
        Ok(Tensor::new(shape, &items))
    }
    match elem {
        Elem::F64 => data::<f64, R>(file, &shape, path),
        Elem::F32 => data::<f32, R>(file, &shape, path),
        Elem::I64 => data::<i64, R>(file, &shape, path),
        Elem::I32 => data::<i32, R>(file, &shape, path),
        Elem::I16 => data::<i16, R>(file, &shape, path),
        Elem::I8 => data::<i8, R>(file, &shape, path),
        Elem::U64 => data::<u64, R>(file, &shape, path),
        Elem::U32 => data::<u32, R>(file, &shape, path),
        Elem::U16 => data::<u16, R>(file, &shape, path),
        Elem::U8 => data::<u8, R>(file, &shape, path),
        _ => data::<bool, R>(file, &shape, path),
    }
}

pub fn write(path: &Path, tensor: &Tensor) -> Result<(), FileError> {
    fn put<T: npyz::AutoSerialize + crate::Native>(tensor: &Tensor) -> std::io::Result<Vec<u8>> {
        let mut out = vec![];
        let shape: Vec<u64> = tensor.shape.iter().map(|n| *n as u64).collect();
        let mut writer = npyz::WriteOptions::new().default_dtype().shape(&shape).writer(&mut out).begin_nd()?;
        writer.extend(tensor.to_vec::<T>().unwrap_or_default())?;
        writer.finish()?;
        Ok(out)
    }
    let bytes = match tensor.elem {
        Elem::F64 => put::<f64>(tensor),
        Elem::F32 => put::<f32>(tensor),
        Elem::F16 | Elem::Bf16 => put::<f32>(&tensor.cast(Elem::F32)),
        Elem::I64 => put::<i64>(tensor),
        Elem::I32 => put::<i32>(tensor),
        Elem::I16 => put::<i16>(tensor),
        Elem::I8 => put::<i8>(tensor),
        Elem::U64 => put::<u64>(tensor),
        Elem::U32 => put::<u32>(tensor),
        Elem::U16 => put::<u16>(tensor),
        Elem::U8 => put::<u8>(tensor),
        Elem::Bool => put::<bool>(tensor),
    };
    write_whole(path, &bytes.map_err(|e| FileError::io(path, e))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_round_trip_and_lies_are_refused() {
        let folder = std::env::temp_dir().join(format!("nnc-npy-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("a.npy");
        let tensor = Tensor::new(&[2, 3], &[1.5f32, -2.0, 0.0, 4.0, 5.0, 6.0]);
        write(&path, &tensor).unwrap();
        assert_eq!(read(&path).unwrap(), tensor);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 4]).unwrap();
        let message = read(&path).unwrap_err().to_string();
        assert!(message.contains("failed to fill") || message.contains("too short"), "{message}");
        let with_shape = |shape: &str| {
            let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n");
            let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
            bytes.extend((header.len() as u16).to_le_bytes());
            bytes.extend(header.as_bytes());
            std::fs::write(&path, bytes).unwrap();
            read(&path).map(|t| t.shape).map_err(|e| e.to_string())
        };
        assert_eq!(with_shape("(0, 3)"), Ok(vec![0, 3]));
        let nested = "(".repeat(60_000);
        let zero = "(4294967296, 4294967296, 0)";
        for lie in [zero, "(4611686018427387904, 4)", "(-1,)", "[3]", "(3", "'x'", "", &nested] {
            assert!(with_shape(lie).unwrap_err().contains("its header is not one that numpy writes"), "{lie:.20}");
        }
        std::fs::write(&path, b"nonsense").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("no npy file"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
