#!/usr/bin/env python3
"""What becomes of a folder of ONNX files: inspect, run against ONNX Runtime, quantize after training (PTQ), and the int8
file in ONNX Runtime. Prints a Markdown table; exit status 1 where an answer differs.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper

ROOT = pathlib.Path(__file__).resolve().parents[2]
DTYPES = {
    "tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16, "tensor(int64)": np.int64,
    "tensor(int32)": np.int32, "tensor(bool)": np.bool_, "tensor(uint8)": np.uint8,
}
# What the files leave open, by a part of the file's name: {input or "": its shape behind the batch}; and values that inputs must have.
SHAPES = json.loads((pathlib.Path(__file__).parent / "inputs.json").read_text())
TOLERANCE = 1e-3


def example(name, info, batch, generator):
    """An array for a graph input: of its own dimensions where the file tells them."""
    known = next((shapes for part, shapes in SHAPES.items() if part in name), {})
    known = known.get(info.name, known.get("", {}))
    own = [batch if axis == 0 else 16 for axis, _ in enumerate(info.shape)]
    shape = [size if isinstance(size, int) and size > 0 else own[axis] for axis, size in enumerate(info.shape)]
    if "shape" in known:
        shape = known["shape"] if known.get("whole") else [shape[0], *known["shape"]]
    dtype = DTYPES[info.type]
    if "value" in known:
        return np.full(shape, known["value"], dtype)
    if np.issubdtype(dtype, np.floating):
        low, high = known.get("range", (-1, 1))
        drawn = generator.uniform(low, high, shape)
        return (np.floor(drawn) if known.get("round") else drawn).astype(dtype)
    return generator.integers(0, known.get("below", 20), shape).astype(dtype)


def session(path, optimized=True):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 2
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def call(*command):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300)


def last_line(done):
    lines = [line for line in done.stderr.splitlines() if line and "%" not in line[:6]]
    return (lines or [f"exit status {done.returncode}"])[-1]


def difference(ours, theirs):
    """Largest |ours - theirs| over max(1, largest |theirs|)."""
    if ours.shape != theirs.shape:
        return f"shape {ours.shape}, not {theirs.shape}"
    if ours.size == 0:
        return 0.0
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    if not np.array_equal(np.isfinite(ours), np.isfinite(theirs)):
        return "not finite"
    finite = np.isfinite(theirs)
    return float(np.abs(ours - theirs)[finite].max(initial=0) / max(1, np.abs(theirs[finite]).max(initial=0)))


def sqnr(exact, noisy):
    noise = float(((exact - noisy).astype(np.float64) ** 2).sum())
    return 10 * np.log10(float((exact.astype(np.float64) ** 2).sum()) / noise) if noise else np.inf


def measure(trainer, path, folder, python):
    row = {"file": path.stem, "opset": "", "nodes": "", "inspect": "", "difference": "", "sqnr": "", "agreement": "", "size": "", "note": ""}
    model = onnx.load(path, load_external_data=False)
    row["opset"] = next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 0)
    row["nodes"] = len(model.graph.node)
    looked = call(trainer, "inspect", "--json", "--model", path)
    if looked.returncode:
        return row | {"inspect": "refused", "note": last_line(looked)}
    row["inspect"] = "yes"
    generator = np.random.default_rng(1)
    reference = session(path)
    inputs = {info.name: example(path.stem, info, 2, generator) for info in reference.get_inputs()}
    expected = reference.run(None, inputs)
    (folder / "in").mkdir(exist_ok=True)
    for index, array in enumerate(inputs.values()):
        (folder / f"in/input_{index}.pb").write_bytes(numpy_helper.from_array(np.ascontiguousarray(array)).SerializeToString())
    done = call(trainer, "run", "--model", path, "--inputs", folder / "in", "--outputs", folder / "run")
    if done.returncode:
        return row | {"difference": "failed", "note": last_line(done)}
    ours = [numpy_helper.to_array(onnx.load_tensor(str(folder / f"run/output_{index}.pb"))) for index in range(len(expected))]
    differences = [difference(a, b) for a, b in zip(ours, expected)]
    wrong = [item for item in differences if isinstance(item, str)]
    row["difference"] = wrong[0] if wrong else f"{max(differences):.1e}"
    row["wrong"] = bool(wrong) or max(differences) > TOLERANCE
    single = [info.name for info in reference.get_inputs() if not info.shape]
    if single:
        return row | {"note": f"input {single[0]} is a single number: not quantized from a data set"}
    fixed = next((info.shape[0] for info in reference.get_inputs() if isinstance(info.shape[0], int)), None)
    batch, batches = (fixed, -(-16 // fixed)) if fixed else (32, 1)
    np.savez(folder / "data.npz", **{info.name: np.concatenate([example(path.stem, info, batch, generator) for _ in range(batches)])
                                     for info in reference.get_inputs()})
    done = call(trainer, "quantize", "--model", path, "--data", folder / "data.npz", "--preset", "ptq_int8", "--out", folder / "out",
                "--set", "gates.min_deployed_agreement=0", "--runtime-check", f"{python} {ROOT}/workers/runtime_check/ort_check.py")
    if done.returncode:
        return row | {"agreement": "failed", "note": last_line(done)}
    report = json.loads((folder / "out/report.json").read_text())
    quantized = session(folder / "out/model.int8.onnx").run(None, inputs)
    row["sqnr"] = f"{sqnr(expected[0], quantized[0]):.1f} dB" if expected[0].shape == quantized[0].shape else "shape differs"
    row["agreement"] = f"{100 * report['agreement']['top1']:.1f} %"
    row["size"] = f"{100 * report['size_bytes']['int8'] / report['size_bytes']['fp32']:.0f} %"
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", type=pathlib.Path, help="ONNX files, or folders of them")
    parser.add_argument("--trainer", type=pathlib.Path,
                        default=pathlib.Path(os.environ.get("PACTORY_BINARY_DIR", ROOT / "build/release")) / "bin/pactory-trainer")
    args = parser.parse_args()
    paths = [path for item in args.models for path in (sorted(item.glob("*.onnx")) if item.is_dir() else [item])]
    columns = {"file": "file", "opset": "opset", "nodes": "nodes", "inspect": "taken", "difference": "FP32 difference", "sqnr": "int8 SQNR",
               "agreement": "deployed = simulated", "size": "bytes", "note": ""}
    print("| " + " | ".join(columns.values()) + " |")
    print("| " + " | ".join("---" for _ in columns) + " |")
    failed = 0
    for path in paths:
        with tempfile.TemporaryDirectory() as folder:
            try:
                row = measure(args.trainer, path, pathlib.Path(folder), sys.executable)
            except Exception as error:
                row = {"file": path.stem, "note": f"{type(error).__name__}: {error}"[:300], "wrong": True}
        failed += bool(row.get("wrong"))
        print("| " + " | ".join(str(row.get(key, "")).replace("|", "\\|")[:240] for key in columns) + " |", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
