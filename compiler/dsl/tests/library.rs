//! The standard library against values worked out from definitions: `library/reference.py` writes them.

use diag::SourceMap;
use graph::{Array, Graph, interpret};
use serde_json::Value;
use std::collections::HashMap;

/// Largest difference, relative to the largest magnitude of what is expected.
const TOLERANCE: f64 = 1e-6;

fn array(value: &Value, elem: graph::Elem) -> Array {
    let shape = value["shape"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect();
    let data = value["data"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap_or(f64::NAN)).collect();
    Array::new(elem, shape, data)
}

fn graph_of(text: &str) -> Result<Graph, String> {
    let mut sources = SourceMap::default();
    let id = sources.add("model.nn", text);
    match dsl::elaborate_all(&mut sources, id, None, &[]) {
        // A step of training is what such a case is about.
        Ok((_, mut training)) if !training.is_empty() => Ok(training.remove(0).steps.remove(0).graph),
        Ok((mut model, _)) => Ok(model.entries.remove(0).graph),
        Err(errors) => Err(errors.iter().map(|e| e.render(&sources, false)).collect::<Vec<_>>().join("\n\n")),
    }
}

fn check(case: &Value) -> Result<(), String> {
    let graph = graph_of(case["text"].as_str().unwrap())?;
    graph.verify().map_err(|e| e.to_string())?;
    let mut inputs = vec![];
    for operand in &graph.operands {
        let given = &case["given"][&operand.name];
        if given.is_null() {
            return Err(format!("{:?} `{}` is not given", operand.storage, operand.name));
        }
        inputs.push(array(given, graph.ty(operand.value).elem));
    }
    let unused = case["given"].as_object().unwrap().keys().find(|k| !graph.operands.iter().any(|o| o.name == **k));
    if let Some(name) = unused {
        return Err(format!("there is no `{name}`"));
    }
    let values = interpret::values(&graph, &inputs).map_err(|e| e.to_string())?;
    let updates = graph.updates.iter().map(|(i, v)| (graph.operands[*i].name.as_str(), *v));
    let outputs = graph.outputs.iter().map(|(n, v)| (n.as_str(), *v));
    let results: HashMap<&str, graph::Value> = outputs.chain(updates).collect();
    for (name, expected) in case["expected"].as_object().unwrap() {
        let value = *results.get(name.as_str()).ok_or(format!("nothing comes out as `{name}`"))?;
        let (got, expected) = (&values[&value], array(expected, graph.ty(value).elem));
        if got.shape != expected.shape {
            return Err(format!("`{name}` has shape {:?}, expected {:?}", got.shape, expected.shape));
        }
        let most = expected.data.iter().fold(1.0, |m: f64, x| m.max(x.abs()));
        for (i, (x, y)) in got.data.iter().zip(&expected.data).enumerate() {
            if (x - y).abs() > TOLERANCE * most {
                return Err(format!("`{name}`[{i}] is {x}, expected {y}"));
            }
        }
    }
    Ok(())
}

#[test]
fn definitions_agree() {
    let cases: Value = serde_json::from_str(include_str!("library/expected.json")).unwrap();
    let failed = |case: &Value| check(case).err().map(|e| format!("{}: {e}", case["name"].as_str().unwrap()));
    let failures: Vec<String> = cases.as_array().unwrap().iter().filter_map(failed).collect();
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n\n"));
}
