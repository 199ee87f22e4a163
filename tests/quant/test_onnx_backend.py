"""Runs ONNX's own backend tests through `pactory-trainer run --list` and compares with their expected outputs.

Every test takes part whose ops are all in `pactory-trainer ops`. It must give the expected outputs, unless it is
listed in KNOWN_DIFFERENCES, or has tensors of a type in UNSUPPORTED_TYPES: those may be refused, but never give wrong
values. What is listed as different must still be so. Set PACTORY_BINARY_DIR to the build folder (default:
build/release).
"""

import fnmatch
import json
import os
import pathlib
import subprocess
import warnings

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

ROOT = pathlib.Path(__file__).resolve().parents[2]
TRAINER = pathlib.Path(os.environ.get("PACTORY_BINARY_DIR", ROOT / "build/release")) / "bin/pactory-trainer"

# Element types that LibTorch has no tensors of, or no arithmetic for.
T = onnx.TensorProto
UNSUPPORTED_TYPES = {
    value
    for name, value in T.DataType.items()
    if name in ("STRING", "UINT16", "UINT32", "UINT64", "INT4", "UINT4")
    or name.startswith(("COMPLEX", "FLOAT8", "FLOAT4", "INT2", "UINT2"))
}

# Test name pattern: why the trainer does not give that output.
KNOWN_DIFFERENCES = {
    "test_resize_downsample_scales_*_align_corners": "ONNX Runtime, which serves the model, spreads the corners over "
    "the rounded output length, the reference over the unrounded one",
    "test_batchnorm_*_training_mode*": "BatchNormalization in training mode; models come in inference form",
    "test_training_dropout*": "Dropout in training mode; models come in inference form",
}

pytestmark = pytest.mark.skipif(
    not TRAINER.exists(), reason=f"no trainer at {TRAINER}; build, or set PACTORY_BINARY_DIR"
)


def supported_ops():
    output = subprocess.run([TRAINER, "ops", "--json"], check=True, capture_output=True, text=True).stdout
    return set(json.loads(output)["ops"])


def node_cases():
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = collect_testcases()
    for case in cases:
        yield case.name, case.model, case.data_sets, case.rtol, case.atol


def stored_cases():
    """Tests that the onnx package carries as files: operators and layers as PyTorch exported them."""
    data = pathlib.Path(onnx.__file__).parent / "backend/test/data"
    for kind in ("pytorch-converted", "pytorch-operator", "simple"):
        for folder in sorted((data / kind).glob("test_*")):
            model = onnx.load(folder / "model.onnx")
            sets = []
            for stored in sorted(folder.glob("test_data_set_*")):
                read = lambda stem: [
                    numpy_helper.to_array(onnx.load_tensor(stored / f"{stem}_{index}.pb"))
                    for index in range(len(list(stored.glob(f"{stem}_*.pb"))))
                ]
                try:
                    sets.append((read("input"), read("output")))
                except Exception:  # sequences and maps are no tensors
                    sets = []
                    break
            if sets:
                yield folder.name, model, sets, 1e-3, 1e-5


def is_tensor(value):
    return isinstance(value, (np.ndarray, np.generic, onnx.TensorProto))


def has_unsupported_type(model):
    graph = model.graph
    types = {value.type.tensor_type.elem_type for value in [*graph.input, *graph.output]}
    types |= {attribute.i for node in graph.node for attribute in node.attribute if attribute.name == "to"}
    return bool(types & UNSUPPORTED_TYPES)


def runs(model, data_sets, ops):
    domains = {opset.domain: opset.version for opset in model.opset_import}
    if any(node.op_type not in ops | {"Constant"} or node.domain not in ("", "ai.onnx") for node in model.graph.node):
        return False
    values = [value for given, expected in data_sets for value in [*given, *expected]]
    return domains.get("", 0) >= 7 and all(map(is_tensor, values))


def as_proto(value):
    return value if isinstance(value, onnx.TensorProto) else numpy_helper.from_array(np.asarray(value))


def same(actual, expected, rtol, atol):
    expected = numpy_helper.to_array(expected) if isinstance(expected, onnx.TensorProto) else np.asarray(expected)
    if actual.dtype != expected.dtype:
        return f"type {actual.dtype}, expected {expected.dtype}"
    if actual.shape != expected.shape:
        return f"shape {actual.shape}, expected {expected.shape}"
    if actual.dtype.kind in "fV" or str(actual.dtype) == "bfloat16":
        # One unit in the last place of the narrow types.
        rtol, atol = {"bfloat16": (1e-2, 8e-3), "float16": (2e-3, 1e-3)}.get(str(actual.dtype), (rtol, atol))
        actual, expected = actual.astype(np.float64), expected.astype(np.float64)
        if np.allclose(actual, expected, rtol=rtol, atol=max(atol, 1e-6), equal_nan=True):
            return None
        return f"values differ by {np.nanmax(np.abs(actual - expected))}"
    return None if np.array_equal(actual, expected) else "values differ"


def known_difference(name):
    return next((why for pattern, why in KNOWN_DIFFERENCES.items() if fnmatch.fnmatch(name, pattern)), None)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """Every case with the problem it met, or None."""
    folder = tmp_path_factory.mktemp("backend")
    ops = supported_ops()
    cases, lines = [], []
    for name, model, data_sets, rtol, atol in [*node_cases(), *stored_cases()]:
        if not runs(model, data_sets, ops):
            continue
        model_path = folder / f"{name}.onnx"
        onnx.save(model, model_path)
        for number, (given, expected) in enumerate(data_sets):
            inputs, outputs = folder / f"{name}.{number}.in", folder / f"{name}.{number}.out"
            inputs.mkdir()
            for index, value in enumerate(given):
                (inputs / f"input_{index}.pb").write_bytes(as_proto(value).SerializeToString())
            case = {"model": str(model_path), "inputs_dir": str(inputs), "outputs_dir": str(outputs)}
            lines.append(json.dumps(case))
            cases.append((name, outputs, expected, rtol, atol, has_unsupported_type(model)))
    (folder / "list.jsonl").write_text("\n".join(lines) + "\n")
    subprocess.run([TRAINER, "run", "--list", folder / "list.jsonl"], check=True)
    results = []
    for name, outputs, expected, rtol, atol, may_be_refused in cases:
        refusal = next((outputs / kind for kind in ("refused", "failed") if (outputs / kind).exists()), None)
        problem = f"{refusal.name}: {refusal.read_text().strip()}" if refusal else None
        if refusal and may_be_refused:
            continue
        if problem is None:
            for index, value in enumerate(expected):
                actual = numpy_helper.to_array(onnx.load_tensor(outputs / f"output_{index}.pb"))
                problem = problem or same(actual, value, rtol, atol)
        results.append((name, problem))
    return results


def test_registered_ops_give_the_expected_outputs(outcome):
    problems = [f"{name}: {problem}" for name, problem in outcome if problem and not known_difference(name)]
    assert not problems, f"{len(problems)} of {len(outcome)} cases:\n" + "\n".join(problems)


def test_known_differences_are_still_there(outcome):
    equal = [name for name, problem in outcome if known_difference(name) and not problem]
    assert not equal, f"no longer different, take them off the list: {equal}"


def test_there_are_enough_cases(outcome):
    assert len(outcome) > 1100
