#!/usr/bin/env bash
# Installs what is needed, builds the program, and lets the small model that ships with it continue a line. Can be run again.
. "$(dirname "$0")/common.sh"

install_packages build
configure release
build release diffllama_cli
run=(build/release/bin/diffllama generate -p "HAMLET:" --repetition-penalty 1.2 --max-new-tokens 64)
say "Running ${run[*]@Q}"
"${run[@]}" || die "the program failed; its message is above"
