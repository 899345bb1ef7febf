#!/usr/bin/env bash
# `diffllama attention` as a process: where the text comes from, what it writes, and what wrong command lines get.
# command_test.sh DIFFLLAMA SOURCE_DIR
set -euo pipefail
program=$1
tiny=$2/models/diffllama-tiny
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

fail() {
  echo "$1"
  exit 1
}
look() { "$program" attention -m "$tiny" "$@"; }
# refused STATUS MESSAGE OPTION...: one line on standard error that holds the message, nothing on standard output.
refused() {
  local status=0
  look "${@:3}" > "$scratch/out" 2> "$scratch/err" < /dev/null || status=$?
  [[ $status == "$1" ]] || fail "${*:3}: expected status $1, got $status"
  [[ ! -s $scratch/out ]] || fail "${*:3}: expected nothing on standard output"
  [[ $(wc -l < "$scratch/err") == 1 ]] && grep -qF -- "$2" "$scratch/err" || fail "${*:3}: got $(cat "$scratch/err")"
}

# One text from three places.
look -p "My lord, the king" --json --layer 1 --head 2 > "$scratch/given.json"
printf 'My lord, the king\r\n' > "$scratch/text"
look -f "$scratch/text" --json --layer 1 --head 2 | cmp - "$scratch/given.json"
look --json --layer 1 --head 2 < "$scratch/text" | cmp - "$scratch/given.json"
grep -q '"tokens":\["<s>","My"," lord",","," the"," king"\]' "$scratch/given.json" || fail "tokens of $(head -c 300 "$scratch/given.json")"
[[ $(grep -o '"maps":{' "$scratch/given.json" | wc -l) == 1 ]] || fail "expected the maps of one head"

# Words of the text, or places.
look -p "My lord, the king" --answer king --json > "$scratch/words.json"
look -p "My lord, the king" --answer 5:6 --json | cmp - "$scratch/words.json"

# One forward, whatever the chunks and threads.
look -p "My lord, the king" --json --layer 1 --head 2 --prefill-chunk 2 -t 2 | cmp - "$scratch/given.json"
for name in a.html a.png a.safetensors; do
  look -p "My lord" -o "$scratch/$name"
  [[ -s $scratch/$name ]] || fail "expected $name"
done

refused 1 'got "queen"' -p "My lord" --answer queen
refused 1 '[answer] expected tokens BEGIN:END of 0:3, at least one, got 2:9' -p "My lord" --answer 2:9
refused 1 '[layer] expected 0..5, got 6' -p "My lord" --layer 6
refused 1 '[head] expected 0..3, got 4' -p "My lord" --head 4
refused 2 'expected FILE.html, FILE.png or FILE.safetensors, got map.jpeg' -p "My lord" -o map.jpeg
refused 2 '--layer' -p "My lord" --layer -1
refused 1 "$scratch/none.txt" -f "$scratch/none.txt"
refused 1 'expected another path than what is read' -p "My lord" -o "$tiny/model.safetensors"
refused 1 'cannot' -p "My lord" -o "$scratch/no/such/folder/a.html"
