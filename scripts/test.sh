#!/usr/bin/env bash
# Installs, builds and runs every test: C++ by ctest, Python by pytest. Ends with the counts; fails on any failure.
#   scripts/test.sh            everything
#   scripts/test.sh fast       leaves out those that start whole services
source "$(dirname "$0")/lib.sh"

install_apt_packages "$root/examples/text_direction/apt_packages.txt"
"$root/scripts/build.sh"
"$python" "$root/examples/ppocr_models/fetch.py" --out "$cache/models"

export PACTORY_SOURCE_DIR=$root PACTORY_BINARY_DIR=$build PACTORY_PYTHON=$python PACTORY_TEST_MODELS=$cache/models
reports=$build/test-reports
rm -rf "$reports" && mkdir -p "$reports"
status=0

say "C++ tests"
(cd "$build" && ctest --output-on-failure -j "$(nproc)" --no-tests=error --output-junit "$reports/ctest.xml") || status=1

say "Python tests"
tests=("$root/tests")
[ "${1:-}" = fast ] && tests+=(--ignore "$root/tests/e2e" --ignore "$root/tests/chaos" --ignore "$root/tests/deploy")
(cd "$root" && "$python" -m pytest -q -ra -p no:cacheprovider --junitxml "$reports/pytest.xml" "${tests[@]}") || status=1

"$python" "$root/scripts/count_tests.py" "$reports/ctest.xml" "$reports/pytest.xml" || status=1
exit $status
