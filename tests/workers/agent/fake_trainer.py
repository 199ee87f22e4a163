"""A scripted trainer for the agent's tests: speaks the pipe protocol, and misbehaves as its first argument says."""
import os
import re
import signal
import struct
import subprocess
import sys
import time


def varint(number):
    out = b""
    while number >= 0x80:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def text(field, value):
    data = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(data)) + data


def number(field, value):
    return varint(field << 3) + varint(value)


def double(field, value):
    return varint(field << 3 | 1) + struct.pack("<d", value)


def send(field, message):
    event = text(field, message)
    os.write(3, varint(len(event)) + event)


def progress(stage, step):
    send(1, text(1, stage) + number(2, step) + number(3, 100) + double(4, step / 100))


def metric(name, step, value):
    return text(1, text(1, name) + number(2, step) + double(3, value))


def result(*names):
    send(4, b"".join(text(1, text(1, name) + text(2, "text/plain")) for name in names))


def error(reason, message, *files):
    event = text(5, text(1, reason) + text(2, message)) + b"".join(
        text(6, text(1, name) + text(2, "application/json")) for name in files)
    os.write(3, varint(len(event)) + event)


def write(path, content):
    with open(path, "w") as file:
        file.write(content)


def checkpoint(step, content):
    write("checkpoint.tmp", content)
    os.rename("checkpoint.tmp", "checkpoint")
    send(3, text(1, os.path.abspath("checkpoint")) + number(2, step))


mode = sys.argv[1]
job = sys.stdin.buffer.read()
sys.stderr.write("fake trainer: %s\n" % mode)
sys.stderr.flush()
if mode == "succeed":
    progress("train", 50)
    send(2, metric("train/loss", 1, 0.5) + metric("train/loss", 2, 0.25))
    send(2, metric("train/loss", 3, 0.125))
    write("output/report.json", "{}")
    write("output/model.int8.onnx", "int8")
    result("model.int8.onnx", "report.json")
elif mode == "error":
    error("BAD_DATA", "eval_data: y must be in [0, 2): 7")
    sys.exit(1)
elif mode == "disk_full":
    error("DISK_FULL", "file must be writable: No space left on device: path=output/report.json")
    sys.exit(1)
elif mode == "gate_failed":
    write("output/report.json", "{why}")
    error("GATE_FAILED", "it lost too much", "report.json")
    sys.exit(1)
elif mode == "exit":
    sys.stderr.write("something broke here\n")
    sys.exit(7)
elif mode == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
elif mode == "killed_once":
    if b"/held/" in job:
        write("output/report.json", "resumed")
        result("report.json")
    else:
        checkpoint(40, "state at 40")
        os.kill(os.getpid(), signal.SIGKILL)
elif mode == "out_of_memory":
    sys.stderr.write("terminate called after throwing an instance of 'std::bad_alloc'\n")
    sys.stderr.flush()
    os.abort()
elif mode == "obedient":
    progress("train", 1)
    signal.pause()
elif mode == "leaves_checkpoint":
    def leave(*_):
        checkpoint(30, "state at 30")
        sys.exit(143)
    signal.signal(signal.SIGTERM, leave)
    progress("train", 1)
    while True:
        signal.pause()
elif mode == "stops_training":
    progress("train", 1)
    path = os.path.abspath("stop_training")
    while not os.path.exists(path):
        time.sleep(0.01)
    write("output/report.json", "told where to look" if text(10, path) in job else "not told")
    result("report.json")
elif mode == "deadline":
    # Field 9 of TrainerJob is a Timestamp, whose field 1 is its seconds: five bytes of a varint until the year 3058.
    digits = re.search(rb"J[\x06-\x7f]\x08([\x80-\xff]{4}[\x00-\x7f])", job).group(1)
    seconds = sum((digit & 0x7F) << 7 * place for place, digit in enumerate(digits))
    write("output/report.json", str(round((seconds - time.time()) / 100)))
    result("report.json")
elif mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    progress("train", 1)
    while True:
        time.sleep(60)
elif mode == "orphan":
    subprocess.Popen(["sleep", "300"], close_fds=False)
    write("output/report.json", "{}")
    result("report.json")
elif mode == "count_files":
    write("output/report.json", "%d files" % job.count(b"/cache/"))
    result("report.json")
elif mode == "garbage":
    os.write(3, b"\xff" * 200000)
elif mode == "escape":
    result("../job.pb")
elif mode == "symlink":
    os.symlink("/etc/passwd", "output/stolen")
    result("stolen")
elif mode == "environment":
    limits = open("/proc/self/limits").read()
    descriptors = sorted(os.listdir("/proc/self/fd"), key=int)[:4]
    write("output/report.json", repr(dict(os.environ)) + limits + "cwd=" + os.getcwd() + " fds=" + ",".join(descriptors)
          + " net=" + ",".join(
              line.split(":")[0].strip() for line in open("/proc/net/dev").readlines()[2:]))
    result("report.json")
elif mode == "checkpoints":
    checkpoint(10, "state at 10")
    checkpoint(20, "state at 20")
    signal.pause()
