#!/usr/bin/env bash
# check_docs_test.sh CHECK: the check of the documents passes what is right and fails what is not.
set -u
check=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch" || exit 1
mkdir bin
printf '#!/bin/sh\nprintf "one\\ntwo\\nthree\\n"\n' >bin/three
chmod +x bin/three
printf 'int main() {\n  return 0;\n}\n' >main.cpp
failures=0

# expect STATUS NAME <document
expect() {
  cat >document.md
  bash "$check" "$scratch/bin" document.md >said 2>&1
  local status=$?
  [ $status -eq "$1" ] && return
  echo "$2: expected status $1, got $status"
  cat said
  failures=$((failures + 1))
}

# console LINE...: a document of one block.
console() {
  echo '```console'
  printf '%s\n' "$@"
  echo '```'
}

console '$ three' one two three | expect 0 'the output'
console '$ three' one two four | expect 1 'another line'
console '$ three' one two | expect 1 'a line less'
console '$ three' one two three four | expect 1 'a line more'
console '$ three' | expect 1 'no output shown'
console '$ three' 'one ' two three | expect 1 'a space more'
console '$ three' ... | expect 0 'any lines'
console '$ three' ... three | expect 0 'any lines, then one'
console '$ three' one ... | expect 0 'one, then any lines'
console '$ three' one ... two three | expect 0 'no lines'
console '$ three' one ... four | expect 1 'any lines, then another'
console '$ true' '$ three' one two three | expect 0 'two commands'
console '$ false' '$ three' one two three | expect 1 'the first fails'
console '$ three' one two three '$ false' | expect 1 'the last fails'
console '$ no-such-command' | expect 1 'a command that is not there'
console '$ echo a \' '> b' 'a b' | expect 0 'two lines of one command'
console 'three' | expect 1 'no command'
printf '```console not run: installs\n$ false\n```\n```cpp main.cpp\n  return 0;\n```\n' | expect 0 'not run'
printf '```console not run:\n$ false\n```\n' | expect 1 'not run, no reason'
printf '```sh\nthree\n```\n' | expect 1 'a shell block'
printf '```cpp main.cpp\nint main() {\n  return 1;\n```\n' | expect 1 'code that is not in the file'
printf '```cpp main.cpp\nreturn 0;\n```\n' | expect 1 'part of a line'
printf '```cpp\n  return 0;\n```\n' | expect 1 'code without a file'
printf '```console\n$ three\none\ntwo\nthree\n' | expect 1 'a block that does not end'
printf 'no examples\n' | expect 1 'no examples'
[ $failures -eq 0 ]
