"""Times training steps: Pactory's, plain and with PACT, beside PyTorch's and Paddle's with their quantization libraries.

The same nets, batch and optimizer (Adam) on this machine's CPU, every program in turn and that several times over. A time is the
least of all rounds' mean steps, a ratio is one of such times. Prints a table; --report writes JSON with every round.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

from timing import SHAPES

HERE = pathlib.Path(__file__).resolve().parent
TORCH = ["plain", "fx", "pt2e", "brevitas", "nncf", "composed_pact"]
PADDLE = ["paddle_plain", "paddleslim", "paddleslim_pact"]
FLOAT = ["pactory_float", "plain", "paddle_plain"]


def run(command, threads):
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "NNCF_EXTENSION_LOAD_TIMEOUT": "0"}
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"failed: {' '.join(map(str, command))}\n{done.stderr[-3000:]}")
    return done.stdout


def ours(options, which):
    def program(net, threads):
        out = run([options.trainer, "time", "--model", options.nets / f"{net}.onnx", "--data", options.nets / f"{net}.npz", "--preset",
                   "pact_int8", "--set", f"training.batch_size={options.batch}", "--set", "calibration.samples=32", "--rounds",
                   options.rounds, "--steps", options.steps, "--threads", threads, "--only", which, "--json"], threads)
        found = json.loads(out)
        return {"seconds": found[f"{which.lower()}_seconds"], "peak_bytes": found["peak_bytes"]}
    return program


def peer(options, python, script, form):
    def program(net, threads):
        out = run([python, HERE / script, "--form", form, "--net", net, "--threads", threads, "--batch", options.batch, "--rounds",
                   options.rounds, "--steps", options.steps], threads)
        # The libraries' own chatter comes before.
        return json.loads(out.splitlines()[-1])
    return program


def programs(options):
    found = {"pactory_float": ours(options, "FLOAT"), "pactory": ours(options, "QUANTIZED")}
    for python, script, forms in ((options.torch_python, "torch_step.py", TORCH), (options.paddle_python, "paddle_step.py", PADDLE)):
        for form in forms if python else []:
            found[form] = peer(options, python, script, form)
    return found


def measure(options):
    found = {}
    for net in options.only or SHAPES:
        for threads in options.threads or [1, 2]:
            rows = found[f"{net}, {threads} thread{'s' * (threads > 1)}"] = {}
            for _ in range(options.cycles):
                for name, program in programs(options).items():
                    once = program(net, threads)
                    row = rows.setdefault(name, {"seconds": [], "peak_bytes": 0})
                    row["seconds"] += once["seconds"]
                    row["peak_bytes"] = max(row["peak_bytes"], once["peak_bytes"])
                    print(f"{net} {threads} {name}: {min(once['seconds']) * 1e3:.1f} ms", file=sys.stderr)
    return found


def ratios(rows):
    least = {name: min(row["seconds"]) for name, row in rows.items()}
    found = {"quantized / float": least["pactory"] / least["pactory_float"],
             "memory, quantized / float": rows["pactory"]["peak_bytes"] / rows["pactory_float"]["peak_bytes"]}
    if "plain" in least:
        found["float / PyTorch's float"] = least["pactory_float"] / least["plain"]
    peers = {name: seconds for name, seconds in least.items() if name not in FLOAT and name != "pactory"}
    for name, seconds in peers.items():
        found[f"{name} / quantized"] = seconds / least["pactory"]
    if peers:
        found["fastest peer / quantized"] = min(peers.values()) / least["pactory"]
    return {name: round(value, 3) for name, value in found.items()}


def table(found):
    lines = []
    for title, rows in found.items():
        lines.append(f"\n{title}")
        unit = min(rows["plain"]["seconds"]) if "plain" in rows else None
        for name, row in rows.items():
            line = f"  {name:16} least {min(row['seconds']) * 1e3:9.1f} ms  median {statistics.median(row['seconds']) * 1e3:9.1f} ms"
            if unit:
                line += f"  {min(row['seconds']) / unit:5.2f} of PyTorch's float step"
            lines.append(f"{line}  {row['peak_bytes'] / 2**20:6.0f} MiB")
        lines += [f"  {name:28} {value:.3f}" for name, value in ratios(rows).items()]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trainer", required=True, help="pactory-trainer")
    parser.add_argument("--nets", type=pathlib.Path, required=True, help="what nets.py wrote")
    parser.add_argument("--torch-python", help="Python with requirements-torch.txt; without it PyTorch is left out")
    parser.add_argument("--paddle-python", help="Python with requirements-paddle.txt; without it Paddle is left out")
    parser.add_argument("--only", action="append", choices=SHAPES, help="a net; repeatable; default: all")
    parser.add_argument("--threads", type=int, action="append", help="repeatable; default: 1 and 2")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--cycles", type=int, default=2, help="times that every program is run")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of a run")
    parser.add_argument("--steps", type=int, default=3, help="counted steps of a round")
    parser.add_argument("--report", type=pathlib.Path, help="file for the JSON")
    options = parser.parse_args()
    found = measure(options)
    print(table(found))
    report = {"batch": options.batch, "ratios": {title: ratios(rows) for title, rows in found.items()}, "rounds": found}
    if options.report:
        options.report.write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
