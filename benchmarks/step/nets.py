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

from timing import CLASSES, CLASSIFIER_BLOCKS, CLASSIFIER_WIDTH, SHAPES, data

# Samples of the data files: the batch that is timed, and no more than calibration needs.
SAMPLES = 64


def ppocr_classifier():
    block = functools.partial(InvertedResidualConfig, dilation=1, width_mult=CLASSIFIER_WIDTH)
    net = MobileNetV3([block(*row) for row in CLASSIFIER_BLOCKS], last_channel=1)
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
