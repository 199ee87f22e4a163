#!/usr/bin/env python3
"""Renders labelled text lines for the PP-OCR text-direction classifier."""

import argparse
import json
import math
import multiprocessing
import os
import pathlib
import sys
import time

import numpy as np
from PIL import Image

import text_line
from arguments import positive

HEIGHT, WIDTH = 48, 192
# PP-OCR pads with 0 after (x/255 - 0.5)/0.5, which is 127.5; 128 gives 0.004.
PADDING = 128
FORMAT_VERSION = 1

SPLIT_IDS = {"train": 0, "eval": 1}


def _to_model_input(image):
    """PP-OCR's geometry: height 48, width by the ratio but at most 192, padded on the right."""
    width = min(WIDTH, math.ceil(HEIGHT * image.width / image.height))
    pixels = np.asarray(image.resize((width, HEIGHT), Image.BILINEAR))
    canvas = np.full((HEIGHT, WIDTH, 3), PADDING, np.uint8)
    canvas[:, :width] = pixels
    return canvas[:, :, ::-1].transpose(2, 0, 1)  # BGR, channels first


def render_one(seed, split, index):
    """One image and its label; a pure function of its arguments."""
    rng = np.random.default_rng([seed, SPLIT_IDS[split], index])
    label = index % 2
    image = text_line.degrade(rng, text_line.draw(rng, split)[0])
    if label == 1:
        image = image.transpose(Image.ROTATE_180)
    return _to_model_input(image), label


def _render_range(job):
    seed, split, begin, end = job
    rendered = [render_one(seed, split, index) for index in range(begin, end)]
    return np.stack([x for x, _ in rendered]), np.array([y for _, y in rendered], np.int64)


def render_split(seed, split, count, processes):
    """Arrays x (uint8, count x 3 x 48 x 192) and y (int64), in an order that mixes the labels."""
    jobs = [(seed, split, i, min(i + 100, count)) for i in range(0, count, 100)]
    x = np.empty((count, 3, HEIGHT, WIDTH), np.uint8)
    y = np.empty(count, np.int64)
    done = 0
    with multiprocessing.Pool(processes) as pool:
        for part_x, part_y in pool.imap(_render_range, jobs):
            x[done:done + len(part_y)] = part_x
            y[done:done + len(part_y)] = part_y
            done += len(part_y)
            _progress(split, done, count)
    order = np.random.default_rng([seed, 2 + SPLIT_IDS[split]]).permutation(count)
    return x[order], y[order]


def _progress(split, done, count):
    if sys.stderr.isatty():
        end = "\n" if done == count else ""
        print(f"\rrendering {split}: {done}/{count} images", end=end, file=sys.stderr, flush=True)
    elif done == count or done % 2000 == 0:
        print(f"rendering {split}: {done}/{count} images", file=sys.stderr, flush=True)


def _check_fonts():
    for name in text_line.missing_fonts():
        packages = pathlib.Path(__file__).with_name("apt_packages.txt")
        sys.exit(f"render.py: font {name} is missing; install the packages in {packages}")


def _stamp(args):
    """What the files depend on; equal stamps mean that they are up to date."""
    here = pathlib.Path(__file__)
    sources = [here.with_name(name).stat().st_mtime_ns for name in ("render.py", "text_line.py", "texts.py")]
    return json.dumps([FORMAT_VERSION, args.train, args.eval, args.seed, sources])


def main():
    parser = argparse.ArgumentParser(
        description="Renders Chinese and Latin text lines, half of them turned by 180 degrees, "
        "as train.npz and eval.npz with arrays x (uint8, N x 3 x 48 x 192, BGR) and y (int64, "
        "0 = upright, 1 = turned). The two files share no font and no word. The model wants "
        "(x / 255 - 0.5) / 0.5.",
        epilog="example: render.py --train 8000 --eval 2000 --seed 1 --out data")
    parser.add_argument("--train", type=positive, default=8000, help="training images (default %(default)s)")
    parser.add_argument("--eval", type=positive, default=2000, help="evaluation images (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="same seed, same images (default %(default)s)")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for the two files")
    parser.add_argument("--processes", type=positive, default=os.cpu_count(), help="default: one per core")
    args = parser.parse_args()

    stamp_path = args.out / "render.stamp"
    outputs = [args.out / "train.npz", args.out / "eval.npz"]
    if all(p.exists() for p in outputs) and stamp_path.exists() and stamp_path.read_text() == _stamp(args):
        print(f"{args.out}: up to date", file=sys.stderr)
        return
    _check_fonts()
    args.out.mkdir(parents=True, exist_ok=True)
    stamp_path.unlink(missing_ok=True)
    start = time.monotonic()
    for split, count, path in zip(("train", "eval"), (args.train, args.eval), outputs):
        x, y = render_split(args.seed, split, count, args.processes)
        np.savez(path, x=x, y=y)
    stamp_path.write_text(_stamp(args))
    print(f"{args.out}: {args.train} + {args.eval} images in {time.monotonic() - start:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
