//! Pictures of graphs: one box for each kernel, or for each node where there are no kernels yet.

use graph::{Graph, Op, Storage, Value};
use petgraph::stable_graph::{NodeIndex, StableDiGraph};
use rust_sugiyama::configure::{Config, RankingType};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// What is drawn of graphs.
#[derive(Default)]
struct Drawing {
    boxes: Vec<Shape>,
    /// From one box to another, with the types of what flows.
    arrows: BTreeMap<(usize, usize), BTreeSet<String>>,
}

/// A box: its lines, and the colour that its kind has.
struct Shape {
    lines: Vec<String>,
    colour: &'static str,
}

/// Colours by what a box is; those of kernels by the kind of their group.
const COLOURS: &[(&str, &str)] = &[
    ("input", "#e8e8e8"),
    ("output", "#e8e8e8"),
    ("cache", "#f6e3f3"),
    ("node", "#ffffff"),
    ("pointwise", "#e3f1e3"),
    ("row", "#fdf3d0"),
    ("contraction", "#dce9f9"),
    ("attention", "#d3dcf5"),
    ("scan", "#f9e0d6"),
];

fn colour(kind: &str) -> &'static str {
    COLOURS.iter().find(|(known, _)| *known == kind).map_or("#ffffff", |(_, colour)| colour)
}

/// The graph in Graphviz's language.
///
/// ```
/// let model = nnc::compile_text("m.nn", "model M(x: [B]) -> [B] = relu(x)").build()?;
/// let graph = &model.compiled[0].graph;
/// assert!(nnc::drawing::dot(graph).contains("n0 -> n1"));
/// assert!(nnc::drawing::svg([graph]).ends_with("</svg>\n"));
/// # Ok::<(), nnc::Error>(())
/// ```
pub fn dot(graph: &Graph) -> String {
    let mut drawing = Drawing::default();
    drawing.add_graph(graph);
    let mut out = format!("digraph {:?} {{\n", graph.name);
    out.push_str("  node [shape=box, style=\"filled,rounded\", fontname=\"monospace\", fontsize=10];\n");
    out.push_str("  edge [fontname=\"monospace\", fontsize=8];\n");
    for (i, shape) in drawing.boxes.iter().enumerate() {
        let _ = writeln!(out, "  n{i} [label={:?}, fillcolor=\"{}\"];", shape.lines.join("\n"), shape.colour);
    }
    for ((from, to), types) in &drawing.arrows {
        let _ = writeln!(out, "  n{from} -> n{to} [label={:?}];", label(types));
    }
    out.push_str("}\n");
    out
}

