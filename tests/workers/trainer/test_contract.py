"""An accuracy contract: rungs are tried in order, within a budget, until one keeps it as deployed."""

import hashlib
import json
import struct
import subprocess

import pytest

from test_trainer_jobs import (STEPS, TRAINER, field, material, pytestmark, quantize, read_events, start_job,  # noqa: F401 (a fixture)
                               trainer_job, varint)


def run(material, out, *settings, check=True):
    arguments = [part for setting in settings for part in ("--set", setting)]
    done = quantize(material, out, "--preset", "pact_int8", "--set", "training.batch_size=16", *arguments, check=check)
    return done, json.loads((out / "report.json").read_text())


def test_the_first_rung_that_keeps_the_contract_ends_the_climb(material, tmp_path):
    done, report = run(material, tmp_path, "contract.max_drop=0.1", "training.steps=20")
    assert done.returncode == 0, done.stderr
    contract = report["contract"]
    assert contract["met"] and contract["best"] == 0
    assert [(rung["name"], rung["outcome"], rung["steps"]) for rung in contract["rungs"]] == [("PTQ", "met", 0)]
    assert contract["rungs"][0]["accuracy"] == report["deployed"]
    assert contract["rungs"][0]["drop"] == pytest.approx(report["fp32"]["metric"] - report["deployed"]["metric"])


def test_a_contract_that_nothing_keeps_fails_with_the_best_rungs_files(material, tmp_path):
    done, report = run(material, tmp_path, "contract.max_drop=0", "contract.budget_steps=30", "training.steps=20", "weights.bits=2",
                       "activations.bits=2", "first_last_bits=2")
    assert done.returncode == 1 and "GATE_FAILED" in done.stderr and "contract.max_drop" in done.stderr
    contract = report["contract"]
    rungs = {rung["name"]: rung for rung in contract["rungs"]}
    assert list(rungs) == ["PTQ", "PACT", "LSQ_PLUS", "DISTILLATION", "FLOAT_LAYERS"]
    assert rungs["PTQ"]["outcome"] == "missed" and rungs["PACT"]["outcome"] == "missed"
    # The second training gets what is left of the steps, the third nothing.
    assert [rungs[name]["steps"] for name in ("PACT", "LSQ_PLUS", "DISTILLATION")] == [20, 10, 0]
    assert rungs["DISTILLATION"]["outcome"] == "skipped" and "steps" in rungs["DISTILLATION"]["note"]
    tried = [rung for rung in contract["rungs"] if rung["accuracy"]]
    best = contract["rungs"][contract["best"]]
    assert best["accuracy"]["metric"] == max(rung["accuracy"]["metric"] for rung in tried)
    assert best["name"] in done.stderr and report["deployed"] == best["accuracy"]
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert hashlib.sha256((tmp_path / "model.int8.onnx").read_bytes()).hexdigest() == manifest["outputs"]["model.int8.onnx"]
    # The manifest replays the rung that was taken, not the climb.
    assert "contract" not in manifest["config"] or manifest["config"]["contract"] is None
    assert "Contract" in (tmp_path / "report.html").read_text()


def test_float_layers_keep_a_contract_that_the_rungs_before_miss(material, tmp_path):
    # Two bits for two layers, which no training of so few steps makes good; the others have eight.
    ruined = "overrides=[" + ",".join(f"{{name: {name}, weight_bits: 2, activation_bits: 2}}" for name in ("first", "pointwise")) + "]"
    done, report = run(material, tmp_path, "contract.max_drop=0.05", "contract.ladder=[PTQ, PACT, FLOAT_LAYERS]", "training.steps=10", ruined)
    assert done.returncode == 0, done.stderr
    contract = report["contract"]
    assert [rung["outcome"] for rung in contract["rungs"]] == ["missed", "missed", "met"]
    last = contract["rungs"][2]
    assert contract["met"] and contract["best"] == 2 and sorted(last["float_layers"]) == ["first", "pointwise"]
    assert all(rung["drop"] > 0.05 for rung in contract["rungs"][:2]) and last["drop"] <= 0.05
    assert last["accuracy"] == report["deployed"]
    assert {layer["name"]: layer["weight_bits"] for layer in report["layers"]} == {"first": 32, "pointwise": 32, "depthwise": 8, "last": 8}


def test_no_further_rung_is_begun_once_training_is_to_end(material, tmp_path):
    stop = tmp_path / "stop_training"
    stop.touch()
    # Two bits everywhere, of which no rung makes a model without a loss.
    config = field(20, varint(1 << 3 | 1) + struct.pack("<d", 0)) + field(1, varint(2 << 3) + varint(2)) + varint(11 << 3) + varint(2)
    process, pipe = start_job(trainer_job(material, tmp_path / "out", {STEPS: 10}, config=config, more=field(10, str(stop).encode())))
    list(read_events(pipe))
    assert process.wait(60) == 1, process.stderr.read()
    rungs = json.loads((tmp_path / "out" / "report.json").read_text())["contract"]["rungs"]
    assert [rung["outcome"] for rung in rungs] == ["missed"] + ["skipped"] * 4
    assert all("StopTraining" in rung["note"] for rung in rungs[1:])


def replay(material, manifest, out):
    command = [TRAINER, "replay", manifest, "--model", material / "m.onnx", "--data", material / "train.npz", "--eval-data",
               material / "eval.npz", "--out", out]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300)


# Two bits everywhere, of which no rung makes a model without a loss.
RUINED = ("contract.max_drop=0", "weights.bits=2", "activations.bits=2", "first_last_bits=2")


def test_a_training_ends_when_the_budget_of_seconds_is_spent_and_its_manifest_replays_without_a_clock(material, tmp_path):
    done, report = run(material, tmp_path / "out", *RUINED, "contract.ladder=[PACT, LSQ_PLUS]", "contract.budget_seconds=3",
                       "training.steps=10000000", "training.evaluate_every=20")
    assert done.returncode == 1 and "contract.max_drop" in done.stderr
    cut, skipped = report["contract"]["rungs"]
    steps = report["training"]["steps"][-1]["step"]
    assert cut["outcome"] == "missed" and cut["steps"] == steps < 10000000
    assert cut["note"] == f"the contract's budget of seconds is spent after {steps} steps" == report["training"]["ended_early"]
    assert skipped["outcome"] == "skipped" and "seconds" in skipped["note"] and skipped["steps"] == 0
    manifest = tmp_path / "out" / "manifest.json"
    assert json.loads(manifest.read_text())["config"]["training"]["last_step"] == steps
    again = replay(material, manifest, tmp_path / "again")
    assert again.returncode == 0, again.stdout + again.stderr
    assert json.loads((tmp_path / "again" / "report.json").read_text())["training"]["steps"][-1]["step"] == steps


def test_no_rung_is_begun_once_the_budget_of_seconds_is_spent(material, tmp_path):
    done, report = run(material, tmp_path, *RUINED, "contract.budget_seconds=0.001", "training.steps=10")
    assert done.returncode == 1, done.stderr
    assert [rung["outcome"] for rung in report["contract"]["rungs"]] == ["missed"] + ["skipped"] * 4
    assert all("budget of seconds" in rung["note"] for rung in report["contract"]["rungs"][1:])
