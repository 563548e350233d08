#!/usr/bin/env python3
"""MiniLM on nnc beside ONNX Runtime and OpenVINO: the same weights, the same tokens, one run, in turn.

    scripts/fetch-minilm.sh
    cargo build --release
    pip install numpy onnx onnxruntime openvino
    python3 benches/minilm.py [--threads 1,2] [--tokens 128] [--rounds 3] [--seconds 3] [--out FILE.json]

Each side runs in a process of its own, bound to as many cores as it has threads. The ONNX file is made here from the
safetensors file, in the operators that PyTorch's exporter writes; OpenVINO is told to compute in f32. The median of
the rounds' medians counts. Prints a table and the ratio of nnc to the faster peer.
"""
import argparse, json, os, statistics, subprocess, sys, tempfile, time

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HEADS, LAYERS, WIDTH = 12, 6, 384


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


def write_onnx(weights, path):
    import onnx
    from onnx import TensorProto, helper, numpy_helper

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
    nodes.append(helper.make_node("Identity", [x], ["hidden"]))
    info = helper.make_tensor_value_info
    inputs = [info(n, TensorProto.INT64, ["B", "T"]) for n in ("ids", "segments", "mask")]
    output = info("hidden", TensorProto.FLOAT, ["B", "T", WIDTH])
    graph = helper.make_graph(nodes, "minilm", inputs, [output], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def load_onnxruntime(path, inputs, threads):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    for name, array in inputs.items():
        binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array))
    binding.bind_output("hidden", "cpu")
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
    return request.infer, lambda: request.get_tensor("hidden").data.copy()


PEERS = {"onnxruntime": load_onnxruntime, "openvino": load_openvino}


def worker(peer, folder, threads, seconds):
    inputs = dict(np.load(os.path.join(folder, "inputs.npz")))
    run, result = PEERS[peer](os.path.join(folder, "minilm.onnx"), inputs, threads)
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
    p.add_argument("--threads", default="1,2")
    p.add_argument("--tokens", type=int, default=128)
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

    with tempfile.TemporaryDirectory() as folder:
        write_onnx(read_safetensors(args.weights), os.path.join(folder, "minilm.onnx"))
        ids = np.random.default_rng(0).integers(1000, 30000, (1, args.tokens))
        inputs = {"ids": ids, "segments": np.zeros_like(ids), "mask": np.ones_like(ids)}
        np.savez(os.path.join(folder, "inputs.npz"), **inputs)
        for name, kind in (("ids", np.int32), ("segments", np.int32), ("mask", np.bool_)):
            np.save(os.path.join(folder, name + ".npy"), inputs[name].astype(kind))
        model = ["dsl-examples/bert_encoder.nn", "-D", "dim=384", "-D", "layers=6", "--weights", args.weights]
        model += [f"--input={n}={folder}/{n}.npy" for n in inputs]
        run = lambda command: subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
        run([args.nnc, "run", *model, f"--output=hidden={folder}/nnc.npy"])
        records = []
        for threads in map(int, args.threads.split(",")):
            cores = ["taskset", "-c", ",".join(map(str, range(threads)))]
            medians = {}
            for _ in range(args.rounds):
                for peer in PEERS:
                    own = ["--worker", peer, "--folder", folder, "--threads", str(threads), "--seconds", str(args.seconds)]
                    line = run([*cores, sys.executable, os.path.abspath(__file__), *own])
                    medians.setdefault(peer, []).append(json.loads(line)["median_us"])
                line = run([*cores, args.nnc, "bench", *model, "--threads", str(threads), "--seconds", str(args.seconds), "--json"])
                medians.setdefault("nnc", []).append(json.loads(line)["median_us"])
            time_of = {name: statistics.median(m) for name, m in medians.items()}
            best = min(PEERS, key=time_of.get)
            ours = np.load(os.path.join(folder, "nnc.npy"))
            theirs = np.load(os.path.join(folder, best + ".npy"))
            error = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
            row = {"threads": threads, "tokens": args.tokens, "median_us": time_of, "rounds": medians, "best": best,
                   "ratio": time_of["nnc"] / time_of[best], "difference": error}
            records.append(row)
            times = ", ".join(f"{name} {t:,.0f} µs" for name, t in time_of.items())
            print(f"{threads} threads, {args.tokens} tokens: {times}; nnc / {best} = {row['ratio']:.3f}; difference {error:.1e}")
        if args.out:
            with open(args.out, "w") as f:
                json.dump(records, f, indent=1)


if __name__ == "__main__":
    main()
