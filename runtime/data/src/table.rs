//! Examples in memory, read from files.

use crate::order::Group;
use flate2::read::GzDecoder;
use std::io::Read;
use std::path::Path;
use tensor::{Elem, FileError, Tensor, npy, open_data};

/// A column: its name, and the values of all examples along the first axis.
#[derive(Clone)]
pub struct Field {
    pub name: String,
    pub values: Tensor,
}

/// Examples with the same fields.
pub struct Table {
    fields: Vec<Field>,
}

impl Table {
    /// Columns of equal length.
    pub fn new(fields: Vec<Field>, path: &Path) -> Result<Table, FileError> {
        let rows = |f: &Field| f.values.shape.first().copied().unwrap_or(0);
        let first = fields.first().map_or(0, rows);
        match fields.iter().find(|f| rows(f) != first) {
            Some(other) => {
                let message = format!("`{}` has {first} examples, `{}` {}", fields[0].name, other.name, rows(other));
                Err(FileError::content(path, message))
            }
            None if first == 0 => Err(FileError::content(path, "holds no example")),
            None => Ok(Table { fields }),
        }
    }

    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    pub fn rows(&self) -> usize {
        self.fields.first().map_or(0, |f| f.values.shape[0])
    }

    /// One row of every field.
    pub fn example(&self, row: usize) -> Vec<Tensor> {
        let one = |f: &Field| Tensor {
            elem: f.values.elem,
            shape: f.values.shape[1..].to_vec(),
            bytes: f.bytes(row, 1).into(),
        };
        self.fields.iter().map(one).collect()
    }

    /// The rows of a group, side by side.
    pub(crate) fn gather(&self, group: &Group) -> Vec<Tensor> {
        let gathered = |f: &Field, starts: &[usize], len: usize, shape: Vec<usize>| {
            let mut bytes = vec![];
            starts.iter().for_each(|row| bytes.extend(f.bytes(*row, len)));
            Tensor { elem: f.values.elem, shape, bytes: bytes[..].into() }
        };
        match group {
            Group::One(row) => self.example(*row),
            Group::Many(rows) => {
                let shape = |f: &Field| [&[rows.len()], &f.values.shape[1..]].concat();
                self.fields.iter().map(|f| gathered(f, rows, 1, shape(f))).collect()
            }
            Group::Windows { starts, len } => {
                let targets: Vec<usize> = starts.iter().map(|s| s + 1).collect();
                let shape = |f: &Field| [&[starts.len(), *len], &f.values.shape[1..]].concat();
                let both = |f: &Field| [starts, &targets].map(|from| gathered(f, from, *len, shape(f)));
                self.fields.iter().flat_map(both).collect()
            }
        }
    }

    /// The columns `input` of a table with a header, side by side, and `target`, all as f32.
    pub fn csv(path: &Path, input: &[String], target: &str) -> Result<Table, FileError> {
        let wrong = |message: String| FileError::content(path, message);
        let bytes = unpacked(path)?;
        let mut reader = csv::Reader::from_reader(&bytes[..]);
        let header = reader.headers().map_err(|e| wrong(format!("no CSV: {e}")))?.clone();
        let column = |name: &str| {
            let known = || header.iter().take(12).map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
            header.iter().position(|n| n.trim() == name).ok_or_else(|| {
                let more = if header.len() > 12 { " and others" } else { "" };
                wrong(format!("has no column `{name}`; its first line names {}{more}", known()))
            })
        };
        let inputs = input.iter().map(|name| column(name)).collect::<Result<Vec<_>, _>>()?;
        let target = column(target)?;
        let (mut values, mut targets) = (vec![], vec![]);
        for record in reader.records() {
            let record = record.map_err(|e| wrong(format!("no CSV: {e}")))?;
            let number = |column: usize| {
                let text = record.get(column).unwrap_or("").trim();
                text.parse::<f32>().map_err(|_| {
                    let line = record.position().map_or(0, |p| p.line());
                    wrong(format!("line {line}, column `{}`: expected a number, found `{text}`", &header[column]))
                })
            };
            for column in &inputs {
                values.push(number(*column)?);
            }
            targets.push(number(target)?);
        }
        let rows = targets.len();
        let fields = vec![
            Field { name: "input".into(), values: Tensor::new(&[rows, inputs.len()], &values) },
            Field { name: "target".into(), values: Tensor::new(&[rows], &targets) },
        ];
        Table::new(fields, path)
    }

