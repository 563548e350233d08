//! Lowering: each file of `tests/lower` is a graph; its kernels with their schedules, and where buffers lie, are the
//! snapshot beside it.

use graph::Graph;
use lower::{Lowered, LoweredKernel, Target};
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
        let target = Target::Cpu(lower::Vectors { lanes: 16, registers: 32 });
        let text = match lower::lower(&graph, &target, &changing, &lower::NoCode) {
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

fn shown(lowered: &Lowered<()>) -> String {
    let mut text = String::new();
    for step in &lowered.steps {
        let step = match step {
            lower::Step::Launch(launch) => launch,
            lower::Step::Loop(around) => {
                write!(text, "loop {} around {} steps\n\n", around.count, around.steps).expect("a string");
                continue;
            }
            lower::Step::Size(size) => {
                write!(text, "size {} from {}\n\n", size.name, size.buffer).expect("a string");
                continue;
            }
        };
        let made = &lowered.kernels[step.kernel];
        let place = |at: &usize| match &lowered.buffers[*at].place {
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
        let (what, places): (String, Vec<String>) = match made {
            LoweredKernel::Loops(loops) => {
                let named = step.buffers.iter().zip(&loops.kernel.buffers);
                let places = named.map(|(at, buffer)| format!("{} {}", buffer.name, place(at)));
                (format!("{}{}", loops.kernel, loops.schedule), places.collect())
            }
            LoweredKernel::Extern(external, _) => {
                (format!("extern {}", external.symbol), step.buffers.iter().map(place).collect())
            }
            LoweredKernel::Routine(r) => (format!("routine {}", r.name), step.buffers.iter().map(place).collect()),
        };
        let places = places.join(", ");
        let sizes: Vec<String> = step.sizes.iter().map(|d| d.to_string()).collect();
        write!(text, "{what}\n{places}; sizes [{}]\n\n", sizes.join(", ")).expect("a string");
    }
    text
}
