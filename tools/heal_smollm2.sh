#!/usr/bin/env bash
# Makes members of the family of SmolLM2-135M-Instruct, and trains them on a corpus beside the Llama itself, which goes on
# training for as many steps over the same batches (recipes/heal-smollm2.json; three seeds). Prints the table of losses, and
# the perplexity of the original and of every run's model.
#   tools/heal_smollm2.sh CORPUS/train.jsonl CORPUS/valid.jsonl [TRAIN_OPTION...]
# Runs in the repository's root with `diffllama` in PATH, after tools/fetch_smollm2.sh; writes to healing/. What was
# converted and trained before is not done again.
set -euo pipefail
train=$1
valid=$2
shift 2
from=models/SmolLM2-135M-Instruct.Q4_1.gguf
mkdir -p healing
[[ -d healing/llama ]] || diffllama convert "$from" healing/llama
# The loss that each starts at, on random tokens, is printed: a DiffLlama's per-head norm changes the function.
[[ -d healing/diffllama ]] || diffllama convert --to diffllama --mirror "$from" healing/diffllama
[[ -d healing/diff-v2 ]] || diffllama convert --to diff_transformer_v2 --noise 0.002 --seed 1 "$from" healing/diff-v2
diffllama train recipes/heal-smollm2.json --compare -o healing/runs --set "data.train=$train" --set "data.valid=$valid" "$@"
# All by the same command: windows are longer here than training's sequences.
for model in "$from" healing/runs/*/seed-*/last; do
  echo "$model: $(diffllama perplexity -m "$model" "$valid" | sed -n 1p)"
done
