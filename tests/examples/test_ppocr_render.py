"""The rendered lines and pages: reproducible, of the models' shapes, labelled by what stands on them."""

import pathlib
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples/ppocr_models"))
sys.path.insert(0, str(ROOT / "examples/text_direction"))
import text_line  # noqa: E402


@pytest.fixture(scope="module")
def ppocr():
    # The examples' scripts share their name: each is loaded from its own path.
    import importlib.util
    spec = importlib.util.spec_from_file_location("ppocr_render", ROOT / "examples/ppocr_models/render.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pytestmark = pytest.mark.skipif(
    bool(text_line.missing_fonts()),
    reason="the fonts of examples/text_direction/apt_packages.txt are not installed")


class AnyCharacter(dict):
    """Classes in the order in which characters are first asked for."""

    def __contains__(self, character):
        return True

    def __missing__(self, character):
        self[character] = len(self) + 1
        return self[character]


def test_lines_are_a_function_of_seed_split_and_index(ppocr):
    for split in ppocr.SPLITS:
        x, labels = ppocr.render_line(1, split, 5, AnyCharacter())
        again, same = ppocr.render_line(1, split, 5, AnyCharacter())
        other, _ = ppocr.render_line(2, split, 5, AnyCharacter())
        assert x.shape == (3, 48, 320) and x.dtype == np.uint8 and labels == same and len(labels) >= 2
        np.testing.assert_array_equal(x, again)
        assert (x != other).any()


def test_every_class_of_a_line_is_one_of_the_model(ppocr):
    classes = {character: index + 1 for index, character in enumerate("0123456789.-No")}
    _, labels = ppocr.render_line(1, "eval", 0, classes)
    assert set(labels) <= set(classes.values())


def test_labels_are_filled_up_with_minus_one(ppocr):
    np.testing.assert_array_equal(ppocr._stack_labels([[3, 1], [2], [4, 4, 4]]), [[3, 1, -1], [2, -1, -1], [4, 4, 4]])


def test_pages_hold_lines(ppocr):
    pages = [ppocr.render_page(1, "train", index) for index in range(4)]
    assert all(page.shape == (3, 320, 320) and page.dtype == np.uint8 for page in pages)
    np.testing.assert_array_equal(pages[0], ppocr.render_page(1, "train", 0))
    # Text is rougher than any background.
    assert all(np.abs(np.diff(page.astype(int), axis=2)).max() > 60 for page in pages)
