#!/usr/bin/env python3
"""Exports small nets with random weights by the exporters that people use: PyTorch's two, scikit-learn's, onnxsim."""

import argparse
import pathlib
import warnings

import numpy as np
import onnx
import onnxsim
import torch
import torchvision.models as vision
from torch import nn

warnings.filterwarnings("ignore")


class Tagger(nn.Module):
    """Token ids to one label each: embedding, bidirectional LSTM, linear."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.lstm = nn.LSTM(16, 24, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(48, 7)

    def forward(self, ids):
        return self.head(self.lstm(self.embed(ids))[0])


class SpeechGru(nn.Module):
    """Spectrogram frames to classes: 1-D convolutions, GRU, mean over time."""

    def __init__(self):
        super().__init__()
        self.front = nn.Sequential(nn.Conv1d(20, 32, 5, 2, 2), nn.GroupNorm(4, 32), nn.GELU(), nn.Conv1d(32, 64, 3, 1, 1), nn.GLU(1))
        self.gru = nn.GRU(32, 24, batch_first=True)
        self.head = nn.Linear(24, 6)

    def forward(self, x):
        return self.head(self.gru(self.front(x).transpose(1, 2))[0].mean(1))


class Encoder(nn.Module):
    """Transformer encoder with learned positions that depend on the length."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(12, 32)
        self.position = nn.Parameter(torch.randn(64, 32) * 0.1)
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, activation="gelu", norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, 5)

    def forward(self, x):
        x = self.embed(x) + self.position[: x.shape[1]]
        return self.head(self.layers(x).mean(1))


class CausalLanguageModel(nn.Module):
    """Two decoder blocks: RMSNorm, rotary positions, scaled_dot_product_attention with a causal mask, SwiGLU."""

    def __init__(self, width=32, heads=4):
        super().__init__()
        self.heads = heads
        self.embed = nn.Embedding(60, width)
        blocks = {"n1": nn.RMSNorm, "n2": nn.RMSNorm}
        self.blocks = nn.ModuleList(
            nn.ModuleDict({**{name: kind(width) for name, kind in blocks.items()}, "qkv": nn.Linear(width, 3 * width, bias=False),
                           "out": nn.Linear(width, width, bias=False), "gate": nn.Linear(width, 64), "up": nn.Linear(width, 64),
                           "down": nn.Linear(64, width)})
            for _ in range(2))
        self.norm = nn.RMSNorm(width)

    def rotate(self, x):
        half = x.shape[-1] // 2
        angle = torch.arange(x.shape[-2]).float()[:, None] / 10000 ** (torch.arange(half).float() / half)
        cos, sin = angle.cos(), angle.sin()
        a, b = x[..., :half], x[..., half:]
        return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)

    def forward(self, ids):
        x = self.embed(ids)
        for block in self.blocks:
            parts = block["qkv"](block["n1"](x)).chunk(3, -1)
            q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
            mixed = nn.functional.scaled_dot_product_attention(self.rotate(q), self.rotate(k), v, is_causal=True)
            x = x + block["out"](mixed.transpose(1, 2).flatten(2))
            y = block["n2"](x)
            x = x + block["down"](nn.functional.silu(block["gate"](y)) * block["up"](y))
        return self.norm(x) @ self.embed.weight.T


class UNet(nn.Module):
    """Two levels; one upsamples bilinearly, one by transposed convolution; sizes follow the skip connection."""

    def __init__(self):
        super().__init__()
        def block(i, o):
            return nn.Sequential(nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.LeakyReLU(0.1))
        self.a, self.b, self.c = block(3, 8), block(8, 16), block(16, 16)
        self.up = nn.ConvTranspose2d(24, 8, 2, 2)
        self.d, self.out = block(16, 8), nn.Conv2d(8, 4, 1)

    def forward(self, x):
        a = self.a(x)
        b = self.b(nn.functional.max_pool2d(a, 2))
        c = self.c(nn.functional.avg_pool2d(b, 2))
        c = nn.functional.interpolate(c, size=b.shape[2:], mode="bilinear", align_corners=False)[:, :8]
        up = self.up(torch.cat([b, c], 1))
        return self.out(self.d(torch.cat([a, up], 1)))


class SuperResolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, padding_mode="reflect"), nn.PReLU(16), nn.Conv2d(16, 12, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, x):
        return torch.clamp(self.body(x) + nn.functional.interpolate(x, scale_factor=2, mode="bicubic"), -2, 2)


