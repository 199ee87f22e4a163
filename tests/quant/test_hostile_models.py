"""Hostile and odd model files: every command answers in seconds, by name, and never falls over.

`inspect` and `quantize` get each file of hostile_models.py, `run` those that `inspect` accepts. A faulty file ends with 3 (the
model can't be run), or with 1 where the fault shows only in a run, and the fault is named; an odd one runs. No command may die
of a signal, take 10 seconds or use 2 GiB.
"""

import os
import pathlib
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from onnx import numpy_helper

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from hostile_models import BLOWN_UP_BY_DATA, CASES  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
TRAINER = pathlib.Path(os.environ.get("PACTORY_BINARY_DIR", ROOT / "build/release")) / "bin/pactory-trainer"
SECONDS = 10
BYTES = 2 << 30

pytestmark = pytest.mark.skipif(
    not TRAINER.exists(), reason=f"no trainer at {TRAINER}; build, or set PACTORY_BINARY_DIR"
)


def bounded(command, printed_to):
    """Runs a command; returns (exit code, what it printed, seconds, most bytes it held)."""
    start = time.monotonic()
    with open(printed_to, "wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        killer = threading.Timer(6 * SECONDS, process.kill)
        killer.start()
        _, status, usage = os.wait4(process.pid, 0)
        killer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    printed = pathlib.Path(printed_to).read_text(errors="replace")
    return process.returncode, printed, time.monotonic() - start, usage.ru_maxrss * 1024


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    x = np.linspace(-1, 1, 32, dtype=np.float32).reshape(8, 4)
    np.savez(folder / "data.npz", x=x, y=np.arange(8) % 4)
    (folder / "in").mkdir()
    (folder / "in/input_0.pb").write_bytes(numpy_helper.from_array(x).SerializeToString())
    return folder


def run_all(content, data, folder):
    """Every command's exit code and text, by name; asserts what holds for any file."""
    model = folder / "model.onnx"
    model.write_bytes(content)
    commands = {
        "inspect": ["inspect", "--model", model],
        "run": ["run", "--model", model, "--inputs", data / "in", "--outputs", folder / "run"],
        "quantize": ["quantize", "--model", model, "--data", data / "data.npz", "--out", folder / "out", "--set",
                     "training.steps=1", "--set", "training.batch_size=4"],
    }

    def answer(name):
        code, printed, seconds, held = bounded([TRAINER, *map(str, commands[name])], folder / f"{name}.txt")
        assert code >= 0, f"{name} died of signal {-code}: {printed[-2000:]}"
        assert seconds < SECONDS, f"{name} took {seconds:.1f} s"
        assert held < BYTES, f"{name} held {held} bytes"
        return code, printed

    with ThreadPoolExecutor(2) as threads:
        answers = dict(zip(("inspect", "quantize"), threads.map(answer, ("inspect", "quantize"))))
    if answers["inspect"][0] == 0:
        answers["run"] = answer("run")
    return answers


FAULTY = [case for case in CASES if case[2]]
ODD = [case for case in CASES if not case[2]]


@pytest.mark.parametrize("content, texts", [case[1:] for case in FAULTY], ids=[case[0] for case in FAULTY])
def test_faulty_files_are_refused_by_name(content, texts, data, tmp_path):
    answers = run_all(content, data, tmp_path)
    for name, (code, printed) in answers.items():
        assert any(text in printed for text in texts), (name, printed)
    # What only a run can find out is no fault to a look at the file.
    assert answers["inspect"][0] in (0, 3)
    assert answers["quantize"][0] in ((3,) if answers["inspect"][0] == 3 else (1, 3)), answers["quantize"]
    assert answers.get("run", (1,))[0] == 1, answers["run"]


@pytest.mark.parametrize("content, texts", [case[1:] for case in BLOWN_UP_BY_DATA], ids=[case[0] for case in BLOWN_UP_BY_DATA])
def test_what_the_data_blow_up_is_refused_by_name(content, texts, data, tmp_path):
    answers = run_all(content, data, tmp_path)
    assert answers["inspect"][0] == 0, answers["inspect"]
    for name in ("run", "quantize"):
        code, printed = answers[name]
        assert code == 1 and any(text in printed for text in texts), (name, printed)


@pytest.mark.parametrize("content", [case[1] for case in ODD], ids=[case[0] for case in ODD])
def test_odd_files_run(content, data, tmp_path):
    answers = run_all(content, data, tmp_path)
    for name in ("inspect", "run"):
        assert answers[name][0] == 0, answers[name]
    assert answers["quantize"][0] == 3 and "layer to quantize" in answers["quantize"][1], answers["quantize"]


def test_there_are_forty():
    assert len(CASES) >= 40 and len({name for name, *_ in CASES}) == len(CASES)
