"""Ops that the ONNX backend tests don't know, or know only in part, against ONNX Runtime: com.microsoft's fused ops, control
flow, model-local functions, recurrent nets with lengths and activations. Each model runs with and without graph passes.
"""

import os
import pathlib
import subprocess
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

ROOT = pathlib.Path(__file__).resolve().parents[2]
TRAINER = pathlib.Path(os.environ.get("PACTORY_BINARY_DIR", ROOT / "build/release")) / "bin/pactory-trainer"

pytestmark = pytest.mark.skipif(
    not TRAINER.exists(), reason=f"no trainer at {TRAINER}; build, or set PACTORY_BINARY_DIR"
)

random = np.random.default_rng(5)


def numbers(*shape):
    return random.standard_normal(shape).astype(np.float32)


def type_of(array):
    return helper.np_dtype_to_tensor_dtype(array.dtype)


def value(name, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, None)


def model_of(nodes, inputs, initializers=None, outputs=("y",), opset=17, functions=()):
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info(name, type_of(array), [None] * array.ndim) for name, array in inputs.items()],
        [value(name) for name in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (initializers or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1), helper.make_opsetid("own", 1),
              helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=8)


def agree(model, inputs, tmp_path):
    """ONNX Runtime's outputs, which the trainer's equal with and without passes."""
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    expected = session.run(None, inputs)
    folder = tmp_path / "in"
    folder.mkdir()
    for index, array in enumerate(inputs.values()):
        (folder / f"input_{index}.pb").write_bytes(numpy_helper.from_array(array).SerializeToString())

    def run(passes):
        command = [TRAINER, "run", "--model", path, "--inputs", folder, "--outputs", tmp_path / passes, "--passes", passes]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    modes = ("none", "all")
    with ThreadPoolExecutor(2) as threads:
        runs = list(threads.map(run, modes))
    for passes, done in zip(modes, runs):
        assert done.returncode == 0, done.stderr
        for index, array in enumerate(expected):
            ours = numpy_helper.to_array(onnx.load_tensor(tmp_path / passes / f"output_{index}.pb"))
            np.testing.assert_allclose(ours, array, rtol=1e-4, atol=1e-5, err_msg=f"passes {passes}, output {index}")
    return expected


def microsoft(op, inputs, outputs=("y",), **attributes):
    return helper.make_node(op, inputs, list(outputs), domain="com.microsoft", name=op, **attributes)


X4 = {"x": numbers(2, 4, 6, 5)}
X3 = {"x": numbers(2, 3, 8)}
W = {"w": numbers(6, 4, 3, 3), "b": numbers(6)}

