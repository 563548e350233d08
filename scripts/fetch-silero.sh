#!/usr/bin/env bash
# Fetches Silero VAD (weights as safetensors, and the ONNX file to compare with) and five sentences of LibriVox into
# .cache/silero, or the folder given, and checks them. The model comes inside the Python package silero-vad, the sentences
# in Debian's pocketsphinx-testdata; pip and apt-get are all that is needed.
set -euo pipefail
to=${1:-"$(dirname "$0")/../.cache/silero"}
package=silero-vad==6.2.3
speech=pocketsphinx-testdata
check() {
  (cd "$1" && sha256sum --check --quiet -) <<SUMS
c59271c284ae9c8335d795d60e0bfdb71aaaceec578d9bd9ffc1b8153c319ea1  silero_vad_16k.safetensors
7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49  silero_vad_16k_op15.onnx
b0557cf95c974d930577e58e46b7f068c432a6e3afcc286563d88922b2a5315c  0870.wav
fbec491ef00ee734a67f0ee318e98c51c157b479e1629ff4f4426861ecac0414  0880.wav
5793ffbdee55fb8bfd284943a6866864c832d9d4accf2661cabd39915c84ee10  0890.wav
40882414ef4cc51f3ff7a63bad0c8c87e7f595ffeb8209fbf756c8ebc5c28a59  0920.wav
954adbf0b56ac8a148cbe77b39ca18d76b5f2a1e1f405565bd786ce3e68a68b7  0930.wav
SUMS
}
if [ -f "$to/0930.wav" ] && check "$to" 2>/dev/null; then
  echo "$to is complete"
  exit
fi
mkdir -p "$to"
beside=$(mktemp -d)
trap 'rm -rf "$beside"' EXIT
python3 -m pip download --quiet --no-deps --dest "$beside" "$package"
python3 -m zipfile --extract "$beside"/*.whl "$beside/unpacked"
(cd "$beside" && apt-get download --quiet=2 "$speech" && dpkg-deb --extract "$speech"*.deb unpacked)
mkdir "$beside/checked"
mv "$beside/unpacked/silero_vad/data/"silero_vad_16k{.safetensors,_op15.onnx} "$beside/checked"
for sentence in "$beside/unpacked/usr/share/pocketsphinx/test/data/librivox/"*.wav; do
  mv "$sentence" "$beside/checked/${sentence##*-}"
done
check "$beside/checked"
mv "$beside/checked/"* "$to"
echo "fetched $package and $speech into $to"
