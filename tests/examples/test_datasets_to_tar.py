"""examples/datasets: each form of a data set becomes a tar with what the product reads beside each image."""

import io
import json
import pathlib
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "examples/datasets/to_tar.py"


def image(path, size=(40, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (len(path.name), 2, 3)).save(path)


def convert(out, *arguments):
    done = subprocess.run([sys.executable, SCRIPT, "--out", out, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with tarfile.open(out) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}


def test_folders_of_classes(tmp_path):
    for name in ("n02/b.png", "n02/a.jpg", "n01/c.JPEG", "n01/readme.txt"):
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x") if name.endswith("txt") else Image.new("RGB", (4, 4)).save(path)
    members = convert(tmp_path / "o.tar", "imagenet", tmp_path / "set")
    assert list(members) == ["0000000.jpeg", "0000000.cls", "0000001.jpg", "0000001.cls", "0000002.png", "0000002.cls"]
    assert [members[f"000000{i}.cls"] for i in range(3)] == [b"0", b"1", b"1"]
    assert members["0000001.jpg"] == (tmp_path / "set/n02/a.jpg").read_bytes()


def test_coco(tmp_path):
    image(tmp_path / "images/b.png")
    image(tmp_path / "images/a.png")
    (tmp_path / "i.json").write_text(json.dumps({
        "images": [{"id": 9, "file_name": "a.png"}, {"id": 4, "file_name": "b.png"}], "categories": [{"id": 3, "name": "cat"}],
        "annotations": [{"id": 1, "image_id": 9, "category_id": 3, "bbox": [1, 2, 3, 4], "iscrowd": 0, "area": 12, "segmentation": []}]}))
    members = convert(tmp_path / "o.tar", "coco", tmp_path / "i.json", tmp_path / "images")
    assert json.loads(members["0000000.json"]) == {"annotations": []}
    assert json.loads(members["0000001.json"]) == {"annotations": [{"bbox": [1, 2, 3, 4], "category_id": 3, "iscrowd": 0}]}
    assert members["0000000.png"] == (tmp_path / "images/b.png").read_bytes()


def test_lines_of_paddleocr(tmp_path):
    image(tmp_path / "train/w_1.jpg")
    (tmp_path / "l.txt").write_text("train/w_1.jpg\t简 单\n\n", encoding="utf-8")
    members = convert(tmp_path / "o.tar", "paddleocr-rec", tmp_path / "l.txt", tmp_path)
    assert members["0000000.txt"].decode() == "简 单" and len(members) == 2


def test_pages_of_paddleocr_have_shrunk_masks(tmp_path):
    pytest.importorskip("shapely")
    image(tmp_path / "p.jpg", (100, 60))
    regions = [{"transcription": "a", "points": [[10, 10], [90, 10], [90, 30], [10, 30]], "difficult": False},
               {"transcription": "###", "points": [[10, 40], [90, 40], [90, 55], [10, 55]]}]
    (tmp_path / "l.txt").write_text("p.jpg\t" + json.dumps(regions))
    members = convert(tmp_path / "o.tar", "paddleocr-det", tmp_path / "l.txt", tmp_path)
    assert [entry["transcription"] for entry in json.loads(members["0000000.json"])] == ["a", "###"]
    mask = np.asarray(Image.open(io.BytesIO(members["0000000.mask.png"])))
    rows, columns = np.nonzero(mask)
    # 80 * 20 * (1 - 0.4^2) / 200 = 6.72 from each side.
    np.testing.assert_allclose([columns.min(), columns.max(), rows.min(), rows.max()], [16.72, 83.28, 16.72, 23.28], atol=1)
    assert mask.shape == (60, 100) and set(np.unique(mask)) == {0, 255}


def test_what_is_wrong_is_named(tmp_path):
    (tmp_path / "l.txt").write_text("no tab\n")
    for arguments, problem in ((["paddleocr-rec", tmp_path / "l.txt", tmp_path], "l.txt:1"),
                               (["coco", tmp_path / "l.txt", tmp_path], "Expecting value"), (["imagenet", tmp_path], "folder for each class")):
        done = subprocess.run([sys.executable, SCRIPT, "--out", tmp_path / "o.tar", *arguments], capture_output=True, text=True)
        assert done.returncode == 1 and problem in done.stderr, done.stderr
