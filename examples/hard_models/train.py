#!/usr/bin/env python3
"""Trains three small classifiers of handwritten digits that lose much by quantization after training, and writes them as
ONNX files with their data. CPU, about a minute.
"""

import argparse
import pathlib

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

SIDE = 16


def vary(images, copies, generator):
    """Each 8 x 8 digit several times: enlarged, moved by up to two pixels, on another ground, with noise."""
    varied = []
    for image in np.repeat(images, copies, axis=0):
        canvas = np.pad(np.kron(image / 16, np.ones((2, 2))), 2, mode="constant")
        top, left = generator.integers(0, 5, 2)
        contrast, ground = generator.uniform(0.5, 1), generator.uniform(-0.2, 0.2)
        varied.append(canvas[top:top + SIDE, left:left + SIDE] * contrast + ground)
    return (np.stack(varied)[:, None] + generator.normal(0, 0.12, (len(varied), 1, SIDE, SIDE))).astype(np.float32)


def make_data(folder):
    digits = load_digits()
    generator = np.random.default_rng(7)
    order = generator.permutation(len(digits.images))
    sets = {}
    for name, part, copies in (("train", order[:1100], 4), ("eval", order[1100:], 3)):
        sets[name] = vary(digits.images[part], copies, generator), np.repeat(digits.target[part], copies)
        np.savez(folder / f"{name}.npz", x=sets[name][0], y=sets[name][1])
    return sets


def normalized(conv, spread, generator):
    """A convolution and its BatchNormalization, whose channels start, and so end, on scales that differ: a standard deviation
    of `spread` in the natural logarithm.
    """
    norm = nn.BatchNorm2d(conv.out_channels)
    with torch.no_grad():
        norm.weight.copy_(torch.exp(spread * torch.randn(conv.out_channels, generator=generator)))
        norm.bias.copy_(0.2 * norm.weight)
    return [conv, norm]


class Depthwise(nn.Module):
    """MobileNet's blocks. Folded BatchNormalization leaves channels whose ranges differ by a factor of hundreds."""

    def __init__(self, generator, spread=1.35):
        super().__init__()
        def block(i, o, stride):
            return [*normalized(nn.Conv2d(i, i, 3, stride, 1, groups=i, bias=False), spread, generator), nn.ReLU(),
                    *normalized(nn.Conv2d(i, o, 1, bias=False), spread, generator), nn.ReLU()]
        self.body = nn.Sequential(*normalized(nn.Conv2d(1, 16, 3, 1, 1, bias=False), spread, generator), nn.ReLU(),
                                  *block(16, 32, 2), *block(32, 32, 1), *block(32, 48, 2), *block(48, 48, 1))
        self.head = nn.Linear(48, 10)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))


class SqueezeExcite(nn.Module):
    """MobileNetV3's parts: hard swish, whose small negative outputs matter, and gates over channels."""

    def __init__(self, generator, spread=0.6):
        super().__init__()
        self.stem = nn.Sequential(*normalized(nn.Conv2d(1, 16, 3, 1, 1, bias=False), spread, generator), nn.Hardswish())
        self.blocks = nn.ModuleList()
        for i, o, stride in ((16, 24, 2), (24, 24, 1), (24, 32, 2), (32, 32, 1)):
            wide = 2 * i
            self.blocks.append(nn.ModuleDict({
                "deep": nn.Sequential(*normalized(nn.Conv2d(i, wide, 1, bias=False), spread, generator), nn.Hardswish(),
                                      *normalized(nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False), spread, generator),
                                      nn.Hardswish()),
                "gate": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(wide, 8, 1), nn.ReLU(), nn.Conv2d(8, wide, 1),
                                      nn.Hardsigmoid()),
                "out": nn.Sequential(*normalized(nn.Conv2d(wide, o, 1, bias=False), 0.0, generator)),
            }))
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            y = block["deep"](x)
            y = block["out"](y * block["gate"](y))
            x = x + y if x.shape == y.shape else y
        return self.head(F.hardswish(x).mean((2, 3)))


class Attention(nn.Module):
    """A vision transformer in whose residual stream a few features are huge, as large transformers have them."""

    def __init__(self, generator, width=32, heads=4):
        super().__init__()
        self.heads, self.width = heads, width
        self.patch = nn.Conv2d(1, width, 4, 4)
        self.position = nn.Parameter(0.1 * torch.randn(16, width, generator=generator))
        # Large and constant: LayerNorm's outputs carry them into every layer.
        with torch.no_grad():
            self.position[:, :2] = torch.tensor([2.0, -1.5])
        self.blocks = nn.ModuleList(nn.ModuleDict({
            "n1": nn.LayerNorm(width), "qkv": nn.Linear(width, 3 * width), "out": nn.Linear(width, width),
            "n2": nn.LayerNorm(width), "up": nn.Linear(width, 2 * width), "down": nn.Linear(2 * width, width)}) for _ in range(2))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2) + self.position
        for block in self.blocks:
            q, k, v = (part.unflatten(2, (self.heads, self.width // self.heads)).transpose(1, 2)
                       for part in block["qkv"](block["n1"](x)).split(self.width, 2))
            mixed = torch.softmax(q @ k.transpose(2, 3) * (self.width // self.heads) ** -0.5, 3) @ v
            x = x + block["out"](mixed.transpose(1, 2).flatten(2))
            x = x + block["down"](F.gelu(block["up"](block["n2"](x))))
        return self.head(self.norm(x).mean(1))


MODELS = {"depthwise": (Depthwise, 500, 8e-3), "squeeze_excite": (SqueezeExcite, 500, 8e-3), "attention": (Attention, 1500, 3e-3)}


def train(name, sets):
    build, steps, rate = MODELS[name]
    torch.manual_seed(3)
    net = build(torch.Generator().manual_seed(11))
    x, y = (torch.from_numpy(array) for array in sets["train"])
    optimizer = torch.optim.AdamW(net.parameters(), rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps)
    for _ in range(steps):
        batch = torch.randint(len(x), (64,))
        loss = F.cross_entropy(net(x[batch]), y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    net.eval()
    with torch.no_grad():
        x, y = (torch.from_numpy(array) for array in sets["eval"])
        print(f"{name}: FP32 {100 * (net(x).argmax(1) == y).float().mean():.2f} % of {len(y)}")
    return net


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--only", nargs="*", choices=MODELS, default=list(MODELS))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # tiny layers
    sets = make_data(args.out)
    for name in args.only:
        torch.onnx.export(train(name, sets), (torch.zeros(1, 1, SIDE, SIDE),), args.out / f"{name}.onnx", dynamo=False,
                          opset_version=17, input_names=["image"], output_names=["scores"],
                          dynamic_axes={"image": {0: "batch"}, "scores": {0: "batch"}})


if __name__ == "__main__":
    main()
