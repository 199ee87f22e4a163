"""Checks who includes whom, and how long files are. The rules stand below; ARCHITECTURE.md explains them.

    scripts/check_layers.py [ROOT]     prints each broken rule as `file:line: what`, exits 1 where there is one
"""

import pathlib
import re
import sys

GRPC = "grpc"
TORCH = "LibTorch"
POSTGRES = "libpqxx/libpq"
HTTP = "httplib"

# What an include in <> or "" of an outside library starts with.
LIBRARIES = {
    GRPC: ("grpcpp/", "grpc/"),
    TORCH: ("ATen/", "torch/", "c10/"),
    POSTGRES: ("pqxx/", "libpq-fe.h"),
    HTTP: ("httplib.h",),
}
ALL = set(LIBRARIES)

# folder: (project folders it may include beside itself, outside libraries it may not include)
FOLDERS = {
    "base": (set(), ALL),
    "config": ({"base", "proto"}, ALL),
    "npz": ({"base", "proto"}, ALL),
    "quant": ({"base", "config", "npz", "proto"}, {GRPC, POSTGRES, HTTP}),
    "storage": ({"base", "proto"}, {GRPC, TORCH, HTTP}),
    "server": ({"base", "config", "npz", "storage", "proto", "grpc_proto"}, {TORCH, POSTGRES}),
    "client": ({"base", "proto", "grpc_proto"}, {TORCH, POSTGRES, HTTP}),
    "workers/agent": ({"base", "client", "proto", "grpc_proto"}, {TORCH, POSTGRES, HTTP}),
    "workers/trainer": ({"base", "config", "proto", "quant"}, {GRPC, POSTGRES, HTTP}),
    "cli": ({"base", "client", "config", "proto", "grpc_proto"}, {TORCH, POSTGRES, HTTP}),
}

# Inside quant/, from the bottom up: a folder includes those before it, never those after. Folders of one row stand side by
# side and do not include each other.
QUANT_ORDER = [
    {"graph", "kernels"},
    {"onnx"},
    {"ops"},
    {"execution", "data"},
    {"passes", "observers"},
    {"quantizers"},
    {"training", "evaluation"},
    {"post_training"},
    {"exporting"},
    {"report"},
    {"pipeline"},
]

# Lines; longer files hold a second idea.
LIMITS = {".h": 250, ".cc": 500, ".py": 500}
TEST_LIMIT = 600

INCLUDE = re.compile(r'^\s*#include\s+[<"]([^">]+)[">]')
INCLUDE_ALL = re.compile(INCLUDE.pattern, re.MULTILINE)


def folder_of(path):
    """The row of FOLDERS that a path of the tree belongs to, or None."""
    for folder in sorted(FOLDERS, key=len, reverse=True):
        if path.startswith(folder + "/"):
            return folder
    return None


def target_of(include):
    """The project folder that an include names, `proto`/`grpc_proto` for generated headers, or None for outside ones."""
    if include.startswith(("pactory/v1/", "google/rpc/")):
        return "grpc_proto" if include.endswith(".grpc.pb.h") else "proto"
    return folder_of(include)


def check_quant(source, include):
    rows = {name: row for row, names in enumerate(QUANT_ORDER) for name in names}
    here, there = source.split("/")[1], include.split("/")[1]
    if here == there or here not in rows or there not in rows:
        return None
    if rows[there] > rows[here]:
        return f"quant/{here} stands below quant/{there} and may not include {include}"
    if rows[there] == rows[here]:
        return f"quant/{here} and quant/{there} stand side by side; {include} may not be included"
    return None


def private_headers(root):
    """Headers of storage/ that show libpqxx or libpq, by themselves or through another one: they are storage's own."""
    headers = {path.relative_to(root).as_posix(): path for path in (root / "storage").glob("*.h")}
    includes = {name: set(INCLUDE_ALL.findall(path.read_text(encoding="utf-8"))) for name, path in headers.items()}
    private = {name for name, names in includes.items() if any(n.startswith(LIBRARIES[POSTGRES]) for n in names)}
    while more := {name for name, names in includes.items() if name not in private and names & private}:
        private |= more
    return private


def check_include(source, include, private):
    """What is wrong with `include` in the file `source`, or None."""
    folder = folder_of(source)
    if folder != "storage" and include in private and not source.startswith("tests/storage/"):
        return f"{include} shows {POSTGRES} and is for storage/ alone"
    if folder is None:
        return None
    allowed, forbidden = FOLDERS[folder]
    for library in forbidden:
        if include.startswith(LIBRARIES[library]):
            return f"{folder} may not use {library}: {include}"
    target = target_of(include)
    if target is not None and target != folder and target not in allowed:
        return f"{folder} may not include {target}: {include}"
    if folder == "quant" and target == "quant":
        return check_quant(source, include)
    return None


def check_file(root, path, private):
    source = path.relative_to(root).as_posix()
    lines = path.read_text(encoding="utf-8").splitlines()
    limit = TEST_LIMIT if source.startswith("tests/") else LIMITS[path.suffix]
    if len(lines) > limit:
        yield f"{source}:{len(lines)}: longer than {limit} lines; look for the second idea in it"
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        problem = check_include(source, match.group(1), private) if match else None
        if problem:
            yield f"{source}:{number}: {problem}"


def check_tree(root):
    """All broken rules below `root`, as lines of text."""
    problems = []
    private = private_headers(root)
    tops = sorted({folder.split("/")[0] for folder in FOLDERS} | {"tests", "scripts", "examples", "benchmarks"})
    for top in tops:
        for path in sorted((root / top).rglob("*")):
            if path.suffix in LIMITS and path.is_file():
                problems.extend(check_file(root, path, private))
    return problems


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent).resolve()
    problems = check_tree(root)
    print("\n".join(problems) if problems else "layers: every include and file size is within the rules")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
