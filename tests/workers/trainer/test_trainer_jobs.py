"""pactory-trainer quantize and job: the whole pipeline on a small model, checked in ONNX Runtime, and bad days."""

import json
import math
import os
import pathlib
import signal
import struct
import subprocess
import sys
import time

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from small_nets import run_onnx, save_net

ROOT = pathlib.Path(__file__).resolve().parents[3]
BUILD = pathlib.Path(os.environ.get("PACTORY_BINARY_DIR", ROOT / "build" / "release"))
TRAINER = BUILD / "bin" / "pactory-trainer"
CHECK = f"{sys.executable} {ROOT / 'workers' / 'runtime_check' / 'ort_check.py'}"

pytestmark = pytest.mark.skipif(not TRAINER.exists(), reason=f"{TRAINER} is not built")


def small_net(path, classes=4, seed=0, batch_norm=False):
    """Conv+Relu, a residual block with HardSwish, pooling, Gemm, Softmax; a BatchNormalization behind each Conv where asked for."""
    rng = np.random.default_rng(seed)
    weights = {}

    def weight(name, *shape):
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 1
        scale = 0.1 if len(shape) == 1 else np.sqrt(2 / fan_in)
        weights[name] = (rng.standard_normal(shape) * scale).astype(np.float32)
        return name

    nodes = [
        helper.make_node("Conv", ["x", weight("w1", 8, 3, 3, 3), weight("b1", 8)], ["c1"], "first",
                         pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", weight("w2", 8, 1, 3, 3), weight("b2", 8)], ["c2"], "depthwise",
                         pads=[1, 1, 1, 1], group=8),
        helper.make_node("HardSigmoid", ["c2"], ["g2"], alpha=1 / 6, beta=0.5),
        helper.make_node("Mul", ["c2", "g2"], ["h2"]),
        helper.make_node("Conv", ["h2", weight("w3", 8, 8, 1, 1), weight("b3", 8)], ["c3"], "pointwise"),
        helper.make_node("Add", ["c3", "r1"], ["s3"]),
        helper.make_node("GlobalAveragePool", ["s3"], ["p3"]),
        helper.make_node("Flatten", ["p3"], ["f3"]),
        helper.make_node("Gemm", ["f3", weight("w4", classes, 8), weight("b4", classes)], ["logits"], "last", transB=1),
        helper.make_node("Softmax", ["logits"], ["y"], axis=1),
    ]
    if batch_norm:
        for name in ("c1", "c2", "c3"):
            position, conv = next((i, node) for i, node in enumerate(nodes) if name in node.output)
            conv.output[0] = name + "_raw"
            inputs = [weight(f"{part}_{name}", 8) for part in ("gamma", "beta", "mean", "var")]
            weights[inputs[0]] += 1
            weights[inputs[3]] = np.abs(weights[inputs[3]]) + 0.5
            nodes.insert(position + 1, helper.make_node("BatchNormalization", [name + "_raw", *inputs], [name], "norm_" + name))
    save_net(path, nodes, weights, {"x": ["N", 3, 16, 16]}, {"y": ["N", classes]})


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """A model, and data labelled by the model itself: FP32 is right on all of it."""
    folder = tmp_path_factory.mktemp("material")
    small_net(folder / "m.onnx")
    rng = np.random.default_rng(1)
    for name, count in (("train", 256), ("eval", 200)):
        x = rng.standard_normal((count, 3, 16, 16)).astype(np.float32)
        np.savez(folder / f"{name}.npz", x=x, y=run_onnx(folder / "m.onnx", x).argmax(1).astype(np.int64))
    return folder


def quantize(material, out, *arguments, model=None, data=None, check=True):
    command = [TRAINER, "quantize", "--model", model or material / "m.onnx", "--data", data or material / "train.npz",
               "--eval-data", material / "eval.npz", "--out", out, *arguments]
    if check:
        command += ["--runtime-check", CHECK]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def pact(material, tmp_path_factory):
    out = tmp_path_factory.mktemp("pact")
    done = quantize(material, out, "--preset", "pact_int8", "--set", "training.steps=40", "--set", "training.batch_size=16",
                    "--set", "training.plain_qat_baseline=true", "--set", "training.evaluate_every=20")
    assert done.returncode == 0, done.stderr
    return out, done, json.loads((out / "report.json").read_text())


