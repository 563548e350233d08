//! Tensors by name in safetensors files. The file is mapped: bytes are read when somebody looks at them.

use crate::file::{FileError, open_data, write_whole};
use crate::{Elem, Tensor};
use memmap2::Mmap;
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorView};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// An open file.
pub struct Weights {
    path: PathBuf,
    map: Mmap,
    metadata: Metadata,
    /// Where the tensors' bytes start.
    start: usize,
}

/// One tensor of a file.
#[derive(Clone, Copy)]
pub struct Stored<'w> {
    pub elem: Elem,
    pub shape: &'w [usize],
    pub bytes: &'w [u8],
}

impl From<Stored<'_>> for Tensor {
    fn from(stored: Stored) -> Tensor {
        Tensor { elem: stored.elem, shape: stored.shape.to_vec(), bytes: stored.bytes.into() }
    }
}

impl Weights {
    pub fn open(path: &Path) -> Result<Weights, FileError> {
        let (file, _) = open_data(path)?;
        // SAFETY: the mapping is private and read-only. Somebody who truncates the file while it is in use takes the
        // process down, as with any mapped file.
        let map = unsafe { Mmap::map(&file) }.map_err(|e| FileError::io(path, e))?;
        let (header, metadata) = SafeTensors::read_metadata(&map)
            .map_err(|e| FileError::content(path, format!("no safetensors file: {e}")))?;
        Ok(Weights { path: path.into(), map, metadata, start: header + 8 })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names, shapes and element types; tensors of types that nnc does not know have none.
    pub fn entries(&self) -> Vec<(String, Vec<usize>, Option<Elem>)> {
        let mut entries: Vec<_> = (self.metadata.tensors().into_iter())
            .map(|(name, info)| (name, info.shape.clone(), elem(info.dtype)))
            .collect();
        entries.sort();
        entries
    }

    /// The text that the file holds under a key.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.metadata().as_ref()?.get(key).map(String::as_str)
    }

    pub fn get(&self, name: &str) -> Option<Stored<'_>> {
        let info = self.metadata.info(name)?;
        let (from, to) = info.data_offsets;
        let bytes = self.map.get(self.start + from..self.start + to)?;
        Some(Stored { elem: elem(info.dtype)?, shape: &info.shape, bytes })
    }
}

fn elem(dtype: Dtype) -> Option<Elem> {
    Some(match dtype {
        Dtype::F64 => Elem::F64,
        Dtype::F32 => Elem::F32,
        Dtype::F16 => Elem::F16,
        Dtype::BF16 => Elem::Bf16,
        Dtype::I64 => Elem::I64,
        Dtype::I32 => Elem::I32,
        Dtype::I16 => Elem::I16,
        Dtype::I8 => Elem::I8,
        Dtype::U64 => Elem::U64,
        Dtype::U32 => Elem::U32,
        Dtype::U16 => Elem::U16,
        Dtype::U8 => Elem::U8,
        Dtype::BOOL => Elem::Bool,
        _ => return None,
    })
}

fn dtype(elem: Elem) -> Dtype {
    match elem {
        Elem::F64 => Dtype::F64,
        Elem::F32 => Dtype::F32,
        Elem::F16 => Dtype::F16,
        Elem::Bf16 => Dtype::BF16,
        Elem::I64 => Dtype::I64,
        Elem::I32 => Dtype::I32,
        Elem::I16 => Dtype::I16,
        Elem::I8 => Dtype::I8,
        Elem::U64 => Dtype::U64,
        Elem::U32 => Dtype::U32,
        Elem::U16 => Dtype::U16,
        Elem::U8 => Dtype::U8,
        Elem::Bool => Dtype::BOOL,
    }
}

/// Writes tensors by name, whole or not at all.
pub fn write<'t>(path: &Path, tensors: impl IntoIterator<Item = (&'t str, Stored<'t>)>) -> Result<(), FileError> {
    write_with(path, tensors, HashMap::new())
}

/// As [`write`], with texts that say more about them.
pub fn write_with<'t>(
    path: &Path,
    tensors: impl IntoIterator<Item = (&'t str, Stored<'t>)>,
    metadata: HashMap<String, String>,
) -> Result<(), FileError> {
    let wrong = |e: safetensors::SafeTensorError| FileError::content(path, e.to_string());
    let mut views = vec![];
    for (name, t) in tensors {
        let view = TensorView::new(dtype(t.elem), t.shape.to_vec(), t.bytes).map_err(wrong)?;
        views.push((name.to_string(), view));
    }
    let metadata = (!metadata.is_empty()).then_some(metadata);
    let bytes = safetensors::serialize(views, metadata).map_err(wrong)?;
    write_whole(path, &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_round_trip_and_nonsense_is_refused() {
        let folder = std::env::temp_dir().join(format!("nnc-safetensors-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("w.safetensors");
        let t = Tensor::new(&[2, 2], &[1f32, 2.0, 3.0, 4.0]);
        write(&path, [("a.b", Stored { elem: t.elem, shape: &t.shape, bytes: &t.bytes })]).unwrap();
        let weights = Weights::open(&path).unwrap();
        assert_eq!(weights.entries(), [("a.b".to_string(), vec![2, 2], Some(Elem::F32))]);
        assert_eq!(weights.get("a.b").unwrap().bytes, &t.bytes[..]);
        assert!(weights.get("c").is_none());
        std::fs::write(&path, b"\xff\xff\xff\xff\xff\xff\xff\x7fnonsense").unwrap();
        assert!(Weights::open(&path).err().unwrap().to_string().contains("no safetensors file"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
