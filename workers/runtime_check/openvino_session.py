"""OpenVINO's CPU plugin behind the few calls of an onnxruntime.InferenceSession that ort_check.py makes."""

import collections
import types

import numpy as np
import openvino

ELEMENT_TYPES = {
    "f32": "tensor(float)", "f64": "tensor(double)", "f16": "tensor(float16)", "i64": "tensor(int64)",
    "i32": "tensor(int32)", "i8": "tensor(int8)", "u8": "tensor(uint8)", "boolean": "tensor(bool)",
}
VERSION = openvino.__version__


class OpenVinoSession:
    """A compiled model."""

    def __init__(self, path, threads):
        model = openvino.Core().read_model(str(path))
        self._ports = list(model.inputs)
        # Inputs may share their tensor's names with nothing else, and a port without one keeps its node's.
        self._names = [next(iter(port.get_names()), port.node.friendly_name) for port in self._ports]
        self._compiled = openvino.Core().compile_model(
            model, "CPU", {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"})
        self._request = self._compiled.create_infer_request()

    def get_inputs(self):
        """Name, type and shape of each input, as ONNX Runtime tells them."""
        return [types.SimpleNamespace(name=name, type=ELEMENT_TYPES.get(port.element_type.get_type_name(), "?"),
                                      shape=[dim.get_length() if dim.is_static else None for dim in port.partial_shape])
                for name, port in zip(self._names, self._ports)]

    def get_outputs(self):
        return [types.SimpleNamespace(name=next(iter(port.get_names()), "")) for port in self._compiled.outputs]

    def run(self, _, feeds):
        """The outputs of one batch, copied."""
        results = self._request.infer([feeds[name] for name in self._names])
        return [np.array(results[port]) for port in self._compiled.outputs]

    def precisions(self):
        """Counts of the executed layers with weights by "type precision", like {"Convolution u8": 26}."""
        counts = collections.Counter()
        for node in self._compiled.get_runtime_model().get_ops():
            info = node.get_rt_info()
            kind = info["layerType"].astype(str)
            if kind in ("Convolution", "FullyConnected", "MatMul", "Deconvolution"):
                counts[f'{kind} {info["runtimePrecision"].astype(str)}'] += 1
        return dict(counts)
