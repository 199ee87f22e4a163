#!/usr/bin/env python3
"""Quantizes a model with ONNX Runtime's own quantize_static and measures it beside FP32."""

import argparse
import json
import logging
import math
import pathlib
import statistics
import sys
import tempfile
import time

import numpy as np
import onnx
import onnxruntime as ort
from onnx import version_converter
from onnxruntime import quantization
from onnxruntime.quantization import shape_inference

VARIANTS = {
    "default": {},
    "per_channel": {"per_channel": True},
    "per_channel, reduce_range": {"per_channel": True, "reduce_range": True},
    "Conv+MatMul only, per_channel, reduce_range": {
        "per_channel": True, "reduce_range": True, "op_types_to_quantize": ["Conv", "MatMul", "Gemm"]},
}


class Calibration(quantization.CalibrationDataReader):
    def __init__(self, name, batches):
        self._feeds = ({name: batch} for batch in batches)

    def get_next(self):
        return next(self._feeds, None)


class Dataset:
    """x of an .npz, normalised as (x * scale - mean) / std, one batch at a time."""

    def __init__(self, path, scale, mean, std):
        arrays = np.load(path)
        self.x, self.y = arrays["x"], arrays["y"] if "y" in arrays else None
        self._scale, self._mean, self._std = scale, _per_channel(mean), _per_channel(std)

    def batches(self, size, count=None):
        count = len(self.x) if count is None else min(count, len(self.x))
        for begin in range(0, count, size):
            x = self.x[begin:min(begin + size, count)].astype(np.float32) * self._scale
            yield ((x - self._mean) / self._std).astype(np.float32)


def _per_channel(values):
    return np.float32(values).reshape(1, -1, 1, 1)


def open_session(path, threads):
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def read_line(steps):
    """CTC's greedy reading of the best class at each step, filled up with -1."""
    line = steps[(steps != np.concatenate([[-1], steps[:-1]])) & (steps != 0)]
    return np.concatenate([line, np.full(len(steps) - len(line), -1)])


# What an answer is, of a batch's first output: a class, a line read by CTC, or the pixels of a map that are set.
ANSWERS = {
    "top1": lambda output: output.argmax(1),
    "ctc": lambda output: np.stack([read_line(steps) for steps in output.argmax(-1)]),
    "iou": lambda output: output > 0.3,
}


def predict(path, data, threads, metric):
    session = open_session(path, threads)
    name = session.get_inputs()[0].name
    return np.concatenate([ANSWERS[metric](session.run(None, {name: x})[0]) for x in data.batches(10)])


def count_equal(answers, expected, metric):
    """How many answers are the expected ones, of how many; for maps their common pixels, of those that either sets."""
    if metric == "iou":
        return int((answers & expected).sum()), int((answers | expected).sum())
    if metric == "ctc":
        # Labels have room for fewer characters than a model has steps.
        wide = np.full(answers.shape, -1)
        wide[:, :expected.shape[1]] = expected[:, :answers.shape[1]]
        return int((answers == wide).all(1).sum()), len(answers)
    return int((answers == expected).sum()), len(answers)


def measure_latencies(paths, image, runs):
    """Median milliseconds of one image on one thread; the files take turns, so that load hits all alike."""
    sessions = [open_session(path, 1) for path in paths]
    feeds = [{session.get_inputs()[0].name: image} for session in sessions]
    times = [[] for _ in paths]
    for index in range(runs + 10):
        for session, feed, own in zip(sessions, feeds, times):
            # A run behind another model's starts with cold caches: only the second one counts.
            session.run(None, feed)
            start = time.perf_counter()
            session.run(None, feed)
            if index >= 10:
                own.append((time.perf_counter() - start) * 1000)
    return [{"latency_ms": statistics.median(own), "latency_min_ms": min(own)} for own in times]


def wilson_interval(right, count):
    """95 % interval of a proportion."""
    z, p = 1.959964, right / count
    centre = p + z * z / (2 * count)
    half = z * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count))
    return [(centre - half) / (1 + z * z / count), (centre + half) / (1 + z * z / count)]


