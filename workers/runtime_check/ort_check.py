#!/usr/bin/env python3
"""Runs an ONNX file in ONNX Runtime, or in OpenVINO, over whole input arrays and reports what was measured."""

import argparse
import importlib.util
import json
import pathlib
import platform
import statistics
import sys
import time

import numpy as np
import onnx
import onnxruntime as ort

DTYPES = {
    "tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16,
    "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8, "tensor(bool)": np.bool_,
}
# Newest first: each one changes which int8 kernels ONNX Runtime takes.
INSTRUCTION_SETS = [
    ("amx_int8", "amx_int8"), ("avx512_vnni", "avx512_vnni"), ("avx_vnni", "avx_vnni"),
    ("avx512f", "avx512"), ("avx2", "avx2"), ("avx", "avx"),
    ("i8mm", "neon_i8mm"), ("asimddp", "neon_dotprod"), ("asimd", "neon"),
]


# Each is also the name of its package.
RUNTIMES = ("onnxruntime", "openvino")


class InputError(Exception):
    """The caller's arguments or files are wrong."""


class ModelError(Exception):
    """The runtime does not take the model."""


def instruction_set(cpuinfo=pathlib.Path("/proc/cpuinfo")):
    """The widest instruction set of this CPU that int8 kernels use, e.g. "avx2"."""
    flags = set()
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("flags", "Features"):
                flags.update(value.split())
    return next((name for flag, name in INSTRUCTION_SETS if flag in flags), platform.machine())


def check_model(path):
    """ "passed", or what onnx.checker says is wrong."""
    try:
        onnx.checker.check_model(str(path), full_check=True)
        return "passed"
    except Exception as error:  # the checker and shape inference raise several kinds
        return " ".join(str(error).split())


def open_session(path, threads, optimization, runtime="onnxruntime"):
    if runtime == "openvino":
        return openvino_module().OpenVinoSession(path, threads)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if optimization == "none":
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def openvino_module():
    """openvino_session, which stands beside this file and needs the package openvino."""
    try:
        import openvino_session
    except ImportError as error:
        raise InputError(f"openvino is not installed in {sys.executable}: {error}") from error
    return openvino_session


def describe_runtime(runtime):
    if runtime == "openvino":
        return {"name": "openvino", "version": openvino_module().VERSION}
    return {"name": "onnxruntime", "version": ort.__version__}


def bind_inputs(arguments, graph_inputs):
    """Maps each graph input to its array; an argument is PATH (in order) or NAME=PATH."""
    names = [graph_input.name for graph_input in graph_inputs]
    paths, positional = {}, []
    for argument in arguments:
        name, equals, path = argument.partition("=")
        if equals and name in names:
            paths[name] = path
        else:
            positional.append(argument)
    free = [name for name in names if name not in paths]
    if len(positional) != len(free):
        raise InputError(f"the model has inputs {names}, got {len(arguments)} --inputs")
    paths.update(zip(free, positional))
    return {graph_input.name: _load(paths[graph_input.name], graph_input)
            for graph_input in graph_inputs}


def _load(path, graph_input):
    try:
        array = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"cannot read {path}: not a .npy file")
    wanted = DTYPES.get(graph_input.type)
    if wanted is None:
        raise InputError(f"input {graph_input.name} has type {graph_input.type}, which is not supported")
    if array.dtype != wanted:
        raise InputError(f"input {graph_input.name} must be {np.dtype(wanted)}, {path} is {array.dtype}")
    shape = graph_input.shape
    fits = array.ndim == len(shape) and all(
        not isinstance(want, int) or want == have
        for want, have in zip(shape[1:], array.shape[1:]))
    if not fits or len(array) == 0:
        raise InputError(f"input {graph_input.name} must have shape {shape}, {path} has {list(array.shape)}")
    return array


def fixed_batch(graph_inputs):
    """The batch size that the model was exported with, or None where it is free."""
    for graph_input in graph_inputs:
        if graph_input.shape and isinstance(graph_input.shape[0], int):
            return graph_input.shape[0]
    return None


def batch_feeds(arrays, begin, size):
    """One batch; the last is filled up by repeating its last sample when the size is fixed."""
    feeds = {}
    for name, array in arrays.items():
        part = np.ascontiguousarray(array[begin:begin + size])
        if len(part) < size:
            part = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
        feeds[name] = part
    return feeds


def run_all(session, arrays, batch, folder):
    """Writes folder/output_<i>.npy as float32 and returns the number of samples."""
    samples = {name: len(array) for name, array in arrays.items()}
    if len(set(samples.values())) != 1:
        raise InputError(f"the inputs differ in their number of samples: {samples}")
    count = next(iter(samples.values()))
    fixed = fixed_batch(session.get_inputs())
    folder.mkdir(parents=True, exist_ok=True)
    files = None
    for begin in range(0, count, fixed or batch):
        kept = min(fixed or batch, count - begin)
        outputs = session.run(None, batch_feeds(arrays, begin, fixed or kept))
        if files is None:
            files = [_create_output(folder / f"output_{i}.npy", output, count, fixed or kept)
                     for i, output in enumerate(outputs)]
        for file, output in zip(files, outputs):
            file[begin:begin + kept] = output[:kept]
    for file in files:
        file.flush()
    return count


