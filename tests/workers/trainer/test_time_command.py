"""pactory-trainer time: what a step takes, with and without fake quantization."""

import json
import subprocess

import pytest

from test_trainer_jobs import TRAINER, material, pytestmark  # noqa: F401 (a fixture)


def time_steps(material, *arguments):
    return subprocess.run([str(TRAINER), "time", "--model", str(material / "m.onnx"), "--data", str(material / "train.npz"), "--set",
                           "training.batch_size=16", *map(str, arguments)], capture_output=True, text=True, timeout=120)


def test_each_round_gives_a_time_of_both_models_and_their_ratio(material):
    done = time_steps(material, "--rounds", 3, "--steps", 2, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found["float_seconds"]) == len(found["quantized_seconds"]) == 3
    assert all(0 < seconds < 5 for seconds in found["float_seconds"] + found["quantized_seconds"])
    assert found["ratios"] == pytest.approx([q / f for f, q in zip(found["float_seconds"], found["quantized_seconds"])])
    assert 2**24 < found["peak_bytes"] < 2**32
    assert "quantized / float" in time_steps(material, "--rounds", 1, "--steps", 1).stdout


def test_one_model_alone(material):
    found = json.loads(time_steps(material, "--rounds", 1, "--steps", 1, "--only", "float", "--json").stdout)
    assert set(found) == {"float_seconds", "peak_bytes"}


def test_bad_arguments_are_named(material):
    done = time_steps(material, "--set", "training.batch_sise=3")
    assert done.returncode == 2 and "batch_sise" in done.stderr
    assert time_steps(material, "--rounds", 0).returncode == 2
