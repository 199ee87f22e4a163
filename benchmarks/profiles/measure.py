#!/usr/bin/env python3
"""Trains classifiers for export profiles and prints a Markdown table of what the files do in the runtimes they are for."""

import argparse
import json
import os
import pathlib
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHECK = [sys.executable, str(ROOT / "workers/runtime_check/ort_check.py")]
# What a model's own training scaled its inputs by; the others take their data as it is.
PREPROCESS = {"ch_ppocr_mobile_v2.0_cls_infer": ["preprocess.mean=[0.5]", "preprocess.std=[0.5]"]}


def quantize(args, model, data, profile, out):
    """The report of a training for this profile."""
    # That of an earlier run is none.
    (out / "report.json").unlink(missing_ok=True)
    command = [args.trainer, "quantize", "--model", model, "--preset", args.preset, "--data", data / "train.npz", "--eval-data",
               data / "eval.npz", "--out", out, "--runtime-check", shlex.join(CHECK)]
    for entry in [f"export.profile={profile}", *PREPROCESS.get(model.stem, []), *args.set]:
        command += ["--set", entry]
    if subprocess.run([str(part) for part in command], stdout=subprocess.DEVNULL).returncode != 0:
        # A report is there also where a gate failed; the trainer has said on standard error which.
        print(f"measure.py: the job of {out} did not succeed", file=sys.stderr)
    return json.loads((out / "report.json").read_text())


def row(name, profile, report):
    def percent(share):
        return f"{100 * share:.2f} %"

    runs = [f"{percent(run['agreement_trained'])} ({run['name']}, {run['optimization']})" for run in report["runtimes"]]
    metrics = " | ".join(percent(report[key]["metric"]) for key in ("fp32", "ptq", "qat", "deployed"))
    precisions = [layer["precision"] for layer in report["layers"]]
    layers = ", ".join(str(precisions.count(precision)) for precision in ("int8", "int8_weights", "float"))
    return f"| {name} | {profile} | {metrics} | {'; '.join(runs)} | {layers} |"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="example: measure.py .cache/models/ch_ppocr_mobile_v2.0_cls_infer.onnx=.cache/text_direction --out out")
    parser.add_argument("models", nargs="+", metavar="MODEL=FOLDER", help="an ONNX file and the folder of its train.npz and eval.npz")
    parser.add_argument("--profiles", nargs="+", default=["OPENVINO"], help="default %(default)s")
    parser.add_argument("--preset", default="pact_int8", help="default %(default)s")
    parser.add_argument("--set", nargs="+", default=[], metavar="FIELD=VALUE", help="changes of the config, as the trainer's")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for the files and reports")
    parser.add_argument("--trainer", type=pathlib.Path,
                        default=pathlib.Path(os.environ.get("PACTORY_BINARY_DIR", ROOT / "build/release")) / "bin/pactory-trainer")
    args = parser.parse_args()
    print("| model | profile | FP32 | PTQ (simulated) | trained | deployed | deployed = trained (runtime, optimizations) | "
          "layers int8, float activations, float |")
    print("| --- " * 8 + "|")
    for entry in args.models:
        model, _, data = entry.partition("=")
        model = pathlib.Path(model)
        for profile in args.profiles:
            out = args.out / f"{model.stem}_{profile}"
            out.mkdir(parents=True, exist_ok=True)
            print(row(model.stem, profile, quantize(args, model, pathlib.Path(data), profile, out)), flush=True)


if __name__ == "__main__":
    main()
