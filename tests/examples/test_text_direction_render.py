"""The rendered text lines: reproducible, balanced, of the model's shape, and two separate splits."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "examples/text_direction"
sys.path.insert(0, str(FOLDER))
import render  # noqa: E402
import text_line  # noqa: E402
import texts  # noqa: E402

pytestmark = pytest.mark.skipif(
    bool(text_line.missing_fonts()),
    reason="the fonts of examples/text_direction/apt_packages.txt are not installed")


def render_files(out, seed, *extra):
    return subprocess.run(
        [sys.executable, FOLDER / "render.py", "--train", "60", "--eval", "40", "--seed", str(seed),
         "--out", str(out), *extra], check=True, capture_output=True, text=True)


def test_same_seed_gives_the_same_files_whatever_the_process_count(tmp_path):
    render_files(tmp_path / "a", 7, "--processes", "1")
    render_files(tmp_path / "b", 7, "--processes", "2")
    render_files(tmp_path / "c", 8)
    for name in ("train.npz", "eval.npz"):
        a, b, c = (np.load(tmp_path / folder / name) for folder in "abc")
        np.testing.assert_array_equal(a["x"], b["x"])
        np.testing.assert_array_equal(a["y"], b["y"])
        assert (a["x"] != c["x"]).any()


def test_shapes_types_and_label_balance(tmp_path):
    render_files(tmp_path, 1)
    for name, count in (("train.npz", 60), ("eval.npz", 40)):
        data = np.load(tmp_path / name)
        assert data["x"].shape == (count, 3, 48, 192) and data["x"].dtype == np.uint8
        assert data["y"].dtype == np.int64 and data["y"].sum() == count // 2


def test_second_run_is_skipped_until_an_argument_changes(tmp_path):
    render_files(tmp_path, 1)
    before = (tmp_path / "eval.npz").stat().st_mtime_ns
    assert "up to date" in render_files(tmp_path, 1).stderr
    assert (tmp_path / "eval.npz").stat().st_mtime_ns == before
    render_files(tmp_path, 2)
    assert (tmp_path / "eval.npz").stat().st_mtime_ns != before


def test_narrow_lines_are_padded_on_the_right_with_mid_grey():
    from PIL import Image
    x = render._to_model_input(Image.new("RGB", (96, 48), (10, 20, 30)))
    assert (x[:, :, 96:] == 128).all()
    assert [x[c, 0, 0] for c in range(3)] == [30, 20, 10]  # BGR


def test_label_one_is_the_upright_image_turned(monkeypatch):
    upright = render.Image.fromarray(np.arange(48 * 192 * 3, dtype=np.uint32).reshape(48, 192, 3)
                                     .astype(np.uint8))
    monkeypatch.setattr(text_line, "draw", lambda rng, split: (upright, "upright"))
    monkeypatch.setattr(text_line, "degrade", lambda rng, image: image)
    plain, label0 = render.render_one(1, "train", 0)
    turned, label1 = render.render_one(1, "train", 1)
    assert (label0, label1) == (0, 1)
    np.testing.assert_array_equal(turned, plain[:, ::-1, ::-1])


def test_the_splits_share_no_font_and_no_text():
    def families(split):
        return {os.path.dirname(name) for names in text_line.FONTS[split].values() for name in names
                if "wqy" not in name}
    assert not families("train") & families("eval")
    fonts = [set(sum(text_line.FONTS[split].values(), [])) for split in ("train", "eval")]
    assert not fonts[0] & fonts[1]
    for table in (texts.LATIN_WORDS, texts.CHINESE_WORDS, texts.CHINESE_CHARACTERS):
        assert not set(table["train"]) & set(table["eval"])
