//! What the runners share: operator cases, scalars to differentiate, operators as kernels of their own, machine code run on arrays, random graphs.

pub mod case;
pub mod emulated;
pub mod gradient;
pub mod kernels;
pub mod machine;
pub mod models;
pub mod random;

/// The folder of cases, also on another machine than the one that this was built on.
pub fn folder() -> &'static std::path::Path {
    let built = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    if built.exists() { built } else { std::path::Path::new("tests") }
}
