//! What the runners share: operator cases, scalars to differentiate, operators as kernels of their own, machine code run on arrays, random graphs.

pub mod case;
pub mod gradient;
pub mod kernels;
pub mod machine;
pub mod random;
