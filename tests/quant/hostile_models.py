"""Hostile and odd ONNX files, made here. Each case is (name, bytes of the file, texts of which the refusal has one).

A case without texts is no fault: the file is odd and must run.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


def value(name, dims=("N", 4), kind=FLOAT):
    return helper.make_tensor_value_info(name, kind, dims)


def graph_of(nodes, initializers=(), inputs=None, outputs=None, name="g"):
    tensors = [item if isinstance(item, TensorProto) else numpy_helper.from_array(item[1], item[0]) for item in initializers]
    return helper.make_graph(
        nodes, name, [value("x")] if inputs is None else inputs, [value("y", None)] if outputs is None else outputs, tensors
    )


def model_of(graph, opset=17, domains=(), functions=()):
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, functions=functions)


def model(nodes, initializers=(), **kinds):
    """A model of x (N x 4) that gives y, as bytes."""
    graph = {key: kinds.pop(key) for key in ("inputs", "outputs") if key in kinds}
    return model_of(graph_of(nodes, initializers, **graph), **kinds).SerializeToString()


def node(op, inputs, outputs, name="", **attributes):
    return helper.make_node(op, inputs, outputs, name=name or f"{op}_of_{'_'.join(outputs)}", **attributes)


def gemm(weight="w"):
    return node("Gemm", ["x", weight], ["y"], name="layer")


WEIGHT = ("w", np.eye(4, dtype=np.float32))


def tensor(name="w", dims=(4, 4), kind=FLOAT, raw=None):
    proto = TensorProto(name=name, data_type=kind, dims=dims)
    proto.raw_data = np.eye(4, dtype=np.float32).tobytes() if raw is None else raw
    return proto


def varint(number):
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def field(number, content, length=None):
    """A protobuf field of bytes; `length` may claim more bytes than follow."""
    return varint(number << 3 | 2) + varint(len(content) if length is None else length) + content


def nested_ifs(depth):
    """Written byte by byte, since Python's protobuf itself stops at 100 levels."""

    def branch(name, nodes):
        return nodes + field(2, b"branch") + field(12, field(1, name))

    def attribute(name, graph):
        return field(5, field(1, name) + field(6, graph) + varint(20 << 3) + varint(onnx.AttributeProto.GRAPH))

    result, nodes = b"deepest", field(1, node("Identity", ["x"], ["deepest"]).SerializeToString())
    for level in range(depth):
        other = f"other_{level}"
        plain = branch(other.encode(), field(1, node("Identity", ["x"], [other]).SerializeToString()))
        head = node("If", ["condition"], [f"level_{level}"], name=f"if_{level}").SerializeToString()
        nodes = field(1, head + attribute(b"then_branch", branch(result, nodes)) + attribute(b"else_branch", plain))
        result = f"level_{level}".encode()
    last = node("Identity", [result.decode()], ["y"]).SerializeToString()
    around = graph_of([], [("condition", np.array(True))])
    opset = field(8, helper.make_opsetid("", 17).SerializeToString())
    return opset + field(7, nodes + field(1, last) + around.SerializeToString()) + varint(1 << 3) + varint(8)


def doubling_functions(levels):
    """Each function calls the one below twice: 2^levels nodes."""
    functions = []
    for level in range(levels):
        op, domain = ("Relu", "") if level == 0 else (f"f{level - 1}", "own")
        body = [helper.make_node(op, ["a"], ["b"], domain=domain), helper.make_node(op, ["b"], ["c"], domain=domain)]
        functions.append(helper.make_function("own", f"f{level}", ["a"], ["c"], body, [helper.make_opsetid("", 17)]))
    call = helper.make_node(f"f{levels - 1}", ["x"], ["y"], domain="own", name="call")
    return model_of(graph_of([call]), domains=["own"], functions=functions).SerializeToString()


def calls_itself():
    body = [helper.make_node("again", ["a"], ["b"], domain="own")]
    function = helper.make_function("own", "again", ["a"], ["b"], body, [helper.make_opsetid("", 17)])
    call = helper.make_node("again", ["x"], ["y"], domain="own")
    return model_of(graph_of([call]), domains=["own"], functions=[function]).SerializeToString()


def endless_loop():
    body = graph_of(
        [node("Identity", ["goes_on"], ["still"]), node("Identity", ["state"], ["next"])],
        inputs=[value("i", [], TensorProto.INT64), value("goes_on", [], TensorProto.BOOL), value("state", None)],
        outputs=[value("still", [], TensorProto.BOOL), value("next", None)], name="body",
    )
    return model([node("Loop", ["", "true", "x"], ["y"], name="endless", body=body)], [("true", np.array(True))])


def external():
    proto = tensor(raw=b"")
    proto.data_location = TensorProto.EXTERNAL
    proto.external_data.add(key="location", value="../../etc/passwd")
    return model([gemm()], [proto])


