#!/usr/bin/env python3
"""Quantizes the hard models with ONNX Runtime's quantize_static and with Pactory's PACT and LSQ+, on the same data, and prints
a Markdown table of what each deployed file gets right in ONNX Runtime.
"""

import argparse
import contextlib
import itertools
import json
import logging
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime import quantization
from onnxruntime.quantization import shape_inference

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAYERS = ["Conv", "MatMul", "Gemm"]
# Bits of weights and activations by model.
MODELS = {"depthwise": 8, "squeeze_excite": 4, "attention": 4}
STEPS = 300
METHODS = {
    8: {"PACT": ["--preset", "pact_int8"], "LSQ+": ["--preset", "pact_int8", "--set", "activations.method=LSQ_PLUS"]},
    4: {"PACT": ["--preset", "pact_w4a4"], "LSQ+": ["--preset", "lsq_plus_w4a4"]},
}
CALIBRATION_SAMPLES = 500


class Batches(quantization.CalibrationDataReader):
    def __init__(self, name, x):
        self._feeds = iter([{name: x[begin:begin + 50]} for begin in range(0, len(x), 50)])

    def get_next(self):
        return next(self._feeds, None)


def accuracy(path, data):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return float((session.run(None, {session.get_inputs()[0].name: data["x"]})[0].argmax(1) == data["y"]).mean())


def quantize_static(model, bits, calibration, evaluation, folder):
    """The best accuracy of ONNX Runtime's calibrators and options, and which that was."""
    proto = onnx.load(model)
    # Four-bit tensors need opset 21.
    onnx.save(onnx.version_converter.convert_version(proto, 21) if bits == 4 else proto, folder / "upgraded.onnx")
    shape_inference.quant_pre_process(str(folder / "upgraded.onnx"), str(folder / "prepared.onnx"), skip_symbolic_shape=True)
    graph = onnx.load(folder / "prepared.onnx").graph
    layers = [node.name for node in graph.node if node.op_type in LAYERS]
    kinds = {}
    if bits == 4:
        kinds = {"activation_type": quantization.QuantType.QUInt4, "weight_type": quantization.QuantType.QInt4}
    best = (0.0, "")
    choices = itertools.product(("MinMax", "Entropy", "Percentile"), (False, True), (False, True) if bits == 8 else (False,),
                                (None, LAYERS), (False, True))
    for calibrator, per_channel, reduce_range, ops, ends_float in choices:
        words = [calibrator, *(["per channel"] if per_channel else []), *(["reduce_range"] if reduce_range else []),
                 *(["layers only"] if ops else []), *(["first and last layer float"] if ends_float else [])]
        with contextlib.redirect_stdout(sys.stderr):
            quantization.quantize_static(
                str(folder / "prepared.onnx"), str(folder / "quantized.onnx"), Batches(graph.input[0].name, calibration),
                per_channel=per_channel, reduce_range=reduce_range, op_types_to_quantize=ops,
                nodes_to_exclude=[layers[0], layers[-1]] if ends_float else [],
                calibrate_method=getattr(quantization.CalibrationMethod, calibrator), **kinds)
        best = max(best, (accuracy(folder / "quantized.onnx", evaluation), ", ".join(words)))
    return best


def train(trainer, model, data, options, seed, folder):
    """The deployed file's accuracy after a training with this seed."""
    command = [trainer, "quantize", "--model", model, "--data", data / "train.npz", "--eval-data", data / "eval.npz", *options,
               "--set", f"training.steps={STEPS}", "--set", f"training.seed={seed}", "--out", folder,
               "--set", "gates.min_deployed_agreement=0",
               "--runtime-check", f"{sys.executable} {ROOT}/workers/runtime_check/ort_check.py"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{model.stem} {options}: {done.stderr.splitlines()[-1]}")
    report = json.loads((folder / "report.json").read_text())
    return report["deployed"]["metric"], report["agreement"]["top1"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=pathlib.Path, required=True, help="folder that train.py wrote")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="*", choices=MODELS, default=list(MODELS))
    parser.add_argument("--trainer", type=pathlib.Path,
                        default=pathlib.Path(os.environ.get("PACTORY_BINARY_DIR", ROOT / "build/release")) / "bin/pactory-trainer")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    train_set, evaluation = (dict(np.load(args.models / f"{name}.npz")) for name in ("train", "eval"))
    calibration = train_set["x"][np.random.default_rng(0).permutation(len(train_set["x"]))[:CALIBRATION_SAMPLES]]
    print("| model | bits | FP32 | quantize_static, best | method | deployed, mean ± sd of "
          f"{args.seeds} seeds | of the loss brought back | deployed = trained, least |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in args.only:
        model = args.models / f"{name}.onnx"
        with tempfile.TemporaryDirectory() as folder:
            fp32 = accuracy(model, evaluation)
            peer, variant = quantize_static(model, MODELS[name], calibration, evaluation, pathlib.Path(folder))
            for method, options in METHODS[MODELS[name]].items():
                runs = [train(args.trainer, model, args.models, options, seed, pathlib.Path(folder) / "out")
                        for seed in range(1, args.seeds + 1)]
                mean = statistics.mean(run[0] for run in runs)
                spread = statistics.stdev(run[0] for run in runs) if len(runs) > 1 else 0.0
                print(f"| {name} | {MODELS[name]} | {100 * fp32:.1f} | {100 * peer:.1f} ({variant}) | {method} | "
                      f"{100 * mean:.1f} ± {100 * spread:.1f} | {100 * (mean - peer) / (fp32 - peer):.0f} % | "
                      f"{100 * min(run[1] for run in runs):.1f} % |", flush=True)


if __name__ == "__main__":
    main()
