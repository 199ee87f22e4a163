"""A model with two inputs, token ids and features, through the whole service."""
import json

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper


@pytest.fixture(scope="module")
def two_inputs(tmp_path_factory):
    """A model that reads 4 ids of 16 beside 6 features, and data labelled by its own answers."""
    folder = tmp_path_factory.mktemp("two_inputs")
    rng = np.random.default_rng(0)
    weights = {name: (rng.standard_normal(shape) * scale).astype(np.float32) for name, shape, scale in
               (("words", (16, 8), 1), ("w1", (16, 8), 0.3), ("w2", (16, 6), 0.3), ("w3", (3, 32), 0.3))}
    nodes = [
        helper.make_node("Gather", ["words", "ids"], ["e"], name="words"),
        helper.make_node("ReduceMean", ["e"], ["m"], name="mean", axes=[1], keepdims=0),
        helper.make_node("Gemm", ["m", "w1"], ["g1"], name="said", transB=1),
        helper.make_node("Relu", ["g1"], ["r1"], name="act1"),
        helper.make_node("Gemm", ["features", "w2"], ["g2"], name="seen", transB=1),
        helper.make_node("Relu", ["g2"], ["r2"], name="act2"),
        helper.make_node("Concat", ["r1", "r2"], ["both"], name="both", axis=1),
        helper.make_node("Gemm", ["both", "w3"], ["scores"], name="fc", transB=1),
    ]
    graph = helper.make_graph(
        nodes, "two", [helper.make_tensor_value_info("ids", TensorProto.INT64, ["N", 4]),
                       helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 6])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), folder / "two.onnx")
    for seed, (name, count) in enumerate((("train", 256), ("eval", 200))):
        rng = np.random.default_rng(seed)
        arrays = {"ids": rng.integers(0, 16, (count, 4)), "features": rng.standard_normal((count, 6)).astype(np.float32)}
        np.savez(folder / f"{name}.npz", y=answers(folder / "two.onnx", arrays), **arrays)
    return folder


def answers(model, arrays):
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    return session.run(None, {"ids": arrays["ids"], "features": arrays["features"]})[0].argmax(1)


def test_model_of_two_inputs_is_trained_checked_and_replayed(service, two_inputs, tmp_path):
    name = service.cli("jobs", "submit", "--model", two_inputs / "two.onnx", "--data", two_inputs / "train.npz", "--eval-data",
                       two_inputs / "eval.npz", "--preset", "pact_int8", "--set", "training.steps=30", "--set",
                       "training.learning_rate=1e-4").stdout.strip()
    service.wait_for(name, "SUCCEEDED", seconds=60)
    service.cli("jobs", "download", name, "--out", tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["fp32"]["metric"] == 1 and report["agreement"]["import"] == 1
    assert report["agreement"]["top1"] >= 0.99
    data = np.load(two_inputs / "eval.npz")
    right = (answers(tmp_path / "model.int8.onnx", data) == data["y"]).mean()
    assert report["deployed"]["metric"] == pytest.approx(right, abs=1e-6) and right >= 0.93
    assert service.json("jobs", "replay", name)["same"]


def test_data_that_lacks_an_input_is_refused_before_it_is_queued(service, two_inputs, tmp_path):
    arrays = dict(np.load(two_inputs / "train.npz"))
    del arrays["ids"]
    np.savez(tmp_path / "short.npz", **arrays)
    before = len(service.json("jobs", "list", "--limit", 1000)["jobs"])
    refused = service.cli("jobs", "submit", "--model", two_inputs / "two.onnx", "--data", tmp_path / "short.npz", "--eval-data",
                          two_inputs / "eval.npz", "--preset", "ptq_int8", rc=2)
    assert "job.spec.train_dataset" in refused.stderr and "named ids" in refused.stderr, refused.stderr
    assert len(service.json("jobs", "list", "--limit", 1000)["jobs"]) == before
    dataset = service.cli("datasets", "upload", two_inputs / "train.npz").stdout.strip()
    shown = service.cli("datasets", "show", dataset).stdout
    assert "ids int64[256x4]" in shown and "features float[256x6]" in shown