def test_deployed_file_is_the_trained_model(pact):
    out, done, report = pact
    assert report["agreement"]["top1"] >= 0.98
    assert report["fp32"]["metric"] == 1
    assert report["deployed"]["metric"] >= 0.9
    assert report["agreement"]["import"] == 1
    assert "deployed" in done.stdout


def test_every_weight_is_int8_per_channel_and_biases_of_int8_layers_int32(pact):
    out, _, report = pact
    model = onnx.load(out / "model.int8.onnx")
    onnx.checker.check_model(model, full_check=True)
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    producers = {name: node for node in model.graph.node for name in node.output}
    weighted = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    assert len(weighted) == 4
    ranges = {layer["op"]: layer["weight_range"] for layer in report["layers"] if layer["precision"] == "int8"}
    computed_in_int8 = []
    for node in weighted:
        weight = producers[node.input[1]]
        if weight.op_type == "Mul":
            values, scales = tensors[producers[weight.input[0]].input[0]], tensors[weight.input[1]]
            assert node.input[2] in tensors
        else:
            assert weight.op_type == "DequantizeLinear"
            computed_in_int8.append(node.op_type)
            values, scales = tensors[weight.input[0]], tensors[weight.input[1]]
            bias = producers[node.input[2]]
            assert tensors[bias.input[0]].dtype == np.int32
            source = producers[node.input[0]]
            assert source.op_type == "DequantizeLinear"
            np.testing.assert_allclose(tensors[bias.input[1]], tensors[source.input[1]] * scales, rtol=1e-6)
        assert values.dtype == np.int8 and scales.size == values.shape[0]
        # What is computed in float has no 16-bit sums that could saturate.
        steps = 127 if weight.op_type == "Mul" else {"full": 127, "reduced": 63}[ranges[node.op_type]]
        assert (np.abs(values).reshape(len(values), -1).max(axis=1) == steps).all()
    assert computed_in_int8 == ["Conv", "Gemm"]
    precision = {layer["name"]: layer["precision"] for layer in report["layers"]}
    assert precision == {"first": "int8_weights", "depthwise": "int8_weights", "pointwise": "int8", "last": "int8"}


def test_weights_have_7_bits_only_where_16_bit_sums_need_it(tmp_path):
    """Two pointwise Convs on inputs that use their whole grid: in one all weights are large, in the other every second one."""
    dense = np.full((8, 8, 1, 1), 0.1, np.float32)
    sparse = dense * np.tile([1, 0.001], 4).astype(np.float32).reshape(1, 8, 1, 1)
    tensors = {"dense": dense, "sparse": sparse, "last": np.random.default_rng(0).standard_normal((2, 8)).astype(np.float32)}
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Conv", ["r", "dense"], ["c1"], "saturates"), helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "sparse"], ["c2"], "has_room"), helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("GlobalAveragePool", ["r2"], ["p"]), helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "last"], ["y"], "last", transB=1)]
    save_net(tmp_path / "m.onnx", nodes, tensors, {"x": ["N", 8, 4, 4]}, {"y": ["N", 2]})
    for name in ("train", "eval"):
        np.savez(tmp_path / f"{name}.npz", x=np.random.default_rng(1).random((64, 8, 4, 4)).astype(np.float32))
    reports = {}
    for choice in ("AUTO", "FULL"):
        done = quantize(tmp_path, tmp_path / choice, "--preset", "ptq_int8", "--set", f"weights.range={choice}",
                        model=tmp_path / "m.onnx")
        assert done.returncode == 0 or "GATE_FAILED" in done.stderr, done.stderr
        reports[choice] = json.loads((tmp_path / choice / "report.json").read_text())
    layers = {choice: {layer["name"]: layer for layer in report["layers"]} for choice, report in reports.items()}
    assert layers["AUTO"]["saturates"]["weight_range"] == "reduced" and layers["AUTO"]["saturates"]["pair_sum"] < 1
    assert layers["AUTO"]["has_room"]["weight_range"] == "full" and layers["AUTO"]["has_room"]["pair_sum"] < 1
    # Two products of 127 and nearly 255.
    assert layers["FULL"]["saturates"]["pair_sum"] == pytest.approx(2 * 127 * 255 / 32767, rel=0.05)
    assert any("pair sums" in warning for warning in reports["FULL"]["warnings"])
    assert not any("pair sums" in warning for warning in reports["AUTO"]["warnings"])