class DetectorHead(nn.Module):
    """Anchor-free boxes and scores, suppressed in the graph."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, 4, 1), nn.SiLU(), nn.Conv2d(16, 16, 3, 2, 1), nn.Hardswish())
        self.box, self.score = nn.Conv2d(16, 4, 1), nn.Conv2d(16, 3, 1)

    def forward(self, x):
        y = self.body(x)
        n, _, h, w = y.shape
        grid = torch.stack(torch.meshgrid(torch.arange(w), torch.arange(h), indexing="xy"), -1).reshape(-1, 2)
        box = self.box(y).sigmoid().flatten(2).transpose(1, 2)
        centre, size = box[..., :2] + grid, box[..., 2:] * 4
        return torch.cat([centre - size / 2, centre + size / 2], -1), self.score(y).sigmoid().flatten(2).transpose(1, 2)


class SuppressedDetector(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = DetectorHead()

    def forward(self, x):
        import torchvision
        boxes, scores = self.head(x)
        best, label = scores[0].max(-1)
        keep = torchvision.ops.nms(boxes[0], best, 0.5)
        return boxes[0][keep], best[keep], label[keep]


class EinsumMixer(nn.Module):
    """MLP-mixer written with einsum and layer norm."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 24, 8, 8)
        self.tokens = nn.Parameter(torch.randn(16, 16) * 0.2)
        self.channels = nn.Parameter(torch.randn(24, 24) * 0.2)
        self.norm, self.head = nn.LayerNorm(24), nn.Linear(24, 5)

    def forward(self, x):
        y = self.patch(x).flatten(2)
        y = y + torch.einsum("bcs,st->bct", nn.functional.mish(y), self.tokens)
        y = y.transpose(1, 2)
        y = y + torch.einsum("bsc,cd->bsd", self.norm(y), self.channels)
        return self.head(y.amax(1))


IMAGE = (2, 3, 64, 64)


def images(*shape):
    return (torch.randn(*(shape or IMAGE)),)


def tiny_vit():
    return vision.VisionTransformer(64, 16, 2, 4, 64, 128, num_classes=10)


def tiny_swin():
    return vision.SwinTransformer([4, 4], 24, [2, 2], [2, 4], [4, 4], num_classes=10)


def tiny_convnext():
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt
    return ConvNeXt([CNBlockConfig(24, 48, 1), CNBlockConfig(48, None, 1)], num_classes=10)


def tiny_maxvit():
    return vision.MaxVit((64, 64), 16, 4, [16, 32], [1, 1], 8, 0.0, num_classes=10)


# name: (net, example inputs, open dimensions by input)
BATCH = {0: "batch"}
NETS = {
    "resnet18": (lambda: vision.resnet18(num_classes=10), images, [BATCH]),
    "mobilenet_v2": (lambda: vision.mobilenet_v2(num_classes=10, width_mult=0.35), images, [BATCH]),
    "mobilenet_v3_small": (lambda: vision.mobilenet_v3_small(num_classes=10), images, [BATCH]),
    "shufflenet_v2": (lambda: vision.shufflenet_v2_x0_5(num_classes=10), images, [BATCH]),
    "squeezenet": (lambda: vision.squeezenet1_1(num_classes=10), images, [BATCH]),
    "mnasnet": (lambda: vision.mnasnet0_5(num_classes=10), images, [BATCH]),
    "efficientnet_b0": (lambda: vision.efficientnet_b0(num_classes=10), images, [BATCH]),
    "densenet": (lambda: vision.DenseNet(8, (2, 2), 16, num_classes=10), images, [BATCH]),
    "regnet_y": (lambda: vision.regnet_y_400mf(num_classes=10), images, [BATCH]),
    "googlenet": (lambda: vision.googlenet(num_classes=10, init_weights=False, aux_logits=False), images, [BATCH]),
    "vit": (tiny_vit, images, [BATCH]),
    "swin": (tiny_swin, images, [BATCH]),
    "maxvit": (tiny_maxvit, images, [None]),
    "convnext": (tiny_convnext, images, [BATCH]),
    "segmentation": (lambda: vision.segmentation.lraspp_mobilenet_v3_large(num_classes=4, weights_backbone=None), images, [{0: "batch", 2: "h", 3: "w"}]),
    "unet": (UNet, images, [{0: "batch", 2: "h", 3: "w"}]),
    "super_resolution": (SuperResolution, lambda: images(1, 3, 24, 24), [{0: "batch", 2: "h", 3: "w"}]),
    "detector": (DetectorHead, images, [BATCH]),
    "detector_nms": (SuppressedDetector, lambda: images(1, 3, 64, 64), [None]),
    "lstm_tagger": (Tagger, lambda: (torch.randint(0, 50, (2, 9)),), [{0: "batch", 1: "length"}]),
    "speech_gru": (SpeechGru, lambda: images(2, 20, 50), [BATCH]),
    "encoder": (Encoder, lambda: images(2, 10, 12), [{0: "batch", 1: "length"}]),
    "causal_lm": (CausalLanguageModel, lambda: (torch.randint(0, 60, (2, 11)),), [{0: "batch", 1: "length"}]),
    "einsum_mixer": (EinsumMixer, lambda: images(2, 3, 32, 32), [BATCH]),
}

