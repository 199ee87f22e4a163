"""Training through the trainer's programs: resumed to the last bit, losses for outputs that are no classes, early ends."""

import json
import signal
import time

import numpy as np
import onnxruntime as ort
from onnx import helper

from small_nets import run_onnx, save_net
from test_trainer_jobs import (STEPS, field, material, pytestmark, quantize, read_events, small_net,  # noqa: F401 (a fixture)
                               start_job, trainer_job, varint)

# More numbers of TrainingConfig's fields.
BATCH_SIZE, EVALUATE_EVERY, CHECKPOINT_EVERY, KEEP = 2, 14, 15, 29


def two_headed_net(path):
    """A map that ends in Sigmoid and, beside it, a sequence that ends in Softmax over its last axis."""
    rng = np.random.default_rng(3)
    weights = {"w1": rng.standard_normal((8, 3, 3, 3)) * 0.3, "w2": rng.standard_normal((1, 8, 1, 1)),
               "w3": rng.standard_normal((8, 5)), "shape": np.array([0, 8, -1])}
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c1"], "stem", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], "head"),
        helper.make_node("Sigmoid", ["c2"], ["map"]),
        helper.make_node("Reshape", ["r1", "shape"], ["flat"]),
        helper.make_node("Transpose", ["flat"], ["steps"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["steps", "w3"], ["logits"], "classes"),
        helper.make_node("Softmax", ["logits"], ["text"], axis=2),
    ]
    weights = {name: value.astype(np.int64 if name == "shape" else np.float32) for name, value in weights.items()}
    save_net(path, nodes, weights, {"x": ["N", 3, 8, 8]}, {"map": ["N", 1, 8, 8], "text": ["N", 64, 5]})


def divergence_of_both_heads(path, x, truth):
    """Binary KL of the map plus KL of the sequence, in numpy."""
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (q, s), (p, t) = session.run(None, {"x": x}), truth
    clip = lambda values: np.clip(values.astype(np.float64), 1e-12, 1 - 1e-12)
    p, q, s, t = clip(p), clip(q), clip(s), clip(t)
    return ((p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).mean(), (t * np.log(t / s)).sum(-1).mean())


