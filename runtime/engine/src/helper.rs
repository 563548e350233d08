//! Functions of the engine that machine code calls.

use serde::{Deserialize, Serialize};

macro_rules! helpers {
    ($($(#[$doc:meta])* $Helper:ident($($x:ident: $ty:ty),*) -> $result:ty = $body:expr;)*) => {
        /// What code calls where a machine lacks an instruction.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Helper {
            $($(#[$doc])* $Helper),*
        }

        impl Helper {
            pub const ALL: &[Helper] = &[$(Helper::$Helper),*];

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
    Fma(a: f32, b: f32, c: f32) -> f32 = a.mul_add(b, c);
    Floor(x: f32) -> f32 = x.floor();
    Ceil(x: f32) -> f32 = x.ceil();
    Trunc(x: f32) -> f32 = x.trunc();
    Nearest(x: f32) -> f32 = x.round_ties_even();
}
