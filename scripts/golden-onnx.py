#!/usr/bin/env python3
"""Files of ONNX with one operator each, and what ONNX Runtime computes: tests/golden/onnx/NAME.onnx and nodes.safetensors.

Needs numpy, onnx, onnxruntime and safetensors.
"""
import os

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

FOLDER = os.path.join(os.path.dirname(__file__), "..", "tests", "golden", "onnx")
random = np.random.default_rng(1)
f32 = lambda *shape: random.uniform(-2, 2, shape).astype(np.float32)
i64 = lambda *numbers: np.array(numbers, np.int64)
goldens = {}


def case(name, op, inputs, constants=(), outputs=1, opset=17, dynamic=True, **attributes):
    """`inputs` are what a caller gives, `constants` stand in the file, in the operator's order behind them; None is left out."""
    names = [f"x{i}" for i in range(len(inputs))]
    given = [f"c{i}" if c is not None else "" for i, c in enumerate(constants)]
    results = [f"y{i}" for i in range(outputs)]
    # The first axis is one that the caller chooses.
    dims = lambda x: ["N", *x.shape[1:]] if dynamic and x.ndim else list(x.shape)
    elem = lambda x: helper.np_dtype_to_tensor_dtype(x.dtype)
    save(
        name,
        [helper.make_node(op, names + given, results, **attributes)],
        [helper.make_tensor_value_info(n, elem(x), dims(x)) for n, x in zip(names, inputs)],
        [numpy_helper.from_array(np.asarray(c), f"c{i}") for i, c in enumerate(constants) if c is not None],
        results, inputs, opset,
    )


def save(name, nodes, ports, initializers, results, inputs, opset):
    ports_out = [helper.make_value_info(r, helper.make_tensor_type_proto(TensorProto.FLOAT, None)) for r in results]
    for r, port in zip(results, ports_out):
        port.type.tensor_type.ClearField("shape")
    def model():
        graph = helper.make_graph(nodes, name, ports, ports_out, initializers)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    # The types of the results are those that shape inference finds.
    inferred = {v.name: v for v in onnx.shape_inference.infer_shapes(model()).graph.output}
    for port in ports_out:
        found = inferred[port.name].type.tensor_type.elem_type
        port.type.tensor_type.elem_type = found or TensorProto.FLOAT
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(model().SerializeToString(), options)
    except Exception:
        for port in ports_out:
            port.type.tensor_type.elem_type = TensorProto.INT64
        session = onnxruntime.InferenceSession(model().SerializeToString(), options)
    got = session.run(results, {p.name: x for p, x in zip(ports, inputs)})
    for port, y in zip(ports_out, got):
        port.type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(y.dtype)
    onnx.save(model(), os.path.join(FOLDER, f"{name}.onnx"))
    goldens.update({f"{name}.input.{p.name}": np.ascontiguousarray(x) for p, x in zip(ports, inputs)})
    goldens.update({f"{name}.output.{i}": np.ascontiguousarray(y) for i, y in enumerate(got)})