/// Graphs as one SVG picture, each from top to bottom.
pub fn svg<'g>(graphs: impl IntoIterator<Item = &'g Graph>) -> String {
    const LINE: f64 = 14.0;
    const MARGIN: f64 = 20.0;
    let mut drawing = Drawing::default();
    graphs.into_iter().for_each(|graph| drawing.add_graph(graph));
    let mut layout = StableDiGraph::<&Shape, ()>::new();
    let nodes: Vec<NodeIndex> = drawing.boxes.iter().map(|shape| layout.add_node(shape)).collect();
    drawing.arrows.keys().for_each(|(from, to)| _ = layout.add_edge(nodes[*from], nodes[*to], ()));
    let size = |shape: &Shape| {
        let widest = shape.lines.iter().map(|l| l.chars().count()).max().unwrap_or(0);
        (widest as f64 * 7.3 + 16.0, shape.lines.len() as f64 * LINE + 10.0)
    };
    // Ranks as early as can be, and no swapping of neighbours: both take minutes on a model of a thousand nodes.
    let config = Config { ranking_type: RankingType::Up, transpose: false, vertex_spacing: 30.0, ..Config::default() };
    let mut centres = vec![(0.0, 0.0); drawing.boxes.len()];
    let (mut right, mut bottom) = (MARGIN, 0f64);
    // Parts that nothing connects stand side by side.
    for (part, ..) in rust_sugiyama::from_graph(&layout, &|_, shape| size(shape), &config) {
        let corner = |node: NodeIndex, (x, y): (f64, f64), side: f64| {
            let (width, height) = size(layout[node]);
            (x + side * width / 2.0, y + side * height / 2.0)
        };
        let least = |a: (f64, f64), b: (f64, f64)| (a.0.min(b.0), a.1.min(b.1));
        let most = |a: (f64, f64), b: (f64, f64)| (a.0.max(b.0), a.1.max(b.1));
        let start = part.iter().map(|(n, at)| corner(*n, *at, -1.0)).reduce(least).unwrap_or_default();
        let end = part.iter().map(|(n, at)| corner(*n, *at, 1.0)).reduce(most).unwrap_or_default();
        for (node, (x, y)) in part {
            centres[node.index()] = (x - start.0 + right, y - start.1 + MARGIN);
        }
        right += end.0 - start.0 + MARGIN;
        bottom = bottom.max(end.1 - start.1);
    }
    let mut out = String::new();
    let _ = writeln!(
        out,
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{:.0}" height="{:.0}" font-family="monospace" font-size="12">"##,
        right,
        bottom + 2.0 * MARGIN
    );
    let _ = writeln!(out, r##"<style>text {{ text-anchor: middle }} path {{ fill: none; stroke: #888 }}</style>"##);
    for ((from, to), types) in &drawing.arrows {
        let (start, end) = (centres[*from], centres[*to]);
        let y0 = start.1 + size(&drawing.boxes[*from]).1 / 2.0;
        let y1 = end.1 - size(&drawing.boxes[*to]).1 / 2.0;
        let bend = (y0 + y1) / 2.0;
        let _ = writeln!(
            out,
            r##"<path d="M{:.0} {y0:.0} C{:.0} {bend:.0} {:.0} {bend:.0} {:.0} {y1:.0}"><title>{}</title></path>"##,
            start.0,
            start.0,
            end.0,
            end.0,
            escaped(&label(types))
        );
    }
    for (shape, (x, y)) in drawing.boxes.iter().zip(&centres) {
        let (width, height) = size(shape);
        let (left, top) = (x - width / 2.0, y - height / 2.0);
        let _ = writeln!(
            out,
            r##"<rect x="{left:.0}" y="{top:.0}" width="{width:.0}" height="{height:.0}" rx="4" fill="{}" stroke="#555"/>"##,
            shape.colour
        );
        for (i, line) in shape.lines.iter().enumerate() {
            let _ =
                writeln!(out, r#"<text x="{x:.0}" y="{:.0}">{}</text>"#, top + 15.0 + i as f64 * LINE, escaped(line));
        }
    }
    out.push_str("</svg>\n");
    out
}

fn label(types: &BTreeSet<String>) -> String {
    types.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
}

/// Text inside of XML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

impl Drawing {
    fn add_graph(&mut self, graph: &Graph) {
        // The box that each value comes from.
        let mut source: BTreeMap<Value, usize> = BTreeMap::new();
        for operand in graph.operands.iter().filter(|o| o.storage != Storage::Param) {
            let kind = if operand.storage == Storage::Input { "input" } else { "cache" };
            source.insert(operand.value, self.add(vec![operand.name.clone()], kind));
        }
        let grouped: BTreeSet<u32> = graph.groups.iter().flat_map(|g| &g.nodes).map(|v| v.node).collect();
        let groups = graph.groups.iter().enumerate();
        let of_root: BTreeMap<u32, usize> =
            groups.flat_map(|(i, g)| g.roots.iter().map(move |r| (r.node, i))).collect();
        let (mut parts, mut drawn): (Vec<(Vec<Value>, &str)>, BTreeSet<usize>) = (vec![], BTreeSet::new());
        for value in graph.order() {
            match of_root.get(&value.node) {
                Some(group) if drawn.insert(*group) => {
                    parts.push((graph.groups[*group].nodes.clone(), graph.groups[*group].kind.name()));
                }
                Some(_) => {}
                None if grouped.contains(&value.node) || matches!(graph.op(value), Op::Operand(_)) => {}
                None => parts.push((vec![value], "node")),
            }
        }
        for (nodes, kind) in parts {
            let inside = |v: &Value| nodes.iter().any(|n| n.node == v.node);
            let lines: Vec<String> = nodes.iter().map(|v| line(graph, *v)).collect();
            let to = self.add(lines, kind);
            for value in nodes.iter().flat_map(|v| &graph.node(*v).operands).filter(|v| !inside(v)) {
                self.connect(graph, *value, &source, to);
            }
            for node in &nodes {
                for result in 0..graph.node(*node).types.len() as u32 {
                    // What views give belongs to each group that computes it; roots have one place.
                    source.insert(Value { node: node.node, result }, to);
                }
            }
        }
        for (name, value) in &graph.outputs {
            let to = self.add(vec![name.clone()], "output");
            self.connect(graph, *value, &source, to);
        }
        for (operand, value) in &graph.updates {
            let to = self.add(vec![format!("next {}", graph.operands[*operand].name)], "cache");
            self.connect(graph, *value, &source, to);
        }
    }

    fn add(&mut self, lines: Vec<String>, kind: &str) -> usize {
        self.boxes.push(Shape { lines, colour: colour(kind) });
        self.boxes.len() - 1
    }

    fn connect(&mut self, graph: &Graph, value: Value, source: &BTreeMap<Value, usize>, to: usize) {
        if let Some(from) = source.get(&value) {
            self.arrows.entry((*from, to)).or_default().insert(graph.ty(value).to_string());
        }
    }
}

/// An operator, and the parameters that it reads.
fn line(graph: &Graph, value: Value) -> String {
    let node = graph.node(value);
    let parameter = |v: &Value| graph.operands.iter().find(|o| o.value == *v && o.storage == Storage::Param);
    let parameters: Vec<&str> = node.operands.iter().filter_map(parameter).map(|o| o.name.as_str()).collect();
    match parameters.is_empty() {
        true => node.op.name().to_string(),
        false => format!("{} {}", node.op.name(), parameters.join(", ")),
    }
}