FUSED = {
    "conv relu": (microsoft("FusedConv", ["x", "w", "b"], activation="Relu", pads=[1, 1, 1, 1]), X4, W),
    "conv leaky": (microsoft("FusedConv", ["x", "w"], activation="LeakyRelu", activation_params=[0.3]), X4, W),
    "conv clip": (microsoft("FusedConv", ["x", "w", "b"], activation="Clip", activation_params=[-0.5, 1.5]), X4, W),
    "conv sum": (microsoft("FusedConv", ["x", "w", "b", "z"], activation="Relu", pads=[1, 1, 1, 1]), X4,
                 {**W, "z": numbers(2, 6, 6, 5)}),
    "gemm": (microsoft("FusedGemm", ["x", "w", "b"], activation="Relu", transB=1), {"x": numbers(3, 4)},
             {"w": numbers(5, 4), "b": numbers(5)}),
    "matmul": (microsoft("FusedMatMul", ["x", "w"], alpha=0.25, transB=1), X3, {"w": numbers(5, 8)}),
    "matmul of activations": (microsoft("FusedMatMul", ["x", "x"], alpha=0.5, transA=1), X3, {}),
    "gelu": (microsoft("Gelu", ["x"]), X3, {}),
    "bias gelu": (microsoft("BiasGelu", ["x", "b"]), X3, {"b": numbers(8)}),
    "fast gelu": (microsoft("FastGelu", ["x", "b"]), X3, {"b": numbers(8)}),
    "quick gelu": (microsoft("QuickGelu", ["x"], alpha=1.5), X3, {}),
    "skip layer norm": (microsoft("SkipLayerNormalization", ["x", "s", "g", "b", "c"], ["y", "", "", "sum"], epsilon=1e-3), X3,
                        {"s": numbers(2, 3, 8), "g": numbers(8), "b": numbers(8), "c": numbers(8)}),
    "skip rms norm": (microsoft("SkipSimplifiedLayerNormalization", ["x", "s", "g"], epsilon=1e-3), X3,
                      {"s": numbers(2, 3, 8), "g": numbers(8)}),
    "attention": (microsoft("Attention", ["x", "w", "b"], num_heads=2), X3, {"w": numbers(8, 24), "b": numbers(24)}),
    "causal attention": (microsoft("Attention", ["x", "w", "b"], num_heads=4, unidirectional=1), X3,
                         {"w": numbers(8, 24), "b": numbers(24)}),
    "masked attention": (microsoft("Attention", ["x", "w", "b", "m"], num_heads=2, scale=0.7), X3,
                         {"w": numbers(8, 24), "b": numbers(24), "m": np.array([[1, 1, 0], [1, 0, 0]], np.int32)}),
    "multi-head attention": (microsoft("MultiHeadAttention", ["x", "k", "v", "b", "m", "a"], num_heads=2), X3,
                             {"k": numbers(2, 5, 8), "v": numbers(2, 5, 8), "b": numbers(24),
                              "m": np.array([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0]], np.int32), "a": numbers(1, 2, 3, 5)}),
    "rms norm": (helper.make_node("SimplifiedLayerNormalization", ["x", "g"], ["y"], epsilon=1e-3), X3, {"g": numbers(8)}),
}


@pytest.mark.parametrize("node, inputs, initializers", FUSED.values(), ids=FUSED.keys())
def test_fused_ops(node, inputs, initializers, tmp_path):
    used = {name: array for name, array in initializers.items() if name in node.input}
    outputs = [name for name in node.output if name]
    agree(model_of([node], inputs, used, outputs), inputs, tmp_path)


def graph(nodes, inputs, outputs, initializers=()):
    return helper.make_graph(nodes, "inner", inputs, [value(*([name] if isinstance(name, str) else name)) for name in outputs],
                             [numpy_helper.from_array(np.asarray(array), name) for name, array in initializers])


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs, outputs, **attributes)


def branches():
    """Both branches read the outer x and hold constants of one name; the first reads an outer weight too."""
    return {
        "then_branch": graph([node("MatMul", ["x", "w"], ["p"]), node("Add", ["p", "c"], ["a"])], [], ["a"],
                             [("c", numbers(3))]),
        "else_branch": graph([node("ReduceMean", ["x"], ["m"], axes=[1]), node("Mul", ["m", "c"], ["b"])], [], ["b"],
                             [("c", numbers(3))]),
    }


@pytest.mark.parametrize("offset", [-100, 100])
def test_if_takes_the_branch_of_its_condition_at_run_time(offset, tmp_path):
    nodes = [node("ReduceSum", ["x"], ["s"], keepdims=0), node("Greater", ["s", "zero"], ["c"]),
             node("If", ["c"], ["i"], **branches()), node("Relu", ["i"], ["y"])]
    inputs = {"x": numbers(2, 4) + np.float32(offset)}
    agree(model_of(nodes, inputs, {"zero": np.float32(0), "w": numbers(4, 3)}), inputs, tmp_path)


