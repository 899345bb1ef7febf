#!/bin/sh
# Fetches llama.cpp's vocabularies (MIT, 110 MB) into models/ggml-vocab/: ggml-vocab-*.gguf, and beside each the texts
# and the ids that tests/parity/ggml_vocabularies_test.cpp compares. They come inside the source of the PyPI package
# llama-cpp-python (80 MB), which nothing builds.
set -eu

version=0.3.36
target=$(cd "$(dirname "$0")/../models" && pwd)/ggml-vocab

if [ -f "$target/version" ] && [ "$(cat "$target/version")" = "$version" ]; then
  echo "$target is there already"
  exit 0
fi
command -v python3 >/dev/null || { echo "fetch_ggml_vocabularies.sh: expected python3 with pip" >&2; exit 1; }

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m pip download --quiet --no-deps --no-binary :all: --no-build-isolation --dest "$scratch" \
  "llama-cpp-python==$version" || true # pip also asks the package for its metadata, which needs a compiler
[ -f "$scratch/llama_cpp_python-$version.tar.gz" ] || { echo "fetch_ggml_vocabularies.sh: no package" >&2; exit 1; }
tar -xzf "$scratch/llama_cpp_python-$version.tar.gz" -C "$scratch" --wildcards "*/vendor/llama.cpp/models/ggml-vocab-*"
rm -rf "$target"
mv "$scratch/llama_cpp_python-$version/vendor/llama.cpp/models" "$target"
echo "$version" >"$target/version"
echo "$target"
