"""The nets of the step benchmark as PyTorch modules with random weights, and their ONNX files with data of random values.

As a program: nets.py --out FOLDER writes NET.onnx and NET.npz of each.
"""
import argparse
import functools
import pathlib

import numpy
import torch
import torchvision
from torchvision.models.mobilenetv3 import InvertedResidualConfig, MobileNetV3

# Samples of the data files: the batch that is timed, and no more than calibration needs.
SAMPLES = 64
SHAPES = {"ppocr_classifier": (3, 48, 192), "mobilenet_v3_small": (3, 224, 224), "mobilenet_v3_large": (3, 224, 224),
          "resnet18": (3, 224, 224)}
CLASSES = {"ppocr_classifier": 2}


def ppocr_classifier():
    """PP-OCR's text-direction classifier: MobileNetV3-Small of 0.35 times the width, on lines that keep their width."""
    block = functools.partial(InvertedResidualConfig, dilation=1, width_mult=0.35)
    net = MobileNetV3([
        block(16, 3, 16, 16, True, "RE", 2), block(16, 3, 72, 24, False, "RE", 2), block(24, 3, 88, 24, False, "RE", 1),
        block(24, 5, 96, 40, True, "HS", 2), block(40, 5, 240, 40, True, "HS", 1), block(40, 5, 240, 40, True, "HS", 1),
        block(40, 5, 120, 48, True, "HS", 1), block(48, 5, 144, 48, True, "HS", 1), block(48, 5, 288, 96, True, "HS", 2),
        block(96, 5, 576, 96, True, "HS", 1), block(96, 5, 576, 96, True, "HS", 1)], last_channel=1)
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d) and module.groups > 1 and module.stride == (2, 2):
            module.stride = (2, 1)
    net.avgpool = torch.nn.Sequential(torch.nn.MaxPool2d(2), torch.nn.AdaptiveAvgPool2d(1))
    net.classifier = torch.nn.Linear(net.classifier[0].in_features, CLASSES["ppocr_classifier"])
    return net


def load(name):
    """The net in training form, with BatchNormalization."""
    torch.manual_seed(0)
    return ppocr_classifier() if name == "ppocr_classifier" else getattr(torchvision.models, name)()


def data(name, samples):
    generator = numpy.random.default_rng(0)
    x = generator.standard_normal((samples, *SHAPES[name]), dtype=numpy.float32)
    return x, generator.integers(0, CLASSES.get(name, 1000), samples)


def write(name, folder):
    x, y = data(name, SAMPLES)
    numpy.savez(folder / f"{name}.npz", x=x, y=y.astype(numpy.int64))
    # As users export: BatchNormalization folded.
    torch.onnx.export(load(name).eval(), torch.from_numpy(x[:1]), str(folder / f"{name}.onnx"), dynamo=False, opset_version=17,
                      input_names=["x"], output_names=["logits"], dynamic_axes={"x": {0: "N"}, "logits": {0: "N"}})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name in SHAPES:
        write(name, options.out)


if __name__ == "__main__":
    main()
