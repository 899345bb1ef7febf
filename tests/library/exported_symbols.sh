#!/usr/bin/env bash
# exported_symbols.sh NM LIBRARY HEADERS...: the shared library shows what the public headers declare, and nothing else.
# Every name of namespace diffllama in an exported symbol must stand in one of the headers, arguments included; none may
# be of an implementation (Impl, State).
set -euo pipefail
nm=$1 library=$2
shift 2
symbols=$("$nm" -DC --defined-only --format=posix "$library" | sed -E 's/ [A-Za-z] [0-9a-f ]*$//' | sort -u)
sed 's,//.*,,' "$@" | grep -oE '[A-Za-z_][A-Za-z0-9_]*' | sort -u | awk -v library="$library" '
  function refuse(expected) { print library ": expected " expected ", got: " $0; failed = 1 }
  NR == FNR { public[$1] = 1; next }
  { ++count }
  !/^((typeinfo|typeinfo name|vtable) for )?diffllama::/ { refuse("symbols of diffllama alone") }
  /::(Impl|State)([^A-Za-z0-9_]|$)/ { refuse("no part of an implementation") }
  {
    rest = $0
    while (match(rest, /diffllama::[A-Za-z_][A-Za-z0-9_]*/)) {
      name = substr(rest, RSTART + 11, RLENGTH - 11)
      if (!(name in public)) refuse("names of public headers, not " name)
      rest = substr(rest, RSTART + RLENGTH)
    }
  }
  END { print count " symbols"; exit failed }' - <(printf '%s\n' "$symbols")

for expected in "diffllama::Model::from_pretrained(" "diffllama::Engine::step()" "diffllama::train(" \
    "diffllama::convert_model(" "diffllama::Perplexity::result()" "typeinfo for diffllama::FormatError"; do
  grep -qF "$expected" <<< "$symbols" && continue
  echo "$library: expected the symbol $expected, got none"
  exit 1
done
