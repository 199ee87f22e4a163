#!/usr/bin/env python3
"""Prints the demo's table from its reports."""

import argparse
import json


def percent(value):
    return "-" if value is None else f"{100 * value:.2f} %"


def row(name, entry, size=None, latency=None, agreement=None):
    metric, interval = (entry["metric"], entry["interval95"]) if entry else (None, None)
    return [
        name,
        percent(metric),
        f"{100 * interval[0]:.2f}–{100 * interval[1]:.2f}" if interval else "-",
        f"{size:,}" if size else "-",
        f"{latency:.2f}" if latency else "-",
        percent(agreement),
    ]


def report_rows(report):
    sizes, latency = report["size_bytes"], report["latency_ms"]
    return [
        row("FP32", report["fp32"], sizes["fp32"], latency["fp32"]),
        row("PTQ (abs-max)", report["ptq"]),
        row("plain QAT", report["qat_plain"]),
        row("PACT, as trained", report["qat"]),
        row("PACT, deployed", report["deployed"], sizes["int8"], latency["int8"], report["agreement"]["top1_fp32"]),
    ]


def peer_rows(peer):
    for variant in peer["variants"]:
        entry = {"metric": variant["accuracy"], "interval95": variant["interval95"]}
        name = "quantize_static" if variant["name"] == "default" else f"quantize_static, {variant['name']}"
        yield row(name, entry, variant["size_bytes"], variant["latency_ms"], variant["agreement_with_fp32"])


def print_table(title, rows):
    header = ["", "accuracy", "95 % interval", "bytes", "ms/image", "same answer as FP32"]
    widths = [max(len(line[i]) for line in [header, *rows]) for i in range(len(header))]
    print(f"\n{title}")
    for line in [header, ["-" * width for width in widths], *rows]:
        print("  ".join([line[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(line[1:], widths[1:])]))


def sentences(report):
    sizes = report["size_bytes"]
    yield (
        f"Trained and deployed model give the same answer on {percent(report['agreement']['top1'])} of the evaluation set "
        f"({report['runtime']['name']} {report['runtime']['version']}, {report['runtime']['instruction_set']})."
    )
    parts = ", ".join(f"{name} {size:,}" for name, size in sizes["breakdown"]["int8"].items())
    yield f"The int8 file has {100 * sizes['int8'] / sizes['fp32']:.1f} % of FP32's bytes: {parts}."
    loss = report["fp32"]["metric"] - report["ptq"]["metric"]
    low, high = report["fp32"]["interval95"]
    if loss <= (high - low) / 2:
        yield f"Plain post-training quantization loses {100 * loss:.2f} points here, which is within the interval."


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--int8", required=True, help="report.json of the 8-bit job")
    parser.add_argument("--peer", help="JSON of benchmarks/peers/quantize_static.py")
    arguments = parser.parse_args()
    with open(arguments.int8, encoding="utf-8") as file:
        int8 = json.load(file)
    rows = report_rows(int8)
    if arguments.peer:
        with open(arguments.peer, encoding="utf-8") as file:
            rows.extend(peer_rows(json.load(file)))
    print_table("PP-OCR text direction (MobileNetV3), 8-bit weights and activations", rows)
    for sentence in sentences(int8):
        print(sentence)


if __name__ == "__main__":
    main()
