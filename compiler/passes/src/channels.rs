//! Images are stored with their channels last where convolutions compute and read them: a kernel's vectors run along the
//! channels, so that it stores them as they come, and the channels of a pixel lie in one line of the cache. Shapes stay as
//! they are. What is stored is a transpose, and readers turn it back, which is a view.

use crate::Cx;
use graph::{Class, Dim, Graph, Group, GroupKind, Op, OpError, Storage, Value, ops};
use std::collections::{BTreeMap, BTreeSet};

/// Images of fewer channels leave most of a vector empty.
const CHANNELS: i64 = 16;

/// Turns what the groups store and what is better stored so; gives the values that then have to lie in memory.
pub fn last(graph: &mut Graph, groups: &[Group], cx: &mut Cx) -> Result<BTreeSet<Value>, OpError> {
    let mut stored = BTreeSet::new();
    let order = graph.order();
    // Weights that change have no layout that suits vectors. Groups of few channels take theirs along rows, and images that
    // are turned back and forth around them cost more than is gained.
    let suits = graph.updates.is_empty() && !order.iter().any(|v| narrow(graph, *v));
    if !cx.channels_last || !suits || !order.iter().any(|v| dense(graph, *v)) {
        return Ok(stored);
    }
    for (image, readers) in settled(graph, groups) {
        if !cx.spend("channels last") {
            break;
        }
        let (rank, origin) = (graph.ty(image).rank(), graph.node(image).origin.clone());
        let last = [0].into_iter().chain(2..rank).chain([1]).collect();
        let back = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
        let turned = graph.push(ops::Transpose { order: last }, &[image], &origin)?;
        let read = graph.push(ops::Transpose { order: back }, &[turned], &origin)?;
        for (reader, position) in readers {
            graph.set_operand(reader, position, read);
        }
        stored.insert(turned);
    }
    Ok(stored)
}

/// Places where an image is read: nodes and positions of operands.
type Readers = Vec<(Value, usize)>;

/// What is to be stored with its channels last, so that what takes its vectors in the order that it stores finds such
/// images and makes such.
fn settled(graph: &Graph, groups: &[Group]) -> BTreeMap<Value, Readers> {
    let mut stay = BTreeSet::new();
    loop {
        let chosen = chosen(graph, groups, &stay);
        let before = stay.len();
        for group in groups.iter().filter(|g| g.nodes.iter().any(|n| in_order(graph, *n))) {
            if !group.roots.iter().all(|root| chosen.contains_key(root)) {
                stay.extend(
                    group.nodes.iter().flat_map(|n| &graph.node(*n).operands).filter(|v| chosen.contains_key(v)),
                );
            }
        }
        if stay.len() == before {
            return chosen;
        }
    }
}

/// What is to be stored with its channels last, `stay` left out, and who reads it outside of the kernel that makes it.
fn chosen(graph: &Graph, groups: &[Group], stay: &BTreeSet<Value>) -> BTreeMap<Value, Readers> {
    let roots: BTreeSet<Value> = groups.iter().flat_map(|g| g.roots.clone()).collect();
    let stay: BTreeSet<Value> = graph.leaving().chain(stay.iter().copied()).collect();
    let mut chosen = BTreeMap::new();
    for group in groups {
        for root in group.roots.iter().filter(|root| !stay.contains(root) && is_image(graph, **root)) {
            let makes = match group.kind {
                _ if group.nodes.iter().any(|n| dense(graph, *n)) => true,
                // Of images with channels last, or for a convolution.
                GroupKind::Pointwise | GroupKind::Contraction => {
                    let rank = graph.ty(*root).rank();
                    let operands = group.nodes.iter().flat_map(|n| graph.node(*n).operands.clone());
                    let mut images = operands.filter(|v| roots.contains(v) && graph.ty(*v).rank() == rank);
                    images.any(|image| chosen.contains_key(&image))
                        || graph.users(*root).iter().any(|user| dense(graph, *user))
                }
                GroupKind::Row | GroupKind::Attention | GroupKind::Scan => false,
            };
            if let Some(readers) = readers(graph, group, *root).filter(|_| makes) {
                chosen.insert(*root, readers);
            }
        }
    }
    chosen
}

