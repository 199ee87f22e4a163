#!/usr/bin/env python3
"""Renders text lines for the PP-OCR recognition model and pages for its detection model."""

import argparse
import json
import math
import multiprocessing
import os
import pathlib
import sys
import time

import numpy as np
import onnx
from PIL import Image

TEXT_DIRECTION = pathlib.Path(__file__).resolve().parents[1] / "text_direction"
sys.path.insert(0, str(TEXT_DIRECTION))
import text_line  # noqa: E402
from arguments import positive  # noqa: E402

LINE_HEIGHT, LINE_WIDTH = 48, 320
PAGE_SIZE = 320
# PP-OCR pads with 0 after (x/255 - 0.5)/0.5, which is 127.5; 128 gives 0.004.
PADDING = 128
SPLITS = ("train", "eval")
FORMAT_VERSION = 1


def read_classes(model):
    """The class of each character that the recognition model knows; class 0 is CTC's blank."""
    metadata = {entry.key: entry.value for entry in onnx.load(model).metadata_props}
    # The space is the last class and not in the list.
    return {character: index + 1 for index, character in enumerate(metadata["character"].split("\n") + [" "])}


def _to_input(image):
    return np.asarray(image)[:, :, ::-1].transpose(2, 0, 1)  # BGR, channels first


def render_line(seed, split, index, classes):
    """One line and its classes; a pure function of its arguments."""
    rng = np.random.default_rng([seed, 10 + SPLITS.index(split), index])
    while True:
        image, text = text_line.draw(rng, split)
        # Longer lines would have to be squeezed, and no line may hold what the model has no class for.
        if image.width * LINE_HEIGHT <= LINE_WIDTH * image.height and all(c in classes for c in text):
            break
    image = text_line.degrade(rng, image)
    width = min(LINE_WIDTH, math.ceil(LINE_HEIGHT * image.width / image.height))
    canvas = Image.new("RGB", (LINE_WIDTH, LINE_HEIGHT), (PADDING,) * 3)
    canvas.paste(image.resize((width, LINE_HEIGHT), Image.BILINEAR))
    return _to_input(canvas), [classes[c] for c in text]


def render_page(seed, split, index):
    """One page of lines that do not overlap; a pure function of its arguments."""
    rng = np.random.default_rng([seed, 20 + SPLITS.index(split), index])
    page = text_line.background(rng, (PAGE_SIZE, PAGE_SIZE), text_line.colours(rng)[0])
    top = int(rng.integers(4, 40))
    while True:
        # Each line is worn by itself: the blur goes by the height of what it gets.
        line = text_line.degrade(rng, text_line.draw(rng, split)[0])
        height = int(rng.integers(14, 56))
        line = line.resize((max(8, round(line.width * height / line.height)), height), Image.BILINEAR)
        if line.width > PAGE_SIZE - 8:
            line = line.crop((0, 0, PAGE_SIZE - 8, height))
        turned = line.convert("RGBA").rotate(rng.uniform(-8, 8), Image.BILINEAR, expand=True)
        if top + turned.height > PAGE_SIZE:
            break
        page.paste(turned, (int(rng.integers(0, max(1, PAGE_SIZE - turned.width))), top), turned)
        top += turned.height + int(rng.integers(4, 40))
    return _to_input(page)


def _line_job(job):
    return render_line(*job)


def _page_job(job):
    return render_page(*job)


def _stack_labels(sequences):
    """N x L int64, padded with -1 at the end."""
    labels = np.full((len(sequences), max(map(len, sequences))), -1, np.int64)
    for row, sequence in zip(labels, sequences):
        row[:len(sequence)] = sequence
    return labels


def render_lines(pool, seed, split, count, classes):
    """Arrays x (uint8, count x 3 x 48 x 320) and y (int64, count x longest line)."""
    rendered = pool.map(_line_job, [(seed, split, index, classes) for index in range(count)], chunksize=50)
    return {"x": np.stack([x for x, _ in rendered]), "y": _stack_labels([y for _, y in rendered])}


def render_pages(pool, seed, split, count):
    """Array x (uint8, count x 3 x 320 x 320)."""
    return {"x": np.stack(pool.map(_page_job, [(seed, split, index) for index in range(count)], chunksize=10))}


def _stamp(args):
    """What the files depend on; equal stamps mean that they are up to date."""
    sources = [pathlib.Path(__file__), TEXT_DIRECTION / "text_line.py", TEXT_DIRECTION / "texts.py"]
    return json.dumps([FORMAT_VERSION, args.lines, args.pages, args.seed, [s.stat().st_mtime_ns for s in sources]])


def main():
    parser = argparse.ArgumentParser(
        description="Renders Chinese and Latin text lines (train_lines.npz and eval_lines.npz: x uint8, N x 3 x 48 x 320, BGR; y "
        "int64, N x L: the classes of the characters, padded with -1, in eval_lines.npz alone) and pages of such lines "
        "(train_pages.npz and eval_pages.npz: x uint8, N x 3 x 320 x 320). Training and evaluation files share no font and no "
        "word. The models want (x / 255 - 0.5) / 0.5.",
        epilog="example: render.py --model .cache/models/ch_PP-OCRv4_rec_infer.onnx --out .cache/ppocr")
    parser.add_argument("--model", type=pathlib.Path, required=True, help="recognition model, which carries the characters")
    parser.add_argument("--lines", type=positive, nargs=2, default=[2000, 600], metavar=("TRAIN", "EVAL"),
                        help="default %(default)s")
    parser.add_argument("--pages", type=positive, nargs=2, default=[400, 100], metavar=("TRAIN", "EVAL"),
                        help="default %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="same seed, same images (default %(default)s)")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for the four files")
    parser.add_argument("--processes", type=positive, default=os.cpu_count(), help="default: one per core")
    args = parser.parse_args()

    outputs = [args.out / f"{split}_{kind}.npz" for split in SPLITS for kind in ("lines", "pages")]
    stamp_path = args.out / "render.stamp"
    if all(p.exists() for p in outputs) and stamp_path.exists() and stamp_path.read_text() == _stamp(args):
        print(f"{args.out}: up to date", file=sys.stderr)
        return
    for name in text_line.missing_fonts():
        sys.exit(f"render.py: font {name} is missing; install the packages in {TEXT_DIRECTION / 'apt_packages.txt'}")
    args.out.mkdir(parents=True, exist_ok=True)
    stamp_path.unlink(missing_ok=True)
    classes = read_classes(args.model)
    start = time.monotonic()
    with multiprocessing.Pool(args.processes) as pool:
        for split, lines, pages in zip(SPLITS, args.lines, args.pages):
            arrays = render_lines(pool, args.seed, split, lines, classes)
            if split == "train":
                # Training learns from the model's own answers.
                del arrays["y"]
            np.savez(args.out / f"{split}_lines.npz", **arrays)
            np.savez(args.out / f"{split}_pages.npz", **render_pages(pool, args.seed, split, pages))
    stamp_path.write_text(_stamp(args))
    print(f"{args.out}: {sum(args.lines)} lines and {sum(args.pages)} pages in {time.monotonic() - start:.0f} s",
          file=sys.stderr)


if __name__ == "__main__":
    main()