def duplicate_initializers():
    return model([gemm()], [WEIGHT, WEIGHT])


def wide_node(count):
    return model([node("Sum", ["x"] * count, ["y"], name="wide")])


def many_nodes(count):
    nodes = [node("Relu", [f"v{i}" if i else "x"], [f"v{i + 1}"], name=f"n{i}") for i in range(count)]
    return model([*nodes, node("Identity", [f"v{count}"], ["y"])])


def ints(name, *numbers):
    return (name, np.array(numbers, np.int64))


def size_from_data(nodes, factor, initializers=(), **kinds):
    """`nodes` read n, an int64 of one element that only a run tells: the largest of the samples, 1, times `factor`."""
    first = [node("ReduceMax", ["x"], ["largest"], keepdims=0), node("Mul", ["largest", "factor"], ["product"]),
             node("Cast", ["product"], ["whole"], to=TensorProto.INT64), node("Reshape", ["whole", "vector"], ["n"])]
    return model([*first, *nodes], [("factor", np.float32(factor)), ints("vector", 1), *initializers], **kinds)


def along(op, name):
    """x (N x 4) with n rows, by Tile or Expand."""
    return size_from_data([node("Concat", ["n", "width"], ["s"], axis=0), node(op, ["x", "s"], ["grown"], name=name),
                           node("Relu", ["grown"], ["y"], name=f"{name}_read")], 1 << 28, [ints("width", 1 if op == "Tile" else 4)])


def outer_sum():
    """Two vectors of 2^15 elements, of which the sum is a matrix of 8 GiB."""
    return size_from_data(
        [node("Reshape", ["n", "scalar"], ["end"]), node("Range", ["zero", "end", "one"], ["row"], name="row"),
         node("Unsqueeze", ["row", "axis"], ["column"]), node("Add", ["row", "column"], ["y"], name="outer")],
        1 << 15, [("scalar", np.array([], np.int64)), ("zero", np.int64(0)), ("one", np.int64(1)), ints("axis", 1)])


def many_large():
    """Forty tensors of 256 MiB that all live until the end."""
    nodes = [node("ConstantOfShape", ["n"], [f"c{index}"], name=f"large_{index}") for index in range(40)]
    return size_from_data([*nodes, node("Sum", [f"c{index}" for index in range(40)], ["y"])], 1 << 26)


GOOD = model([gemm()], [WEIGHT])

