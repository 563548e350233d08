//! Embeds sentences with all-MiniLM-L6-v2, written in `dsl-examples/bert_encoder.nn`, and prints how similar they are.
//!
//! ```text
//! scripts/fetch-minilm.sh
//! cargo run --release --example embed -- "A cat sleeps." "A kitten is napping." "Stocks fell on Monday."
//! ```

use nnc::Tensor;
use std::path::Path;
use tokenizers::Tokenizer;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Positions that the model has.
const LONGEST: usize = 512;

fn main() -> Result<(), Error> {
    let sentences: Vec<String> = std::env::args().skip(1).collect();
    if sentences.is_empty() {
        return Err("give some sentences to compare".into());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = root.join(".cache/minilm");
    if !folder.join("model.safetensors").exists() {
        return Err("the model is not there: run scripts/fetch-minilm.sh first".into());
    }
    let tokenizer = Tokenizer::from_file(folder.join("tokenizer.json"))?;
    let model =
        nnc::compile(root.join("dsl-examples/bert_encoder.nn"))?.define("dim", 384).define("layers", 6).build()?;
    let program = model.load(&[folder.join("model.safetensors")], Some("hub"))?;
    let mut session = program.session(std::thread::available_parallelism().map_or(1, |n| n.get()));

    let mut embeddings = vec![];
    for sentence in &sentences {
        let encoding = tokenizer.encode(sentence.as_str(), true)?;
        // Padding that the tokenizer adds tells the model nothing.
        let length = encoding.get_attention_mask().iter().filter(|m| **m == 1).count().min(LONGEST);
        let ids: Vec<i32> = encoding.get_ids()[..length].iter().map(|id| *id as i32).collect();
        let inputs = [
            Tensor::new(&[1, length], &ids),
            Tensor::new(&[1, length], &vec![0i32; length]),
            Tensor::new(&[1, length], &vec![true; length]),
        ];
        let hidden = session.call("forward", &inputs)?.swap_remove(0);
        embeddings.push(mean_of_tokens(&hidden.to_vec::<f32>().ok_or("the model gives floats")?, length));
    }
    print_similarities(&sentences, &embeddings);
    Ok(())
}

/// The mean over tokens of `hidden: [tokens, width]`, scaled to length 1.
fn mean_of_tokens(hidden: &[f32], tokens: usize) -> Vec<f32> {
    let width = hidden.len() / tokens;
    let mut mean = vec![0f32; width];
    for token in hidden.chunks_exact(width) {
        mean.iter_mut().zip(token).for_each(|(m, x)| *m += x);
    }
    let norm = mean.iter().map(|x| x * x).sum::<f32>().sqrt();
    mean.iter().map(|x| x / norm).collect()
}

fn print_similarities(sentences: &[String], embeddings: &[Vec<f32>]) {
    for (i, (sentence, a)) in sentences.iter().zip(embeddings).enumerate() {
        let row: Vec<String> =
            embeddings.iter().map(|b| format!("{:6.3}", a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>())).collect();
        println!("{:>2} {}   {sentence}", i + 1, row.join(" "));
    }
}
