#!/usr/bin/env python3
"""Writes data sets of the usual forms as the tars that Pactory reads (docs/tasks.md): ImageNet's folders, COCO's instances, and PaddleOCR's
label files for recognition and for detection.
"""

import argparse
import io
import json
import pathlib
import sys
import tarfile

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


def of_folders(folder):
    """A folder of images for each class, as ImageNet has them; classes are numbered in the order of their folders' names."""
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    if not classes:
        raise ValueError(f"{folder} must have a folder for each class")
    for number, path in enumerate(classes):
        for image in sorted(path.rglob("*")):
            if image.suffix.lower() in SUFFIXES:
                yield image, {"cls": str(number)}


def of_coco(instances, images):
    """COCO's annotations in one file, and the folder of its images."""
    data = json.loads(instances.read_text(encoding="utf-8"))
    objects = {image["id"]: [] for image in data["images"]}
    for entry in data["annotations"]:
        objects[entry["image_id"]].append({key: entry[key] for key in ("bbox", "category_id", "iscrowd") if key in entry})
    for image in sorted(data["images"], key=lambda image: image["id"]):
        yield images / image["file_name"], {"json": json.dumps({"annotations": objects[image["id"]]})}


def _label_lines(labels):
    for number, line in enumerate(labels.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        name, found, label = line.partition("\t")
        if not found:
            raise ValueError(f"{labels}:{number}: must be an image and its label with a tab between them")
        yield number, name, label


def of_lines(labels, images):
    """PaddleOCR's `image<TAB>text`, one a line."""
    for _, name, text in _label_lines(labels):
        yield images / name, {"txt": text}


def shrunk_text(size, regions, shrink_ratio):
    """DB's map of text as a PNG: polygons shrunk by area * (1 - ratio^2) / perimeter (Liao et al. 2020, equation 10)."""
    import shapely
    from PIL import Image, ImageDraw
    mask = Image.new("L", size)
    draw = ImageDraw.Draw(mask)
    for region in regions:
        polygon = shapely.Polygon(region["points"])
        if region["transcription"] in ("###", "*") or not polygon.is_valid or polygon.length == 0:
            continue
        inner = polygon.buffer(-polygon.area * (1 - shrink_ratio**2) / polygon.length, join_style="mitre")
        for part in shapely.get_parts(inner):
            draw.polygon([tuple(point) for point in shapely.get_coordinates(part.exterior)], fill=255)
    content = io.BytesIO()
    mask.save(content, "png")
    return content.getvalue()


def of_pages(labels, images, shrink_ratio):
    """PaddleOCR's `image<TAB>[{"transcription": ..., "points": ...}, ...]`, one a line; with the masks that DB learns from."""
    from PIL import Image
    for number, name, label in _label_lines(labels):
        try:
            regions = [{"points": entry["points"], "transcription": entry["transcription"]} for entry in json.loads(label)]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{labels}:{number}: must hold a list of regions with points and transcription: {error}") from error
        with Image.open(images / name) as image:
            size = image.size
        yield images / name, {"json": json.dumps(regions, ensure_ascii=False), "mask.png": shrunk_text(size, regions, shrink_ratio)}


def write_tar(path, samples):
    """Returns the number of samples; the same samples give the same bytes."""
    count = 0
    with tarfile.open(path, "w") as archive:
        for count, (image, beside) in enumerate(samples, 1):
            for suffix, content in {image.suffix.lower()[1:]: image.read_bytes(), **beside}.items():
                content = content.encode() if isinstance(content, str) else content
                member = tarfile.TarInfo(f"{count - 1:07}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return count


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="the tar")
    forms = parser.add_subparsers(dest="form", required=True)
    folders = forms.add_parser("imagenet", help=of_folders.__doc__)
    folders.add_argument("folder", type=pathlib.Path)
    for name, reader, what in (("coco", of_coco, "instances"), ("paddleocr-rec", of_lines, "labels"), ("paddleocr-det", of_pages, "labels")):
        form = forms.add_parser(name, help=reader.__doc__)
        form.add_argument("labels", type=pathlib.Path, metavar=what.upper())
        form.add_argument("images", type=pathlib.Path, help="the folder that the images' names are in")
    form.add_argument("--shrink-ratio", type=float, default=0.4, help="of the masks (default %(default)s)")
    args = parser.parse_args()
    samples = {"imagenet": lambda: of_folders(args.folder), "coco": lambda: of_coco(args.labels, args.images),
               "paddleocr-rec": lambda: of_lines(args.labels, args.images),
               "paddleocr-det": lambda: of_pages(args.labels, args.images, args.shrink_ratio)}[args.form]
    try:
        count = write_tar(args.out, samples())
    except (OSError, ValueError, KeyError) as error:
        sys.exit(f"to_tar.py: {error}")
    print(f"{args.out}: {count} samples", file=sys.stderr)


if __name__ == "__main__":
    main()
