"""Runs ONNX's own backend tests through `pactory-trainer run --list` and compares with their expected outputs.

Every case of opset 7 or later takes part whose ops are all in FAMILIES or in `pactory-trainer ops`, those of nested graphs
included. It must give
the expected outputs, with the tolerances that the case brings, unless EXCEPTIONS names it with a reason; what is named there
must still fail. Of the ops in FAMILIES at least 98 % of all cases must pass, exceptions counted as failures. Set
PACTORY_BINARY_DIR to the build folder (default: build/release).
"""

import collections
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

# The ops that every model of the field may use, by family.
FAMILIES = {
    "convolution and products": "Conv ConvTranspose Gemm MatMul Einsum",
    "normalization": "BatchNormalization LayerNormalization InstanceNormalization GroupNormalization RMSNormalization LRN "
    "MeanVarianceNormalization LpNormalization",
    "activation": "Relu LeakyRelu PRelu Elu Selu Celu ThresholdedRelu Clip Sigmoid HardSigmoid HardSwish Swish Mish "
    "Softplus Softsign Tanh Gelu Erf Softmax LogSoftmax Hardmax",
    "pooling": "MaxPool AveragePool LpPool GlobalAveragePool GlobalMaxPool GlobalLpPool MaxUnpool",
    "vision": "RoiAlign GridSample NonMaxSuppression Resize Upsample DepthToSpace SpaceToDepth",
    "arithmetic": "Add Sub Mul Div Mod Min Max Mean Sum Pow Sqrt Exp Log Abs Neg Reciprocal Sign Floor Ceil Round Sin Cos "
    "Tan Asin Acos Atan Sinh Cosh Asinh Acosh Atanh CumSum",
    "comparison and logic": "Equal Greater GreaterOrEqual Less LessOrEqual And Or Xor Not Where IsNaN IsInf",
    "reduction": "ReduceMean ReduceSum ReduceProd ReduceMax ReduceMin ReduceL1 ReduceL2 ReduceSumSquare ReduceLogSum "
    "ReduceLogSumExp ArgMax ArgMin TopK",
    "shape": "Reshape Flatten Transpose Squeeze Unsqueeze Concat Split Slice Expand Tile Pad Shape Size Identity Dropout",
    "indexing": "Gather GatherElements GatherND Scatter ScatterElements ScatterND OneHot NonZero Trilu",
    "types and constants": "Cast CastLike Constant ConstantOfShape Range EyeLike",
    "recurrent": "LSTM GRU RNN",
    "quantization": "QuantizeLinear DequantizeLinear",
    "control flow": "If Loop Scan",
}
OLDEST_OPSET = 7
FAMILY_OF = {op: family for family, ops in FAMILIES.items() for op in ops.split()}
BEYOND = "beyond the list"

# Pattern of case names: why the trainer does not give that output.
EXCEPTIONS = {
    "test_*FLOAT4E2M1*": "LibTorch has no tensors of 4-bit floats",
    "test_*quantizelinear_float4e2m1": "LibTorch has no tensors of 4-bit floats",
    "test_equal_string*": "no tensors of strings",
    "test_identity_sequence": "no sequences, only tensors",
    "test_identity_opt": "no optional values, only tensors",
    "test_batchnorm_*_training_mode": "BatchNormalization in training mode; models come in inference form",
    "test_training_dropout_default*": "Dropout in training mode; models come in inference form",
    "test_training_dropout": "Dropout in training mode; models come in inference form",
    "test_training_dropout_mask": "Dropout in training mode; models come in inference form",
    "test_scan_sum": "Scan of opset 8, which no exporter writes any more; from opset 9 on it runs",
    "test_resize_downsample_scales_*_align_corners": "ONNX Runtime, which serves the model, spreads the corners over the "
    "rounded output length, the reference over the unrounded one",
}

pytestmark = pytest.mark.skipif(
    not TRAINER.exists(), reason=f"no trainer at {TRAINER}; build, or set PACTORY_BINARY_DIR"
)

Case = collections.namedtuple("Case", "name model data_sets rtol atol family")


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


def nodes_of(graph):
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                yield from nodes_of(inner)


def family_of(model, registered):
    """The family that a case counts for, or None where it uses an op that nobody promised."""
    nodes = list(nodes_of(model.graph))
    ops = {node.op_type for node in nodes}
    opsets = {opset.domain: opset.version for opset in model.opset_import}
    if opsets.get("", 0) < OLDEST_OPSET:
        return None
    if any(node.domain not in ("", "ai.onnx") for node in nodes) or not ops:
        return None
    if ops <= FAMILY_OF.keys():
        # Tests of a control-flow op are named after it; elsewhere it is part of an op's expansion.
        flow = [op for op in ops if FAMILY_OF[op] == "control flow"]
        return "control flow" if flow else FAMILY_OF[nodes[0].op_type]
    return BEYOND if ops <= registered | FAMILY_OF.keys() else None


