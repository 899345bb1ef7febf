#!/usr/bin/env bash
# usage: kills.sh PROGRAM SOURCE COUNT [SEED]
# Ends the commands that write files COUNT times by SIGKILL and COUNT times by SIGTERM, each at a random moment of its
# run. What has the final name must then be whole or what was there before, SIGTERM must leave nothing unfinished, and the
# next run must remove what SIGKILL left and end as a run that was never stopped. SOURCE is the source tree.
set -u
program=$1 source=$2 count=$3 seed=${4:-$((RANDOM * 32768 + RANDOM))}
RANDOM=$((seed % 32768))
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
tiny=$source/models/diffllama-tiny
inputs=$scratch/inputs.safetensors

# What a command runs in a folder, in place of a subshell: signals must reach the program itself.
run_in() {
  case $2 in
    to_file) exec "$program" convert "$tiny" "$1/out.gguf" ;;
    to_directory) exec "$program" convert "$scratch/tiny.gguf" "$1/out" ;;
    quantize) exec "$program" quantize -t 1 "$tiny" "$1/out.gguf" Q4_K_M ;;
    forward)
      exec "$program" forward -t 1 -m "$tiny" --inputs "$inputs" --outputs "$1/out" --hidden-states --attentions
      ;;
    packed_copy)
      exec "$program" generate -t 1 -m "$1/tiny.gguf" --packed-copy --dtype float32 -p 'To be' --max-new-tokens 1
      ;;
  esac
}
commands=(to_file to_directory quantize forward packed_copy)

# The path that a command makes in a folder.
made_in() {
  case $2 in
    to_file | quantize) echo "$1/out.gguf" ;;
    packed_copy) echo "$1/tiny.gguf.packed-float32" ;;
    *) echo "$1/out" ;;
  esac
}

fail() {
  printf 'kills.sh: %s (seed %s)\n' "$*" "$seed" >&2
  exit 1
}
same() { diff -r "$1" "$2" >/dev/null 2>&1; }
leftovers() { find "$1" -name '.diffllama-*'; }

# An empty folder, with what a command reads there; half of the time the final name is taken by an old file.
prepare() {
  rm -rf "$1"
  mkdir "$1"
  [ "$2" != packed_copy ] || cp "$scratch/tiny.gguf" "$1"
  old=
  if [ "$2" != to_directory ] && ((RANDOM % 2)); then
    old=$1/../old
    echo old >"$old"
    cp "$old" "$(made_in "$1" "$2")"
  fi
}

# A safetensors file of input_ids 0 to 63: the header's length, the header, the ids as int64.
header='{"input_ids":{"dtype":"I64","shape":[1,64],"data_offsets":[0,512]}}'
{
  printf "\\x$(printf %02x ${#header})\\0\\0\\0\\0\\0\\0\\0%s" "$header"
  for ((id = 0; id < 64; ++id)); do printf "\\x$(printf %02x $id)\\0\\0\\0\\0\\0\\0\\0"; done
} >"$inputs"

declare -A milliseconds
"$program" convert "$tiny" "$scratch/tiny.gguf" || fail "convert failed"
for command in "${commands[@]}"; do
  prepare "$scratch/$command" "$command"
  begin=$(date +%s%N)
  (run_in "$scratch/$command" "$command") >/dev/null 2>&1 || fail "$command failed"
  milliseconds[$command]=$((($(date +%s%N) - begin) / 1000000 + 1))
done

folder=$scratch/killed
for signal in KILL TERM; do
  ended=0
  for ((i = 0; i < count; ++i)); do
    command=${commands[i % ${#commands[@]}]}
    prepare "$folder" "$command"
    made=$(made_in "$folder" "$command")
    whole=$(made_in "$scratch/$command" "$command")
    (run_in "$folder" "$command") >/dev/null 2>&1 &
    sleep "$(printf '0.%06d' $(((RANDOM * 32768 + RANDOM) % (milliseconds[$command] * 1000) % 1000000)))"
    kill -s "$signal" $! 2>/dev/null
    wait $! 2>/dev/null
    status=$?
    what="$command number $i, SIG$signal, status $status"
    case $status in
      0) ;;
      137 | 143) ended=$((ended + 1)) ;;
      *) fail "$what: expected status 0 or that of the signal" ;;
    esac
    if [ -e "$made" ]; then
      same "$made" "$whole" || { [ -n "$old" ] && same "$made" "$old"; } || fail "$what: $(basename "$made") is not whole"
    fi
    [ "$signal" = KILL ] || [ -z "$(leftovers "$folder")" ] || fail "$what: left $(leftovers "$folder")"
    [ "$command" != to_directory ] || rm -rf "$made"  # it is not replaced where the run was faster than the signal
    (run_in "$folder" "$command") >/dev/null 2>&1 || fail "$what: the next run failed"
    same "$made" "$whole" || fail "$what: the next run made something else"
    [ -z "$(leftovers "$folder")" ] || fail "$what: the next run left $(leftovers "$folder")"
  done
  printf '%d of SIG%s, %d before the command was done: all whole, nothing left (seed %s)\n' \
    "$count" "$signal" "$ended" "$seed"
done
