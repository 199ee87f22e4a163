"""Export profiles: each file keeps to its runtime's rules and gives the trained model's answers; and `pactory-trainer lint`."""

import importlib.util
import json
import subprocess

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from small_nets import random_weights, run_onnx, save_net
from test_trainer_jobs import TRAINER, material, pytestmark, quantize  # noqa: F401 (material is a fixture)


def export(material, out, *settings):
    arguments = [part for setting in settings for part in ("--set", setting)]
    done = quantize(material, out, "--preset", "ptq_int8", *arguments)
    assert done.returncode == 0, done.stderr
    return onnx.load(out / "model.int8.onnx"), json.loads((out / "report.json").read_text())


def lint(path, profile, *arguments):
    return subprocess.run([str(TRAINER), "lint", str(path), "--profile", profile, *arguments], capture_output=True, text=True,
                          timeout=300)


def executed_ops(folder):
    """What ONNX Runtime makes of the exported file."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    ort.InferenceSession(str(folder / "model.int8.onnx"), options, providers=["CPUExecutionProvider"])
    return ops_of(onnx.load(folder / "optimized.onnx"))


def ops_of(model):
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("settings", [("export.activation_type=INT8",), ("export.profile=TENSORRT",), ("export.profile=OPENVINO",),
                                      ("export.profile=QOPERATOR",)], ids=lambda settings: settings[0].split("=")[1])
def test_file_of_every_profile_is_the_trained_model_and_keeps_to_its_rules(material, tmp_path, settings):
    model, report = export(material, tmp_path, *settings)
    assert report["agreement"]["top1"] >= 0.98 and report["deployed"]["metric"] >= 0.85
    # What the file means, whichever runtime it is for.
    written = next(run for run in report["runtimes"] if run["optimization"] == "none")
    assert written["agreement_trained"] >= 0.98
    onnx.checker.check_model(model, full_check=not any(node.domain for node in model.graph.node))
    profile = dict(setting.split("=") for setting in settings).get("export.profile", "ORT_CPU")
    done = lint(tmp_path / "model.int8.onnx", profile)
    assert done.returncode == 0, done.stdout


def test_openvino_runs_every_layer_in_int8(material, tmp_path):
    if importlib.util.find_spec("openvino") is None:
        pytest.skip("openvino is not installed")
    _, report = export(material, tmp_path, "export.profile=OPENVINO")
    run = next(run for run in report["runtimes"] if run["name"] == "openvino")
    assert run["agreement_trained"] >= 0.98 and report["runtime"]["name"] == "openvino"
    assert {layer["precision"] for layer in report["layers"]} == {"int8"}
    import openvino
    compiled = openvino.Core().compile_model(str(tmp_path / "model.int8.onnx"), "CPU")
    executed = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    kinds = {kind: [info["runtimePrecision"].astype(str) for info in executed if info["layerType"].astype(str) == kind]
             for kind in ("Convolution", "FullyConnected")}
    assert len(kinds["Convolution"]) == 3 and len(kinds["FullyConnected"]) == 1
    assert set(kinds["Convolution"] + kinds["FullyConnected"]) <= {"u8", "i8"}, kinds


def test_tensorrt_has_symmetric_int8_float_biases_and_channels_on_axis_0(material, tmp_path):
    model, report = export(material, tmp_path, "export.profile=TENSORRT")
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert {array.dtype for array in tensors.values()} <= {np.dtype(np.float32), np.dtype(np.int8), np.dtype(np.int64)}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            assert tensors[node.input[2]] == 0
        if node.op_type in ("Conv", "Gemm"):
            assert tensors[node.input[2]].dtype == np.float32
            weight = next(other for other in model.graph.node if other.output[0] == node.input[1])
            assert weight.op_type == "DequantizeLinear" and weight.attribute[0].i == 0
    assert any("TensorRT was not run" in warning for warning in report["warnings"])


def test_qoperator_file_computes_what_the_pairs_do(material, tmp_path):
    pairs, _ = export(material, tmp_path / "pairs")
    operators, _ = export(material, tmp_path / "operators", "export.profile=QOPERATOR")
    assert {"QLinearConv", "QGemm"} <= set(ops_of(operators)) and "QLinearConv" not in ops_of(pairs)
    x = np.load(material / "eval.npz")["x"]
    outputs = [run_onnx(tmp_path / name / "model.int8.onnx", x) for name in ("pairs", "operators")]
    np.testing.assert_allclose(outputs[0], outputs[1], atol=1e-5)


def test_four_bit_weights_are_stored_two_in_a_byte(material, tmp_path):
    model, report = export(material, tmp_path, "weights.bits=4", "first_last_bits=2", "export.pack_int4=true")
    assert model.opset_import[0].version == 21
    packed = [tensor for tensor in model.graph.initializer if tensor.data_type == TensorProto.INT4]
    assert len(packed) == 4
    assert all(len(tensor.raw_data) == (np.prod(tensor.dims) + 1) // 2 for tensor in packed)
    assert report["agreement"]["top1"] >= 0.98


def test_settings_that_a_profile_has_no_form_for_are_refused(material, tmp_path):
    for setting, field in (("activations.method=LSQ_PLUS", "activations.method"), ("activations.bits=4", "activations.bits")):
        done = quantize(material, tmp_path, "--preset", "pact_int8", "--set", "export.profile=TENSORRT", "--set", setting, check=False)
        assert done.returncode == 1 and "BAD_CONFIG" in done.stderr and field in done.stderr


def test_lint_names_what_another_runtime_does_not_take(material, tmp_path):
    model, _ = export(material, tmp_path)
    path = tmp_path / "model.int8.onnx"
    assert lint(path, "ORT_CPU").returncode == 0
    done = lint(path, "tensorrt", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 1 and found["errors"] > 0
    assert {"type", "zero-point"} <= {finding["rule"] for finding in found["findings"]}

    bias = next(tensor for tensor in model.graph.initializer if tensor.data_type == TensorProto.INT32)
    scale = next(node.input[1] for node in model.graph.node if node.op_type == "DequantizeLinear" and node.input[0] == bias.name)
    stored = next(tensor for tensor in model.graph.initializer if tensor.name == scale)
    stored.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(stored) * np.float32(1.01), scale))
    onnx.save(model, tmp_path / "broken.onnx")
    done = lint(tmp_path / "broken.onnx", "ORT_CPU")
    assert done.returncode == 1 and "error [bias]" in done.stdout

    done = lint(material / "m.onnx", "ORT_CPU")
    assert done.returncode == 1 and "nothing in the file is quantized" in done.stdout
    (tmp_path / "garbage.onnx").write_bytes(b"\xff" * 100)
    assert lint(tmp_path / "garbage.onnx", "ORT_CPU").returncode == 3
    assert lint(path, "NO_SUCH").returncode == 2


def test_layers_before_a_clip_stay_int8_whatever_their_range_learns(tmp_path):
    """Relu6 as exporters write it. LSQ's ranges move past its 6, where ONNX Runtime would keep it and compute the layer in float."""
    weights = random_weights(1, w1=(16, 3, 3, 3), w2=(32, 16, 1, 1), w3=(32, 32, 1, 1), w4=(4, 32))
    weights |= {name: weights[name] * 3 for name in ("w1", "w2", "w3")} | {"zero": np.float32(0), "six": np.float32(6)}
    convs = [helper.make_node("Conv", [x, w], [c], w) for x, w, c in (("x", "w1", "c1"), ("r1", "w2", "c2"), ("r2", "w3", "c3"))]
    clips = [helper.make_node("Clip", [f"c{i}", "zero", "six"], [f"r{i}"]) for i in (1, 2, 3)]
    save_net(tmp_path / "m.onnx", [node for pair in zip(convs, clips) for node in pair] + [
        helper.make_node("GlobalAveragePool", ["r3"], ["p"]), helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w4"], ["y"], "last", transB=1)], weights, {"x": ["N", 3, 16, 16]}, {"y": ["N", 4]})
    for name in ("train", "eval"):
        np.savez(tmp_path / f"{name}.npz", x=np.random.default_rng(1).standard_normal((128, 3, 16, 16)).astype(np.float32))
    done = quantize(tmp_path, tmp_path, "--preset", "pact_distill_int8", "--set", "activations.method=LSQ", "--set", "training.steps=40",
                    "--set", "activations.alpha.learning_rate_multiplier=30", "--set", "training.batch_size=16")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    ends = [q["scale"] * 255 for q in report["quantizers"] if q["target"] == "activation"]
    assert any(end > 6 for end in ends), ends
    ops = executed_ops(tmp_path)
    assert ops.count("QLinearConv") == [layer["precision"] for layer in report["layers"]].count("int8") - 1 >= 2, ops
    assert report["agreement"]["top1"] >= 0.99


def test_int8_activations_of_either_sign_are_computed_in_int8(tmp_path):
    """ONNX Runtime makes uint8 of int8 pairs on x86-64 unless a Clip stands between Q and DQ, and then computes the layers in float."""
    weights = random_weights(2, w1=(16, 3, 3, 3), w2=(32, 16, 1, 1), w3=(32, 32, 1, 1), w4=(4, 32))
    save_net(tmp_path / "m.onnx", [
        helper.make_node("Conv", ["x", "w1"], ["c1"]), helper.make_node("Conv", ["c1", "w2"], ["c2"]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("Conv", ["r2", "w3"], ["c3"]), helper.make_node("GlobalAveragePool", ["c3"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]), helper.make_node("Gemm", ["f", "w4"], ["y"], transB=1)],
        weights, {"x": ["N", 3, 16, 16]}, {"y": ["N", 4]})
    for name in ("train", "eval"):
        np.savez(tmp_path / f"{name}.npz", x=np.random.default_rng(1).standard_normal((128, 3, 16, 16)).astype(np.float32))
    for kind in ("UINT8", "INT8"):
        _, report = export(tmp_path, tmp_path / kind, f"export.activation_type={kind}")
        ops = executed_ops(tmp_path / kind)
        assert (ops.count("QLinearConv"), ops.count("QGemm")) == (2, 1), (kind, ops)
        assert report["agreement"]["top1"] >= 0.99 and not any("fusion" in line for line in report["lint"])
