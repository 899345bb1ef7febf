#!/usr/bin/env bash
# check_docs.sh BIN FILE...: runs the examples of Markdown files, from the folder it is called in, with BIN first on PATH.
#   ```console            each `$ ` command (`> ` goes on with it) must succeed and write to standard output exactly the
#                         lines that follow it, where a line `...` stands for any lines
#   ```console not run: WHY    is shown only
#   ```cpp PATH           the block stands in that file, in one piece (cmake, json, python alike); without PATH it is refused
#   ```sh, bash, shell    are refused: nobody would notice when they stop working
set -u
bin=$1
shift
export PATH=$bin:$PATH
unset DIFFLLAMA_MODEL
failures=0
runs=0
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# fail WHERE WHAT: counts it and goes on.
fail() {
  printf '%s: %s\n' "$1" "$2" >&2
  failures=$((failures + 1))
}

# matches: do the lines of `got` fit those of `wanted`?
matches() { fits 0 0; }
fits() {
  local w=$1 g=$2
  while [ "$w" -lt ${#wanted[@]} ]; do
    if [ "${wanted[w]}" = ... ]; then
      for ((; g <= ${#got[@]}; ++g)); do
        fits $((w + 1)) "$g" && return 0
      done
      return 1
    fi
    [ "$g" -lt ${#got[@]} ] && [ "${wanted[w]}" = "${got[g]}" ] || return 1
    w=$((w + 1))
    g=$((g + 1))
  done
  [ "$g" -eq ${#got[@]} ]
}

# run_command WHERE COMMAND: holds what it writes to `wanted`.
run_command() {
  local status
  runs=$((runs + 1))
  bash -c "$2" >"$scratch/out" 2>"$scratch/err" </dev/null
  status=$?
  mapfile -t got <"$scratch/out"
  if [ $status -ne 0 ]; then
    fail "$1" "expected status 0, got $status: $2"
    cat "$scratch/err" >&2
  elif ! matches; then
    fail "$1" "expected the output shown, got another: $2"
    diff <(printf '%s\n' "${wanted[@]+"${wanted[@]}"}") "$scratch/out" >&2
  fi
}

# check_console FILE FIRST_LINE: the lines of `block`.
check_console() {
  local i line command='' where=''
  wanted=()
  [ ${#block[@]} -gt 0 ] && [[ ${block[0]} == '$ '* ]] || { fail "$1:$2" 'expected a line that starts with "$ "'; return; }
  for i in "${!block[@]}"; do
    line=${block[i]}
    if [[ $line == '$ '* ]]; then
      [ -z "$command" ] || run_command "$where" "$command"
      command=${line#'$ '}
      where=$1:$(($2 + i))
      wanted=()
    elif [[ $line == '> '* && $command == *\\ && ${#wanted[@]} -eq 0 ]]; then
      command+=$'\n'${line#'> '}
    else
      wanted+=("$line")
    fi
  done
  run_command "$where" "$command"
}

# check_excerpt FILE LINE PATH: `block` stands in the file PATH.
check_excerpt() {
  local text file
  [ -f "$3" ] || { fail "$1:$2" "expected the path of a file behind the language, got '$3'"; return; }
  runs=$((runs + 1))
  text=$(printf '%s\n' "${block[@]}")
  file=$(<"$3")
  [[ $'\n'$file$'\n' == *$'\n'"$text"$'\n'* ]] || fail "$1:$2" "expected lines of $3, got a block that is not in it"
}

check_file() {
  local line info='' number=0 first=0 inside=0
  while IFS= read -r line || [ -n "$line" ]; do
    number=$((number + 1))
    if [ $inside -eq 0 ] && [[ $line == '```'?* ]]; then
      inside=1
      info=${line#'```'}
      first=$((number + 1))
      block=()
    elif [ $inside -eq 1 ] && [ "$line" = '```' ]; then
      inside=0
      case $info in
        console) check_console "$1" $first ;;
        'console not run: '?*) printf '%s: not run: %s\n' "$1:$first" "${info#*run: }" ;;
        cpp* | cmake* | json* | python*) check_excerpt "$1" $first "${info#* }" ;;
        text | mermaid) ;;
        *) fail "$1:$((first - 1))" "expected console, console not run: WHY, cpp PATH, cmake PATH, json PATH, python PATH, text or mermaid, got $info" ;;
      esac
    elif [ $inside -eq 0 ] && [ "$line" = '```' ]; then
      fail "$1:$number" 'expected a language behind ```'
      return
    elif [ $inside -eq 1 ]; then
      block+=("$line")
    fi
  done <"$1"
  [ $inside -eq 0 ] || fail "$1:$first" 'expected the end of the block'
}

for file; do check_file "$file"; done
printf '%d examples, %d failures\n' $runs $failures
[ $runs -gt 0 ] && [ $failures -eq 0 ]