# The TorchScript exporter's opsets, dealt out in turn; the dynamo exporter's.
SCRIPT_OPSETS = (17, 11, 13, 14, 16, 18, 20, 12, 9)
DYNAMO_OPSETS = (18, 20, 21, 23)
NEWER = {"causal_lm": 17, "encoder": 14, "vit": 14, "swin": 16, "maxvit": 17, "einsum_mixer": 12, "detector_nms": 11, "segmentation": 11,
         "unet": 11, "super_resolution": 11, "shufflenet_v2": 11, "convnext": 17, "speech_gru": 11}


def randomize(net):
    """Normalization statistics and heads as training leaves them: not 0 and 1."""
    for part in net.modules():
        if isinstance(part, nn.Linear) and not part.weight.any():
            part.weight.data.normal_(0, 0.1)
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
            part.weight.data.uniform_(0.5, 1.5)
            part.bias.data.normal_(0, 0.1)
    return net.eval()


def export_torch(folder, wanted):
    for index, (name, (build, example, open_dims)) in enumerate(NETS.items()):
        if wanted and name not in wanted:
            continue
        torch.manual_seed(index)
        net, args = randomize(build()), example()
        if hasattr(net, "transform_input"):
            net.transform_input = False
        names = [f"input_{i}" for i in range(len(args))]
        axes = {key: dims for key, dims in zip(names, open_dims) if dims}
        opset = max(SCRIPT_OPSETS[index % len(SCRIPT_OPSETS)], NEWER.get(name, 9))
        try:
            torch.onnx.export(net, args, folder / f"torchscript_{name}.onnx", dynamo=False, opset_version=opset,
                              input_names=names, dynamic_axes=axes)
        except Exception as error:  # the exporter's own limits are no result of ours
            print(f"torchscript {name}: not exported: {str(error).splitlines()[0][:200]}")
        shapes = tuple({axis: torch.export.Dim.AUTO for axis in dims} if dims else None for dims in open_dims)
        opset = DYNAMO_OPSETS[index % len(DYNAMO_OPSETS)]
        try:
            torch.onnx.export(net, args, folder / f"dynamo_{name}.onnx", dynamo=True, opset_version=opset, external_data=False,
                              input_names=names, dynamic_shapes=shapes, verbose=False)
        except Exception as error:
            print(f"dynamo {name}: not exported: {str(error).splitlines()[0][:200]}")


def simplify(folder):
    for name in ("mobilenet_v3_small", "vit", "swin", "unet", "encoder", "speech_gru", "detector"):
        path = folder / f"torchscript_{name}.onnx"
        if path.exists():
            simple, checked = onnxsim.simplify(onnx.load(path))
            assert checked, name
            onnx.save(simple, folder / f"onnxsim_{name}.onnx")


def export_sklearn(folder):
    from skl2onnx import to_onnx
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    digits = load_digits()
    x, y = digits.data.astype(np.float32), digits.target
    fit = {"max_iter": 60, "random_state": 0}
    nets = {
        "mlp_relu": (MLPClassifier((32,), **fit), y),
        "mlp_tanh_binary": (MLPClassifier((16, 16), activation="tanh", **fit), y % 2),
        "mlp_logistic": (MLPClassifier((16,), activation="logistic", **fit), y),
        "mlp_regressor": (MLPRegressor(hidden_layer_sizes=(16,), **fit), y.astype(np.float32)),
        "scaled_mlp": (make_pipeline(StandardScaler(), MLPClassifier((32,), **fit)), y),
        "mlp_names": (MLPClassifier((16,), **fit), np.array(["even", "odd"])[y % 2]),
    }
    for name, (net, target) in nets.items():
        net.fit(x[:600], target[:600])
        last = net[-1] if hasattr(net, "steps") else net
        options = {id(net): {"zipmap": False}} if isinstance(last, MLPClassifier) else None
        model = to_onnx(net, x[:1], options=options, target_opset={"": 18, "ai.onnx.ml": 3})
        onnx.save(model, folder / f"sklearn_{name}.onnx")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--only", nargs="*", default=[], help="torch nets to export, by name")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    export_torch(args.out, args.only)
    if not args.only:
        simplify(args.out)
        export_sklearn(args.out)


if __name__ == "__main__":
    main()