def _create_output(path, first, count, batch):
    if first.ndim == 0 or first.shape[0] != batch:
        raise InputError(f"{path.stem} must have the batch as its first axis, has shape {list(first.shape)}")
    return np.lib.format.open_memmap(path, "w+", np.float32, (count, *first.shape[1:]))


def measure_latency(args, arrays):
    """Milliseconds per image at batch 1 (or at the model's fixed batch, divided by it)."""
    runs, threads = args.latency_runs, args.latency_threads
    session = open_session(args.model, threads, args.optimization, args.runtime)
    size = fixed_batch(session.get_inputs()) or 1
    feeds = batch_feeds(arrays, 0, size)
    for _ in range(max(3, runs // 10)):
        session.run(None, feeds)
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        session.run(None, feeds)
        times.append((time.perf_counter() - start) * 1000 / size)
    return {"median": statistics.median(times), "min": min(times), "runs": runs, "threads": threads}


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(
        description="Runs an ONNX model in ONNX Runtime (CPU) or OpenVINO (CPU) over whole .npy arrays in batches; "
        "writes DIR/output_0.npy, output_1.npy, ... (float32) and a JSON file with the runtime, "
        "the CPU's instruction set, the latency and the verdict of onnx.checker. "
        "Exit status: 0 done, 1 the runtime failed, 2 bad input, "
        "3 the runtime can't load the model. With `--has-runtime NAME` alone: 0 where that runtime is "
        "installed, else 1.",
        epilog="example: ort_check.py --model m.onnx --inputs x.npy --outputs out "
        "--latency-runs 200 --json result.json")
    positive = _positive
    parser.add_argument("--model", type=pathlib.Path, required=True, help="the ONNX file")
    parser.add_argument("--inputs", nargs="+", action="extend", required=True, metavar="[NAME=]PATH",
                        help=".npy files, samples on the first axis, in the graph's order or by name")
    parser.add_argument("--outputs", type=pathlib.Path, required=True, help="folder for output_<i>.npy")
    parser.add_argument("--batch", type=positive, default=64,
                        help="samples per run; a model with a fixed batch keeps its own (default %(default)s)")
    parser.add_argument("--threads", type=positive, default=2, help="threads for the outputs (default %(default)s)")
    parser.add_argument("--latency-runs", type=_not_negative, default=0,
                        help="timed runs at batch 1; 0 measures no latency (default %(default)s)")
    parser.add_argument("--latency-threads", type=positive, default=1, help="default %(default)s")
    parser.add_argument("--optimization", choices=("all", "none"), default="all",
                        help="none runs the graph unfused, as written (default %(default)s)")
    parser.add_argument("--runtime", choices=RUNTIMES, default="onnxruntime",
                        help="openvino needs that package; it has no --optimization none (default %(default)s)")
    parser.add_argument("--json", type=pathlib.Path, required=True, help="where the result goes")
    return parser.parse_args(arguments)


def _positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, is {value}")
    return value


def _not_negative(text):
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be 0 or more, is {value}")
    return value


def run(args):
    if not args.model.is_file():
        raise InputError(f"cannot read {args.model}: no such file")
    checker = check_model(args.model)
    if args.runtime == "openvino" and args.optimization == "none":
        raise InputError("openvino always optimizes; leave --optimization out")
    try:
        session = open_session(args.model, args.threads, args.optimization, args.runtime)
    except InputError:
        raise
    except Exception as error:  # the runtimes' errors share no public base class
        raise ModelError(f"{type(error).__name__}: {error}") from error
    arrays = bind_inputs(args.inputs, session.get_inputs())
    start = time.perf_counter()
    samples = run_all(session, arrays, args.batch, args.outputs)
    seconds = time.perf_counter() - start
    latency = None
    if args.latency_runs:
        latency = measure_latency(args, arrays)
    result = {
        "runtime": describe_runtime(args.runtime),
        "instruction_set": instruction_set(),
        "onnx_checker": checker,
        "optimization": args.optimization,
        "samples": samples,
        "seconds": seconds,
        "latency_ms": latency,
        "outputs": [output.name for output in session.get_outputs()],
    }
    if args.runtime == "openvino":
        result["layer_precisions"] = session.precisions()
    args.json.write_text(json.dumps(result, indent=2) + "\n")


def main(arguments=None):
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["--has-runtime"] and len(arguments) == 2:
        return 0 if arguments[1] in RUNTIMES and importlib.util.find_spec(arguments[1]) else 1
    args = parse_arguments(arguments)
    try:
        run(args)
    except InputError as error:
        status, message = 2, str(error)
    except ModelError as error:
        status, message = 3, str(error)
    except Exception as error:  # ONNX Runtime's errors share no public base class
        status, message = 1, f"{type(error).__name__}: {error}"
    else:
        return 0
    print("ort_check: " + " ".join(message.split()), file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