CASES = [
    ("empty file", b"", ["empty"]),
    ("wrong magic", b"\x89PNG\r\n\x1a\n" + bytes(64), ["ONNX"]),
    ("text", b"this is a text file\n" * 20, ["ONNX"]),
    ("cut in half", GOOD[: len(GOOD) // 2], ["cut short", "graph"]),
    ("last byte missing", GOOD[:-1], ["cut short"]),
    ("length beyond the file", GOOD + field(7, b"", 1 << 31), ["cut short"]),
    ("raw data of 4 GiB announced", field(7, b"", 40) + field(5, b"", 30) + field(9, b"", (1 << 32) - 1), ["cut short"]),
    ("no graph", onnx.ModelProto(ir_version=8).SerializeToString(), ["graph"]),
    ("empty graph", model_of(onnx.GraphProto(name="g")).SerializeToString(), ["output"]),
    ("no opset", onnx.ModelProto(ir_version=8, graph=graph_of([gemm()], [WEIGHT])).SerializeToString(), ["opset=1"]),
    ("opset of tomorrow", model([gemm()], [WEIGHT], opset=99), ["opset=99"]),
    ("cycle of two", model([node("Add", ["x", "b"], ["y"], name="first"), node("Relu", ["y"], ["b"])]), ["cycle"]),
    ("node reads itself", model([node("Relu", ["y"], ["y"], name="self")]), ["cycle"]),
    ("value written twice", model([node("Relu", ["x"], ["y"]), node("Abs", ["x"], ["y"], name="again")]), ["once"]),
    ("two initializers of one name", duplicate_initializers(), ["once"]),
    ("two inputs of one name", model([node("Relu", ["x"], ["y"])], inputs=[value("x"), value("x")]), ["names of their own"]),
    ("missing initializer", model([gemm("nowhere")]), ["nowhere"]),
    ("missing output", model([node("Relu", ["x"], ["z"])]), ["output=y"]),
    ("op without a name", model([helper.make_node("", ["x"], ["y"])]), ["named"]),
    ("unknown op", model([node("Frobnicate", ["x"], ["y"], name="strange")]), ["Frobnicate"]),
    ("unknown domain", model([helper.make_node("Conv", ["x", "w"], ["y"], domain="evil")], [WEIGHT], domains=["evil"]), ["evil"]),
    ("dims that overflow", model([gemm()], [tensor(dims=(1 << 62, 1 << 62))]), ["tensor=w"]),
    ("dims of 4 TiB", model([gemm()], [tensor(dims=(1 << 20, 1 << 20))]), ["tensor=w"]),
    ("negative dims", model([gemm()], [tensor(dims=(-4, -4))]), ["negative"]),
    ("too little data", model([gemm()], [tensor(raw=b"1234567")]), ["tensor=w"]),
    ("too much data", model([gemm()], [tensor(raw=bytes(640))]), ["tensor=w"]),
    ("unknown element type", model([gemm()], [tensor(kind=99)]), ["type 99"]),
    ("weights of strings", model([gemm()], [TensorProto(name="w", data_type=TensorProto.STRING, dims=[1], string_data=[b"a"])]), ["STRING"]),
    ("external data", external(), ["external"]),
    ("type mismatch", model([gemm()], [("w", np.ones((4, 4), np.int64))]), ["layer"]),
    ("shape mismatch", model([gemm()], [("w", np.ones((5, 4), np.float32))]), ["layer"]),
    ("Reshape that asks for 2^62 elements", model([node("Expand", ["x", "s"], ["y"], name="grow")], [ints("s", 1 << 31, 1 << 31, 4)]), ["grow"]),
    ("ConstantOfShape of 8 TiB", model([node("ConstantOfShape", ["s"], ["c"], name="huge"), node("Add", ["x", "c"], ["y"])], [ints("s", 1 << 21, 1 << 20)]), ["huge"]),
    ("ConstantOfShape of 4 GiB", model([node("ConstantOfShape", ["s"], ["c"], name="large"), node("Add", ["x", "c"], ["y"])], [ints("s", 1 << 28, 4)]), ["large"]),
    ("Range of 2^60", model([node("Range", ["a", "b", "c"], ["r"], name="long"), node("Add", ["x", "r"], ["y"])], [("a", np.int64(0)), ("b", np.int64(1 << 60)), ("c", np.int64(1))]), ["long"]),
    ("pads without end", model([node("Pad", ["x", "p"], ["y"], name="padded")], [ints("p", 0, 1 << 60, 0, 1 << 60)]), ["padded"]),
    ("If in If, 500 deep", nested_ifs(500), ["nest"]),
    ("function that calls itself", calls_itself(), ["nest"]),
    ("functions that double 30 times", doubling_functions(30), ["functions must not"]),
    ("loop without end", endless_loop(), ["endless"]),
    ("name of 1 MiB", model([node("Relu", ["x"], ["y"], name="n" * (1 << 20))]), ["4096"]),
    ("name that is no UTF-8", model([node("Relu", ["x"], ["y"], name="plain")]).replace(b"plain", b"pla\xffn"), ["UTF-8"]),
    ("axis out of range", model([node("Softmax", ["x"], ["y"], name="off", axis=9)]), ["off"]),
    ("graph of a sequence", model([gemm()], [WEIGHT], inputs=[helper.make_tensor_sequence_value_info("x", FLOAT, None)]), ["tensor"]),
    ("If in If, 20 deep", nested_ifs(20), []),
    ("node with 100,000 inputs", wide_node(100_000), []),
    ("chain of 20,000 nodes", many_nodes(20_000), []),
    ("no layer to quantize", model([node("Relu", ["x"], ["y"])]), []),
    ("input straight to output", model([], outputs=[value("x")]), []),
]

# Only the numbers of the data ask for the memory, so that a look at the file finds nothing.
BLOWN_UP_BY_DATA = [
    ("Tile by a number of the data", along("Tile", "blown"), ["blown"]),
    ("Expand to a number of the data", size_from_data([node("Expand", ["largest", "n"], ["y"], name="blown")], 1 << 31), ["blown"]),
    ("Expand that is read", size_from_data([node("Expand", ["largest", "n"], ["grown"]), node("Relu", ["grown"], ["y"], name="read")], 1 << 31), ["grown"]),
    ("ConstantOfShape of the data", size_from_data([node("ConstantOfShape", ["n"], ["y"], name="blown")], 1 << 30), ["blown"]),
    ("broadcast to 8 GiB", outer_sum(), ["outer"]),
    ("many large tensors", many_large(), ["large_"]),
    ("OneHot of the data's depth", size_from_data([node("Cast", ["x"], ["i"], to=TensorProto.INT64), node("OneHot", ["i", "n", "values"], ["y"], name="blown")], 1 << 26, [("values", np.array([0, 1], np.float32))]), ["blown"]),
    ("Pad by a number of the data", size_from_data([node("Concat", ["n", "none", "n", "none"], ["p"], axis=0), node("Pad", ["x", "p"], ["y"], name="blown")], 1 << 27, [ints("none", 0)]), ["blown"]),
    ("Resize by a number of the data", size_from_data([node("Cast", ["n"], ["f"], to=FLOAT), node("Concat", ["f", "f"], ["scales"], axis=0), node("Resize", ["x", "", "scales"], ["y"], name="blown")], 1 << 13), ["blown"]),
]
