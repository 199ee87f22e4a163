#!/usr/bin/env python3
"""Quantizes the three PP-OCR models, by calibration and by training without labels, and prints what the deployed files do."""

import argparse
import json
import os
import pathlib
import shlex
import subprocess
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHECK = [sys.executable, str(ROOT / "workers/runtime_check/ort_check.py")]
# Model, training data (labels in it are not used), evaluation data, samples of either where --train-samples and --eval-samples say nothing,
# and what the model needs of the config.
MODELS = {
    "classifier": ("ch_ppocr_mobile_v2.0_cls_infer.onnx", "text_direction/train.npz", "text_direction/eval.npz", 1024, 2000, []),
    "recognition": ("ch_PP-OCRv4_rec_infer.onnx", "ppocr/train_lines.npz", "ppocr/eval_lines.npz", 600, 300,
                    ["mixed_precision.max_size_ratio=0.3", "mixed_precision.min_deployed_agreement=0.99"]),
    "detection": ("ch_PP-OCRv4_det_infer.onnx", "ppocr/train_pages.npz", "ppocr/eval_pages.npz", 60, 24,
                  ["training.batch_size=4", "calibration.samples=32", "mixed_precision.max_size_ratio=0.31",
                   "mixed_precision.min_agreement=0.985"]),
}
METHODS = {"post-training": ["training.enabled=false"], "distilled, no labels": []}


def shortened(path, count, folder):
    """The first `count` samples of an .npz."""
    arrays = np.load(path)
    short = folder / f"{path.stem}_{count}.npz"
    np.savez(short, **{name: arrays[name][:count] for name in arrays.files})
    return short


def quantize(args, model, changes, train, evaluation, out):
    """Runs the trainer and returns its report."""
    # That of an earlier run is none.
    (out / "report.json").unlink(missing_ok=True)
    sets = ["preprocess.mean=[0.5]", "preprocess.std=[0.5]", "training.task_loss_weight=0", "evaluation.batch_size=16",
            "calibration.search_samples=4", "sensitivity_samples=4", *changes, *args.set]
    command = [args.trainer, "quantize", "--model", model, "--preset", "distill_int8", "--data", train, "--eval-data", evaluation,
               "--out", out, "--runtime-check", shlex.join(CHECK)]
    for entry in sets:
        command += ["--set", entry]
    if subprocess.run([str(part) for part in command], stdout=subprocess.DEVNULL).returncode != 0:
        # A report is there also where a gate failed; the trainer has said on standard error which.
        print(f"measure.py: the job of {out} did not succeed", file=sys.stderr)
    return json.loads((out / "report.json").read_text())


def row(name, method, report):
    """One line of the table."""
    def percent(share):
        return "" if share is None else f"{100 * share:.2f} %"

    def metric(key):
        return percent(report[key]["metric"]) if report[key] else ""

    sizes, agreement, latency = report["size_bytes"], report["agreement"], report["latency_ms"]
    precisions = [layer["precision"] for layer in report["layers"]]
    layers = [precisions.count(precision) for precision in ("int8", "int8_weights", "float")]
    return (f"| {name} | {method} | {report['metric_name']} | {metric('fp32')} | {metric('ptq')} | {metric('qat')} | "
            f"{metric('deployed')} | {percent(agreement['top1'])} | {percent(agreement['top1_fp32'])} | "
            f"{report['sqnr_db']['deployed']:.1f} dB | {percent(sizes['int8'] / sizes['fp32'])} | "
            f"{latency['fp32']:.1f} / {latency['int8']:.1f} | {', '.join(str(count) for count in layers)} |")


def main():
    parser = argparse.ArgumentParser(
        description="Quantizes the PP-OCR models of fetch.py by the preset distill_int8, without and with its training, on the data of "
        "render.py and of ../text_direction/render.py, and prints a table. Reports and files stay in --out.",
        epilog="example: measure.py --trainer build/release/bin/pactory-trainer --cache .cache --out ppocr_results")
    parser.add_argument("--trainer", type=pathlib.Path, default=ROOT / "build/release/bin/pactory-trainer")
    parser.add_argument("--cache", type=pathlib.Path, default=ROOT / ".cache",
                        help="folder of models/, ppocr/ and text_direction/ (default %(default)s)")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for the results")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    sizes = {name: f"{train} and {evaluation}" for name, (_, _, _, train, evaluation, _) in MODELS.items()}
    parser.add_argument("--train-samples", type=int, help=f"take so many of the training data; by default, and of the evaluation data: {sizes}")
    parser.add_argument("--eval-samples", type=int, help="take so many of the evaluation data")
    parser.add_argument("--set", nargs="+", default=[], metavar="FIELD=VALUE", help="changes of the config, as the trainer's")
    args = parser.parse_args()

    print("| model | method | metric | FP32 | PTQ (max) | trained | deployed | deployed = trained | = FP32 | SQNR | bytes / FP32 | "
          "ms FP32 / int8 | layers int8, float activations, float |")
    print("| --- " * 13 + "|")
    for name in args.models:
        file, train_file, eval_file, train_samples, eval_samples, changes = MODELS[name]
        for method in args.methods:
            out = args.out / f"{name}_{method.split(',')[0]}"
            os.makedirs(out, exist_ok=True)
            report = quantize(args, args.cache / "models" / file, changes + METHODS[method],
                              shortened(args.cache / train_file, args.train_samples or train_samples, out),
                              shortened(args.cache / eval_file, args.eval_samples or eval_samples, out), out)
            print(row(name, method, report), flush=True)


if __name__ == "__main__":
    main()