def quantize(model, folder, calibration, count):
    """Writes one file per variant and returns their paths by name."""
    upgraded, prepared = folder / "upgraded.onnx", folder / "prepared.onnx"
    # Scales per channel need opset 13.
    proto = onnx.load(model)
    opset = next(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
    onnx.save(version_converter.convert_version(proto, 13) if opset < 13 else proto, upgraded)
    shape_inference.quant_pre_process(str(upgraded), str(prepared), skip_symbolic_shape=True)
    name = open_session(prepared, 1).get_inputs()[0].name
    paths = {}
    for index, (variant, options) in enumerate(VARIANTS.items()):
        print(f"quantize_static: {variant}", file=sys.stderr, flush=True)
        paths[variant] = folder / f"variant_{index}.onnx"
        reader = Calibration(name, calibration.batches(20, count))
        quantization.quantize_static(str(prepared), str(paths[variant]), reader, **options)
    return paths


def main():
    parser = argparse.ArgumentParser(
        description="Quantizes an FP32 model with onnxruntime.quantization.quantize_static "
        "(MinMax, QDQ) in several variants and prints JSON: for FP32 and for each variant the file's "
        "bytes, latency of one image on one thread, accuracy with its 95 % interval and agreement "
        "with FP32.",
        epilog="example: quantize_static.py --model m.onnx --calibration-data train.npz --eval-data eval.npz")
    parser.add_argument("--model", type=pathlib.Path, required=True, help="FP32 ONNX file")
    parser.add_argument("--calibration-data", required=True, help=".npz for calibration, array x")
    parser.add_argument("--eval-data", required=True, help=".npz for evaluation, arrays x and, but for iou, y")
    parser.add_argument("--metric", choices=ANSWERS, default="top1",
                        help="what accuracy is: right classes, lines read by CTC exactly as y, or the overlap of maps (above 0.3) "
                        "with FP32's (default %(default)s)")
    parser.add_argument("--scale", type=float, default=1 / 255, help="x is multiplied by it first (default 1/255)")
    parser.add_argument("--mean", type=float, nargs="+", default=[0.5],
                        help="one value or one per channel (default 0.5)")
    parser.add_argument("--std", type=float, nargs="+", default=[0.5],
                        help="one value or one per channel (default 0.5)")
    parser.add_argument("--calibration-samples", type=int, default=200, help="default %(default)s")
    parser.add_argument("--runs", type=int, default=100, help="timed runs of each file (default %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="threads for the accuracy (default %(default)s)")
    parser.add_argument("--extra", nargs="*", default=[], metavar="NAME=PATH", help="more files to measure as variants")
    parser.add_argument("--json", type=pathlib.Path, help="write there instead of standard output")
    args = parser.parse_args()

    logging.getLogger().setLevel(logging.ERROR)  # its advice to pre-process repeats for each variant
    calibration = Dataset(args.calibration_data, args.scale, args.mean, args.std)
    evaluation = Dataset(args.eval_data, args.scale, args.mean, args.std)
    with tempfile.TemporaryDirectory() as folder:
        paths = {"fp32": args.model}
        paths |= quantize(args.model, pathlib.Path(folder), calibration, args.calibration_samples)
        paths |= {name: pathlib.Path(path) for name, _, path in (extra.partition("=") for extra in args.extra)}
        latencies = measure_latencies(paths.values(), next(evaluation.batches(1)), args.runs)
        reference, entries = None, []
        for (name, path), latency in zip(paths.items(), latencies):
            print(f"evaluating {name}", file=sys.stderr, flush=True)
            answers = predict(path, evaluation, args.threads, args.metric)
            reference = answers if reference is None else reference
            right, total = count_equal(answers, reference if args.metric == "iou" else evaluation.y, args.metric)
            same, of = count_equal(answers, reference, args.metric)
            entries.append({
                "name": name,
                "size_bytes": path.stat().st_size,
                **latency,
                "accuracy": right / total,
                # Pixels of a map are not independent.
                "interval95": None if args.metric == "iou" else wilson_interval(right, total),
                "agreement_with_fp32": same / of,
            })
    result = {
        "runtime": {"name": "onnxruntime", "version": ort.__version__},
        "samples": len(evaluation.x),
        "fp32": entries[0],
        "variants": entries[1:],
    }
    text = json.dumps(result, indent=2) + "\n"
    args.json.write_text(text) if args.json else sys.stdout.write(text)


if __name__ == "__main__":
    main()