def main():
    os.makedirs(FOLDER, exist_ok=True)
    x = f32(2, 3, 4, 5)
    image = f32(2, 2, 4, 6)
    case("argmax", "ArgMax", [x], axis=2, keepdims=0)
    case("argmin", "ArgMin", [x], axis=-1)
    case("celu", "Celu", [x], alpha=0.7)
    case("cumsum", "CumSum", [x], [np.array(1, np.int64)])
    case("cumsum_reverse", "CumSum", [x], [np.array(2, np.int64)], exclusive=1, reverse=1)
    case("depth_to_space", "DepthToSpace", [f32(2, 8, 2, 3)], blocksize=2)
    case("depth_to_space_crd", "DepthToSpace", [f32(2, 8, 2, 3)], blocksize=2, mode="CRD")
    case("space_to_depth", "SpaceToDepth", [image], blocksize=2)
    case("elu", "Elu", [x], alpha=0.5)
    case("gather_elements", "GatherElements", [x, random.integers(-4, 4, (2, 2, 7, 5))], axis=2, dynamic=False)
    case("scatter_elements", "ScatterElements", [x, random.permuted(np.tile(np.arange(4), (2, 3, 5, 1)), axis=3).transpose(0, 1, 3, 2).copy(), f32(2, 3, 4, 5)], axis=2, dynamic=False)
    case("scatter_elements_add", "ScatterElements", [x, random.integers(-4, 4, (2, 3, 4, 5)), f32(2, 3, 4, 5)], axis=2, reduction="add", dynamic=False)
    case("global_max_pool", "GlobalMaxPool", [x])
    case("hard_swish", "HardSwish", [x])
    case("instance_norm", "InstanceNormalization", [x], [f32(3), f32(3)])
    case("log_softmax", "LogSoftmax", [x], axis=1)
    case("max_of_three", "Max", [x, f32(4, 5), f32(2, 1, 4, 5)], dynamic=False)
    case("mean_of_two", "Mean", [x, x + 1])
    case("prelu", "PRelu", [x], [f32(3, 1, 1)])
    case("pad", "Pad", [x], [i64(0, 0, 1, 2, 0, 0, 0, 1), np.array(0.5, np.float32)])
    case("pad_cut", "Pad", [x], [i64(0, 0, -1, 2, 0, 0, 0, -2)])
    case("pad_reflect", "Pad", [x], [i64(0, 0, 2, 1, 0, 0, 1, 3)], mode="reflect")
    case("pad_edge", "Pad", [x], [i64(0, 0, 2, 1, 0, 0, 0, 3)], mode="edge")
    for op in ["L1", "L2", "LogSumExp", "Max", "Min", "Prod", "SumSquare"]:
        case(f"reduce_{op.lower()}", f"Reduce{op}", [x], axes=[1, -1], keepdims=0)
    case("reduce_sum", "ReduceSum", [x], [i64(2)])
    case("reduce_sum_none", "ReduceSum", [x], noop_with_empty_axes=1)
    case("reduce_max_18", "ReduceMax", [x], [i64(-1, 1)], opset=18)
    scales = lambda *s: np.array(s, np.float32)
    case("resize_nearest", "Resize", [image], [None, scales(1, 1, 2, 3)])
    case("resize_floor", "Resize", [image], [None, scales(1, 1, 1.5, 0.5)], coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    case("resize_linear", "Resize", [image], [None, scales(1, 1, 2, 0.5)], mode="linear")
    case("resize_corners", "Resize", [image], [None, scales(1, 1, 2, 1.5)], mode="linear", coordinate_transformation_mode="align_corners")
    case("resize_cubic", "Resize", [image], [None, scales(1, 1, 2, 1.5)], mode="cubic")
    case("resize_sizes", "Resize", [image], [None, None, i64(2, 2, 7, 3)], mode="linear", dynamic=False)
    case("round", "Round", [x * 4])
    case("selu", "Selu", [x])
    case("split", "Split", [x], [i64(1, 3)], outputs=2, axis=2)
    case("split_equal", "Split", [x], outputs=2, axis=2)
    case("split_18", "Split", [x], outputs=3, opset=18, axis=3, num_outputs=3)
    case("sum_of_three", "Sum", [x, x * x, x + 1])
    case("thresholded_relu", "ThresholdedRelu", [x], alpha=0.7)
    case("tile", "Tile", [x], [i64(1, 2, 1, 3)])
    case("trilu", "Trilu", [x], upper=0)
    case("trilu_above", "Trilu", [x], [np.array(1, np.int64)])
    case("upsample", "Upsample", [image], [scales(1, 1, 2, 2)], opset=9, mode="nearest")
    # Branches: of a condition that data decides, and of one that sizes decide.
    port = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
    branch = lambda op: helper.make_graph([helper.make_node(op, ["x0"], [f"{op}_y"])], op, [], [port(f"{op}_y")])
    choose = helper.make_node("If", ["is"], ["y0"], then_branch=branch("Relu"), else_branch=branch("Neg"))
    less = [helper.make_node("ReduceMax", ["x0"], ["most"], keepdims=0), helper.make_node("Less", ["most", "limit"], ["is"]), choose]
    limit = [numpy_helper.from_array(np.array(1.0, np.float32), "limit")]
    x0 = [helper.make_tensor_value_info("x0", TensorProto.FLOAT, ["N", 3])]
    save("if_data", less, x0, limit, ["y0"], [f32(4, 3)], 17)
    one = [numpy_helper.from_array(np.array(3, np.int64), "n"), numpy_helper.from_array(np.array(1, np.int64), "axis")]
    sizes = [helper.make_node("Shape", ["x0"], ["shape"]), helper.make_node("Gather", ["shape", "axis"], ["size"]),
             helper.make_node("Equal", ["size", "n"], ["is"]), choose]
    save("if_sizes", sizes, x0, one, ["y0"], [f32(4, 3)], 17)
    save_file(goldens, os.path.join(FOLDER, "nodes.safetensors"))


if __name__ == "__main__":
    main()
