#!/usr/bin/env bash
# Run the kernel tests on another Triton than the environment's: the newest that the registry has, or the one named.
#   tests/kernels/newest_triton.sh PYTHON [VERSION] [PYTEST ARGUMENTS...]
# PYTHON's environment stays as it is: the other Triton lies in a folder of its own, before it on the path.
set -euo pipefail
python=$(command -v -- "$1")
case $python in /*) ;; *) python=$PWD/$python ;; esac
version=${2:+==$2}
shift $(( $# < 2 ? $# : 2 ))
cd "$(dirname "$0")/../.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m pip install -q --disable-pip-version-check --no-deps --target "$folder/site" "triton$version"
export PYTHONPATH="$folder/site${PYTHONPATH:+:$PYTHONPATH}" TRITON_CACHE_DIR="${TRITON_CACHE_DIR:-$folder/cache}"
"$python" -c "import triton; print('triton', triton.__version__)"
"$python" -m pytest tests/kernels -m "not aot and not mutation" "$@"
