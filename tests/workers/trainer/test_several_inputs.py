"""pactory-trainer quantize on models with several inputs: images beside features, and token ids with their mask."""

import json

import numpy as np
import pytest
from onnx import TensorProto, helper

from small_nets import random_weights, run_onnx, save_net
from test_trainer_jobs import TRAINER, quantize

pytestmark = pytest.mark.skipif(not TRAINER.exists(), reason=f"{TRAINER} is not built")

MEAN = 0.4
TOKENS, LENGTH = 32, 12


def image_and_features_net(path):
    """An image and a row of features, read by layers of their own and then together."""
    save_net(path, [
        helper.make_node("Conv", ["image", "w1"], ["c1"], "stem", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("GlobalAveragePool", ["r1"], ["p1"]),
        helper.make_node("Flatten", ["p1"], ["f1"]),
        helper.make_node("Gemm", ["features", "w2"], ["g2"], "side", transB=1),
        helper.make_node("Relu", ["g2"], ["r2"]),
        helper.make_node("Concat", ["f1", "r2"], ["both"], axis=1),
        helper.make_node("Gemm", ["both", "w3"], ["logits"], "last", transB=1),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
    ], random_weights(3, w1=(16, 3, 3, 3), w2=(16, 6), w3=(4, 32)),
        {"image": ["N", 3, 8, 8], "features": ["N", 6]}, {"scores": ["N", 4]})


def feeds_of(arrays):
    """What the model sees of stored arrays: the image scaled and without its mean, the features as they are."""
    return {"image": arrays["image"].astype(np.float32) / 255 - MEAN, "features": arrays["features"].astype(np.float32)}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    image_and_features_net(folder / "m.onnx")
    rng = np.random.default_rng(1)
    for name, count in (("train", 256), ("eval", 200)):
        # Images of few patches, so that their means differ; features wide as they come from NumPy.
        patches = rng.integers(0, 256, (count, 3, 2, 2), dtype=np.uint8)
        arrays = {"image": np.repeat(np.repeat(patches, 4, 2), 4, 3), "features": rng.standard_normal((count, 6)) * 0.5}
        np.savez(folder / f"{name}.npz", y=run_onnx(folder / "m.onnx", feeds_of(arrays)).argmax(1), **arrays)
    return folder


@pytest.mark.parametrize("arguments", [
    ["--preset", "ptq_int8", "--set", "calibration.bias_correction=true", "--set", "calibration.threshold=OUTPUT_ERROR"],
    ["--preset", "pact_int8", "--set", "training.steps=30", "--set", "training.batch_size=16", "--set",
     "training.learning_rate=1e-4", "--set", "preprocess.augmentation.horizontal_flip=0.5"],
], ids=["ptq", "qat"])
def test_image_beside_features(images, tmp_path, arguments):
    done = quantize(images, tmp_path, *arguments, "--set", f"preprocess.mean=[{MEAN}]")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["fp32"]["metric"] == 1 and report["agreement"]["import"] == 1
    assert report["agreement"]["top1"] >= 0.98
    assert report["deployed"]["metric"] >= 0.93
    assert {layer["name"]: layer["weight_bits"] for layer in report["layers"]} == {"stem": 8, "side": 8, "last": 8}
    # The file takes both inputs, under their names, and gives what the report says.
    data = np.load(images / "eval.npz")
    answers = run_onnx(tmp_path / "model.int8.onnx", feeds_of(data)).argmax(1)
    assert report["deployed"]["metric"] == pytest.approx((answers == data["y"]).mean(), abs=1e-6)


def test_adaround_learns_from_both_inputs(images, tmp_path):
    done = quantize(images, tmp_path, "--preset", "adaround_w4a8", "--set", "weights.adaround.steps=100", "--set",
                    f"preprocess.mean=[{MEAN}]")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "report.json").read_text())["agreement"]["top1"] >= 0.98