@pytest.mark.parametrize("condition", [True, False])
def test_if_of_a_constant_becomes_its_branch(condition, tmp_path):
    nodes = [node("Not", ["n"], ["c"]), node("If", ["c"], ["y"], name="choice", **branches())]
    inputs = {"x": numbers(2, 4)}
    agree(model_of(nodes, inputs, {"n": np.array(not condition), "w": numbers(4, 3)}), inputs, tmp_path)
    shown = subprocess.run([TRAINER, "inspect", "--model", tmp_path / "model.onnx"], capture_output=True, text=True, check=True)
    prepared = next(line for line in shown.stdout.splitlines() if line.startswith("prepared"))
    assert "If" not in prepared and ("Gemm" in prepared or "MatMul" in prepared) == condition, prepared


def test_nested_ifs_read_values_of_every_graph_around_them(tmp_path):
    inner = graph([node("Add", ["x", "outer"], ["t"]), node("Add", ["t", "middle"], ["deep"])], [], ["deep"])
    other = graph([node("Identity", ["middle"], ["plain"])], [], ["plain"])
    middle = [node("Mul", ["x", "outer"], ["middle"]), node("If", ["c"], ["m"], then_branch=inner, else_branch=other)]
    nodes = [node("ReduceSum", ["x"], ["s"], keepdims=0), node("Less", ["s", "big"], ["c"]), node("Exp", ["x"], ["outer"]),
             node("If", ["c"], ["y"], then_branch=graph(middle, [], ["m"]),
                  else_branch=graph([node("Identity", ["x"], ["same"])], [], ["same"]))]
    inputs = {"x": numbers(2, 3)}
    agree(model_of(nodes, inputs, {"big": np.float32(1e9)}), inputs, tmp_path)


@pytest.mark.parametrize("limit", [0, 1, 5])
def test_loop_hands_state_on_and_collects(limit, tmp_path):
    body = graph(
        [node("MatMul", ["state", "w"], ["p"]), node("Tanh", ["p"], ["next"]), node("ReduceSum", ["next"], ["sum"], keepdims=0),
         node("Add", ["sum", "one"], ["out"]), node("Less", ["out", "limit"], ["goes_on"])],
        [helper.make_tensor_value_info("i", TensorProto.INT64, []), helper.make_tensor_value_info("c", TensorProto.BOOL, []),
         value("state")],
        [("goes_on", TensorProto.BOOL), "next", "out"], [("one", np.float32(1)), ("limit", np.float32(1e6))],
    )
    body.output[2].CopyFrom(helper.make_tensor_value_info("out", TensorProto.FLOAT, []))
    nodes = [node("Loop", ["n", "", "x"], ["y", "all"], body=body)]
    inputs = {"x": numbers(3, 4)}
    initializers = {"n": np.int64(limit), "w": numbers(4, 4)}
    expected = agree(model_of(nodes, inputs, initializers, ["y", "all"]), inputs, tmp_path)
    assert len(expected[1]) == limit


@pytest.mark.parametrize("backwards", [0, 1])
def test_scan_runs_along_its_sequences(backwards, tmp_path):
    body = graph([node("Add", ["state", "part"], ["next"]), node("Mul", ["next", "k"], ["out"])],
                 [value("state"), value("part")], ["next", "out"])
    nodes = [node("Scan", ["s", "x"], ["y", "all"], body=body, num_scan_inputs=1, scan_input_axes=[1],
                  scan_input_directions=[backwards], scan_output_axes=[1], scan_output_directions=[backwards])]
    inputs = {"x": numbers(3, 5, 4)}
    agree(model_of(nodes, inputs, {"s": numbers(3, 4), "k": numbers(4)}, ["y", "all"]), inputs, tmp_path)


