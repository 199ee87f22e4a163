"""Small ONNX files for the trainer's tests, and their run in ONNX Runtime."""

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper


def save_net(path, nodes, weights, inputs, outputs, input_type=TensorProto.FLOAT):
    """`inputs` and `outputs` are shapes by name."""
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info(name, input_type, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in weights.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def random_weights(seed, **shapes):
    """Of a variance that keeps that of what they multiply."""
    rng = np.random.default_rng(seed)
    return {name: (rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32) for name, shape in shapes.items()}


def run_onnx(path, feeds):
    """The first output; `feeds` are arrays by the input's name, or that of an input `x`."""
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, feeds if isinstance(feeds, dict) else {"x": feeds})[0]