    /// Items of an array: of a `.npy` file, or the array called `name` of an `.npz` file, the only one if that is empty.
    pub fn npy(path: &Path, name: &str, elem: Elem, item: &[usize]) -> Result<Table, FileError> {
        let values = match path.extension().is_some_and(|e| e == "npz") {
            true => npy::read_from_archive(path, name)?,
            false => npy::read(path)?,
        };
        if values.shape.get(1..) != Some(item) {
            let message = format!("holds an array of shape {:?}; expected [any, {item:?}]", values.shape);
            return Err(FileError::content(path, message));
        }
        if values.elem != elem {
            let message = format!("holds {}, expected {elem}: say type = {}", values.elem, values.elem);
            return Err(FileError::content(path, message));
        }
        Table::new(vec![Field { name: "item".into(), values }], path)
    }

    /// Images and labels of MNIST and of data sets with its layout, `.gz` or not: `train-images-idx3-ubyte` for the split
    /// `train`, `t10k-…` for `test`.
    pub fn mnist(folder: &Path, split: &str) -> Result<Table, FileError> {
        let prefix = match split {
            "train" => "train",
            "test" => "t10k",
            _ => return Err(FileError::content(folder, format!("has no split `{split}`; there are train and test"))),
        };
        let images = idx(folder, &format!("{prefix}-images-idx3-ubyte"))?;
        let labels = idx(folder, &format!("{prefix}-labels-idx1-ubyte"))?;
        let labels = Field { name: "label".into(), values: labels.cast(Elem::I32) };
        Table::new(vec![Field { name: "image".into(), values: images }, labels], folder)
    }

    /// CIFAR-10 in its binary version: records of a label and an image of 3 x 32 x 32 bytes.
    pub fn cifar10(folder: &Path, split: &str) -> Result<Table, FileError> {
        const IMAGE: usize = 3 * 32 * 32;
        let files: Vec<String> = match split {
            "train" => (1..=5).map(|i| format!("data_batch_{i}.bin")).collect(),
            "test" => vec!["test_batch.bin".into()],
            _ => return Err(FileError::content(folder, format!("has no split `{split}`; there are train and test"))),
        };
        let (mut images, mut labels) = (vec![], vec![]);
        for name in files {
            let path = folder.join(name);
            let bytes = unpacked(&path)?;
            if bytes.len() % (1 + IMAGE) != 0 {
                return Err(FileError::content(&path, "is cut short: its length is no multiple of 3073"));
            }
            for record in bytes.chunks_exact(1 + IMAGE) {
                labels.push(record[0] as i32);
                images.extend(&record[1..]);
            }
        }
        let rows = labels.len();
        let image = Tensor { elem: Elem::U8, shape: vec![rows, 3, 32, 32], bytes: images[..].into() };
        let label = Field { name: "label".into(), values: Tensor::new(&[rows], &labels) };
        Table::new(vec![Field { name: "image".into(), values: image }, label], folder)
    }

    /// Whole numbers of one type, one after another, as i32.
    pub fn tokens(path: &Path, elem: Elem) -> Result<Table, FileError> {
        let bytes = unpacked(path)?;
        if bytes.len() % elem.size() != 0 {
            let message = format!("has {} bytes, no multiple of the {} of a {elem}", bytes.len(), elem.size());
            return Err(FileError::content(path, message));
        }
        let values = Tensor { elem, shape: vec![bytes.len() / elem.size()], bytes: bytes[..].into() };
        Table::new(vec![Field { name: "token".into(), values: values.cast(Elem::I32) }], path)
    }
}

