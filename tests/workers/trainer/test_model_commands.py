"""`pactory-trainer run`, `inspect` and `ops` as people and scripts use them."""

import json
import os
import pathlib
import subprocess

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

ROOT = pathlib.Path(__file__).resolve().parents[3]
TRAINER = pathlib.Path(os.environ.get("PACTORY_BINARY_DIR", ROOT / "build/release")) / "bin/pactory-trainer"

pytestmark = pytest.mark.skipif(
    not TRAINER.exists(), reason=f"no trainer at {TRAINER}; build, or set PACTORY_BINARY_DIR"
)


def trainer(*arguments):
    return subprocess.run([TRAINER, *map(str, arguments)], capture_output=True, text=True, timeout=120)


def save_model(path, nodes, initializers=(), dims=("N", 2, 4, 4)):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in initializers],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13), helper.make_opsetid("example", 1)])
    onnx.save(model, path)
    return path


def conv_model(path, dims=("N", 2, 4, 4)):
    weight = np.arange(3 * 2 * 9, dtype=np.float32).reshape(3, 2, 3, 3) / 50
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"], name="first"), helper.make_node("Relu", ["c"], ["y"])]
    return save_model(path, nodes, [("w", weight)], dims)


def unsupported_model(path):
    nodes = [
        helper.make_node("FancyPool", ["x"], ["a"], name="strange", domain="example"),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("StringNormalizer", ["b"], ["y"], name="text"),
    ]
    return save_model(path, nodes)


def save_input(folder, value):
    folder.mkdir()
    (folder / "input_0.pb").write_bytes(numpy_helper.from_array(value).SerializeToString())
    return folder


@pytest.fixture
def sample(tmp_path):
    return save_input(tmp_path / "in", np.ones((1, 2, 4, 4), np.float32))


def test_run_writes_outputs_in_the_test_data_layout(tmp_path, sample):
    model = conv_model(tmp_path / "m.onnx")
    result = trainer("run", "--model", model, "--inputs", sample, "--outputs", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    y = numpy_helper.to_array(onnx.load_tensor(tmp_path / "out/output_0.pb"))
    # Ones under the kernel sum the weights: 18 numbers from 0, 18, 36 on, divided by 50.
    expected = [(18 * start + 153) / 50 for start in (0, 18, 36)]
    np.testing.assert_allclose(y[0, :, 0, 0], expected, rtol=1e-5)


def test_run_names_every_unsupported_op_and_exits_3(tmp_path, sample):
    model = unsupported_model(tmp_path / "m.onnx")
    result = trainer("run", "--model", model, "--inputs", sample, "--outputs", tmp_path / "out")
    assert result.returncode == 3
    for text in ("FancyPool", "StringNormalizer", "strange", "text"):
        assert text in result.stderr
    assert "unsupported op: Relu" not in result.stderr


@pytest.mark.parametrize("content", [b"", b"no model at all", bytes(range(256)) * 8])
def test_files_that_are_no_models_exit_3_and_are_named(tmp_path, sample, content):
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    for command in (["run", "--inputs", sample, "--outputs", tmp_path / "out"], ["inspect"]):
        result = trainer(*command, "--model", path)
        assert result.returncode == 3
        assert "broken.onnx" in result.stderr


def test_inputs_that_do_not_fit_exit_1_and_name_the_node(tmp_path):
    model = conv_model(tmp_path / "m.onnx")
    inputs = save_input(tmp_path / "in", np.ones((1, 5, 4, 4), np.float32))
    result = trainer("run", "--model", model, "--inputs", inputs, "--outputs", tmp_path / "out")
    assert result.returncode == 1
    assert "first" in result.stderr


def test_a_list_goes_on_after_a_refused_model(tmp_path, sample):
    models = [unsupported_model(tmp_path / "a.onnx"), tmp_path / "missing.onnx", conv_model(tmp_path / "b.onnx")]
    lines = [
        json.dumps({"model": str(model), "inputs_dir": str(sample), "outputs_dir": str(tmp_path / f"out{index}")})
        for index, model in enumerate(models)
    ]
    (tmp_path / "list").write_text("\n".join(lines))
    result = trainer("run", "--list", tmp_path / "list")
    assert result.returncode == 0, result.stderr
    assert "FancyPool" in (tmp_path / "out0/refused").read_text()
    assert "missing.onnx" in (tmp_path / "out1/refused").read_text()
    assert (tmp_path / "out2/output_0.pb").exists()


def test_usage_errors_exit_2(tmp_path):
    assert trainer("run").returncode == 2
    assert trainer("run", "--model", "m.onnx").returncode == 2
    assert trainer("unknown").returncode == 2
    (tmp_path / "list").write_text('{"model": 3}\n')
    result = trainer("run", "--list", tmp_path / "list")
    assert result.returncode == 2
    assert "list:1" in result.stderr


def test_inspect_counts_parameters_and_operations(tmp_path):
    result = trainer("inspect", "--json", "--model", conv_model(tmp_path / "m.onnx"))
    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout)
    assert summary["ops"] == {"Conv": 1, "Relu": 1}
    assert summary["parameters"] == 54
    # 3 x 2 x 2 outputs, each of 18 products and sums.
    assert summary["flops"] == 3 * 2 * 2 * 18 * 2
    (layer,) = summary["layers"]
    assert (layer["name"], layer["op"], layer["parameters"], layer["weight_bits"]) == ("first", "Conv", 54, 8)
    assert summary["tensor_bytes"]["quantized"] < summary["tensor_bytes"]["float"]


