#!/usr/bin/env python3
"""Models and single kernels on nnc beside ONNX Runtime and OpenVINO: the same numbers, one run, in turn.

    scripts/fetch-minilm.sh                        # for the case minilm
    cargo build --release
    pip install numpy onnx onnxruntime openvino
    python3 benches/peers.py [CASE…] [--threads 1,2] [--rounds 3] [--seconds 3] [--out FILE.json]

Each side runs in a process of its own, bound to as many cores as it has threads. ONNX files are made here, MiniLM's
from the safetensors file, in the operators that PyTorch's exporter writes; OpenVINO is told to compute in f32. The
median of the rounds' medians counts. Prints a table with the ratio of nnc to the faster peer.
"""
import argparse, json, os, statistics, subprocess, sys, tempfile, time

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HEADS, LAYERS, WIDTH, TOKENS = 12, 6, 384, 128


def read_safetensors(path):
    with open(path, "rb") as f:
        size = int.from_bytes(f.read(8), "little")
        header = json.loads(f.read(size))
        data = f.read()
    kinds = {"F32": np.float32, "I64": np.int64}
    return {
        name: np.frombuffer(data[slice(*info["data_offsets"])], kinds[info["dtype"]]).reshape(info["shape"])
        for name, info in header.items()
        if name != "__metadata__"
    }