def test_functions_of_the_model_are_inlined(tmp_path):
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    slope = node("LeakyRelu", ["t"], ["out"])
    slope.attribute.append(onnx.AttributeProto(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT))
    scaled = helper.make_function("own", "scaled", ["a", "k"], ["out"], [node("Mul", ["a", "k"], ["t"]), slope], opsets, ["slope"])
    twice = helper.make_function("own", "twice", ["a", "k"], ["out"], [
        helper.make_node("scaled", ["a", "k"], ["t"], domain="own", slope=0.5),
        helper.make_node("scaled", ["t", "k"], ["out"], domain="own", slope=0.25)], opsets)
    nodes = [helper.make_node("twice", ["x", "k"], ["t"], domain="own"), helper.make_node("twice", ["t", "k"], ["y"], domain="own")]
    inputs = {"x": numbers(3, 4)}
    agree(model_of(nodes, inputs, {"k": numbers(4)}, functions=[scaled, twice]), inputs, tmp_path)


def test_branches_whose_outputs_have_an_empty_type(tmp_path):
    nodes = [node("ReduceSum", ["x"], ["s"], keepdims=0), node("Greater", ["s", "zero"], ["c"]), node("If", ["c"], ["y"], **branches())]
    for attribute in nodes[2].attribute:
        attribute.g.output[0].type.CopyFrom(onnx.TypeProto())
    inputs = {"x": numbers(2, 4)}
    agree(model_of(nodes, inputs, {"zero": np.float32(0), "w": numbers(4, 3)}), inputs, tmp_path)


def test_suppression_without_a_limit_keeps_every_box(tmp_path):
    """PyTorch's exporter writes the largest int64 for `no limit`."""
    corners = random.uniform(0, 4, (1, 30, 2)).astype(np.float32)
    inputs = {"b": np.concatenate([corners, corners + 2], 2), "s": random.uniform(0, 1, (1, 2, 30)).astype(np.float32)}
    initializers = {"most": np.array([np.iinfo(np.int64).max]), "overlap": np.array([0.5], np.float32)}
    nodes = [node("NonMaxSuppression", ["b", "s", "most", "overlap"], ["y"])]
    model = model_of(nodes, inputs, initializers)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    kept = agree(model, inputs, tmp_path)[0]
    assert len(kept) > 10


def test_a_classifier_of_scikit_learn(tmp_path):
    """Scaled features, one hidden layer, probabilities and the name of the best class, as sklearn-onnx writes them."""
    nodes = [helper.make_node("Scaler", ["x"], ["f"], domain="ai.onnx.ml", offset=[1.0, 0.0, -1.0], scale=[2.0, 0.5, 1.0]),
             node("MatMul", ["f", "w"], ["p"]), node("Relu", ["p"], ["h"]), node("MatMul", ["h", "v"], ["q"]),
             node("Softmax", ["q"], ["probabilities"], axis=1), node("ArgMax", ["probabilities"], ["best"], axis=1),
             helper.make_node("ArrayFeatureExtractor", ["classes", "best"], ["named"], domain="ai.onnx.ml"),
             node("Reshape", ["named", "flat"], ["label"])]
    inputs = {"x": numbers(5, 3)}
    initializers = {"w": numbers(3, 8), "v": numbers(8, 4), "classes": np.array([7, 3, 9, 1], np.int32), "flat": np.array([-1])}
    model = model_of(nodes, inputs, initializers, ["label", "probabilities"])
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT32
    agree(model, inputs, tmp_path)


RECURRENT = {
    "lstm with lengths": ("LSTM", 4, {"direction": "bidirectional"}, True),
    "gru with lengths": ("GRU", 3, {"direction": "reverse", "linear_before_reset": 1}, True),
    "rnn with lengths": ("RNN", 1, {"direction": "forward"}, True),
    "lstm of other activations": ("LSTM", 4, {"activations": ["HardSigmoid", "Softsign", "Relu"], "activation_alpha": [0.3],
                                              "activation_beta": [0.4]}, False),
    "gru clipped": ("GRU", 3, {"clip": 0.5}, False),
    "rnn of two activations": ("RNN", 1, {"direction": "bidirectional", "activations": ["Relu", "Tanh"]}, False),
}


