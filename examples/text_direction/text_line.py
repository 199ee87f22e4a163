"""Text lines drawn in many fonts and colours, worn like photographs. Used by the scripts that render data."""

import io
import math
import os

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

import texts

ROOT = "/usr/share/fonts"
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

_fonts = {}


def _font(name, size):
    if (name, size) not in _fonts:
        _fonts[name, size] = ImageFont.truetype(os.path.join(ROOT, name), size)
    return _fonts[name, size]


def colours(rng):
    """A background and an ink whose brightness differs by a random contrast."""
    background = rng.uniform(0, 255) + rng.normal(0, 40, 3)
    contrast = rng.uniform(50, 220)
    sign = 1 if background.mean() < 128 else -1
    ink = background + sign * contrast + rng.normal(0, 12, 3)
    return np.clip(background, 0, 255), np.clip(ink, 0, 255)


def background(rng, size, colour):
    """A plain, shaded, blotched or lined surface of width x height pixels."""
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


def draw(rng, split):
    """One upright line on its background, at a random resolution, and its text."""
    script = "chinese" if rng.random() < 0.5 else "latin"
    names = FONTS[split][script]
    line = texts.chinese_line(rng, split) if script == "chinese" else texts.latin_line(rng, split)
    font = _font(names[rng.integers(len(names))], int(rng.integers(14, 45)))
    left, top, right, bottom = font.getbbox(line)
    margins = (rng.uniform(0.02, 0.35, 4) * (bottom - top)).astype(int)
    size = (max(8, right - left + margins[0] + margins[1]),
            max(8, bottom - top + margins[2] + margins[3]))
    colour, ink = colours(rng)
    image = background(rng, size, colour)
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).text((margins[0] - left, margins[2] - top), line, fill=255, font=font)
    # Long lines turn less, so that their ends stay inside.
    limit = min(3.0, math.degrees(math.atan2(size[1], 2 * size[0])))
    mask = mask.rotate(rng.uniform(-limit, limit), Image.BILINEAR)
    image.paste(Image.new("RGB", size, tuple(ink.astype(int).tolist())), mask=mask)
    return image, line


def degrade(rng, image):
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


def missing_fonts():
    """The fonts of the tables that this machine lacks."""
    return [name for split in FONTS.values() for names in split.values() for name in names
            if not os.path.exists(os.path.join(ROOT, name))]