/// A convolution of all channels, whose weights belong to the model.
fn dense(graph: &Graph, node: Value) -> bool {
    let Op::Conv(conv) = graph.op(node) else { return false };
    let mut weight = graph.node(node).operands[1];
    while graph.is_view(weight)
        && let [of] = graph.node(weight).operands[..]
    {
        weight = of;
    }
    let stored = |o: &graph::Operand| o.value == weight && o.storage != Storage::Input;
    let constant = matches!(graph.op(weight), Op::Constant(_));
    conv.groups == 1 && (constant || graph.operands.iter().any(stored))
}

/// A convolution of groups that have few channels each.
fn narrow(graph: &Graph, node: Value) -> bool {
    let Op::Conv(conv) = graph.op(node) else { return false };
    let outputs = &graph.ty(graph.node(node).operands[1]).dims[conv.apart as usize];
    conv.apart && outputs.as_int().is_none_or(|n| n < CHANNELS)
}

/// A window that each channel has for itself, or one of a single point, which is a product: its vectors run along what it
/// stores, so that an image in another order would be copied first.
fn in_order(graph: &Graph, node: Value) -> bool {
    match graph.op(node) {
        Op::Conv(conv) => {
            let taps = &graph.ty(graph.node(node).operands[1]).dims[2..];
            let point = taps.iter().all(|n| *n == Dim::int(1)) && conv.stride.iter().all(|n| *n == 1);
            !conv.apart && (conv.groups > 1 || point)
        }
        op => matches!(op, Op::Pool(_)),
    }
}

/// An image: a batch, channels enough for vectors, and at least one axis more. How far apart channels lie is known, so that
/// vectors turn them wherever they meet what is stored otherwise.
fn is_image(graph: &Graph, value: Value) -> bool {
    let dims = &graph.ty(value).dims;
    let known = dims.iter().skip(1).all(|n| n.as_int().is_some());
    known && dims.len() > 2 && dims[1].as_int().is_some_and(|n| n >= CHANNELS)
}

/// The readers of an image outside of its group, if all of them take elements in any order of axes.
fn readers(graph: &Graph, group: &Group, image: Value) -> Option<Readers> {
    let mut readers = vec![];
    for user in graph.users(image) {
        if group.nodes.contains(&user) {
            // Who else reads through such a view is not known.
            if graph.is_view(user) {
                return None;
            }
            continue;
        }
        if !turns(graph, user, image) {
            return None;
        }
        let operands = graph.node(user).operands.iter().enumerate();
        readers.extend(operands.filter(|(_, v)| **v == image).map(|(i, _)| (user, i)));
    }
    (!readers.is_empty()).then_some(readers)
}

/// Whether a node reads the image as well in another order of axes.
fn turns(graph: &Graph, user: Value, image: Value) -> bool {
    let dims = &graph.ty(image).dims;
    let users = graph.users(user);
    let each = |suits: &dyn Fn(&Value) -> bool| !users.is_empty() && users.iter().all(suits);
    match graph.op(user) {
        Op::Conv(conv) if !conv.apart => graph.node(user).operands[0] == image,
        Op::Pool(_) | Op::Pad(_) | Op::Concat(_) => true,
        // Groups as an axis of their own.
        Op::Reshape(reshape) => reshape.splits_only(dims) && each(&|u| matches!(graph.op(*u), Op::Conv(_))),
        Op::Slice(_) | Op::StopGradient(_) | Op::Cast(_) => each(&|u| turns(graph, *u, user)),
        op => match op.class() {
            Class::Pointwise => !op.is_view() && graph.ty(user).dims == *dims,
            Class::Reduce(axes) => !axes.contains(&0) && !axes.contains(&1),
            Class::Contract => false,
        },
    }
}
