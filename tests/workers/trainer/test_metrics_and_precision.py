"""pactory-trainer quantize on outputs that are no classes, and where the output decides: thresholds, sensitivity, precision."""

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import helper

from small_nets import random_weights, run_onnx, save_net
from test_trainer_jobs import CHECK, TRAINER, material, quantize  # noqa: F401

pytestmark = pytest.mark.skipif(not TRAINER.exists(), reason=f"{TRAINER} is not built")

IMAGES = {"x": ["N", 3, 8, 32]}


def line_net(path):
    """Images become probabilities of 6 classes at 8 steps, as CTC models give them."""
    weights = random_weights(3, w1=(16, 3, 8, 4), w2=(6, 16, 1, 1))
    weights["axes"] = np.array([2], np.int64)
    save_net(path, [
        helper.make_node("Conv", ["x", "w1"], ["c1"], strides=[8, 4]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["c2"]),
        helper.make_node("Squeeze", ["c2", "axes"], ["s"]),
        helper.make_node("Transpose", ["s"], ["t"], perm=[0, 2, 1]),
        helper.make_node("Softmax", ["t"], ["y"], axis=2),
    ], weights, IMAGES, {"y": ["N", 8, 6]})


def deep_line_net(path):
    """The same at 32 steps with eight more layers."""
    rng = np.random.default_rng(5)
    weights = random_weights(rng, first=(64, 3, 8, 1), last=(6, 64, 1, 1), **{f"w{i}": (64, 64, 1, 1) for i in range(8)})
    weights["axes"] = np.array([2], np.int64)
    nodes, value = [helper.make_node("Conv", ["x", "first"], ["h"])], "h"
    for i in range(8):
        nodes += [helper.make_node("Tanh", [value], [f"t{i}"]), helper.make_node("Conv", [f"t{i}", f"w{i}"], [f"c{i}"])]
        value = f"c{i}"
        weights[f"w{i}"] *= np.float32(1.5)
    save_net(path, [
        *nodes,
        helper.make_node("Conv", [value, "last"], ["c"]),
        helper.make_node("Squeeze", ["c", "axes"], ["s"]),
        helper.make_node("Transpose", ["s"], ["t"], perm=[0, 2, 1]),
        helper.make_node("Softmax", ["t"], ["y"], axis=2),
    ], weights, IMAGES, {"y": ["N", 32, 6]})


