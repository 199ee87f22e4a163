"""ort_check.py as the trainer uses it: a child process that is given files."""

import importlib.util
import json
import pathlib
import subprocess
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
import pytest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "workers/runtime_check/ort_check.py"


def save_model(path, nodes, inputs, outputs, initializers=()):
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(initializers))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
    return path


def tensor(name, *shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


@pytest.fixture
def linear(tmp_path):
    """y = x * [1, 2, 3] + 1, batch free."""
    return save_model(
        tmp_path / "linear.onnx",
        [helper.make_node("Mul", ["x", "w"], ["p"]), helper.make_node("Add", ["p", "one"], ["y"])],
        [tensor("x", "n", 3)], [tensor("y", "n", 3)],
        [numpy_helper.from_array(np.float32([1, 2, 3]), "w"),
         numpy_helper.from_array(np.float32(1), "one")])


def check(tmp_path, model, inputs, *extra):
    command = [sys.executable, SCRIPT, "--model", model, "--outputs", tmp_path / "out",
               "--json", tmp_path / "result.json", *extra]
    for value in inputs:
        command += ["--inputs", value]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    result = tmp_path / "result.json"
    return done, json.loads(result.read_text()) if done.returncode == 0 else None


def save(path, array):
    np.save(path, array)
    return path


def test_outputs_follow_the_formula_over_an_uneven_last_batch(tmp_path, linear):
    x = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
    done, result = check(tmp_path, linear, [save(tmp_path / "x.npy", x)], "--batch", "4")
    assert done.returncode == 0, done.stderr
    y = np.load(tmp_path / "out/output_0.npy")
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, x * [1, 2, 3] + 1, rtol=1e-6)
    assert result["samples"] == 10
    assert result["runtime"]["name"] == "onnxruntime"
    assert result["onnx_checker"] == "passed"
    assert result["instruction_set"]
    assert result["latency_ms"] is None


def test_latency_is_measured_on_request(tmp_path, linear):
    x = save(tmp_path / "x.npy", np.zeros((2, 3), np.float32))
    _, result = check(tmp_path, linear, [x], "--latency-runs", "20")
    assert 0 < result["latency_ms"]["min"] <= result["latency_ms"]["median"]
    assert result["latency_ms"]["threads"] == 1


def test_fixed_batch_model_runs_over_a_set_that_it_does_not_divide(tmp_path):
    model = save_model(tmp_path / "fixed.onnx", [helper.make_node("Neg", ["x"], ["y"])],
                       [tensor("x", 4, 2)], [tensor("y", 4, 2)])
    x = np.arange(14, dtype=np.float32).reshape(7, 2)
    done, result = check(tmp_path, model, [save(tmp_path / "x.npy", x)], "--latency-runs", "3")
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "out/output_0.npy"), -x)
    assert result["samples"] == 7


@pytest.mark.parametrize("by_name", [False, True])
def test_inputs_bind_by_order_and_by_name(tmp_path, by_name):
    model = save_model(tmp_path / "sub.onnx", [helper.make_node("Sub", ["a", "b"], ["y"])],
                       [tensor("a", "n", 1), tensor("b", "n", 1)], [tensor("y", "n", 1)])
    a = save(tmp_path / "a.npy", np.full((3, 1), 5, np.float32))
    b = save(tmp_path / "b.npy", np.full((3, 1), 2, np.float32))
    inputs = [f"b={b}", f"a={a}"] if by_name else [a, b]
    done, _ = check(tmp_path, model, inputs)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "out/output_0.npy"), np.full((3, 1), 3))


def test_optimization_none_keeps_the_quantized_graph_unfused(tmp_path):
    # 0.5 steps: round half to even gives 0, 2, 2 in either form.
    zero = numpy_helper.from_array(np.int8(0), "z")
    one = numpy_helper.from_array(np.float32(1), "s")
    model = save_model(
        tmp_path / "qdq.onnx",
        [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
         helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"])],
        [tensor("x", "n", 3)], [tensor("y", "n", 3)], [zero, one])
    x = save(tmp_path / "x.npy", np.float32([[0.5, 1.5, 2.5]]))
    for level in ("all", "none"):
        done, result = check(tmp_path, model, [x], "--optimization", level)
        assert done.returncode == 0, done.stderr
        assert result["optimization"] == level
        np.testing.assert_array_equal(np.load(tmp_path / "out/output_0.npy"), [[0, 2, 2]])


def bad_inputs(folder):
    return {
        "shape": save(folder / "shape.npy", np.zeros((2, 4), np.float32)),
        "float32": save(folder / "double.npy", np.zeros((2, 3))),
        "cannot read": folder / "absent.npy",
    }


@pytest.mark.parametrize("word", ["shape", "float32", "cannot read"])
def test_bad_arrays_exit_2_with_one_line(tmp_path, linear, word):
    done, _ = check(tmp_path, linear, [bad_inputs(tmp_path)[word]])
    assert done.returncode == 2
    assert done.stderr.startswith("ort_check: ") and len(done.stderr.splitlines()) == 1
    assert word in done.stderr


def test_missing_input_exits_2_and_names_the_inputs(tmp_path):
    model = save_model(tmp_path / "add.onnx", [helper.make_node("Add", ["a", "b"], ["y"])],
                       [tensor("a", "n", 1), tensor("b", "n", 1)], [tensor("y", "n", 1)])
    done, _ = check(tmp_path, model, [save(tmp_path / "a.npy", np.zeros((1, 1), np.float32))])
    assert done.returncode == 2
    assert "'a', 'b'" in done.stderr


def save_noise(path, linear):
    path.write_bytes(b"\x00\x01not a model" * 50)


def save_of_no_known_version(path, linear):
    model = onnx.load(linear)
    model.ir_version = 99
    onnx.save(model, path)


@pytest.mark.parametrize("save_bad", [save_noise, save_of_no_known_version])
def test_file_that_the_runtime_cannot_load_exits_3_with_one_line(tmp_path, linear, save_bad):
    model = tmp_path / "bad.onnx"
    save_bad(model, linear)
    done, _ = check(tmp_path, model, [save(tmp_path / "x.npy", np.zeros((1, 3), np.float32))])
    assert done.returncode == 3
    assert done.stderr.startswith("ort_check: ") and len(done.stderr.splitlines()) == 1


def test_openvino_gives_the_same_outputs_or_is_named_as_missing(tmp_path, linear):
    x = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
    inputs = save(tmp_path / "x.npy", x)
    installed = importlib.util.find_spec("openvino") is not None
    probe = subprocess.run([sys.executable, SCRIPT, "--has-runtime", "openvino"])
    assert probe.returncode == (0 if installed else 1)
    done, result = check(tmp_path, linear, [inputs], "--runtime", "openvino", "--batch", "4", "--latency-runs", "3")
    if not installed:
        assert done.returncode == 2 and "openvino is not installed" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "out/output_0.npy"), x * [1, 2, 3] + 1, rtol=1e-5)
    assert result["runtime"]["name"] == "openvino" and result["latency_ms"]["median"] > 0
    done, _ = check(tmp_path, linear, [inputs], "--runtime", "openvino", "--optimization", "none")
    assert done.returncode == 2 and "always optimizes" in done.stderr


def test_unknown_runtimes_are_not_there():
    assert subprocess.run([sys.executable, SCRIPT, "--has-runtime", "onnxruntime"]).returncode == 0
    assert subprocess.run([sys.executable, SCRIPT, "--has-runtime", "no_such_runtime"]).returncode == 1
    assert subprocess.run([sys.executable, SCRIPT, "--has-runtime"], capture_output=True).returncode == 2
