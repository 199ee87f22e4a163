"""Times training steps of one net in Paddle: plain, or quantization-aware by PaddleSlim, without and with PACT.

The nets are those of nets.py, made of paddle.vision.
"""
import paddle
from paddle.vision.models import mobilenetv3
from paddleslim.dygraph.quant import QAT

import timing

ACTIVATIONS = {"RE": "relu", "HS": "hardswish"}


class Classifier(mobilenetv3.MobileNetV3):
    """nets.ppocr_classifier."""

    def __init__(self):
        blocks = [mobilenetv3.InvertedResidualConfig(*row[:5], ACTIVATIONS[row[5]], (2, 1) if row[6] == 2 else 1,
                                                     scale=timing.CLASSIFIER_WIDTH) for row in timing.CLASSIFIER_BLOCKS]
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
    options = timing.read_flags(__doc__.splitlines()[0], FORMS)
    paddle.set_device("cpu")
    x, y = (paddle.to_tensor(array) for array in timing.data(options.net, options.batch))
    net = FORMS[options.form](load(options.net))
    net.train()
    optimizer = paddle.optimizer.Adam(learning_rate=1e-5, parameters=net.parameters())

    def step():
        paddle.nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
        optimizer.clear_grad()

    timing.print_times(step, options)


if __name__ == "__main__":
    main()
