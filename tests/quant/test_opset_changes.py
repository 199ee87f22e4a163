"""Holds what the exporter does to the forms of ops against ONNX's own schemas.

Exported files have one of two opsets, whatever the uploaded one had. For each op and each of its schemas between, the attributes with
their defaults, the inputs and the outputs are compared with those of the schema before. Where they differ, the exporter must rewrite
or refuse the op (`pactory-trainer ops --json`, `rewritten_ops`), or KEEPS_MEANING must say why the old form means the same.
"""
import collections
import json
import os
import pathlib
import subprocess

import onnx.defs
import pytest

BINARIES = pathlib.Path(os.environ.get("PACTORY_BINARY_DIR", pathlib.Path(__file__).resolve().parents[2] / "build/release")) / "bin"

pytestmark = pytest.mark.skipif(not (BINARIES / "pactory-trainer").exists(), reason="pactory-trainer is not built")

NEW_DEFAULT = "what was added is optional, and its default is what the op did before"
NO_NODE = "import makes a stored tensor of it"
KEEPS_MEANING = {
    ("Constant", 11): NO_NODE,
    ("Constant", 12): NO_NODE,
    ("ArgMax", 12): NEW_DEFAULT,
    ("ArgMin", 12): NEW_DEFAULT,
    ("AveragePool", 10): NEW_DEFAULT,
    ("AveragePool", 19): NEW_DEFAULT,
    ("BatchNormalization", 14): "only names, and what training gives out, which import refuses",
    ("Cast", 19): NEW_DEFAULT,
    ("CastLike", 19): NEW_DEFAULT,
    ("DepthToSpace", 11): NEW_DEFAULT,
    ("DequantizeLinear", 13): "the axis is for scales per channel, which the schema before did not have",
    ("DequantizeLinear", 21): NEW_DEFAULT,
    ("GRU", 14): NEW_DEFAULT,
    ("GatherND", 12): NEW_DEFAULT,
    ("Gemm", 11): NEW_DEFAULT,
    ("LSTM", 14): NEW_DEFAULT,
    ("LpPool", 18): NEW_DEFAULT,
    ("MaxPool", 8): NEW_DEFAULT,
    ("MaxPool", 10): NEW_DEFAULT,
    ("Pad", 18): NEW_DEFAULT,
    ("QuantizeLinear", 13): "the axis is for scales per channel, which the schema before did not have",
    ("QuantizeLinear", 19): NEW_DEFAULT,
    ("QuantizeLinear", 21): NEW_DEFAULT,
    ("RNN", 14): NEW_DEFAULT,
    ("Reshape", 14): NEW_DEFAULT,
    ("Resize", 13): "inputs became optional",
    ("Resize", 18): NEW_DEFAULT,
    ("Scan", 9): "import takes it from opset 9 on",
    ("ScatterElements", 16): NEW_DEFAULT,
    ("ScatterND", 16): NEW_DEFAULT,
    ("Shape", 15): NEW_DEFAULT,
    ("TopK", 11): NEW_DEFAULT,
}


def form_of(schema):
    """All of a schema that a node's meaning hangs on, but for the types that it allows."""
    attributes = {name: (attribute.required, attribute.default_value.SerializeToString())
                  for name, attribute in schema.attributes.items()}
    parameters = [[(parameter.name, str(parameter.option)) for parameter in side] for side in (schema.inputs, schema.outputs)]
    return attributes, parameters, schema.deprecated


def changes_of(op, oldest, newest):
    """The opsets in (oldest, newest] with a schema of another form than the one before."""
    schemas = {schema.since_version: schema for schema in onnx.defs.get_all_schemas_with_history()
               if schema.domain == "" and schema.name == op}
    versions = sorted(version for version in schemas if version <= newest)
    return [now for before, now in zip(versions, versions[1:])
            if now > oldest and form_of(schemas[now]) != form_of(schemas[before])]


@pytest.fixture(scope="module")
def program():
    printed = subprocess.run([BINARIES / "pactory-trainer", "ops", "--json"], capture_output=True, text=True, check=True).stdout
    return json.loads(printed)


def test_every_change_of_form_is_rewritten_or_known_to_keep_the_meaning(program):
    rewritten = collections.defaultdict(list, program["rewritten_ops"])
    oldest, targets = program["oldest_opset"], program["export_opsets"]
    unknown, seen = [], set()
    for op in program["ops"]:
        for version in changes_of(op, oldest, max(targets)):
            seen.add((op, version))
            for target in (target for target in targets if version <= target):
                # A rewrite is for graphs of all opsets before its own: the next one is that of this change.
                handled = any(version <= opset <= target for opset in rewritten[op])
                if handled == ((op, version) in KEEPS_MEANING):
                    unknown.append((op, version, target))
    assert not unknown, "rewrite these in quant/exporting/upgrade_opset.cc, or say in KEEPS_MEANING why not; not both"
    assert set(KEEPS_MEANING) <= seen, f"no such change: {set(KEEPS_MEANING) - seen}"


def test_nothing_is_rewritten_that_did_not_change(program):
    targets = max(program["export_opsets"])
    for op, opsets in program["rewritten_ops"].items():
        changes = changes_of(op, program["oldest_opset"], targets)
        assert all(any(change <= opset for change in changes) for opset in opsets), (op, opsets, changes)


@pytest.mark.parametrize("op, version", [("Softmax", 13), ("Clip", 11), ("RoiAlign", 16), ("GridSample", 20), ("ReduceMean", 18),
                                         ("Upsample", 10)])
def test_schemas_show_the_changes_that_are_known_to_matter(op, version):
    assert version in changes_of(op, 7, 21)
