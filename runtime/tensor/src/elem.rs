//! Element types.

use std::fmt;
use std::str::FromStr;

macro_rules! elems {
    ($($name:ident $text:literal $size:literal $kind:ident,)*) => {
        /// The type of one element of a tensor.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Elem {
            $($name),*
        }

        impl Elem {
            pub const ALL: &[Elem] = &[$(Elem::$name),*];

            /// As written in models and text forms.
            pub fn name(self) -> &'static str {
                match self {
                    $(Elem::$name => $text),*
                }
            }

            /// Bytes of one element in memory.
            pub fn size(self) -> usize {
                match self {
                    $(Elem::$name => $size),*
                }
            }

            fn kind(self) -> Kind {
                match self {
                    $(Elem::$name => Kind::$kind),*
                }
            }
        }
    };
}

#[derive(PartialEq)]
enum Kind {
    Float,
    Signed,
    Unsigned,
    Truth,
}

elems! {
    F64 "f64" 8 Float,
    F32 "f32" 4 Float,
    F16 "f16" 2 Float,
    Bf16 "bf16" 2 Float,
    I64 "i64" 8 Signed,
    I32 "i32" 4 Signed,
    I16 "i16" 2 Signed,
    I8 "i8" 1 Signed,
    U64 "u64" 8 Unsigned,
    U32 "u32" 4 Unsigned,
    U16 "u16" 2 Unsigned,
    U8 "u8" 1 Unsigned,
    Bool "bool" 1 Truth,
}

impl Elem {
    pub fn is_float(self) -> bool {
        self.kind() == Kind::Float
    }

    /// Integers of either kind; bool is none.
    pub fn is_int(self) -> bool {
        matches!(self.kind(), Kind::Signed | Kind::Unsigned)
    }

    pub fn is_signed(self) -> bool {
        matches!(self.kind(), Kind::Float | Kind::Signed)
    }
}

impl Elem {
    /// The value of this float type that is nearest to another.
    pub fn nearest(self, value: f64) -> f64 {
        match self {
            Elem::F16 => half::f16::from_f64(value).to_f64(),
            Elem::Bf16 => half::bf16::from_f64(value).to_f64(),
            Elem::F32 => value as f32 as f64,
            _ => value,
        }
    }
}

impl fmt::Display for Elem {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Elem {
    type Err = ();

    fn from_str(text: &str) -> Result<Elem, ()> {
        Elem::ALL.iter().copied().find(|e| e.name() == text).ok_or(())
    }
}