@pytest.mark.parametrize("op, gates, attributes, with_lengths", RECURRENT.values(), ids=RECURRENT.keys())
def test_recurrent_ops(op, gates, attributes, with_lengths, tmp_path):
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    size, width = 5, 3
    initializers = {"w": numbers(directions, gates * size, width), "r": numbers(directions, gates * size, size) / 2,
                    "b": numbers(directions, 2 * gates * size)}
    if with_lengths:
        initializers["l"] = np.array([4, 2, 0, 3], np.int32)
    names = ["x", "w", "r", "b"] + (["l"] if with_lengths else [])
    inputs = {"x": numbers(4, 4, width)}
    nodes = [node(op, names, ["y", "h"], hidden_size=size, **attributes)]
    agree(model_of(nodes, inputs, initializers, ["y", "h"]), inputs, tmp_path)


def test_a_quantized_model_keeps_its_branches_and_fused_layers(tmp_path):
    nodes = [
        microsoft("FusedConv", ["x", "w", "b"], ["c"], activation="Relu", pads=[1, 1, 1, 1]),
        node("GlobalAveragePool", ["c"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("ReduceMax", ["f"], ["s"], keepdims=0),
        node("Greater", ["s", "big"], ["q"]),
        node("If", ["q"], ["i"], then_branch=graph([node("Mul", ["f", "k"], ["t"])], [], ["t"], [("k", numbers(6))]),
             else_branch=graph([node("Add", ["f", "k"], ["e"])], [], ["e"], [("k", numbers(6))])),
        node("Gemm", ["i", "v"], ["y"], name="last"),
    ]
    inputs = {"x": numbers(16, 4, 6, 5)}
    model = model_of(nodes, inputs, {**W, "big": np.float32(1e3), "v": 4 * numbers(6, 3)})
    expected = agree(model, inputs, tmp_path)[0]
    np.savez(tmp_path / "data.npz", x=inputs["x"])
    check = [os.environ.get("PACTORY_PYTHON", ROOT / ".cache/venv/bin/python"), ROOT / "workers/runtime_check/ort_check.py"]
    done = subprocess.run(
        [TRAINER, "quantize", "--model", tmp_path / "model.onnx", "--data", tmp_path / "data.npz", "--preset", "ptq_int8",
         "--out", tmp_path / "out", "--runtime-check", " ".join(map(str, check))],
        capture_output=True, text=True, timeout=120,
    )
    assert done.returncode == 0, done.stderr
    written = onnx.load(tmp_path / "out/model.int8.onnx")
    ops = [item.op_type for item in written.graph.node]
    assert "If" in ops and "DequantizeLinear" in ops and "FusedConv" not in ops
    session = onnxruntime.InferenceSession(tmp_path / "out/model.int8.onnx", providers=["CPUExecutionProvider"])
    deployed = session.run(None, {session.get_inputs()[0].name: inputs["x"]})[0]
    # Eight bits keep about two digits.
    assert np.abs(deployed - expected).max() < 0.05 * np.abs(expected).max()


@pytest.mark.parametrize("opset, coordinates, nearest, scale", [
    (13, "half_pixel", "floor", 0.6), (13, "pytorch_half_pixel", "floor", 0.6), (13, "half_pixel", "round_prefer_ceil", 1.7),
    (10, None, None, 0.6)])
def test_resize_takes_the_same_pixel_where_a_coordinate_falls_on_a_tie(tmp_path, opset, coordinates, nearest, scale):
    attributes = {"coordinate_transformation_mode": coordinates, "nearest_mode": nearest} if coordinates else {}
    node = helper.make_node("Resize", ["x", "", "scales"] if coordinates else ["x", "scales"], ["y"], mode="nearest", **attributes)
    x = np.arange(2 * 20 * 15, dtype=np.float32).reshape(1, 2, 20, 15)
    agree(model_of([node], {"x": x}, {"scales": np.float32([1, 1, scale, scale])}, opset=opset), {"x": x}, tmp_path)
