"""The gate on benchmark ratios: what is worse by more than its tolerance fails, in the direction that is worse."""
import json
import os
import pathlib
import subprocess
import sys

COMPARE = pathlib.Path(os.environ["PACTORY_SOURCE_DIR"]) / "benchmarks/compare.py"
BASELINE = {"net, 1 thread": {"quantized / float": 1.10, "fastest peer / quantized": 2.0}}


def run(tmp_path, ratios, *flags):
    baseline = tmp_path / "baseline.json"
    if not baseline.exists():
        baseline.write_text(json.dumps({"ratios": BASELINE}))
    report = tmp_path / "report.jsonl"
    report.write_text("\n".join(json.dumps({"ratios": {title: rows}}) for title, rows in ratios.items()))
    done = subprocess.run([sys.executable, COMPARE, report, "--baseline", baseline, *flags], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr, json.loads(baseline.read_text())["ratios"]


def test_passes_within_the_tolerance_and_where_it_is_better(tmp_path):
    for quantized, peer in ((1.26, 1.75), (0.5, 9.0), (1.10, 2.0)):
        code, text, _ = run(tmp_path, {"net, 1 thread": {"quantized / float": quantized, "fastest peer / quantized": peer}})
        assert code == 0, text


def test_a_slower_step_fails(tmp_path):
    code, text, _ = run(tmp_path, {"net, 1 thread": {"quantized / float": 1.27, "fastest peer / quantized": 2.0}})
    assert code == 1 and "quantized / float: 1.27, was 1.1 (15% worse)" in text.split("worse by more than")[1]
    assert "fastest peer" not in text.split("worse by more than")[1]


def test_a_smaller_lead_over_a_peer_fails(tmp_path):
    code, text, _ = run(tmp_path, {"net, 1 thread": {"quantized / float": 1.1, "fastest peer / quantized": 1.7}})
    assert code == 1 and "fastest peer / quantized: 1.7" in text.split("worse by more than")[1]


def test_a_ratio_that_is_no_longer_measured_fails(tmp_path):
    code, text, _ = run(tmp_path, {"net, 1 thread": {"quantized / float": 1.1}})
    assert code == 1 and "missing" in text


def test_update_takes_the_new_and_keeps_what_was_not_measured(tmp_path):
    code, text, baseline = run(tmp_path, {"net, 1 thread": {"quantized / float": 1.05}, "other": {"x / pactory": 3}}, "--update")
    assert code == 0, text
    assert baseline == {"net, 1 thread": {"quantized / float": 1.05, "fastest peer / quantized": 2.0}, "other": {"x / pactory": 3}}