def test_reported_alpha_is_the_exported_scale_and_moved(pact):
    out, _, report = pact
    tensors = {t.name: numpy_helper.to_array(t) for t in onnx.load(out / "model.int8.onnx").graph.initializer}
    scales = [float(value) for value in tensors.values() if value.dtype == np.float32 and value.ndim == 0]
    activations = [q for q in report["quantizers"] if q["target"] == "activation"]
    assert activations
    for quantizer in activations:
        steps = 127 if quantizer["signed"] else 255
        assert quantizer["scale"] == pytest.approx(quantizer["alpha"] / steps, rel=1e-5)
        assert min(abs(scale - quantizer["scale"]) for scale in scales) <= 1e-6 * quantizer["scale"]
        assert 0 <= quantizer["clipped_share"] < 0.5
        assert 1 <= quantizer["stable_after_batches"] <= quantizer["calibration_batches"] == 16
        assert 0 <= quantizer["largest_sample"] < 256
    assert any(q["alpha"] != pytest.approx(q["alpha_initial"], rel=1e-3) for q in activations)


def test_report_holds_every_documented_field(pact):
    out, _, report = pact
    for row in ("fp32", "ptq", "qat_plain", "qat", "deployed"):
        low, high = report[row]["interval95"]
        assert 0 <= low <= report[row]["metric"] <= high <= 1
    assert sum(report["size_bytes"]["breakdown"]["int8"].values()) == report["size_bytes"]["int8"]
    assert report["size_bytes"]["int8"] == (out / "model.int8.onnx").stat().st_size
    assert report["latency_ms"]["int8"] > 0 and report["latency_ms"]["fp32"] > 0
    assert report["runtime"]["name"] == "onnxruntime" and report["runtime"]["onnx_checker"] == "passed"
    assert len(report["training"]["steps"]) == 40
    assert [entry["step"] for entry in report["training"]["evaluations"]] == [20, 40]
    assert set(report["training"]["alphas"]["values"]) == {q["name"] for q in report["quantizers"] if q["alpha"] is not None}
    records = report["training"]["quantizers"]
    assert records["step"] == [10, 20, 30, 40]
    assert set(records["values"]) == {q["name"] for q in report["quantizers"]}
    for quantizer in report["quantizers"]:
        record = records["values"][quantizer["name"]]
        assert len(record["scale"]) == 4 and min(record["scale"]) > 0
        assert all(0 <= share < 0.5 for share in record["clipped_share"])
        # PACT's alpha has a gradient from clipped values alone, a weight always.
        expected = [quantizer["target"] == "weight" or share > 0 for share in record["clipped_share"]]
        assert [norm > 0 for norm in record["gradient_norm"]] == expected, (quantizer["name"], record)
    assert report["training"]["kept_step"] == 40 and report["training"]["ended_early"] is None
    assert report["config"]["training"]["steps"] == 40
    documented = (ROOT / "docs" / "report.md").read_text()
    for field in report:
        assert f"`{field}" in documented, field
    page = (out / "report.html").read_text()
    activations = [q for q in report["quantizers"] if q["target"] == "activation"]
    assert page.count("<svg") == 4 + len(activations) and "<script" not in page and "http" not in page.replace("http-equiv", "")