def token_net(path):
    """Token ids, their types and a mask, all int64: the mean of what a layer says of the tokens that the mask lets through."""
    weights = random_weights(5, w1=(16, 24), w2=(24, 5))
    rng = np.random.default_rng(6)
    weights |= {"words": rng.standard_normal((TOKENS, 16)).astype(np.float32), "kinds": rng.standard_normal((2, 16)).astype(np.float32),
                "last": np.array([2], np.int64), "steps": np.array([1], np.int64)}
    save_net(path, [
        helper.make_node("Gather", ["words", "ids"], ["e1"]),
        helper.make_node("Gather", ["kinds", "types"], ["e2"]),
        helper.make_node("Add", ["e1", "e2"], ["e"]),
        helper.make_node("MatMul", ["e", "w1"], ["m1"], "tokens"),
        helper.make_node("Relu", ["m1"], ["r1"]),
        helper.make_node("Cast", ["mask"], ["kept"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["kept", "last"], ["wide"]),
        helper.make_node("Mul", ["r1", "wide"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "steps"], ["sum"], keepdims=0),
        helper.make_node("ReduceSum", ["kept", "steps"], ["count"], keepdims=1),
        helper.make_node("Div", ["sum", "count"], ["mean"]),
        helper.make_node("MatMul", ["mean", "w2"], ["logits"], "last_layer"),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
    ], weights, {name: ["N", "L"] for name in ("ids", "mask", "types")}, {"scores": ["N", 5]}, TensorProto.INT64)


def tokens(count, seed):
    rng = np.random.default_rng(seed)
    return {"ids": rng.integers(0, TOKENS, (count, LENGTH)),
            "mask": (np.arange(LENGTH) < rng.integers(3, LENGTH + 1, (count, 1))).astype(np.int64),
            "types": rng.integers(0, 2, (count, LENGTH))}


def divergence(path, truth, feeds):
    q = run_onnx(path, feeds).astype(np.float64)
    return (truth * np.log(truth / q)).sum(1).mean()


def test_token_ids_are_distilled_without_labels(tmp_path):
    token_net(tmp_path / "m.onnx")
    np.savez(tmp_path / "train.npz", **tokens(256, 2))
    eval_tokens = tokens(200, 1)
    np.savez(tmp_path / "eval.npz", **eval_tokens)
    truth = run_onnx(tmp_path / "m.onnx", eval_tokens).astype(np.float64)
    divergences = []
    for steps, name in ((1, "start"), (100, "end")):
        # Ranges that start far too small: there is something to win back.
        done = quantize(tmp_path, tmp_path / name, "--preset", "pact_distill_int8", "--set", f"training.steps={steps}", "--set",
                        "activations.alpha.init=1", "--set", "training.learning_rate=4e-3")
        assert done.returncode == 0, done.stderr
        report = json.loads((tmp_path / name / "report.json").read_text())
        assert report["agreement"]["import"] == 1 and report["agreement"]["top1"] >= 0.98
        divergences.append(divergence(tmp_path / name / "model.int8.onnx", truth, eval_tokens))
    assert divergences[1] < 0.6 * divergences[0], divergences


@pytest.mark.parametrize("change, words", [
    (lambda arrays: arrays.pop("mask"), ["named mask", "int64 [-1,-1]", "arrays=ids, types"]),
    (lambda arrays: arrays.update(mask=arrays["mask"].astype(np.int32)), ["array mask must be int64", "type=int32"]),
    (lambda arrays: arrays.update(mask=arrays["mask"][:, 0]), ["mask=[16]"]),
    (lambda arrays: arrays.update(mask=arrays["mask"][1:]), ["the same samples", "mask=[15,12]"]),
    (lambda arrays: arrays.update(labels=np.zeros(16)), ["array labels is none of the model's inputs (ids, mask, types)"]),
], ids=["missing", "type", "rank", "samples", "extra"])
def test_array_that_does_not_fit_is_named(tmp_path, change, words):
    token_net(tmp_path / "m.onnx")
    arrays = tokens(16, 1)
    change(arrays)
    np.savez(tmp_path / "eval.npz", **arrays)
    done = quantize(tmp_path, tmp_path / "out", "--preset", "ptq_int8", data=tmp_path / "eval.npz", check=False)
    assert done.returncode == 1
    assert "BAD_DATA" in done.stderr and all(word in done.stderr for word in words), done.stderr
