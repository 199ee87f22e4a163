import json
import os
import pathlib
import subprocess

BINARIES = pathlib.Path(os.environ.get("PACTORY_BINARY_DIR", pathlib.Path(__file__).resolve().parents[3] / "build/release"))


def test_ops_that_import_takes_away_count_as_supported():
    printed = subprocess.run([BINARIES / "bin/pactory-trainer", "ops", "--json"], capture_output=True, text=True, check=True)
    ops = json.loads(printed.stdout)["ops"]
    assert {"Constant", "Conv", "BatchNormalization"} <= set(ops)
