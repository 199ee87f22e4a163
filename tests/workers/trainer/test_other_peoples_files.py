"""pactory-trainer quantize on files that are quantized already, of another type, or newer than the runtime."""

import json

import numpy as np
import onnx
import pytest
from onnx import helper
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

from small_nets import random_weights, run_onnx, save_net
from test_trainer_jobs import TRAINER, quantize

pytestmark = pytest.mark.skipif(not TRAINER.exists(), reason=f"{TRAINER} is not built")


class OneArray(CalibrationDataReader):
    def __init__(self, x):
        self.batches = iter([{"x": x}])

    def get_next(self):
        return next(self.batches, None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A float model, its file of quantize_static, and data labelled by that."""
    folder = tmp_path_factory.mktemp("files")
    weights = random_weights(0, w1=(8, 3, 3, 3), w2=(8, 8, 3, 3), w3=(4, 8))
    nodes = [helper.make_node("Conv", ["x", "w1"], ["c1"], "first", pads=[1] * 4), helper.make_node("Relu", ["c1"], ["r1"]),
             helper.make_node("Conv", ["r1", "w2"], ["c2"], "second", pads=[1] * 4), helper.make_node("Relu", ["c2"], ["r2"]),
             helper.make_node("GlobalAveragePool", ["r2"], ["p"]), helper.make_node("Flatten", ["p"], ["f"]),
             helper.make_node("Gemm", ["f", "w3"], ["y"], "last", transB=1)]
    save_net(folder / "float.onnx", nodes, weights, {"x": ["N", 3, 8, 8]}, {"y": ["N", 4]})
    x = np.random.default_rng(1).standard_normal((256, 3, 8, 8)).astype(np.float32)
    quantize_static(folder / "float.onnx", folder / "m.onnx", OneArray(x), per_channel=True, weight_type=QuantType.QInt8)
    np.savez(folder / "train.npz", x=x, y=run_onnx(folder / "m.onnx", x).argmax(1))
    np.savez(folder / "eval.npz", x=x[:128], y=run_onnx(folder / "m.onnx", x[:128]).argmax(1))
    return folder


def test_a_file_of_pairs_is_trained_further(folder, tmp_path):
    ops = [node.op_type for node in onnx.load(folder / "m.onnx").graph.node]
    assert "QuantizeLinear" in ops and "Relu" not in ops  # the pairs are the Relus
    done = quantize(folder, tmp_path, "--preset", "pact_int8", "--set", "training.steps=40", "--set", "training.batch_size=16")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["fp32"]["metric"] == 1
    assert report["agreement"]["top1"] >= 0.98 and report["deployed"]["metric"] >= 0.95
    norms = {name: values["gradient_norm"] for name, values in report["training"]["quantizers"]["values"].items()}
    of_weights = [max(norm) for name, norm in norms.items() if name.startswith("w")]
    assert len(of_weights) == 3 and min(of_weights) > 1e-3, norms
    # One generation of pairs: every Q reads what a layer computes, none what another DQ gives.
    graph = onnx.load(tmp_path / "model.int8.onnx").graph
    writers = {output: node.op_type for node in graph.node for output in node.output}
    read = [writers.get(node.input[0]) for node in graph.node if node.op_type == "QuantizeLinear"]
    assert read and "DequantizeLinear" not in read and "Clip" not in read, read


def test_ranges_of_a_file_of_pairs_are_learned_where_they_clip(folder, tmp_path):
    """The Clips that stand for its pairs let through all that calibration saw; a range that starts below cuts values off, and moves."""
    done = quantize(folder, tmp_path, "--preset", "pact_int8", "--set", "training.steps=20", "--set", "training.batch_size=16",
                    "--set", "calibration.threshold=PERCENTILE", "--set", "calibration.percentile=99")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    values = report["training"]["quantizers"]["values"]
    learned = {name: recorded for name, recorded in values.items() if not name.startswith("w")}
    assert len(learned) == 3
    for name, recorded in learned.items():
        assert max(recorded["clipped_share"]) > 0 and max(recorded["gradient_norm"]) > 1e-4, (name, recorded)
        assert recorded["scale"][-1] != recorded["scale"][0]


def test_a_file_that_the_runtime_cannot_load_is_named(folder, tmp_path):
    model = onnx.load(folder / "float.onnx")
    model.ir_version = 99
    onnx.save(model, tmp_path / "new.onnx")
    done = quantize(folder, tmp_path / "out", "--preset", "ptq_int8", model=tmp_path / "new.onnx")
    assert done.returncode != 0 and "BAD_MODEL" in done.stderr and "IR version" in done.stderr, done.stderr