def save(nodes, inputs, shape, initializers, path):
    import onnx
    from onnx import TensorProto, helper

    kinds = {"f": TensorProto.FLOAT, "i": TensorProto.INT64}
    info = helper.make_tensor_value_info
    inputs = [info(name, kinds[array.dtype.kind], list(array.shape)) for name, array in inputs.items()]
    graph = helper.make_graph(nodes, "case", inputs, [info("y", TensorProto.FLOAT, shape)], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def minilm(folder, weights_file):
    from onnx import TensorProto, helper, numpy_helper

    weights = read_safetensors(weights_file)
    ids = np.random.default_rng(0).integers(1000, 30000, (1, TOKENS))
    inputs = {"ids": ids, "segments": np.zeros_like(ids), "mask": np.ones_like(ids)}
    nodes, initializers = [], []

    def constant(name, array):
        initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(op, *inputs, **attributes):
        out = f"{op.lower()}_{len(nodes)}"
        nodes.append(helper.make_node(op, list(inputs), [out], **attributes))
        return out

    def linear(x, name):
        w = constant(name + ".weight", weights[name + ".weight"].T)
        return node("Add", node("MatMul", x, w), constant(name + ".bias", weights[name + ".bias"]))

    def norm(x, name):
        scale, bias = (constant(f"{name}.{part}", weights[f"{name}.{part}"]) for part in ("weight", "bias"))
        return node("LayerNormalization", x, scale, bias, axis=-1, epsilon=1e-12)

    def gelu(x):
        half, one, root = (constant(f"c{len(nodes)}{v}", np.float32(v)) for v in (0.5, 1.0, 2**0.5))
        cdf = node("Add", node("Erf", node("Div", x, root)), one)
        return node("Mul", node("Mul", x, cdf), half)

    def heads(x):
        shape = constant(f"shape{len(nodes)}", np.array([0, 0, HEADS, WIDTH // HEADS]))
        return node("Reshape", x, shape)

    word = node("Gather", constant("word", weights["embeddings.word_embeddings.weight"]), "ids")
    kind = node("Gather", constant("kind", weights["embeddings.token_type_embeddings.weight"]), "segments")
    length = node("Shape", "ids", start=1, end=2)
    zero, axis = constant("zero", np.array([0])), constant("axis", np.array([0]))
    place = node("Slice", constant("place", weights["embeddings.position_embeddings.weight"]), zero, length, axis)
    x = norm(node("Add", node("Add", word, kind), place), "embeddings.LayerNorm")
    off = node("Sub", constant("on", np.float32(1)), node("Cast", "mask", to=TensorProto.FLOAT))
    off = node("Unsqueeze", node("Mul", off, constant("low", np.float32(-1e30))), constant("axes", np.array([1, 2])))
    for i in range(LAYERS):
        at = f"encoder.layer.{i}."
        q, k, v = (heads(linear(x, f"{at}attention.self.{part}")) for part in ("query", "key", "value"))
        q, v = (node("Transpose", t, perm=[0, 2, 1, 3]) for t in (q, v))
        scores = node("MatMul", q, node("Transpose", k, perm=[0, 2, 3, 1]))
        scores = node("Div", scores, constant(f"scale{i}", np.float32((WIDTH // HEADS) ** 0.5)))
        y = node("MatMul", node("Softmax", node("Add", scores, off), axis=-1), v)
        flat = constant(f"flat{i}", np.array([0, 0, WIDTH]))
        y = node("Reshape", node("Transpose", y, perm=[0, 2, 1, 3]), flat)
        x = norm(node("Add", linear(y, at + "attention.output.dense"), x), at + "attention.output.LayerNorm")
        y = linear(gelu(linear(x, at + "intermediate.dense")), at + "output.dense")
        x = norm(node("Add", y, x), at + "output.LayerNorm")
    nodes.append(helper.make_node("Identity", [x], ["y"]))
    save(nodes, inputs, [1, TOKENS, WIDTH], initializers, os.path.join(folder, "case.onnx"))
    own = {"ids": np.int32, "segments": np.int32, "mask": np.bool_}
    model = ["dsl-examples/bert_encoder.nn", "-D", "dim=384", "-D", "layers=6", "--weights", weights_file]
    return inputs, {name: inputs[name].astype(kind) for name, kind in own.items()}, model, "hidden"


def kernel(source, shapes, nodes, shape, weights={}):
    """A case of a few operators: the model's text, its inputs' shapes, the ONNX nodes as (op, inputs, attributes).

    Weights are a name in the model's file and a shape, or no name and the values."""

    def build(folder, _):
        from onnx import helper, numpy_helper

        random = np.random.default_rng(0)
        inputs = {name: random.standard_normal(s).astype(np.float32) for name, s in shapes.items()}
        initializers, file = [], {}
        for name, (own, s) in weights.items():
            given = isinstance(s, np.ndarray)
            array = s if given else (random.standard_normal(s) * 0.05).astype(np.float32)
            initializers.append(numpy_helper.from_array(array, name))
            if not given:
                file[own] = array
        made = []
        for i, (op, operands, attributes) in enumerate(nodes):
            out = "y" if i + 1 == len(nodes) else f"t{i}"
            made.append(helper.make_node(op, operands, [out], **attributes))
        save(made, inputs, shape, initializers, os.path.join(folder, "case.onnx"))
        with open(os.path.join(folder, "case.nn"), "w") as f:
            f.write(source + "\n")
        model = [os.path.join(folder, "case.nn")]
        if file:
            write_safetensors(file, os.path.join(folder, "case.safetensors"))
            model += ["--weights", os.path.join(folder, "case.safetensors")]
        return inputs, inputs, model, "output"

    return build


def write_safetensors(tensors, path):
    header, blob = {}, b""
    for name, array in tensors.items():
        data = array.tobytes()
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [len(blob), len(blob) + len(data)]}
        blob += data
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text + blob)


def convolution(channels, out, taps, size, stride=1, groups=1):
    pad = taps // 2
    to = (size + 2 * pad - taps) // stride + 1
    options = f"pad = {pad}, stride = {stride}, groups = {groups}, bias = false"
    source = f"model M(x: [1, {channels}, {size}, {size}]) -> [1, {out}, {to}, {to}] = x |> c: Conv2d({out}, {taps}, {options})"
    node = ("Conv", ["x", "w"], {"pads": [pad] * 4, "strides": [stride] * 2, "group": groups})
    weights = {"w": ("c.weight", [out, channels // groups, taps, taps])}
    return kernel(source, {"x": [1, channels, size, size]}, [node], [1, out, to, to], weights)


HEAD = [1, 12, 512, 64]
CASES = {
    "minilm": minilm,
    "conv3x3-64-56": convolution(64, 64, 3, 56),
    "conv1x1-256-64-56": convolution(256, 64, 1, 56),
    "conv3x3-512-7": convolution(512, 512, 3, 7),
    "conv7x7-stride2-3": convolution(3, 64, 7, 224, stride=2),
    "depthwise3x3-144-56": convolution(144, 144, 3, 56, groups=144),
    "softmax-4096x1024": kernel(
        "model M(x: [4096, 1024]) -> [4096, 1024] = softmax(x)",
        {"x": [4096, 1024]}, [("Softmax", ["x"], {"axis": -1})], [4096, 1024]),
    "layernorm-4096x768": kernel(
        "model M(x: [4096, 768]) -> [4096, 768] = x |> n: LayerNorm()", {"x": [4096, 768]},
        [("LayerNormalization", ["x", "w", "b"], {"axis": -1, "epsilon": 1e-5})], [4096, 768],
        {"w": ("n.weight", [768]), "b": ("n.bias", [768])}),
    "attention-12-512-64": kernel(
        f"model M(q: {HEAD}, k: {HEAD}, v: {HEAD}) -> {HEAD} = attention(q, k, v)",
        {"q": HEAD, "k": HEAD, "v": HEAD},
        [("Transpose", ["k"], {"perm": [0, 1, 3, 2]}), ("MatMul", ["q", "t0"], {}), ("Mul", ["t1", "s"], {}),
         ("Softmax", ["t2"], {"axis": -1}), ("MatMul", ["t3", "v"], {})], HEAD, {"s": (None, np.float32([0.125]))}),
}


def load_onnxruntime(path, inputs, threads):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    for name, array in inputs.items():
        binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array))
    binding.bind_output("y", "cpu")
    return lambda: session.run_with_iobinding(binding), lambda: binding.copy_outputs_to_cpu()[0]


def load_openvino(path, inputs, threads):
    import openvino as ov

    core = ov.Core()
    model = core.read_model(path)
    model.reshape({name: list(array.shape) for name, array in inputs.items()})
    config = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1}
    request = core.compile_model(model, "CPU", config).create_infer_request()
    for name, array in inputs.items():
        request.set_tensor(name, ov.Tensor(array, shared_memory=True))
    return request.infer, lambda: request.get_tensor("y").data.copy()


PEERS = {"onnxruntime": load_onnxruntime, "openvino": load_openvino}


def worker(peer, folder, threads, seconds):
    inputs = dict(np.load(os.path.join(folder, "inputs.npz")))
    run, result = PEERS[peer](os.path.join(folder, "case.onnx"), inputs, threads)
    run()
    np.save(os.path.join(folder, peer + ".npy"), result())
    end = time.perf_counter() + seconds / 4
    while time.perf_counter() < end:
        run()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 7:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    print(json.dumps({"median_us": statistics.median(times) * 1e6, "min_us": min(times) * 1e6, "runs": len(times)}))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    p.add_argument("--threads", default="1,2")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--seconds", type=float, default=3)
    p.add_argument("--weights", default=os.path.join(ROOT, ".cache/minilm/model.safetensors"))
    p.add_argument("--nnc", default=os.path.join(ROOT, "target/release/nnc"))
    p.add_argument("--out")
    p.add_argument("--worker", choices=PEERS, help=argparse.SUPPRESS)
    p.add_argument("--folder", help=argparse.SUPPRESS)
    args = p.parse_args()
    if args.worker:
        return worker(args.worker, args.folder, int(args.threads), args.seconds)
    unknown = [c for c in args.cases if c not in CASES]
    if unknown:
        p.error(f"no case {unknown[0]}; there are {', '.join(CASES)}")
    records = []
    for case in args.cases or CASES:
        with tempfile.TemporaryDirectory() as folder:
            records += measure(case, folder, args)
    if args.out:
        with open(args.out, "w") as f:
            json.dump(records, f, indent=1)


def measure(case, folder, args):
    run = lambda command: subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    theirs, own, model, output = CASES[case](folder, args.weights)
    np.savez(os.path.join(folder, "inputs.npz"), **theirs)
    for name, array in own.items():
        np.save(os.path.join(folder, name + ".npy"), array)
        model.append(f"--input={name}={folder}/{name}.npy")
    run([args.nnc, "run", *model, f"--output={output}={folder}/nnc.npy"])
    records = []
    for threads in map(int, args.threads.split(",")):
        cores = ["taskset", "-c", ",".join(map(str, range(threads)))]
        medians = {}
        for _ in range(args.rounds):
            for peer in PEERS:
                of_worker = ["--worker", peer, "--folder", folder, "--threads", str(threads), "--seconds", str(args.seconds)]
                line = run([*cores, sys.executable, os.path.abspath(__file__), *of_worker])
                medians.setdefault(peer, []).append(json.loads(line)["median_us"])
            line = run([*cores, args.nnc, "bench", *model, "--threads", str(threads), "--seconds", str(args.seconds), "--json"])
            medians.setdefault("nnc", []).append(json.loads(line)["median_us"])
        time_of = {name: statistics.median(m) for name, m in medians.items()}
        best = min(PEERS, key=time_of.get)
        ours, expected = np.load(os.path.join(folder, "nnc.npy")), np.load(os.path.join(folder, best + ".npy"))
        error = float(np.abs(ours - expected).max() / np.abs(expected).max())
        row = {"case": case, "threads": threads, "median_us": time_of, "rounds": medians, "best": best,
               "ratio": time_of["nnc"] / time_of[best], "difference": error}
        records.append(row)
        times = ", ".join(f"{name} {t:,.0f} µs" for name, t in time_of.items())
        print(f"{case}, {threads} threads: {times}; nnc / {best} = {row['ratio']:.3f}; difference {error:.1e}", flush=True)
    return records


if __name__ == "__main__":
    main()
