"""pactory-trainer quantize on tars with lines of text, masks and boxes, held against the files' own outputs."""

import io
import json
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from onnx import helper
from PIL import Image

from small_nets import random_weights, run_onnx, save_net
from test_metrics_and_precision import line_net, map_net, read
from test_trainer_jobs import CHECK, TRAINER

pytestmark = pytest.mark.skipif(not TRAINER.exists(), reason=f"{TRAINER} is not built")

CHARACTERS = "ab é中"


def images(count, seed):
    """8-bit images, and what they become in the model's input."""
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 8, 32, 3), np.uint8)
    return pixels, np.float32(pixels).transpose(0, 3, 1, 2) / 255


def png(pixels):
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "png")
    return content.getvalue()


def write_tar(path, pixels, **beside):
    """`beside`: contents by suffix, `_` for a dot, one for each image."""
    with tarfile.open(path, "w") as archive:
        for i, image in enumerate(pixels):
            for suffix, content in {"png": png(image), **{key: values[i] for key, values in beside.items()}}.items():
                content = content.encode() if isinstance(content, str) else content
                info = tarfile.TarInfo(f"{i:04}.{suffix.replace('_', '.')}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


def quantize(folder, out, *arguments):
    return subprocess.run(
        [TRAINER, "quantize", "--model", folder / "m.onnx", "--data", folder / "train.tar", "--eval-data", folder / "eval.tar",
         "--out", out, "--runtime-check", CHECK, *arguments], capture_output=True, text=True)


def quantized(folder, out, *arguments):
    done = quantize(folder, out, *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads((out / "report.json").read_text()), done.stdout


def text(line):
    return "".join(CHARACTERS[c - 1] for c in line if c > 0)


def edits(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a):
        row, before = [i + 1], row
        for j, y in enumerate(b):
            row.append(min(row[j] + 1, before[j + 1] + 1, before[j] + (x != y)))
    return row[-1]


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    """A model of six classes, and images with what it reads in them; every third of the evaluation with another first character."""
    folder = tmp_path_factory.mktemp("lines")
    line_net(folder / "m.onnx")
    for name, count, seed in (("train", 96, 1), ("eval", 60, 2)):
        pixels, x = images(count, seed)
        labels = [text(line) or "a" for line in read(run_onnx(folder / "m.onnx", x))]
        if name == "eval":
            labels[::3] = [CHARACTERS[CHARACTERS.index(line[0]) - 1] + line[1:] for line in labels[::3]]
            (folder / "labels.json").write_text(json.dumps(labels))
        write_tar(folder / f"{name}.tar", pixels, txt=[line + "\n" for line in labels])
    return folder


def test_lines_are_trained_by_ctc_and_measured_by_lines_and_characters(lines, tmp_path):
    report, table = quantized(
        lines, tmp_path, "--preset", "pact_int8", "--set", f'preprocess.characters="{CHARACTERS}"', "--set", "training.task_loss=CTC",
        "--set", "training.distillation_loss_weight=0", "--set", "training.steps=60", "--set", "training.learning_rate=1e-3", "--set",
        "training.clip_gradient_norm=0")
    assert report["metric_name"] == "ctc_exact" and report["config"]["training"]["task_loss_weight"] == 1
    labels = json.loads((lines / "labels.json").read_text())
    for row, path in (("fp32", lines / "m.onnx"), ("deployed", tmp_path / "model.int8.onnx")):
        found = [text(line) for line in read(run_onnx(path, images(60, 2)[1]))]
        assert report[row]["right"] == sum(a == b for a, b in zip(found, labels))
        rate = sum(map(edits, found, labels)) / sum(map(len, labels))
        assert report["scores"]["character_error_rate"][row] == pytest.approx(rate)
        assert report["scores"]["exact_lines"][row] == pytest.approx(report[row]["metric"])
    assert report["fp32"]["right"] == 40 and "character_error_rate:" in table
    losses = [step["loss"] for step in report["training"]["steps"]]
    assert np.mean(losses[-10:]) < np.mean(losses[:10])
    # Lines whose reading changed are told as text.
    changed = report["flips"]["samples"]
    assert len(changed) == report["flips"]["total"] > 0
    assert all(line["label"] == labels[line["index"]] and line["fp32"] != line["deployed"] for line in changed)


def test_one_minus_the_character_error_rate_can_be_the_metric(lines, tmp_path):
    report, _ = quantized(lines, tmp_path, "--preset", "ptq_int8", "--set", f'preprocess.characters="{CHARACTERS}"', "--set",
                          "evaluation.metric=CTC_CHARACTERS")
    assert report["metric_name"] == "ctc_characters" and report["fp32"]["interval95"] is None
    assert report["fp32"]["total"] == sum(map(len, json.loads((lines / "labels.json").read_text())))
    assert report["deployed"]["metric"] == pytest.approx(1 - report["scores"]["character_error_rate"]["deployed"])
    assert report["agreement"]["top1"] >= 0.98


def test_lines_that_a_model_can_not_read_are_refused(lines, tmp_path):
    ctc = ["--preset", "pact_int8", "--set", "training.task_loss=CTC", "--set", "training.steps=2"]
    done = quantize(lines, tmp_path / "1", *ctc, "--set", 'preprocess.characters="ab é"')
    assert done.returncode != 0 and "U+4E2D" in done.stderr and "sample 0" in done.stderr, done.stderr
    done = quantize(lines, tmp_path / "2", *ctc, "--set", f'preprocess.characters="{CHARACTERS}x"')
    assert done.returncode != 0 and "characters=6 classes=6" in done.stderr, done.stderr
    done = quantize(lines, tmp_path / "3", *ctc)
    assert done.returncode != 0 and "preprocess.characters" in done.stderr, done.stderr
    (tmp_path / "long").mkdir()
    line_net(tmp_path / "long/m.onnx")
    for name in ("train", "eval"):
        write_tar(tmp_path / f"long/{name}.tar", images(40, 3)[0], txt=["ab" * 4, "aabbaa", *["ab"] * 38])
    done = quantize(tmp_path / "long", tmp_path / "4", *ctc, "--set", f'preprocess.characters="{CHARACTERS}"')
    assert done.returncode != 0 and "index=1 needed steps=9 bad_labels=1" in done.stderr, done.stderr


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    """Maps, what is above 0.6 in them as masks, and the box of the upper left half as the one region."""
    folder = tmp_path_factory.mktemp("maps")
    map_net(folder / "m.onnx")
    regions = json.dumps([{"points": [[0, 0], [31, 0], [31, 7], [0, 7]], "transcription": "x"}])
    for name, count, seed in (("train", 64, 1), ("eval", 40, 2)):
        pixels, x = images(count, seed)
        masks = [png(np.uint8(255 * (output[0] > 0.6))) for output in run_onnx(folder / "m.onnx", x)]
        write_tar(folder / f"{name}.tar", pixels, mask_png=masks, json=[regions] * count)
    return folder


def test_maps_are_trained_on_masks_and_measured_by_them(maps, tmp_path):
    report, _ = quantized(
        maps, tmp_path, "--preset", "pact_int8", "--set", "training.task_loss=DICE", "--set", "training.distillation_loss_weight=0",
        "--set", "training.steps=80", "--set", "training.learning_rate=3e-3", "--set", "evaluation.metric=MASK_IOU", "--set",
        "evaluation.map_threshold=0.5")
    x = images(40, 2)[1]
    masks = run_onnx(maps / "m.onnx", x) > 0.6
    for row, path in (("fp32", maps / "m.onnx"), ("deployed", tmp_path / "model.int8.onnx")):
        found = run_onnx(path, x) > 0.5
        assert (report[row]["right"], report[row]["total"]) == ((found & masks).sum(), (found | masks).sum())
    assert report["deployed"]["metric"] > report["fp32"]["metric"], "training moves the maps towards the masks"
    done = quantize(maps, tmp_path / "flip", "--preset", "pact_int8", "--set", "training.task_loss=DICE", "--set",
                    "preprocess.augmentation.horizontal_flip=0.5")
    assert done.returncode != 0 and "masks stay" in done.stderr, done.stderr


def test_text_regions_are_measured_by_hmean(maps, tmp_path):
    regions = ["--set", "evaluation.metric=TEXT_HMEAN", "--set", "evaluation.map_threshold=0.2", "--set",
               "evaluation.text_regions.box_threshold=0.3"]
    report, table = quantized(maps, tmp_path, "--preset", "ptq_int8", *regions)
    precision, recall = (report["scores"][name]["fp32"] for name in ("precision", "recall"))
    assert report["metric_name"] == "text_hmean" and 0 < recall <= 1 and 0 < precision <= 1
    assert report["fp32"]["metric"] == pytest.approx(2 * precision * recall / (precision + recall))
    assert report["agreement"]["top1"] > 0.9 and "regions" in table
    done = quantize(maps, tmp_path / "boxes", "--preset", "ptq_int8", "--set", "evaluation.metric=COCO_MAP")
    assert done.returncode != 0 and "evaluation.boxes.layout" in done.stderr, done.stderr


def detector(path, biases=(0, 0, 0)):
    """Boxes of three classes at four places: centre, size, and a probability for each class."""
    weights = random_weights(11, w1=(16, 3, 8, 8), w2=(7, 16, 1, 1))
    weights["w2"][4:] *= 3
    weights |= {"b2": np.float32([0, 4, 8, 6, *biases]), "axes": np.array([2], np.int64), "at": np.array([4, 3], np.int64),
                "scale": np.float32([[2], [0.1], [0.5], [0.1]]), "grid": np.float32([[[4, 12, 20, 28], [0] * 4, [0] * 4, [0] * 4]])}
    save_net(path, [
        helper.make_node("Conv", ["x", "w1"], ["c1"], strides=[8, 8]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"]),
        helper.make_node("Squeeze", ["c2", "axes"], ["s"]),
        helper.make_node("Split", ["s", "at"], ["places", "classes"], axis=1),
        helper.make_node("Mul", ["places", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "grid"], ["centers"]),
        helper.make_node("Sigmoid", ["classes"], ["scores"]),
        helper.make_node("Concat", ["centers", "scores"], ["y"], axis=1),
    ], weights, {"x": ["N", 3, 8, 32]}, {"y": ["N", 7, 4]})


def test_boxes_are_measured_by_cocos_average_precision(tmp_path):
    # Images differ little from each other; their classes must.
    detector(tmp_path / "m.onnx")
    scores = run_onnx(tmp_path / "m.onnx", images(40, 2)[1])[:, 4:].astype(float)
    detector(tmp_path / "m.onnx", -np.log(scores / (1 - scores)).mean((0, 2)))
    for name, count, seed in (("train", 64, 1), ("eval", 40, 2)):
        pixels, x = images(count, seed)
        annotations = []
        for output in run_onnx(tmp_path / "m.onnx", x):
            # What the model is surest of is right; its classes have the numbers that the config gives them.
            boxes = [{"bbox": [float(cx - w / 2), float(cy - h / 2), float(w), float(h)], "category_id": (5, 7, 90)[int(np.argmax(scores))]}
                     for cx, cy, w, h, *scores in output.T if w > 0 and h > 0]
            annotations.append(json.dumps({"annotations": boxes}))
        write_tar(tmp_path / f"{name}.tar", pixels, json=annotations)
    arguments = ["--preset", "ptq_int8", "--set", "evaluation.metric=COCO_MAP", "--set",
                 "evaluation.boxes.layout=CENTER_CLASSES_FIRST", "--set", "evaluation.boxes.nms_iou=1"]
    report, _ = quantized(tmp_path, tmp_path / "out", *arguments, "--set", "evaluation.boxes.category_ids=[5,7,90]")
    assert report["metric_name"] == "coco_map" and report["fp32"]["right"] is None
    assert 0.3 < report["fp32"]["metric"] <= report["scores"]["ap50"]["fp32"] <= 1
    assert report["scores"]["ap75"]["fp32"] <= report["scores"]["ap50"]["fp32"]
    assert report["deployed"]["metric"] < report["fp32"]["metric"]
    done = quantize(tmp_path, tmp_path / "other", *arguments, "--set", "evaluation.boxes.category_ids=[5,7]")
    assert done.returncode != 0 and "category_id=90" in done.stderr, done.stderr