def test_model_of_a_map_and_a_sequence_trains_without_labels(tmp_path):
    two_headed_net(tmp_path / "m.onnx")
    x = np.random.default_rng(4).standard_normal((256, 3, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "eval.npz", x=x)
    truth = ort.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"]).run(None, {"x": x})
    divergences = []
    for steps, name in ((1, "start"), (60, "end")):
        # Ranges that start far too small: what both heads lose is there to be won back.
        done = quantize(tmp_path, tmp_path / name, "--preset", "pact_distill_int8", "--set", f"training.steps={steps}", "--set",
                        "activations.alpha.init=0.7", "--set", "training.learning_rate=4e-3", "--set",
                        "gates.min_deployed_agreement=0", model=tmp_path / "m.onnx", data=tmp_path / "eval.npz", check=False)
        assert done.returncode == 0, done.stderr
        divergences.append(divergence_of_both_heads(tmp_path / name / "model.int8.onnx", x, truth))
    (map_start, text_start), (map_end, text_end) = divergences
    assert map_end < 0.6 * map_start and text_end < 0.6 * text_start, divergences


def test_killed_job_that_resumes_ends_with_the_same_bytes(material, tmp_path):
    # Batches that end no epoch and fill no vector; the kills come in the second and the fourth epoch.
    training = {STEPS: 48, BATCH_SIZE: 19, EVALUATE_EVERY: 7, CHECKPOINT_EVERY: 6, KEEP: 1}
    whole = tmp_path / "whole"
    process, pipe = start_job(trainer_job(material, whole, training))
    list(read_events(pipe))
    assert process.wait(60) == 0, process.stderr.read()

    killed = tmp_path / "killed"
    checkpoint = None
    for checkpoints in (3, 4):
        process, pipe = start_job(trainer_job(material, killed, training, checkpoint))
        written = 0
        for kind, payload in read_events(pipe):
            if kind != 3:
                continue
            written += 1
            if written == checkpoints:
                # CheckpointWritten in its event: each a length of one byte, and the path first.
                checkpoint = payload[4:4 + payload[3]]
                process.kill()
                break
        assert process.wait(30) == -signal.SIGKILL
    process, pipe = start_job(trainer_job(material, killed, training, checkpoint))
    list(read_events(pipe))
    assert process.wait(60) == 0, process.stderr.read()
    report = json.loads((killed / "report.json").read_text())
    assert report["resumed_from_step"] == 42
    assert (killed / "model.int8.onnx").read_bytes() == (whole / "model.int8.onnx").read_bytes()
    loss = [step["loss"] for step in report["training"]["steps"]]
    assert loss == [step["loss"] for step in json.loads((whole / "report.json").read_text())["training"]["steps"]]


def test_resume_is_exact_with_every_state_that_training_has(tmp_path):
    """BatchNormalization that follows the batches, averaged weights, augmentation, momentum, the best of several evaluations."""
    small_net(tmp_path / "m.onnx", batch_norm=True)
    rng = np.random.default_rng(1)
    for name in ("train", "eval"):
        x = rng.standard_normal((130, 3, 16, 16)).astype(np.float32)
        np.savez(tmp_path / f"{name}.npz", x=x, y=run_onnx(tmp_path / "m.onnx", x).argmax(1).astype(np.int64))
    config = tmp_path / "c.yaml"
    config.write_text("""
        training: {steps: 40, batch_size: 16, evaluate_every: 8, keep: BEST, checkpoint_every: 6, optimizer: SGD, nesterov: true, learning_rate: 1e-3,
                   schedule: STEP, ema_decay: 0.9, batch_norm: TRAINED, batch_norm_freeze_at: 0.7, batch_norm_reestimation_batches: 3,
                   distillation_targets: [{name: pointwise, weight: 0.1}], label_smoothing: 0.1}
        activations: {method: MOVING_AVERAGE_ABS_MAX}
        preprocess: {augmentation: {horizontal_flip: 0.5, crop_padding: 1, brightness: 0.1}}
        """)
    quantize(tmp_path, tmp_path / "whole", "--config", config, check=False)
    # The three that are kept are of 24, 30 and 36 steps; the statistics freeze at 28.
    for number in (0, 1, 2):
        done = quantize(tmp_path, tmp_path / "resumed", "--config", config, "--checkpoint",
                        tmp_path / "whole" / f"checkpoint-{number}.ckpt", check=number == 0)
        assert done.returncode == 0, done.stderr
        report = json.loads((tmp_path / "resumed" / "report.json").read_text())
        assert report["resumed_from_step"] in (24, 30, 36)
        assert (tmp_path / "resumed" / "model.int8.onnx").read_bytes() == (tmp_path / "whole" / "model.int8.onnx").read_bytes()
        if number == 0:
            assert report["agreement"]["top1"] >= 0.98


def test_regression_trains_on_targets_of_its_output(tmp_path):
    small_net(tmp_path / "m.onnx")
    rng = np.random.default_rng(1)
    x = rng.standard_normal((256, 3, 16, 16)).astype(np.float32)
    for name in ("train", "eval"):
        np.savez(tmp_path / f"{name}.npz", x=x, y=run_onnx(tmp_path / "m.onnx", x))
    errors = []
    for steps in (1, 60):
        done = quantize(tmp_path, tmp_path / str(steps), "--set", f"training.steps={steps}", "--set", "training.task_loss=L1", "--set",
                        "training.distillation_loss_weight=0", "--set", "weights.bits=3", "--set", "first_last_bits=3", "--set",
                        "training.learning_rate=2e-3", check=False)
        assert done.returncode == 0, done.stderr
        errors.append(np.abs(run_onnx(tmp_path / str(steps) / "model.int8.onnx", x) - run_onnx(tmp_path / "m.onnx", x)).mean())
    assert errors[1] < 0.7 * errors[0], errors


def test_time_that_is_over_ends_training_with_a_model(material, tmp_path):
    done = quantize(material, tmp_path, "--preset", "pact_int8", "--set", "training.steps=1000000", "--set",
                    "training.max_seconds=2", "--set", "training.evaluate_every=5")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert 0 < len(report["training"]["steps"]) < 1000000
    assert "time" in report["training"]["ended_early"]
    assert any("ended early" in warning for warning in report["warnings"])
    best = max(entry["metric"] for entry in report["training"]["evaluations"])
    assert report["qat"]["metric"] == best and report["deployed"]["metric"] >= best - 0.02


def test_training_ends_once_the_metric_is_good_enough(material, tmp_path):
    done = quantize(material, tmp_path, "--preset", "pact_int8", "--set", "training.steps=1000", "--set",
                    "training.evaluate_every=4", "--set", "training.stop_at_metric_drop=0.2", check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert len(report["training"]["steps"]) < 1000 and report["qat"]["metric"] >= report["fp32"]["metric"] - 0.2
    assert "metric reached" in report["training"]["ended_early"]


def endless_job(material, out, more):
    """A job with more steps than anyone waits for, and one evaluation every 20."""
    return start_job(trainer_job(material, out, {STEPS: 10_000_000, BATCH_SIZE: 16, EVALUATE_EVERY: 20, CHECKPOINT_EVERY: 30}, more=more))


def best_of_a_training_cut_short(process, pipe, out):
    """Ends well, with the best of the evaluated models; returns why training ended."""
    events = list(read_events(pipe))
    assert process.wait(60) == 0, process.stderr.read()
    assert events[-1][0] == 4
    report = json.loads((out / "report.json").read_text())
    best = max(entry["metric"] for entry in report["training"]["evaluations"])
    assert report["qat"]["metric"] == best and (out / "model.int8.onnx").exists()
    assert any("ended early" in warning for warning in report["warnings"])
    return report["training"]["ended_early"]


def test_training_that_is_to_be_stopped_ends_with_its_best_model(material, tmp_path):
    stop = tmp_path / "stop_training"
    process, pipe = endless_job(material, tmp_path / "out", field(10, str(stop).encode()))
    for kind, _ in read_events(pipe):
        # A checkpoint: it trains.
        if kind == 3:
            break
    stop.touch()
    assert "StopTraining" in best_of_a_training_cut_short(process, pipe, tmp_path / "out")


def test_training_ends_in_time_for_the_deadline(material, tmp_path):
    deadline = time.time() + 15
    process, pipe = endless_job(material, tmp_path / "out", field(9, varint(1 << 3) + varint(int(deadline))))
    assert "deadline" in best_of_a_training_cut_short(process, pipe, tmp_path / "out")
    assert time.time() < deadline


def test_a_deadline_that_is_over_still_gives_a_model(material, tmp_path):
    process, pipe = endless_job(material, tmp_path / "out", field(9, varint(1 << 3) + varint(int(time.time()))))
    best_of_a_training_cut_short(process, pipe, tmp_path / "out")
    assert len(json.loads((tmp_path / "out" / "report.json").read_text())["training"]["steps"]) == 1