def test_inspect_takes_open_dimensions_from_the_command_line(tmp_path):
    model = conv_model(tmp_path / "m.onnx", ("N", 2, "H", "W"))
    assert json.loads(trainer("inspect", "--json", "--model", model).stdout)["flops"] is None
    assert "--sample-shape" in trainer("inspect", "--model", model).stdout
    given = trainer("inspect", "--json", "--model", model, "--sample-shape", "2,4,4")
    assert json.loads(given.stdout)["flops"] == 432


def test_inspect_takes_the_open_dimensions_of_each_input(tmp_path):
    """Two rows of open length, times matrices of 4 x 3: at 7 and 5 steps of 4 features."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", [name, f"w{name}"], [f"y{name}"], name=f"layer_{name}") for name in "ab"], "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", "L" + name, 4]) for name in "ab"],
        [helper.make_tensor_value_info(f"y{name}", TensorProto.FLOAT, None) for name in "ab"],
        [numpy_helper.from_array(np.ones((4, 3), np.float32), f"w{name}") for name in "ab"])
    model = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), model)
    one = trainer("inspect", "--model", model, "--sample-shape", "7,4")
    assert "--sample-shape b=" in one.stdout
    both = trainer("inspect", "--json", "--model", model, "--sample-shape", "7,4", "--sample-shape", "b=5,4")
    assert json.loads(both.stdout)["flops"] == 2 * (7 + 5) * 4 * 3, both.stderr
    for shape in ("c=5,4", "b=5,x"):
        wrong = trainer("inspect", "--model", model, "--sample-shape", shape)
        assert wrong.returncode == 2 and "--sample-shape" in wrong.stderr


def test_inspect_takes_no_memory_that_a_declared_input_would(tmp_path):
    model = conv_model(tmp_path / "m.onnx", (1, 2, 1 << 17, 1 << 17))
    result = trainer("inspect", "--json", "--model", model)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["flops"] is None
    assert "bytes" in trainer("inspect", "--model", model).stdout


def test_inspect_lists_matrices_that_stay_float(tmp_path):
    """An embedding of 10 x 4 and an LSTM of 5 steps: 4 gates of 3, from 4 features and 3 states."""
    zeros = lambda *shape: np.zeros(shape, np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "x"], ["e"], name="table of words"),
        helper.make_node("LSTM", ["e", "w", "r"], ["h"], name="memory", hidden_size=3),
        helper.make_node("MatMul", ["h", "v"], ["y"], name="head"),
    ]
    tensors = {"table": zeros(10, 4), "w": zeros(1, 12, 4), "r": zeros(1, 12, 3), "v": zeros(3, 2)}
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.INT64, [5, 1])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
                              [numpy_helper.from_array(array, name) for name, array in tensors.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    summary = json.loads(trainer("inspect", "--json", "--model", tmp_path / "m.onnx").stdout)
    rows = {layer["name"]: layer for layer in summary["layers"]}
    assert rows["memory"]["parameters"] == 12 * 7 and rows["memory"]["flops"] == 5 * 2 * 12 * 7
    assert "LSTM" in rows["memory"]["float_reason"] and "Gather" in rows["table of words"]["float_reason"]
    assert rows["head"]["weight_bits"] == 8
    assert summary["flops"] == 5 * 2 * (12 * 7 + 6)


def test_inspect_counts_the_ops_of_branches(tmp_path):
    branch = lambda op: helper.make_graph([helper.make_node(op, ["x"], [f"{op}_y"])], op, [],
                                          [helper.make_tensor_value_info(f"{op}_y", TensorProto.FLOAT, None)])
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0),
        helper.make_node("Greater", ["m", "zero"], ["c"]),
        helper.make_node("If", ["c"], ["y"], then_branch=branch("Relu"), else_branch=branch("Neg")),
    ]
    model = save_model(tmp_path / "m.onnx", nodes, [("zero", np.float32(0))])
    summary = json.loads(trainer("inspect", "--json", "--model", model).stdout)
    assert summary["ops"] == {"ReduceMax": 1, "Greater": 1, "If": 1, "Relu": 1, "Neg": 1}


def test_ops_lists_what_run_accepts():
    summary = json.loads(trainer("ops", "--json").stdout)
    assert {"Conv", "Gemm", "Relu", "Resize"} <= set(summary["ops"])
    assert isinstance(summary["gpus"], list)
    assert "| Conv |" in trainer("ops", "--markdown").stdout
