//! Host tensors: element type, shape, bytes; npy and safetensors files.

mod aligned;
pub mod elem;
mod erf;
mod file;
pub mod npy;
pub mod safetensors;

pub use aligned::AlignedBytes;
pub use elem::Elem;
pub use erf::erf;
pub use file::{FileError, open_data, read_text, text_of, write_whole};

/// A tensor in host memory, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub elem: Elem,
    pub shape: Vec<usize>,
    pub bytes: AlignedBytes,
}

/// A Rust type that elements are read and written as.
pub trait Native: Copy {
    const ELEM: Elem;
    /// Writes the element to as many bytes as one has.
    fn put(self, bytes: &mut [u8]);
    fn get(bytes: &[u8]) -> Self;
}

macro_rules! native {
    ($($ty:ty, $elem:ident;)*) => {$(
        impl Native for $ty {
            const ELEM: Elem = Elem::$elem;

            fn put(self, bytes: &mut [u8]) {
                bytes.copy_from_slice(&self.to_le_bytes());
            }

            fn get(bytes: &[u8]) -> Self {
                <$ty>::from_le_bytes(bytes.try_into().expect("as many bytes as one element has"))
            }
        }
    )*};
}

native! {
    f64, F64; f32, F32; i64, I64; i32, I32; i16, I16; i8, I8; u64, U64; u32, U32; u16, U16; u8, U8;
    half::f16, F16; half::bf16, Bf16;
}

impl Native for bool {
    const ELEM: Elem = Elem::Bool;

    fn put(self, bytes: &mut [u8]) {
        bytes[0] = self as u8;
    }

    fn get(bytes: &[u8]) -> bool {
        bytes[0] != 0
    }
}

/// Bytes of a tensor of this shape; nothing if they cannot be counted.
pub fn size_in_bytes(elem: Elem, shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(elem.size(), |n, d| n.checked_mul(*d))
}

impl Tensor {
    /// All elements 0. Panics where [`Tensor::try_zeros`] gives nothing.
    pub fn zeros(elem: Elem, shape: &[usize]) -> Tensor {
        Tensor::try_zeros(elem, shape)
            .unwrap_or_else(|| panic!("a tensor of {elem} and shape {shape:?} is more than this machine has room for"))
    }

    /// All elements 0; nothing if this machine has no room for them. For shapes that come from outside.
    pub fn try_zeros(elem: Elem, shape: &[usize]) -> Option<Tensor> {
        let bytes = AlignedBytes::try_zeroed(size_in_bytes(elem, shape)?)?;
        Some(Tensor { elem, shape: shape.to_vec(), bytes })
    }

    /// From elements in row-major order; panics unless there are as many as the shape says.
    pub fn new<T: Native>(shape: &[usize], data: &[T]) -> Tensor {
        assert_eq!(shape.iter().product::<usize>(), data.len(), "elements of a tensor of shape {shape:?}");
        let mut tensor = Tensor::zeros(T::ELEM, shape);
        tensor.bytes.chunks_exact_mut(T::ELEM.size()).zip(data).for_each(|(bytes, x)| x.put(bytes));
        tensor
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements, if they are of this type.
    pub fn to_vec<T: Native>(&self) -> Option<Vec<T>> {
        (self.elem == T::ELEM).then(|| self.bytes.chunks_exact(self.elem.size()).map(T::get).collect())
    }

    /// The elements as f64, whatever their type; integers beyond 2^53 round.
    pub fn to_f64(&self) -> Vec<f64> {
        fn each<T: Native>(t: &Tensor, f: impl Fn(T) -> f64) -> Vec<f64> {
            t.bytes.chunks_exact(t.elem.size()).map(|b| f(T::get(b))).collect()
        }
        match self.elem {
            Elem::F64 => each::<f64>(self, |x| x),
            Elem::F32 => each::<f32>(self, f64::from),
            Elem::F16 => each::<half::f16>(self, f64::from),
            Elem::Bf16 => each::<half::bf16>(self, f64::from),
            Elem::I64 => each::<i64>(self, |x| x as f64),
            Elem::I32 => each::<i32>(self, f64::from),
            Elem::I16 => each::<i16>(self, f64::from),
            Elem::I8 => each::<i8>(self, f64::from),
            Elem::U64 => each::<u64>(self, |x| x as f64),
            Elem::U32 => each::<u32>(self, f64::from),
            Elem::U16 => each::<u16>(self, f64::from),
            Elem::U8 => each::<u8>(self, f64::from),
            Elem::Bool => each::<bool>(self, |x| x as u8 as f64),
        }
    }

    /// From numbers, converted to `elem` as `as` does; bool is "not zero". Panics unless there are as many as the shape
    /// says and room for them.
    pub fn from_f64(elem: Elem, shape: &[usize], data: impl IntoIterator<Item = f64>) -> Tensor {
        let mut tensor = Tensor::zeros(elem, shape);
        let mut data = data.into_iter();
        let count = tensor.fill(&mut data);
        assert!(count == tensor.len() && data.next().is_none(), "elements of shape {shape:?}");
        tensor
    }

    /// Puts numbers into the first elements, as [`Tensor::from_f64`] does; gives how many there were.
    pub fn fill(&mut self, data: impl IntoIterator<Item = f64>) -> usize {
        let elem = self.elem;
        let mut count = 0;
        for (bytes, x) in self.bytes.chunks_exact_mut(elem.size()).zip(data) {
            count += 1;
            match elem {
                Elem::F64 => x.put(bytes),
                Elem::F32 => (x as f32).put(bytes),
                Elem::F16 => half::f16::from_f64(x).put(bytes),
                Elem::Bf16 => half::bf16::from_f64(x).put(bytes),
                Elem::I64 => (x as i64).put(bytes),
                Elem::I32 => (x as i32).put(bytes),
                Elem::I16 => (x as i16).put(bytes),
                Elem::I8 => (x as i8).put(bytes),
                Elem::U64 => (x as u64).put(bytes),
                Elem::U32 => (x as u32).put(bytes),
                Elem::U16 => (x as u16).put(bytes),
                Elem::U8 => (x as u8).put(bytes),
                Elem::Bool => (x != 0.0).put(bytes),
            }
        }
        count
    }

    /// The first elements, as many as this shape has; all are 0 beyond those that are there.
    pub fn first(self, shape: &[usize]) -> Tensor {
        if self.shape == shape {
            return self;
        }
        let mut first = Tensor::zeros(self.elem, shape);
        first.bytes.iter_mut().zip(&self.bytes[..]).for_each(|(to, from)| *to = *from);
        first
    }

    /// Converted to another element type.
    pub fn cast(&self, elem: Elem) -> Tensor {
        if elem == self.elem {
            return self.clone();
        }
        Tensor::from_f64(elem, &self.shape, self.to_f64())
    }
}
