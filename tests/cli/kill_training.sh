#!/usr/bin/env bash
# usage: kill_training.sh PROGRAM SOURCE_TREE COUNT [SEED]
# Ends training COUNT times by SIGKILL and COUNT times by SIGTERM, each at a random moment, and resumes it: every run must
# end with the bytes of one that was never stopped, and with no file that is not its own.
set -u
program=$(realpath "$1") source=$(realpath "$2") count=$3 seed=${4:-$(date +%s)}
echo "seed $seed"
RANDOM=$((seed % 32768))
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1

die() { printf 'kill_training.sh: %s\n' "$*" >&2; exit 1; }

# Copies: the tree's own may be edited while this runs.
cp "$source/CONTRIBUTING.md" train.txt
cp "$source/LICENSE" valid.txt
cat >whole.json <<EOF
{"model": {"tokenizer": "$source/models/diffllama-tiny",
           "config": {"model_type": "diffllama", "architectures": ["DiffLlamaForCausalLM"], "vocab_size": 4096,
                      "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
                      "num_key_value_heads": 2, "head_dim": 4, "max_position_embeddings": 64,
                      "tie_word_embeddings": true, "bos_token_id": 0, "eos_token_id": 0}},
 "data": {"kind": "text", "train": "train.txt", "valid": "valid.txt", "sequence_length": 32},
 "training": {"max_steps": 16, "batch_size": 2}, "optimizer": {"learning_rate": 0.01},
 "evaluation": {"eval_steps": 5}, "checkpoints": {"save_steps": 3}}
EOF
for i in 1 2 3 4 5 6; do
  printf '{"text": "To be %s", "label": "a"}\n{"text": "the king %s", "label": "b"}\n' $i $i
done >labelled.jsonl
cat >adapter.json <<EOF
{"model": {"from": "$source/models/diffllama-tiny"},
 "data": {"kind": "classification", "train": "labelled.jsonl", "valid": "labelled.jsonl", "sequence_length": 16},
 "training": {"max_steps": 12, "batch_size": 2}, "lora": {"r": 2, "lora_dropout": 0.1},
 "evaluation": {"eval_steps": 4}, "checkpoints": {"save_steps": 2}}
EOF

# exec: in the background $! is the program itself.
train() { exec "$program" train "$1.json" -o "$2" -t 1 --resume; }

# What a run must end with, a line each: the files of its last checkpoint, and its metrics but for the clock's.
digest() {
  (cd "$1/last" && sha256sum -- *.json *.safetensors)
  sed -E 's/"(tokens_per_second|mfu)":[^,}]*,?//g' "$1/metrics.jsonl"
  readlink "$1/best"
}

# Files that a run of this kind does not have.
strangers() {
  find "$1" -mindepth 1 | grep -vE "^$1/(last|best|metrics\.jsonl|recipe\.json|checkpoint-[0-9]+(/[^.][^/]*)?)$" |
    grep -vE "^$1/shards(/(train|valid)(/tokens-[0-9]+\.bin)?)?$"
}

declare -A wanted nanoseconds
for recipe in whole adapter; do
  before=$(date +%s%N)
  (train $recipe out) >log 2>&1 || die "$recipe: $(cat log)"
  nanoseconds[$recipe]=$(($(date +%s%N) - before))
  # The directory's name stands in the recipe that a checkpoint keeps, so that all runs have the same.
  wanted[$recipe]=$(digest out)
  [ -z "$(strangers out)" ] || die "$recipe: unexpected files: $(strangers out)"
  rm -r out
done

for signal in KILL TERM; do
  for ((trial = 1; trial <= count; ++trial)); do
    recipe=$([ $((trial % 2)) = 0 ] && echo adapter || echo whole)
    rm -rf out
    # Some runs are ended again while they are resumed.
    for ((ends = 1 + RANDOM % 3; ends > 0; --ends)); do
      train $recipe out >log 2>&1 &
      share=$((RANDOM % 1000))
      sleep "$(awk "BEGIN { print ${nanoseconds[$recipe]} * $share / 1e12 }")"
      kill -$signal $! 2>/dev/null
      wait $! 2>/dev/null
      status=$?
      case $signal$status in
        *0 | KILL137 | TERM143) ;;
        *) die "$recipe, $signal, trial $trial: status $status: $(cat log)" ;;
      esac
    done
    (train $recipe out) >log 2>&1 || die "$recipe, $signal, trial $trial: it does not resume: $(cat log)"
    [ "$(digest out)" = "${wanted[$recipe]}" ] || {
      diff <(echo "${wanted[$recipe]}") <(digest out) >&2
      die "$recipe, $signal, trial $trial: other bytes"
    }
    [ -z "$(strangers out)" ] || die "$recipe, $signal, trial $trial: left behind: $(strangers out)"
  done
  echo "$count by SIG$signal: every run ended with the same bytes"
done