def is_tensor(value):
    return isinstance(value, (np.ndarray, np.generic, onnx.TensorProto))


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


def exception_of(name):
    return next((pattern for pattern in EXCEPTIONS if fnmatch.fnmatchcase(name, pattern)), None)


def write_case(case, folder):
    """Writes the model and its inputs; returns a line of the list for each set of inputs, with the folder of its outputs."""
    model_path = folder / f"{case.name}.onnx"
    onnx.save(case.model, model_path)
    lines = []
    for number, (given, _) in enumerate(case.data_sets):
        inputs, outputs = folder / f"{case.name}.{number}.in", folder / f"{case.name}.{number}.out"
        inputs.mkdir()
        for index, value in enumerate(given):
            (inputs / f"input_{index}.pb").write_bytes(as_proto(value).SerializeToString())
        lines.append({"model": str(model_path), "inputs_dir": str(inputs), "outputs_dir": str(outputs)})
    return lines


def problem_of(case, lines):
    for (_, expected), line in zip(case.data_sets, lines):
        outputs = pathlib.Path(line["outputs_dir"])
        for kind in ("refused", "failed"):
            if (outputs / kind).exists():
                return f"{kind}: {(outputs / kind).read_text().strip()}"
        for index, value in enumerate(expected):
            actual = numpy_helper.to_array(onnx.load_tensor(outputs / f"output_{index}.pb"))
            if difference := same(actual, value, case.rtol, case.atol):
                return difference
    return None


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """(name, family, problem or None) of every case."""
    folder = tmp_path_factory.mktemp("backend")
    registered = supported_ops()
    cases, written, results = [], [], []
    for name, model, data_sets, rtol, atol in [*node_cases(), *stored_cases()]:
        family = family_of(model, registered)
        if family is None:
            continue
        values = [value for given, expected in data_sets for value in [*given, *expected]]
        if not all(map(is_tensor, values)):
            results.append((name, family, "inputs and outputs must be tensors"))
            continue
        case = Case(name, model, data_sets, rtol, atol, family)
        cases.append(case)
        written.append(write_case(case, folder))
    lines = [json.dumps(line) for case_lines in written for line in case_lines]
    (folder / "list.jsonl").write_text("\n".join(lines) + "\n")
    subprocess.run([TRAINER, "run", "--list", folder / "list.jsonl"], check=True)
    results += [(case.name, case.family, problem_of(case, lines)) for case, lines in zip(cases, written)]
    return results


def test_every_case_passes_or_is_an_exception(outcome):
    problems = [f"{name}: {problem}" for name, _, problem in outcome if problem and not exception_of(name)]
    assert not problems, f"{len(problems)} of {len(outcome)} cases:\n" + "\n".join(problems)


def test_exceptions_still_fail(outcome):
    passing = [name for name, _, problem in outcome if exception_of(name) and not problem]
    assert not passing, f"these pass now, take them off the list: {passing}"
    unused = EXCEPTIONS.keys() - {exception_of(name) for name, _, _ in outcome}
    assert not unused, f"no case has such a name: {unused}"


def passed_by_family(outcome):
    """{family: (passed, total)} of the listed families, with their sum last."""
    total, passed = collections.Counter(), collections.Counter()
    for _, family, problem in outcome:
        total[family] += 1
        passed[family] += problem is None
    return {**{family: (passed[family], total[family]) for family in FAMILIES},
            "the listed ops": tuple(sum(count[family] for family in FAMILIES) for count in (passed, total))}


def test_nearly_all_cases_of_the_listed_ops_pass(outcome):
    families = passed_by_family(outcome)
    passed, total = families["the listed ops"]
    assert total > 1400
    assert passed >= 0.98 * total
    assert all(total > 0 for _, total in families.values()), "a family without a case proves nothing"


def test_page_has_the_table_and_the_reasons(outcome):
    rows = [f"| {family} | {passed} | {total} |" for family, (passed, total) in passed_by_family(outcome).items()]
    # Of what is beyond the list, which grows with each op, the page says nothing.
    failing = [exception_of(name) for name, _, problem in outcome if problem]
    rows += [f"| `{pattern}` | {failing.count(pattern)} | {reason} |" for pattern, reason in EXCEPTIONS.items()]
    page = (ROOT / "docs/onnx_tests.md").read_text().splitlines()
    assert [row for row in rows if row not in page] == [], "docs/onnx_tests.md must have these rows"
