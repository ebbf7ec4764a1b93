#!/bin/sh
# Test a compiled wheel with its own binaries: sh release/test_wheel.sh WHEEL, with the Python of `python`.
# They are put beside the sources it was made from, which are what the tests import.
set -eu
cd "$(dirname "$0")/.."
trap 'rm -f gwctl__mypyc.*.so; find workers -name "*.so" -delete' EXIT
python hatch_build.py --from "$1"
python -m gwctl --version | grep "engine compiled"
python -m pytest -q -n "${TEST_WORKERS:-4}" --dist worksteal ${TESTS:-tests/unit tests/conformance tests/clients tests/process}