def test_report_compares_the_models_sample_by_sample(material, pact):
    out, _, report = pact
    x, y = (np.load(material / "eval.npz")[name] for name in ("x", "y"))
    fp32 = run_onnx(material / "m.onnx", x).argmax(1)
    deployed = run_onnx(out / "model.int8.onnx", x).argmax(1)
    changed = np.flatnonzero(fp32 != deployed)
    assert report["flips"]["total"] == len(changed)
    assert [(flip["index"], flip["label"], flip["fp32"], flip["deployed"]) for flip in report["flips"]["samples"]] == [
        (i, y[i], fp32[i], deployed[i]) for i in changed]
    assert {entry["label"]: (entry["samples"], entry["fp32_right"], entry["deployed_right"]) for entry in report["classes"]} == {
        label: (np.sum(y == label), np.sum((y == label) & (fp32 == label)), np.sum((y == label) & (deployed == label)))
        for label in np.unique(y)}
    rows = ["fp32", "ptq", "qat_plain", "qat", "deployed"]
    pairs = {(entry["first"], entry["second"]): entry for entry in report["comparisons"]}
    assert set(pairs) == {(a, b) for i, b in enumerate(rows) for a in rows[:i]}
    entry = pairs["fp32", "deployed"]
    only = np.sum((fp32 == y) & (deployed != y)), np.sum((fp32 != y) & (deployed == y))
    assert (entry["only_first_right"], entry["only_second_right"]) == only
    n = sum(only)
    assert entry["p_value"] == pytest.approx(min(1, 2 * sum(math.comb(int(n), k) for k in range(int(min(only)) + 1)) / 2 ** int(n)))


def test_report_says_which_kernels_the_result_holds_for(pact):
    _, _, report = pact
    runs = {run["optimization"]: run for run in report["runtimes"]}
    assert set(runs) == {"all", "none"}
    assert runs["all"]["accuracy"] == report["deployed"] and runs["all"]["agreement_trained"] == report["agreement"]["top1"]
    # As the file is written there is no kernel to saturate.
    assert runs["none"]["agreement_trained"] >= 0.98 and runs["none"]["instruction_set"]


def test_bytes_by_layer_are_those_of_the_file(pact):
    out, _, report = pact
    layers = {layer["name"]: layer for layer in report["layers"]}
    assert layers["pointwise"]["float_bytes"] == 4 * (8 * 8 + 8)
    # int8 weights and their scales, int32 biases and theirs.
    assert layers["pointwise"]["stored_bytes"] == 8 * 8 + 4 * 8 + 4 * 8 + 4 * 8
    sizes = report["size_bytes"]["breakdown"]["int8"]
    assert sum(layer["stored_bytes"] for layer in layers.values()) <= sizes["weights"] + sizes["scales"] + sizes["biases"]
    assert all(layer["dead_channels"] == 0 and layer["raised_channels"] == 0 for layer in layers.values())
    histograms = [q["histogram"] for q in report["quantizers"] if q["target"] == "activation"]
    assert all(sum(h["counts"]) > 0 and h["min"] <= 0 <= h["max"] <= h["bin_width"] * len(h["counts"]) for h in histograms)


def test_same_seed_gives_the_same_bytes(material, pact, tmp_path):
    out, _, _ = pact
    again = tmp_path / "again"
    quantize(material, again, "--preset", "pact_int8", "--set", "training.steps=40", "--set", "training.batch_size=16",
             "--set", "training.evaluate_every=20", check=False)
    assert (again / "model.int8.onnx").read_bytes() == (out / "model.int8.onnx").read_bytes()


