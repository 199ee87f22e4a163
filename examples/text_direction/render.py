#!/usr/bin/env python3
"""Renders labelled text lines for the PP-OCR text-direction classifier."""

import argparse
import io
import json
import math
import multiprocessing
import os
import pathlib
import sys
import time

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

import texts

HEIGHT, WIDTH = 48, 192
# PP-OCR pads with 0 after (x/255 - 0.5)/0.5, which is 127.5; 128 gives 0.004.
PADDING = 128
FORMAT_VERSION = 1

_ROOT = "/usr/share/fonts"
FONTS = {
    "train": {
        "latin": [
            "truetype/dejavu/DejaVuSans.ttf",
            "truetype/dejavu/DejaVuSans-Bold.ttf",
            "truetype/dejavu/DejaVuSansMono.ttf",
            "truetype/dejavu/DejaVuSerif.ttf",
            "truetype/open-sans/OpenSans-Regular.ttf",
            "truetype/open-sans/OpenSans-CondBold.ttf",
            "truetype/open-sans/OpenSans-LightItalic.ttf",
            "opentype/linux-libertine/LinLibertine_R.otf",
            "opentype/linux-libertine/LinLibertine_RBI.otf",
            "opentype/linux-libertine/LinBiolinum_R.otf",
        ],
        "chinese": ["truetype/wqy/wqy-microhei.ttc", "truetype/arphic-gkai00mp/gkai00mp.ttf"],
    },
    "eval": {
        "latin": [
            "truetype/liberation2/LiberationSans-Regular.ttf",
            "truetype/liberation2/LiberationSans-BoldItalic.ttf",
            "truetype/liberation2/LiberationMono-Regular.ttf",
            "truetype/liberation2/LiberationSerif-Regular.ttf",
            "truetype/lato/Lato-Regular.ttf",
            "truetype/lato/Lato-Black.ttf",
            "truetype/lato/Lato-LightItalic.ttf",
            "opentype/ebgaramond/EBGaramond12-Regular.otf",
            "opentype/ebgaramond/EBGaramond12-Italic.otf",
        ],
        "chinese": ["truetype/wqy/wqy-zenhei.ttc", "truetype/arphic-gbsn00lp/gbsn00lp.ttf"],
    },
}
SPLIT_IDS = {"train": 0, "eval": 1}

_fonts = {}


def _font(name, size):
    if (name, size) not in _fonts:
        _fonts[name, size] = ImageFont.truetype(os.path.join(_ROOT, name), size)
    return _fonts[name, size]


def _colours(rng):
    """A background and an ink whose brightness differs by a random contrast."""
    background = rng.uniform(0, 255) + rng.normal(0, 40, 3)
    contrast = rng.uniform(50, 220)
    sign = 1 if background.mean() < 128 else -1
    ink = background + sign * contrast + rng.normal(0, 12, 3)
    return np.clip(background, 0, 255), np.clip(ink, 0, 255)


def _background(rng, size, colour):
    width, height = size
    canvas = np.empty((height, width, 3), np.float32)
    canvas[:] = colour
    kind = rng.integers(4)
    if kind == 1:
        slope = rng.uniform(-50, 50, 2)
        rows = np.linspace(-0.5, 0.5, height)[:, None] * slope[0]
        columns = np.linspace(-0.5, 0.5, width)[None, :] * slope[1]
        canvas += (rows + columns)[:, :, None]
    elif kind == 2:
        coarse = rng.normal(128, 20, (max(2, height // 6), max(2, width // 6)))
        blotches = Image.fromarray(np.clip(coarse, 0, 255).astype(np.uint8))
        canvas += np.asarray(blotches.resize(size, Image.BICUBIC), np.float32)[:, :, None] - 128
    image = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))
    if kind == 3:
        draw = ImageDraw.Draw(image)
        for _ in range(rng.integers(1, 5)):
            ends = rng.integers(0, [width, height, width, height]).tolist()
            shade = tuple(np.clip(colour + rng.normal(0, 50, 3), 0, 255).astype(int).tolist())
            draw.line(ends, fill=shade, width=int(rng.integers(1, 3)))
    return image


def _text_line(rng, split):
    """One upright line on its background, at a random resolution."""
    script = "chinese" if rng.random() < 0.5 else "latin"
    names = FONTS[split][script]
    line = texts.chinese_line(rng, split) if script == "chinese" else texts.latin_line(rng, split)
    font = _font(names[rng.integers(len(names))], int(rng.integers(14, 45)))
    left, top, right, bottom = font.getbbox(line)
    margins = (rng.uniform(0.02, 0.35, 4) * (bottom - top)).astype(int)
    size = (max(8, right - left + margins[0] + margins[1]),
            max(8, bottom - top + margins[2] + margins[3]))
    colour, ink = _colours(rng)
    image = _background(rng, size, colour)
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).text((margins[0] - left, margins[2] - top), line, fill=255, font=font)
    # Long lines turn less, so that their ends stay inside.
    limit = min(3.0, math.degrees(math.atan2(size[1], 2 * size[0])))
    mask = mask.rotate(rng.uniform(-limit, limit), Image.BILINEAR)
    image.paste(Image.new("RGB", size, tuple(ink.astype(int).tolist())), mask=mask)
    return image


def _degrade(rng, image):
    """Blur, loss of resolution, noise and JPEG artefacts, each on some of the images."""
    if rng.random() < 0.35:
        factor = rng.uniform(0.5, 0.9)
        small = (max(4, int(image.width * factor)), max(4, int(image.height * factor)))
        image = image.resize(small, Image.BILINEAR)
    if rng.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.01, 0.05) * image.height))
    if rng.random() < 0.6:
        pixels = np.asarray(image, np.float32)
        pixels = pixels + rng.normal(0, rng.uniform(2, 18), pixels.shape)
        image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    if rng.random() < 0.5:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=int(rng.integers(12, 80)))
        image = Image.open(buffer).convert("RGB")
    return image


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
    image = _degrade(rng, _text_line(rng, split))
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
    for split in FONTS.values():
        for names in split.values():
            for name in names:
                if not os.path.exists(os.path.join(_ROOT, name)):
                    packages = pathlib.Path(__file__).with_name("apt_packages.txt")
                    sys.exit(f"render.py: font {name} is missing; install the packages in {packages}")


def _stamp(args):
    """What the files depend on; equal stamps mean that they are up to date."""
    here = pathlib.Path(__file__)
    sources = [here.stat().st_mtime_ns, here.with_name("texts.py").stat().st_mtime_ns]
    return json.dumps([FORMAT_VERSION, args.train, args.eval, args.seed, sources])


def _positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, is {value}")
    return value


def main():
    parser = argparse.ArgumentParser(
        description="Renders Chinese and Latin text lines, half of them turned by 180 degrees, "
        "as train.npz and eval.npz with arrays x (uint8, N x 3 x 48 x 192, BGR) and y (int64, "
        "0 = upright, 1 = turned). The two files share no font and no word. The model wants "
        "(x / 255 - 0.5) / 0.5.",
        epilog="example: render.py --train 8000 --eval 2000 --seed 1 --out data")
    parser.add_argument("--train", type=_positive, default=8000, help="training images (default %(default)s)")
    parser.add_argument("--eval", type=_positive, default=2000, help="evaluation images (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="same seed, same images (default %(default)s)")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for the two files")
    parser.add_argument("--processes", type=_positive, default=os.cpu_count(), help="default: one per core")
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
