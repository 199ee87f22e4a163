"""Models that compute in float16 or float64: trained and quantized in float32, deployed with the types that their callers feed."""

import json

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, numpy_helper

from test_trainer_jobs import material, quantize  # noqa: F401: a fixture is taken by its name

TYPES = {"float16": (np.float16, TensorProto.FLOAT16), "float64": (np.float64, TensorProto.DOUBLE)}


def convert(source, path, name):
    """What `.half()` or `.double()` makes of a model: weights, input and output in another type."""
    dtype, number = TYPES[name]
    model = onnx.load(source)
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(dtype), tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = number
    onnx.save(model, path)


def run(path, x):
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


@pytest.mark.parametrize("preset", ["ptq_int8", "pact_int8"])
def test_half_model_is_quantized_and_keeps_its_types(material, tmp_path, preset):  # noqa: F811
    convert(material / "m.onnx", tmp_path / "half.onnx", "float16")
    data = {}
    for part in ("train", "eval"):
        file = np.load(material / f"{part}.npz")
        data[part] = file["x"].astype(np.float16)
        np.savez(tmp_path / f"{part}.npz", x=data[part], y=file["y"])
    done = quantize(tmp_path, tmp_path / "out", "--preset", preset, "--set", "training.steps=20", model=tmp_path / "half.onnx")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["fp32"]["metric"] >= 0.99
    assert report["agreement"]["top1"] >= 0.98
    deployed = onnx.load(tmp_path / "out" / "model.int8.onnx")
    assert [value.type.tensor_type.elem_type for value in (*deployed.graph.input, *deployed.graph.output)] == [TensorProto.FLOAT16] * 2
    assert any(tensor.data_type == TensorProto.INT8 for tensor in deployed.graph.initializer)
    agree = run(tmp_path / "out" / "model.int8.onnx", data["eval"]).argmax(1) == run(tmp_path / "half.onnx", data["eval"]).argmax(1)
    assert agree.mean() >= 0.9