impl Field {
    fn bytes(&self, row: usize, rows: usize) -> &[u8] {
        let size = self.values.bytes.len() / self.values.shape[0];
        &self.values.bytes[row * size..(row + rows) * size]
    }
}

/// The bytes of a file, of one whose name ends in `.gz` after unpacking.
fn unpacked(path: &Path) -> Result<Vec<u8>, FileError> {
    let (mut file, _) = open_data(path)?;
    let mut bytes = vec![];
    let read = match path.extension().is_some_and(|e| e == "gz") {
        true => GzDecoder::new(file).read_to_end(&mut bytes),
        false => file.read_to_end(&mut bytes),
    };
    read.map_err(|e| FileError::io(path, e))?;
    Ok(bytes)
}

/// An array of bytes in the IDX format, from `name` or `name.gz`.
fn idx(folder: &Path, name: &str) -> Result<Tensor, FileError> {
    let (plain, packed) = (folder.join(name), folder.join(format!("{name}.gz")));
    let path = if packed.exists() && !plain.exists() { packed } else { plain };
    let bytes = unpacked(&path)?;
    let wrong = |message: &str| FileError::content(&path, message);
    let [0, 0, 8, rank, rest @ ..] = &bytes[..] else {
        return Err(wrong("is no IDX file of bytes: it does not start with 0, 0, 8"));
    };
    let rank = *rank as usize;
    let (dims, data) = rest.split_at_checked(4 * rank).ok_or_else(|| wrong("is cut short in its sizes"))?;
    let size = |word: &[u8]| word.iter().fold(0, |n, byte| n << 8 | *byte as usize);
    let shape: Vec<usize> = dims.chunks_exact(4).map(size).collect();
    match tensor::size_in_bytes(Elem::U8, &shape) == Some(data.len()) {
        true => Ok(Tensor { elem: Elem::U8, shape, bytes: data.into() }),
        false => Err(wrong(&format!("says {shape:?} but holds {} bytes", data.len()))),
    }
}

/// Writes bytes as numpy and MNIST tools do, for tests.
#[cfg(test)]
fn write_idx(path: &Path, shape: &[u32], data: &[u8]) {
    let mut bytes = vec![0, 0, 8, shape.len() as u8];
    shape.iter().for_each(|n| bytes.extend(n.to_be_bytes()));
    bytes.extend(data);
    std::fs::write(path, bytes).unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idx_files_and_what_is_wrong_with_some() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        write_idx(&path("train-images-idx3-ubyte"), &[2, 1, 2], &[1, 2, 3, 4]);
        write_idx(&path("train-labels-idx1-ubyte"), &[2], &[7, 9]);
        let table = Table::mnist(folder.path(), "train").unwrap();
        assert_eq!(
            (table.rows(), table.example(1)[0].to_f64(), table.example(1)[1].to_f64()),
            (2, vec![3., 4.], vec![9.])
        );
        let message = |split: &str| Table::mnist(folder.path(), split).err().unwrap().to_string();
        assert!(message("valid").contains("no split `valid`"));
        assert!(message("test").contains("there is no such file"));
        write_idx(&path("t10k-images-idx3-ubyte"), &[2, 1, 2], &[1, 2, 3]);
        assert!(message("test").contains("says [2, 1, 2] but holds 3 bytes"));
    }

    #[test]
    fn csv_columns_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.csv");
        std::fs::write(&path, "a,b,y\n1,2,0\n3,4,1\n").unwrap();
        let read = |input: &[&str]| Table::csv(&path, &input.iter().map(|s| s.to_string()).collect::<Vec<_>>(), "y");
        let table = read(&["b", "a"]).unwrap();
        assert_eq!(table.example(1)[0].to_f64(), [4., 3.]);
        assert!(
            read(&["c"]).err().unwrap().to_string().contains("has no column `c`; its first line names `a`, `b`, `y`")
        );
        std::fs::write(&path, "a,b,y\n1,2,0\n3,x,1\n").unwrap();
        assert!(read(&["b"]).err().unwrap().to_string().contains("line 3, column `b`: expected a number, found `x`"));
    }
}
