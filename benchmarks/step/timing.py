"""What the programs of the step benchmark share: the nets' names and shapes, their data, the flags, and the rounds that are timed."""
import argparse
import json
import resource
import time

import numpy

SHAPES = {"ppocr_classifier": (3, 48, 192), "mobilenet_v3_small": (3, 224, 224), "mobilenet_v3_large": (3, 224, 224),
          "resnet18": (3, 224, 224)}
CLASSES = {"ppocr_classifier": 2}

# Of PP-OCR's text-direction classifier: MobileNetV3-Small of 0.35 times the width, on lines that keep their width, so that a stride of 2
# is one of (2, 1). Channels, kernel, expanded channels, channels given, squeeze and excitation, activation, stride.
CLASSIFIER_WIDTH = 0.35
CLASSIFIER_BLOCKS = [
    (16, 3, 16, 16, True, "RE", 2), (16, 3, 72, 24, False, "RE", 2), (24, 3, 88, 24, False, "RE", 1), (24, 5, 96, 40, True, "HS", 2),
    (40, 5, 240, 40, True, "HS", 1), (40, 5, 240, 40, True, "HS", 1), (40, 5, 120, 48, True, "HS", 1), (48, 5, 144, 48, True, "HS", 1),
    (48, 5, 288, 96, True, "HS", 2), (96, 5, 576, 96, True, "HS", 1), (96, 5, 576, 96, True, "HS", 1)]


def data(name, samples):
    generator = numpy.random.default_rng(0)
    x = generator.standard_normal((samples, *SHAPES[name]), dtype=numpy.float32)
    return x, generator.integers(0, CLASSES.get(name, 1000), samples)


def read_flags(description, forms):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--form", choices=forms, required=True)
    parser.add_argument("--net", choices=SHAPES, required=True)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1, help="Paddle reads OMP_NUM_THREADS alone")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5)
    return parser.parse_args()


def print_times(step, options):
    """Prints JSON: the mean seconds of a step in each round, one step before which warms up, and the peak of memory."""
    step()
    seconds = []
    for _ in range(options.rounds):
        step()
        begin = time.perf_counter()
        for _ in range(options.steps):
            step()
        seconds.append((time.perf_counter() - begin) / options.steps)
    print(json.dumps({"seconds": seconds, "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
