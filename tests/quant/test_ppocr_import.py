"""The import reproduces ONNX Runtime on the three PP-OCR models.

They are looked for in PACTORY_TEST_MODELS (default: .cache/models); examples/ppocr_models/fetch.py puts them there.
"""

import json
import os
import pathlib
import subprocess

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

ROOT = pathlib.Path(__file__).resolve().parents[2]
TRAINER = pathlib.Path(os.environ.get("PACTORY_BINARY_DIR", ROOT / "build/release")) / "bin/pactory-trainer"
MODELS = pathlib.Path(os.environ.get("PACTORY_TEST_MODELS", ROOT / ".cache/models"))

pytestmark = pytest.mark.skipif(
    not TRAINER.exists(), reason=f"no trainer at {TRAINER}; build, or set PACTORY_BINARY_DIR"
)


def largest_difference(model, shape, count, folder, passes):
    """Runs `count` samples through both; returns the largest absolute difference of any output."""
    onnxruntime = pytest.importorskip("onnxruntime")
    random = np.random.default_rng(7)
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    lines, expected = [], []
    for first in range(0, count, 20):
        x = random.uniform(-1, 1, (min(20, count - first), *shape)).astype(np.float32)
        inputs, outputs = folder / f"{first}.in", folder / f"{first}.out"
        inputs.mkdir()
        (inputs / "input_0.pb").write_bytes(numpy_helper.from_array(x).SerializeToString())
        lines.append(json.dumps({"model": str(model), "inputs_dir": str(inputs), "outputs_dir": str(outputs)}))
        expected.append((outputs, session.run(None, {session.get_inputs()[0].name: x})))
    (folder / "list.jsonl").write_text("\n".join(lines) + "\n")
    subprocess.run([TRAINER, "run", "--list", folder / "list.jsonl", "--passes", passes], check=True)
    worst = 0.0
    for outputs, wanted in expected:
        assert not (outputs / "refused").exists(), (outputs / "refused").read_text()
        for index, value in enumerate(wanted):
            actual = numpy_helper.to_array(onnx.load_tensor(outputs / f"output_{index}.pb"))
            assert actual.shape == value.shape
            worst = max(worst, float(np.abs(actual - value).max()))
    return worst


@pytest.mark.parametrize("passes", ["none", "all"])
@pytest.mark.parametrize(
    "name, shape, count",
    [
        ("ch_ppocr_mobile_v2.0_cls_infer.onnx", (3, 48, 192), 200),
        ("ch_PP-OCRv4_det_infer.onnx", (3, 96, 160), 50),
        ("ch_PP-OCRv4_rec_infer.onnx", (3, 48, 160), 50),
    ],
)
def test_outputs_equal_those_of_onnx_runtime(name, shape, count, passes, tmp_path):
    model = MODELS / name
    assert model.exists(), f"{model} is not there; run examples/ppocr_models/fetch.py, or set PACTORY_TEST_MODELS"
    assert largest_difference(model, shape, count, tmp_path, passes) <= 1e-4
