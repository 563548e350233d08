//! Lowering: each file of `tests/lower` is a graph; its kernels with their schedules, and where buffers lie, are the
//! snapshot beside it.

use graph::Graph;
use lower::{Lowered, Target};
use passes::Cx;
use std::fmt::Write;

#[test]
fn kernels() {
    insta::glob!("..", "lower/*.graph", |path| {
        let failed = |e: &dyn std::fmt::Display| -> ! { panic!("{}: {e}", path.display()) };
        let text = std::fs::read_to_string(path).expect("a case is text");
        let mut graph = Graph::parse(&text).unwrap_or_else(|e| failed(&e));
        passes::run(&mut graph, &mut Cx::default(), None, &mut |_, _, _| {}).unwrap_or_else(|e| failed(&e));
        let changing = |name: &str| graph.updates.iter().any(|(i, _)| graph.operands[*i].name == name);
        let target = Target { lanes: 16, registers: 32 };
        let text = match lower::lower(&graph, &target, &changing, &|_| Ok(())) {
            Ok(lowered) => shown(&lowered),
            Err(e) => e.to_string(),
        };
        let case = path.file_stem().and_then(|n| n.to_str()).expect("files have plain names");
        insta::with_settings!({
            snapshot_path => path.parent().expect("a file lies in a folder"), snapshot_suffix => "",
            prepend_module_to_snapshot => false, omit_expression => true,
        }, {
            insta::assert_snapshot!(case, text);
        });
    });
}

fn shown(lowered: &Lowered) -> String {
    let mut text = String::new();
    for step in &lowered.steps {
        let step = match step {
            lower::Step::Launch(launch) => launch,
            lower::Step::Loop(around) => {
                write!(text, "loop {} around {} steps\n\n", around.count, around.steps).expect("a string");
                continue;
            }
        };
        let made = &lowered.kernels[step.kernel];
        let places = step.buffers.iter().zip(&made.kernel.buffers).map(|(at, buffer)| {
            let place = match &lowered.buffers[*at].place {
                lower::Place::Constant { .. } => "constant".into(),
                lower::Place::Part { of, start, motion } => {
                    let motion = motion.as_ref().map_or(String::new(), |(step, motion)| match motion {
                        lower::Motion::Stride(bytes) => format!(", step {step} moves it {bytes}"),
                        lower::Motion::Turn(bytes) => format!(", step {step} moves it to {bytes} and back"),
                    });
                    format!("{start} of {of}{motion}")
                }
                place => format!("{place:?}"),
            };
            format!("{} {place}", buffer.name)
        });
        let places = places.collect::<Vec<_>>().join(", ");
        let sizes: Vec<String> = step.sizes.iter().map(|d| d.to_string()).collect();
        write!(text, "{}{}\n{places}; sizes [{}]\n\n", made.kernel, made.schedule, sizes.join(", ")).expect("a string");
    }
    text
}
