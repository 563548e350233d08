#!/usr/bin/env bash
# benches/gpu.sh OUT: programs and kernels for GPUs, on a machine with a GPU, NVRTC, cupy and PyTorch but no Rust. It takes
# the release binaries `gpu_check`, `gpu_cases` and `nnc`, built anywhere, from the folder BIN, or else from target/release.
set -euo pipefail
out=${1:?usage: benches/gpu.sh OUT, a folder}
here=$(cd "$(dirname "$0")" && pwd)
bin=${BIN:-$here/../target/release}
mkdir -p "$out"
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | tee "$out/device.txt"
cd "$here/.."
status=0
# Every operator case and whole models against f64; ends with an error if one is wrong.
timeout 120 "$bin/gpu_check" | tee "$out/check.jsonl" || status=1
# Whole models beside PyTorch.
timeout 150 python3 "$here/gpu_models.py" "$bin/nnc" "$out/models.json" || status=1
timeout 60 "$bin/gpu_cases" >"$out/cases.jsonl"
# Ends with an error if a kernel is wrong; gpu.json says which.
timeout 150 python3 "$here/gpu.py" "$out/cases.jsonl" "$out/gpu.json" || status=1
exit $status
