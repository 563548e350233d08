fn main() {
    let text = std::io::read_to_string(std::io::stdin()).unwrap();
    let graph = graph::Graph::parse(&text).unwrap();
    let model = nnc::compile_graph(graph).build().unwrap();
    let c = &model.compiled[0];
    println!("{}", c.graph);
    for (i, b) in c.lowered.buffers.iter().enumerate() {
        println!("b{i} {:?}", b.place);
    }
    for s in &c.lowered.steps {
        let k = &c.lowered.kernels[s.kernel];
        println!(
            "{}{}\nbuffers {:?} sizes {:?}",
            k.kernel,
            k.schedule,
            s.buffers,
            s.sizes.iter().map(|d| d.to_string()).collect::<Vec<_>>()
        );
        if std::env::var_os("FULL").is_some() {
            println!("{}", k.scheduled);
        }
    }
}