def map_net(path):
    weights = random_weights(4, w1=(16, 3, 3, 3), w2=(16, 16, 3, 3), w3=(1, 16, 1, 1))
    save_net(path, [
        helper.make_node("Conv", ["x", "w1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("Conv", ["r2", "w3"], ["c3"]),
        helper.make_node("Sigmoid", ["c3"], ["y"]),
    ], weights, IMAGES, {"y": ["N", 1, 8, 32]})


def read(probabilities):
    """CTC's greedy reading, filled up with -1."""
    lines = []
    for steps in probabilities.argmax(-1):
        line = [c for previous, c in zip([-1, *steps], steps) if c != previous and c != 0]
        lines.append(line + [-1] * (len(steps) - len(line)))
    return np.array(lines, np.int64)


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps")
    map_net(folder / "m.onnx")
    np.savez(folder / "train.npz", x=samples(64, 2))
    np.savez(folder / "eval.npz", x=samples(40, 1))
    return folder


def quantized(folder, out, *arguments):
    done = quantize(folder, out, *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads((out / "report.json").read_text()), done.stdout


def samples(count, seed):
    return np.random.default_rng(seed).standard_normal((count, 3, 8, 32)).astype(np.float32)


def sqnr_db(exact, other):
    return 10 * np.log10((exact.astype(float) ** 2).sum() / ((other.astype(float) - exact) ** 2).sum())


def test_lines_are_measured_by_their_reading(tmp_path):
    line_net(tmp_path / "m.onnx")
    x = samples(120, 1)
    labels = read(run_onnx(tmp_path / "m.onnx", x))
    # Every third line is labelled with what the model does not read.
    labels[::3, 0] = labels[::3, 0] % 5 + 1
    np.savez(tmp_path / "train.npz", x=samples(64, 2))
    np.savez(tmp_path / "eval.npz", x=x, y=labels)
    report, table = quantized(tmp_path, tmp_path / "out", "--preset", "ptq_int8")
    assert report["metric_name"] == "ctc_exact" and report["config"]["evaluation"]["metric"] == "CTC_EXACT"
    assert (report["fp32"]["right"], report["fp32"]["total"]) == (80, 120)
    outputs = [run_onnx(path, x) for path in (tmp_path / "m.onnx", tmp_path / "out/model.int8.onnx")]
    readings = [read(output) for output in outputs]
    assert report["deployed"]["right"] == (readings[1] == labels).all(1).sum()
    assert report["agreement"]["top1_fp32"] == pytest.approx((readings[0] == readings[1]).all(1).mean())
    assert report["sqnr_db"]["deployed"] == pytest.approx(sqnr_db(*outputs), abs=0.05)
    assert "exact sequences" in table
    # Without labels: as FP32 reads.
    np.savez(tmp_path / "eval.npz", x=x)
    report, _ = quantized(tmp_path, tmp_path / "out2", "--preset", "ptq_int8")
    assert report["metric_name"] == "ctc_agreement" and report["fp32"]["metric"] == 1
    assert report["deployed"]["metric"] == pytest.approx((readings[0] == readings[1]).all(1).mean())


def test_maps_are_measured_by_their_overlap(maps, tmp_path):
    x = samples(40, 1)
    report, table = quantized(maps, tmp_path / "out", "--preset", "ptq_int8", "--set", "evaluation.map_threshold=0.6")
    a, b = (run_onnx(path, x) > 0.6 for path in (maps / "m.onnx", tmp_path / "out/model.int8.onnx"))
    assert report["metric_name"] == "iou"
    assert (report["deployed"]["right"], report["deployed"]["total"]) == ((a & b).sum(), (a | b).sum())
    assert report["deployed"]["interval95"] is None and 0.9 < report["deployed"]["metric"] < 1
    assert "overlap" in table and "overlap" in (tmp_path / "out/report.html").read_text()


def test_an_import_that_gives_other_numbers_than_the_runtime_is_refused_where_all_answers_are_equal(tmp_path):
    weights = random_weights(6, w=(1, 3, 8, 32))
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Flatten", ["c"], ["y"])]
    save_net(tmp_path / "m.onnx", nodes, weights, IMAGES, {"y": ["N", 1]})
    save_net(tmp_path / "other.onnx", nodes, {"w": weights["w"] * np.float32(1.2)}, IMAGES, {"y": ["N", 1]})
    for name in ("train", "eval"):
        np.savez(tmp_path / f"{name}.npz", x=samples(32, 7))
    command = [TRAINER, "quantize", "--model", tmp_path / "m.onnx", "--data", tmp_path / "train.npz", "--eval-data",
               tmp_path / "eval.npz", "--preset", "ptq_int8"]
    right = subprocess.run([*command, "--out", tmp_path / "out", "--runtime-check", CHECK], capture_output=True, text=True)
    assert right.returncode == 0, right.stderr
    assert json.loads((tmp_path / "out/report.json").read_text())["sqnr_db"]["import"] > 100
    # A runtime that computes another model stands for an engine that does.
    (tmp_path / "check.py").write_text(
        "import runpy, sys\n"
        f"sys.argv[1:] = [{str(tmp_path / 'other.onnx')!r} if a == {str(tmp_path / 'm.onnx')!r} else a for a in sys.argv[1:]]\n"
        f"runpy.run_path({CHECK.split()[-1]!r}, run_name='__main__')\n")
    wrong = subprocess.run([*command, "--out", tmp_path / "out2", "--runtime-check", f"{sys.executable} {tmp_path}/check.py"],
                           capture_output=True, text=True)
    assert wrong.returncode != 0
    assert "the runtime's outputs" in wrong.stderr and "signal to noise=15.6 dB" in wrong.stderr, wrong.stderr


def test_metric_that_the_data_does_not_allow_is_refused(material, tmp_path):  # noqa: F811
    done = quantize(material, tmp_path, "--preset", "ptq_int8", "--set", "evaluation.metric=CTC_EXACT")
    assert done.returncode != 0 and "N x L" in done.stderr
    done = quantize(material, tmp_path, "--preset", "ptq_int8", "--set", "evaluation.metric=CTC_AGREEMENT")
    assert done.returncode != 0 and "steps" in done.stderr


def test_thresholds_by_output_and_sensitivity_of_each_layer(material, tmp_path):  # noqa: F811
    report, _ = quantized(material, tmp_path, "--preset", "ptq_int8", "--set", "calibration.threshold=OUTPUT_ERROR")
    assert report["config"]["calibration"]["threshold"] == "OUTPUT_ERROR" and report["deployed"]["metric"] > 0.8
    assert all(layer["sensitivity"] > 0 for layer in report["layers"])
    report, _ = quantized(material, tmp_path / "off", "--preset", "ptq_int8", "--set", "sensitivity_samples=0")
    assert all(layer["sensitivity"] is None for layer in report["layers"])


def test_most_sensitive_layers_stay_in_float_until_the_answers_agree(maps, tmp_path):
    coarse = ["--preset", "ptq_int8", "--set", "weights.bits=2", "--set", "first_last_bits=2"]
    plain, _ = quantized(maps, tmp_path / "plain", *coarse)
    report, _ = quantized(maps, tmp_path / "mixed", *coarse, "--set", "mixed_precision.min_agreement=0.88")
    kept = {layer["name"] for layer in report["layers"] if layer["precision"] == "float"}
    assert 0 < len(kept) < len(report["layers"])
    assert {entry["name"] for entry in report["config"]["overrides"]} == kept and "mixed_precision" not in report["config"]
    ranking = sorted(plain["layers"], key=lambda layer: -layer["sensitivity"])
    assert kept == {layer["name"] for layer in ranking[:len(kept)]}
    # The target holds on 64 calibration samples; the evaluation set is another draw.
    assert plain["agreement"]["top1_fp32"] < 0.88 and report["agreement"]["top1_fp32"] > 0.87


def test_most_sensitive_layers_have_8_bits_where_the_others_have_4(maps, tmp_path):
    coarse = ["--preset", "ptq_int8", "--set", "weights.bits=4", "--set", "first_last_bits=4", "--set", "export.pack_int4=true"]
    plain, _ = quantized(maps, tmp_path / "plain", *coarse)
    assert {layer["weight_bits"] for layer in plain["layers"]} == {4}
    report, _ = quantized(maps, tmp_path / "mixed", *coarse, "--set", "mixed_precision.sensitive_bits=8",
                          "--set", "mixed_precision.min_agreement=0.98")
    raised = {layer["name"] for layer in report["layers"] if layer["weight_bits"] == 8}
    assert {layer["weight_bits"] for layer in report["layers"]} == {4, 8}
    ranking = sorted(plain["layers"], key=lambda layer: -layer["sensitivity"])
    assert raised == {layer["name"] for layer in ranking[:len(raised)]}
    assert plain["agreement"]["top1_fp32"] < 0.98 and report["agreement"]["top1_fp32"] > plain["agreement"]["top1_fp32"]
    assert report["agreement"]["top1"] >= 0.99
    # The file holds what was planned: two weights in a byte, and one.
    tensors = onnx.load(tmp_path / "mixed/model.int8.onnx").graph.initializer
    stored = {int(np.prod(tensor.dims)): tensor.data_type for tensor in tensors if len(tensor.dims) == 4}
    assert stored == {layer["params"]: onnx.TensorProto.INT8 if layer["weight_bits"] == 8 else onnx.TensorProto.INT4
                      for layer in report["layers"]}


def test_as_many_sensitive_layers_as_the_file_has_room_for(maps, tmp_path):
    kept = []
    for ratio in (0.45, 0.95):
        report, _ = quantized(maps, tmp_path / str(ratio), "--preset", "ptq_int8", "--set",
                              f"mixed_precision.max_size_ratio={ratio}")
        assert report["size_bytes"]["int8"] <= ratio * report["size_bytes"]["fp32"]
        kept.append({layer["params"] for layer in report["layers"] if layer["precision"] == "float"})
    assert kept == [{16}, {16, 2304}]
    done = quantize(maps, tmp_path / "small", "--preset", "ptq_int8", "--set", "mixed_precision.max_size_ratio=0.01")
    assert done.returncode != 0 and "max_size_ratio" in done.stderr


def test_float_activations_around_int8_weights_where_the_file_must_stay_small(maps, tmp_path):
    """The layer with 2,304 weights is computed in int8, unless the answers must be FP32's; then its weights stay int8."""
    target = ["--preset", "ptq_int8", "--set", "mixed_precision.max_size_ratio=0.45"]
    x, reports = samples(40, 1), []
    for agreement in ("0.5", "0.9999"):
        out = tmp_path / agreement
        report, _ = quantized(maps, out, *target, "--set", f"mixed_precision.min_agreement={agreement}")
        assert report["size_bytes"]["int8"] <= 0.45 * report["size_bytes"]["fp32"]
        reports.append({layer["params"]: layer for layer in report["layers"]})
        a, b = (run_onnx(path, x) > 0.3 for path in (maps / "m.onnx", out / "model.int8.onnx"))
        assert report["agreement"]["top1_fp32"] == pytest.approx((a & b).sum() / (a | b).sum())
        ops = {node.op_type for node in onnx.load(out / "model.int8.onnx").graph.node}
        assert ("QuantizeLinear" in ops) == (agreement == "0.5")
    few, most = (layers[2304] for layers in reports)
    assert (few["precision"], few["float_reason"]) == ("int8", None)
    assert (most["precision"], most["weight_bits"], most["activation_bits"]) == ("int8_weights", 8, 32)
    assert "mixed precision" in most["float_reason"] and most["weight_range"] == "full"
    assert few["sensitivity"] > few["weight_sensitivity"] > 0


def test_runtime_leaves_layers_in_float_between_quantized_values_alone(tmp_path):
    """It would else quantize the weight of the one whose output is quantized at once, with one scale for all its channels."""
    deep_line_net(tmp_path / "m.onnx")
    np.savez(tmp_path / "train.npz", x=samples(64, 2))
    np.savez(tmp_path / "eval.npz", x=samples(200, 1))
    report, _ = quantized(tmp_path, tmp_path / "out", "--preset", "ptq_int8", "--set", "activations.bits=4")
    assert {layer["precision"] for layer in report["layers"]} == {"int8_weights"}
    assert {run["optimization"]: run["agreement_trained"] for run in report["runtimes"]} == {"all": 1, "none": 1}


def test_float_activations_where_the_last_bits_of_a_float_would_decide(tmp_path):
    """The grid's step is 1: whether 10.5 becomes 10 or 11 decides the class, and hangs on the last bit of what Abs gives."""
    weights = {"w": np.zeros((768, 2), np.float32)}
    weights["w"][0, 0], weights["w"][1, 1] = 1, 0.98
    save_net(tmp_path / "m.onnx", [
        helper.make_node("Abs", ["x"], ["a"]),
        helper.make_node("Flatten", ["a"], ["f"]),
        helper.make_node("Gemm", ["f", "w"], ["y"]),
    ], weights, IMAGES, {"y": ["N", 2]})
    x = np.zeros((64, 3, 8, 32), np.float32)
    x[:, 0, 0, :3] = -10.5, 10.75, 255
    for name in ("train", "eval"):
        np.savez(tmp_path / f"{name}.npz", x=x)
    options = ["--preset", "ptq_int8", "--set", "calibration.threshold=MAX", "--set", "mixed_precision.min_deployed_agreement=0.9"]
    report, _ = quantized(tmp_path, tmp_path / "out", *options)
    layer = report["layers"][0]
    assert (layer["precision"], layer["weight_bits"], layer["activation_bits"]) == ("int8_weights", 8, 32)
    assert "mixed precision" in layer["float_reason"] and report["config"]["overrides"] == [{"name": layer["name"], "activation_bits": 32}]
    assert report["deployed"]["metric"] == 1
    # A quarter of a step off the middle nothing hangs on it.
    x[:, 0, 0, 0] = -10.25
    for name in ("train", "eval"):
        np.savez(tmp_path / f"{name}.npz", x=x)
    report, _ = quantized(tmp_path, tmp_path / "apart", *options)
    assert report["layers"][0]["precision"] == "int8" and not report["config"].get("overrides")
