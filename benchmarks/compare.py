#!/usr/bin/env python3
"""Holds the ratios of benchmark reports against a baseline: fails where one is more than 15 % worse.

A report is JSON, or a line of it after the other, with "ratios": {title: {name: value}}. A ratio "A / quantized" or "A / pactory" tells how
much slower another is, so larger is better; of any other, like "quantized / float", less is better. --update writes the reports' ratios
into the baseline instead.
"""
import argparse
import json
import pathlib
import sys

TOLERANCE = 0.15


def read_ratios(text):
    """Ratios by (title, name) of a report's text."""
    decoder, found = json.JSONDecoder(), {}
    text = text.strip()
    while text:
        report, end = decoder.raw_decode(text)
        found.update({(title, name): value for title, rows in report["ratios"].items() for name, value in rows.items()})
        text = text[end:].strip()
    return found


def larger_is_better(name):
    return name.endswith(("/ quantized", "/ pactory"))


def worsening(name, baseline, now):
    """By what share `now` is worse; below 0 where it is better."""
    return baseline / now - 1 if larger_is_better(name) else now / baseline - 1


def compare(baseline, now):
    """Returns lines for what was compared, and those that fail. A ratio that the baseline has must be there."""
    lines, failed = [], []
    for key, value in sorted(baseline.items()):
        title, name = key
        if key not in now:
            failed.append(f"{title}: {name}: missing, was {value}")
            continue
        worse = worsening(name, value, now[key])
        line = f"{title}: {name}: {now[key]}, was {value} ({abs(worse):.0%} {'worse' if worse > 0 else 'better'})"
        lines.append(line)
        if worse > TOLERANCE:
            failed.append(line)
    return lines, failed


def nested(ratios):
    found = {}
    for (title, name), value in sorted(ratios.items()):
        found.setdefault(title, {})[name] = value
    return {"ratios": found}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", nargs="+", type=pathlib.Path)
    parser.add_argument("--baseline", type=pathlib.Path, required=True)
    parser.add_argument("--update", action="store_true", help="write the baseline; ratios that the reports lack stay")
    options = parser.parse_args()
    now = {}
    for path in options.reports:
        now.update(read_ratios(path.read_text()))
    baseline = read_ratios(options.baseline.read_text()) if options.baseline.exists() else {}
    if options.update:
        options.baseline.write_text(json.dumps(nested({**baseline, **now}), indent=2) + "\n")
        return
    lines, failed = compare(baseline, now)
    print("\n".join(lines))
    if failed or not baseline:
        sys.exit("\n".join(["", f"worse by more than {TOLERANCE:.0%} than {options.baseline}:", *failed]) if baseline else "the baseline is empty")


if __name__ == "__main__":
    main()
