import json
import os
import pathlib
import subprocess

BINARIES = pathlib.Path(os.environ.get("PACTORY_BINARY_DIR", pathlib.Path(__file__).resolve().parents[3] / "build/release"))


def test_ops_that_import_takes_away_count_as_supported():
    printed = subprocess.run([BINARIES / "bin/pactory-trainer", "ops", "--json"], capture_output=True, text=True, check=True)
    ops = json.loads(printed.stdout)["ops"]
    assert {"Constant", "Conv", "BatchNormalization"} <= set(ops)


def test_the_page_of_ops_is_what_the_program_prints():
    printed = subprocess.run([BINARIES / "bin/pactory-trainer", "ops", "--markdown"], capture_output=True, text=True, check=True)
    page = pathlib.Path(__file__).resolve().parents[3] / "docs/ops.md"
    assert page.read_text().endswith("\n\n" + printed.stdout), "write it anew: pactory-trainer ops --markdown"
