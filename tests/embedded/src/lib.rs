//! Reads digits with a network that was compiled when this crate was built.

use engine::{Program, Session};
use std::sync::Arc;
use tensor::Tensor;

static DIGITS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/digits.nnc"));

/// Which digit a picture shows: 8 x 8 pixels from 0 to 1, white on black.
pub fn digit(pixels: &[f32; 64]) -> Result<usize, Box<dyn std::error::Error>> {
    let program = Program::from_bytes(DIGITS)?;
    let mut session = Session::new(Arc::new(program), 1);
    let forward = session.entry_index("forward")?;
    let probability = session.results(forward, &[Tensor::new(&[1, 8, 8], pixels)])?[0].to_f64();
    Ok((0..probability.len()).max_by(|a, b| probability[*a].total_cmp(&probability[*b])).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::process::Command;

    #[test]
    fn a_seven_is_read() {
        let seven = tensor::npy::read(Path::new("../../dsl-examples/data/seven.npy")).unwrap();
        let pixels: Vec<f32> = seven.to_f64().into_iter().map(|x| x as f32).collect();
        assert_eq!(digit(pixels[..].try_into().unwrap()).unwrap(), 7);
    }

    #[test]
    fn the_compiler_is_not_in_it() {
        let tree = Command::new(env!("CARGO"))
            .args(["tree", "--package", "nnc-embedded", "--edges", "normal", "--prefix", "none", "--offline"])
            .output()
            .unwrap();
        let tree = String::from_utf8(tree.stdout).unwrap();
        let ours: Vec<&str> =
            tree.lines().filter_map(|l| l.split(' ').next()).filter(|n| n.starts_with("nnc")).collect();
        assert_eq!(ours, ["nnc-embedded", "nnc-engine", "nnc-tensor", "nnc-tensor"]);
        assert!(!tree.contains("cranelift"));
    }
}
