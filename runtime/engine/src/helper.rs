//! Functions of the engine that machine code calls.

use crate::routine;
use half::{bf16, f16};
use serde::{Deserialize, Serialize};

macro_rules! helpers {
    ($($(#[$doc:meta])* $Helper:ident($($x:ident: $ty:ty),*) -> $result:ty = $body:expr;)*) => {
        /// What code calls where a machine lacks an instruction or nothing but a function will do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Helper {
            $($(#[$doc])* $Helper),*
        }

        impl Helper {
            pub const ALL: &[Helper] = &[$(Helper::$Helper),*];

            pub fn name(self) -> &'static str {
                match self {
                    $(Helper::$Helper => stringify!($Helper)),*
                }
            }

            /// The helper of this name.
            pub fn named(name: &str) -> Option<Helper> {
                Helper::ALL.iter().copied().find(|h| h.name() == name)
            }

            /// Where the function lies, a C function of the types stated here.
            pub fn address(self) -> *const u8 {
                match self {
                    $(Helper::$Helper => {
                        extern "C" fn function($($x: $ty),*) -> $result {
                            $body
                        }
                        function as *const u8
                    })*
                }
            }
        }
    };
}

helpers! {
    FmaF32(a: f32, b: f32, c: f32) -> f32 = a.mul_add(b, c);
    FloorF32(x: f32) -> f32 = x.floor();
    CeilF32(x: f32) -> f32 = x.ceil();
    TruncF32(x: f32) -> f32 = x.trunc();
    NearestF32(x: f32) -> f32 = x.round_ties_even();
    FmaF64(a: f64, b: f64, c: f64) -> f64 = a.mul_add(b, c);
    FloorF64(x: f64) -> f64 = x.floor();
    CeilF64(x: f64) -> f64 = x.ceil();
    TruncF64(x: f64) -> f64 = x.trunc();
    NearestF64(x: f64) -> f64 = x.round_ties_even();
    Exp(x: f64) -> f64 = x.exp();
    Expm1(x: f64) -> f64 = x.exp_m1();
    Log(x: f64) -> f64 = x.ln();
    Log1p(x: f64) -> f64 = x.ln_1p();
    Sin(x: f64) -> f64 = x.sin();
    Cos(x: f64) -> f64 = x.cos();
    Atan(x: f64) -> f64 = x.atan();
    Tanh(x: f64) -> f64 = x.tanh();
    Erf(x: f64) -> f64 = tensor::erf(x);
    Pow(x: f64, y: f64) -> f64 = x.powf(y);
    Rem(x: f64, y: f64) -> f64 = x % y;
    /// The bits of an f16, in the lower half.
    HalfToF32(x: u32) -> f32 = f16::from_bits(x as u16).to_f32();
    F32ToHalf(x: f32) -> u32 = f16::from_f32(x).to_bits() as u32;
    F64ToHalf(x: f64) -> u32 = f16::from_f64(x).to_bits() as u32;
    F32ToBfloat(x: f32) -> u32 = bf16::from_f32(x).to_bits() as u32;
    F64ToBfloat(x: f64) -> u32 = bf16::from_f64(x).to_bits() as u32;
    Prefix(table: *const u64, begin: i64, end: i64) -> () = unsafe { routine::prefix(table, begin, end) };
    Order(table: *const u64, begin: i64, end: i64) -> () = unsafe { routine::order(table, begin, end) };
    Scatter(table: *const u64, begin: i64, end: i64) -> () = unsafe { routine::scatter(table, begin, end) };
    UpdateAt(table: *const u64, begin: i64, end: i64) -> () = unsafe { routine::update_at(table, begin, end) };
    ArgmaxPool(table: *const u64, begin: i64, end: i64) -> () = unsafe { routine::argmax_pool(table, begin, end) };
}