def test_a_manifest_replays_to_the_same_file(material, pact, tmp_path):
    out, _, _ = pact

    def replay(manifest, model=material / "m.onnx"):
        command = [TRAINER, "replay", manifest, "--model", model, "--data", material / "train.npz", "--eval-data",
                   material / "eval.npz", "--out", tmp_path / "again"]
        return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300)

    manifest = json.loads((out / "manifest.json").read_text())
    done = replay(out / "manifest.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert manifest["outputs"]["model.int8.onnx"] in done.stdout
    assert (tmp_path / "again" / "model.int8.onnx").read_bytes() == (out / "model.int8.onnx").read_bytes()

    manifest["config"]["training"]["seed"] = 2
    manifest["environment"]["device_class"] = "CPU OF ANOTHER CLASS"
    (tmp_path / "other.json").write_text(json.dumps(manifest))
    done = replay(tmp_path / "other.json")
    assert done.returncode == 1 and "another model.int8.onnx" in done.stdout
    assert "device class: CPU OF ANOTHER CLASS there" in done.stderr

    small_net(tmp_path / "other.onnx", seed=5)
    done = replay(out / "manifest.json", model=tmp_path / "other.onnx")
    assert done.returncode == 2 and "other.onnx" in done.stderr


def test_four_bit_grid_survives_the_export(material, tmp_path):
    done = quantize(material, tmp_path, "--preset", "pact_w4a4", "--set", "training.steps=20", "--set",
                    "training.batch_size=16")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["agreement"]["top1"] >= 0.98
    assert {layer["weight_bits"] for layer in report["layers"]} == {4, 8}


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("method", ["LSQ", "LSQ_PLUS", "PACT_AFFINE", "AFFINE", "RANGE_ABS_MAX"])
def test_grid_of_every_method_survives_the_export(material, tmp_path, method, bits):
    done = quantize(material, tmp_path, "--preset", "pact_int8", "--set", f"activations.method={method}", "--set",
                    f"activations.bits={bits}", "--set", "training.steps=20", "--set", "training.batch_size=16")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["agreement"]["top1"] >= 0.98 and report["deployed"]["metric"] >= 0.85
    activations = [q for q in report["quantizers"] if q["target"] == "activation"]
    assert {q["method"] for q in activations} == {method}
    zero_points = {q["zero_point"] for q in activations if q["signed"]}
    if method in ("LSQ_PLUS", "PACT_AFFINE", "AFFINE"):
        # HardSwish reaches further up than down.
        assert any(0 < zero < 2 ** (bits - 1) for zero in zero_points), zero_points
    else:
        assert zero_points == {128}


@pytest.mark.parametrize("method", ["CHANNEL_LSQ", "LSQ"])
def test_learned_ranges_of_weights_are_the_exported_scales(material, tmp_path, method):
    done = quantize(material, tmp_path, "--preset", "pact_int8", "--set", f"weights.method={method}", "--set",
                    "training.steps=20", "--set", "training.batch_size=16")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["agreement"]["top1"] >= 0.98 and report["deployed"]["metric"] >= 0.85
    tensors = [numpy_helper.to_array(t) for t in onnx.load(tmp_path / "model.int8.onnx").graph.initializer]
    stored = {np.float32(tensor).tobytes() for tensor in tensors if tensor.dtype == np.float32}
    weights = [q for q in report["quantizers"] if q["target"] == "weight"]
    assert len(weights) == 4
    for quantizer in weights:
        assert quantizer["alpha"] != 1 and quantizer["alpha_initial"] == 1
        assert (np.size(quantizer["scale"]) == 1) == (method == "LSQ")
        assert np.float32(quantizer["scale"]).tobytes() in stored


def test_learned_rounding_is_what_is_stored(material, tmp_path):
    done = quantize(material, tmp_path, "--preset", "adaround_w4a8", "--set", "weights.adaround.steps=100", "--set",
                    "weights.adaround.learning_rate=5e-2", "--set", "training.batch_size=16")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["qat"] is None and report["agreement"]["top1"] >= 0.98 and report["deployed"]["metric"] > 0.8
    assert {"learn_rounding", "correct_biases"} <= set(report["timing"])
    uploaded = {t.name: numpy_helper.to_array(t) for t in onnx.load(material / "m.onnx").graph.initializer}
    scales = {q["name"]: np.float32(q["scale"]) for q in report["quantizers"] if q["target"] == "weight"}
    stored = [numpy_helper.to_array(t) for t in onnx.load(tmp_path / "model.int8.onnx").graph.initializer]
    changed, largest = 0, 7
    for name in ("w2", "w3"):
        steps = uploaded[name] / scales[name].reshape(-1, 1, 1, 1)
        rounded = next(t for t in stored if t.dtype == np.int8 and t.shape == steps.shape)
        inside = np.abs(steps) <= largest
        assert np.abs(rounded).max() <= largest and np.abs(rounded - steps)[inside].max() <= 1.0001
        changed += (rounded != np.round(steps))[inside].sum()
    assert changed > 0


def test_post_training_quantization_needs_no_training(material, tmp_path):
    done = quantize(material, tmp_path, "--preset", "ptq_int8")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["qat"] is None and report["deployed"]["metric"] > 0.8


def test_data_without_labels_trains_by_distillation(material, tmp_path):
    for name in ("train", "eval"):
        np.savez(tmp_path / f"{name}.npz", x=np.load(material / f"{name}.npz")["x"])
    done = quantize(tmp_path, tmp_path / "out", "--preset", "pact_distill_int8", "--set", "training.steps=10",
                    model=material / "m.onnx")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["metric_name"] == "agreement" and report["fp32"]["metric"] == 1


def test_skipped_layer_stays_float(material, tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text("training: {enabled: false}\nactivations: {method: ABS_MAX}\noverrides: [{name: depthwise, skip: true}]\n")
    done = quantize(material, tmp_path / "out", "--config", config)
    assert done.returncode == 0, done.stderr
    layers = {layer["name"]: layer for layer in json.loads((tmp_path / "out" / "report.json").read_text())["layers"]}
    assert layers["depthwise"]["precision"] == "float" and "overrides[0]" in layers["depthwise"]["float_reason"]
    assert layers["pointwise"]["precision"] == "int8"


def test_layers_take_the_methods_that_overrides_give_them_and_keep_to_their_grids(material, tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text("""
        training: {steps: 30, batch_size: 16, learning_rate: 1e-3, plain_qat_baseline: true}
        overrides:
        - {name: first, weight_method: LSQ, weight_range: FULL}
        - {name: point*, activation_method: LSQ_PLUS}
        - {op_type: Gemm, weight_method: CHANNEL_MSE, activation_method: PACT_AFFINE}
        """)
    done = quantize(material, tmp_path / "out", "--config", config)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    layers = {layer["name"]: (layer["weight_method"], layer["activation_method"]) for layer in report["layers"]}
    # The runtime computes the first two in float, with weights from their grid.
    assert layers == {"first": ("LSQ", None), "depthwise": ("CHANNEL_ABS_MAX", None), "pointwise": ("CHANNEL_ABS_MAX", "LSQ_PLUS"),
                      "last": ("CHANNEL_MSE", "PACT_AFFINE")}
    weights = {q["name"]: q for q in report["quantizers"] if q["target"] == "weight"}
    assert [np.size(weights[name]["scale"]) for name in ("w1", "w2", "w3", "w4")] == [1, 8, 8, 4]
    assert weights["w1"]["alpha"] != weights["w1"]["alpha_initial"]
    assert report["agreement"]["top1"] >= 0.98 and report["qat_plain"] is not None
    # What the file holds is on the grids that were trained.
    tensors = [numpy_helper.to_array(t) for t in onnx.load(tmp_path / "out" / "model.int8.onnx").graph.initializer]
    floats = {tensor.tobytes() for tensor in tensors if tensor.dtype == np.float32}
    assert all(np.float32(quantizer["scale"]).tobytes() in floats for quantizer in weights.values())
    # 7 bits would be the choice for sums of 16 bits; the override has all 8.
    first = next(tensor for tensor in tensors if tensor.dtype == np.int8 and tensor.size == 8 * 3 * 3 * 3)
    assert np.abs(first.astype(int)).max() > 63
    # A signed tensor on an affine grid has a zero point of its own.
    inputs = {q["name"]: q for q in report["quantizers"] if q["target"] == "activation"}
    assert inputs["h2"]["method"] == "LSQ_PLUS" and inputs["h2"]["zero_point"] not in (0, 128)


@pytest.mark.parametrize("content", [b"", b"\x00\xff garbage" * 50])
def test_bad_models_are_named(material, tmp_path, content):
    (tmp_path / "bad.onnx").write_bytes(content)
    done = quantize(material, tmp_path / "out", model=tmp_path / "bad.onnx", check=False)
    assert done.returncode == 3
    assert "BAD_MODEL" in done.stderr and "bad.onnx" in done.stderr


def test_bad_data_is_named(material, tmp_path):
    x = np.load(material / "train.npz")["x"]
    bad = tmp_path / "train.npz"
    nan = x.copy()
    nan[7, 0, 0, 0] = np.nan
    for arrays, word in (({"x": x, "y": np.full(len(x), 9)}, "9"), ({"x": nan, "y": np.zeros(len(x), np.int64)}, "7"),
                         ({"x": x[:, :, :, :, None]}, "x"), ({"z": x}, "x")):
        np.savez(bad, **arrays)
        done = quantize(material, tmp_path / "out", data=bad, check=False)
        assert done.returncode == 1, done.stderr
        assert "BAD_DATA" in done.stderr and word in done.stderr, done.stderr


@pytest.mark.parametrize("assignment", ["training.steps=0", "weights.bits=9", "weights.bitz=4", "activations.method=MAGIC"])
def test_bad_configs_name_the_field(material, tmp_path, assignment):
    done = quantize(material, tmp_path / "out", "--set", assignment, check=False)
    assert done.returncode in (1, 2)
    assert assignment.split("=")[0].split(".")[-1] in done.stderr


def test_gates_fail_with_the_numbers_and_keep_the_report(material, tmp_path):
    done = quantize(material, tmp_path / "a", "--set", "gates.min_fp32_metric=1", "--set", "preprocess.scale=100", check=False)
    assert done.returncode == 1 and "GATE_FAILED" in done.stderr
    assert not (tmp_path / "a" / "model.int8.onnx").exists()
    done = quantize(material, tmp_path / "b", "--preset", "ptq_int8", "--set", "weights.bits=2", "--set",
                    "first_last_bits=2", "--set", "gates.max_metric_drop=0.001")
    assert done.returncode == 1 and "gates.max_metric_drop" in done.stderr
    assert (tmp_path / "b" / "report.json").exists()


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def field(number, payload):
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def trainer_job(material, out, training, checkpoint=None, config=b"", more=b""):
    """A TrainerJob by hand: the wire format is the contract with the agent. `training`: field number to whole number. `config`: more
    of the config's fields; `more`: of the job's."""
    data = [field(1, str(material / name).encode()) + field(2, b"npz") for name in ("train.npz", "eval.npz")]
    numbers = b"".join(varint(number << 3) + varint(value) for number, value in training.items())
    job = (field(1, b"jobs/test") + field(2, str(material / "m.onnx").encode()) + field(3, data[0]) + field(4, data[1]) +
           field(5, field(4, numbers) + config) + field(6, str(out).encode()) + more)
    if checkpoint:
        job += field(7, checkpoint)
    return varint(len(job)) + job


def start_job(job):
    read_end, write_end = os.pipe()
    process = subprocess.Popen(["bash", "-c", f"exec {TRAINER} job 3>&{write_end}"], stdin=subprocess.PIPE,
                               stderr=subprocess.PIPE, pass_fds=[write_end])
    os.close(write_end)
    process.stdin.write(job)
    process.stdin.close()
    return process, os.fdopen(read_end, "rb")


def read_events(pipe):
    """The number of the field that is set in each TrainerEvent, and its bytes."""
    while True:
        size, shift = 0, 0
        while True:
            byte = pipe.read(1)
            if not byte:
                return
            size |= (byte[0] & 0x7F) << shift
            shift += 7
            if byte[0] < 0x80:
                break
        payload = pipe.read(size)
        yield payload[0] >> 3, payload


# Number of TrainingConfig's field.
STEPS = 1


def test_job_reports_progress_metrics_checkpoints_and_files(material, tmp_path):
    process, pipe = start_job(trainer_job(material, tmp_path, {STEPS: 25}))
    events = list(read_events(pipe))
    assert process.wait(60) == 0, process.stderr.read()
    kinds = [kind for kind, _ in events]
    assert kinds.count(1) >= 5 and 2 in kinds and 3 in kinds
    assert kinds[-1] == 4
    assert b"model.int8.onnx" in events[-1][1] and b"manifest.json" in events[-1][1]
    assert json.loads((tmp_path / "report.json").read_text())["job"] == "jobs/test"


def test_job_that_fails_a_gate_names_its_report(material, tmp_path):
    # Two bits of weights (weights.bits, first_last_bits), and no loss allowed (gates.max_metric_drop).
    config = (field(2, varint(2 << 3) + varint(2)) + varint(11 << 3) + varint(2) +
              field(8, varint(3 << 3 | 1) + struct.pack("<d", 0.001)))
    process, pipe = start_job(trainer_job(material, tmp_path, {STEPS: 1}, config=config))
    events = list(read_events(pipe))
    assert process.wait(60) == 1, process.stderr.read()
    kind, payload = events[-1]
    assert kind == 5 and b"GATE_FAILED" in payload
    for name in (b"report.json", b"report.html", b"manifest.json"):
        assert name in payload and (tmp_path / name.decode()).exists()
    assert b"model.int8.onnx" not in payload


def test_job_on_a_full_disk_says_so_and_bears_missing_checkpoints(material, tmp_path):
    (tmp_path / "checkpoint-0.ckpt.part").symlink_to("/dev/full")
    process, pipe = start_job(trainer_job(material, tmp_path, {STEPS: 30}))
    events = list(read_events(pipe))
    assert process.wait(60) == 0, process.stderr.read()
    # Of steps 10 and 20.
    assert [kind for kind, _ in events].count(3) == 1
    warnings = json.loads((tmp_path / "report.json").read_text())["warnings"]
    assert any("1 of 2 checkpoints were not written" in warning and "No space left" in warning for warning in warnings), warnings

    (tmp_path / "report.html").unlink()
    (tmp_path / "report.html").symlink_to("/dev/full")
    process, pipe = start_job(trainer_job(material, tmp_path, {STEPS: 1}))
    kind, payload = list(read_events(pipe))[-1]
    assert process.wait(60) == 1, process.stderr.read()
    assert kind == 5 and b"DISK_FULL" in payload and b"report.html" in payload and b"OUT_OF_MEMORY" not in payload


def test_job_ends_soon_after_sigterm(material, tmp_path):
    process, pipe = start_job(trainer_job(material, tmp_path, {STEPS: 1000000}))
    for kind, payload in read_events(pipe):
        if kind == 2 and b"train/loss" in payload:
            break
    asked = time.monotonic()
    process.send_signal(signal.SIGTERM)
    events = list(read_events(pipe))
    assert process.wait(30) == 143
    assert time.monotonic() - asked < 15
    # No step is a checkpoint's own, and the last one is there all the same.
    assert events[-1][0] == 3, events[-1]


@pytest.mark.parametrize("job", [b"", b"\xff\xff\xff", varint(3) + b"\xff\xff\xff"])
def test_job_with_broken_input_says_so(job):
    process, pipe = start_job(job)
    events = list(read_events(pipe))
    assert process.wait(30) == 1
    assert events[-1][0] == 5


def test_job_with_bad_model_sends_an_error_event(material, tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"junk")
    for name in ("train.npz", "eval.npz"):
        (tmp_path / name).write_bytes((material / name).read_bytes())
    process, pipe = start_job(trainer_job(tmp_path, tmp_path / "out", {STEPS: 10}))
    events = list(read_events(pipe))
    assert process.wait(30) == 1
    assert events[-1][0] == 5 and b"BAD_MODEL" in events[-1][1]
