"""Times training steps of one net in Paddle: plain, or quantization-aware by PaddleSlim, without and with PACT.

Prints JSON as torch_step.py does. The nets are those of nets.py, made of paddle.vision.
"""
import argparse
import json
import resource
import time

import numpy
import paddle
from paddle.vision.models import mobilenetv3
from paddleslim.dygraph.quant import QAT

SHAPES = {"ppocr_classifier": (3, 48, 192), "mobilenet_v3_small": (3, 224, 224), "mobilenet_v3_large": (3, 224, 224),
          "resnet18": (3, 224, 224)}


class Classifier(mobilenetv3.MobileNetV3):
    """nets.ppocr_classifier."""

    def __init__(self):
        rows = [(16, 3, 16, 16, True, "relu", 2), (16, 3, 72, 24, False, "relu", 2), (24, 3, 88, 24, False, "relu", 1),
                (24, 5, 96, 40, True, "hardswish", 2), (40, 5, 240, 40, True, "hardswish", 1), (40, 5, 240, 40, True, "hardswish", 1),
                (40, 5, 120, 48, True, "hardswish", 1), (48, 5, 144, 48, True, "hardswish", 1), (48, 5, 288, 96, True, "hardswish", 2),
                (96, 5, 576, 96, True, "hardswish", 1), (96, 5, 576, 96, True, "hardswish", 1)]
        blocks = [mobilenetv3.InvertedResidualConfig(*row[:6], (2, 1) if row[6] == 2 else 1, scale=0.35) for row in rows]
        super().__init__(blocks, last_channel=1, num_classes=0, with_pool=False)
        self.head = paddle.nn.Sequential(paddle.nn.MaxPool2D(2), paddle.nn.AdaptiveAvgPool2D(1), paddle.nn.Flatten(),
                                         paddle.nn.Linear(self.lastconv_out_channels, 2))

    def forward(self, x):
        return self.head(super().forward(x))


def load(name):
    paddle.seed(0)
    return Classifier() if name == "ppocr_classifier" else getattr(paddle.vision.models, name)()


def quantized(net, preprocess):
    config = {"activation_preprocess_type": preprocess, "weight_quantize_type": "channel_wise_abs_max"}
    qat = QAT(config={key: value for key, value in config.items() if value})
    qat.quantize(net)
    return net


FORMS = {"paddle_plain": lambda net: net, "paddleslim": lambda net: quantized(net, None),
         "paddleslim_pact": lambda net: quantized(net, "PACT")}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--form", choices=FORMS, required=True)
    parser.add_argument("--net", choices=SHAPES, required=True)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, help="what OMP_NUM_THREADS says; Paddle reads that alone")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5)
    options = parser.parse_args()
    paddle.set_device("cpu")
    generator = numpy.random.default_rng(0)
    x = paddle.to_tensor(generator.standard_normal((options.batch, *SHAPES[options.net]), dtype=numpy.float32))
    y = paddle.to_tensor(generator.integers(0, 2, options.batch))
    net = FORMS[options.form](load(options.net))
    net.train()
    optimizer = paddle.optimizer.Adam(learning_rate=1e-5, parameters=net.parameters())

    def step():
        paddle.nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
        optimizer.clear_grad()

    step()
    seconds = []
    for _ in range(options.rounds):
        step()
        begin = time.perf_counter()
        for _ in range(options.steps):
            step()
        seconds.append((time.perf_counter() - begin) / options.steps)
    print(json.dumps({"seconds": seconds, "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


if __name__ == "__main__":
    main()
