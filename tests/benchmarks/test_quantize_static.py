"""The peer measurement on a tiny classifier: every variant is written, run and reported."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "benchmarks/peers/quantize_static.py"


def save_classifier(path):
    """Answers 1 where the image is brighter than mid grey."""
    kernel = np.full((2, 3, 1, 1), 1 / 3, np.float32)
    kernel[0] *= -1
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("GlobalAveragePool", ["c"], ["p"]),
         helper.make_node("Flatten", ["p"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(kernel, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6), path)


def test_reports_fp32_and_each_variant(tmp_path):
    save_classifier(tmp_path / "m.onnx")
    y = np.arange(40, dtype=np.int64) % 2
    x = np.where(y[:, None, None, None] == 1, 220, 30).astype(np.uint8) * np.ones((1, 3, 4, 4), np.uint8)
    np.savez(tmp_path / "d.npz", x=x, y=y)
    subprocess.run([sys.executable, SCRIPT, "--model", tmp_path / "m.onnx", "--calibration-data",
                    tmp_path / "d.npz", "--eval-data", tmp_path / "d.npz", "--runs", "3",
                    "--json", tmp_path / "r.json"], check=True, capture_output=True)
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["samples"] == 40
    assert result["fp32"]["accuracy"] == 1.0 and result["fp32"]["agreement_with_fp32"] == 1.0
    assert result["fp32"]["interval95"][0] < 1.0
    assert [entry["name"] for entry in result["variants"]][0] == "default"
    assert len(result["variants"]) == 4
    for entry in result["variants"]:
        assert entry["size_bytes"] > 0 and entry["latency_ms"] > 0 and entry["accuracy"] == 1.0


def test_lines_and_maps_are_measured_by_their_reading_and_overlap(tmp_path):
    sys.path.insert(0, str(SCRIPT.parent))
    import quantize_static
    assert quantize_static.read_line(np.array([0, 3, 3, 0, 3, 5, 5, 0])).tolist() == [3, 3, 5, -1, -1, -1, -1, -1]
    output = np.eye(6)[[[0, 3, 3, 0, 3, 5], [1, 1, 2, 0, 0, 0]]]
    answers = quantize_static.ANSWERS["ctc"](output)
    assert quantize_static.count_equal(answers, np.array([[3, 3, 5], [1, 2, 2]]), "ctc") == (1, 2)
    first, second = (quantize_static.ANSWERS["iou"](np.array(maps)) for maps in ([0.2, 0.4, 0.9, 0.0], [0.5, 0.4, 0.1, 0.0]))
    assert quantize_static.count_equal(first, second, "iou") == (1, 3)
