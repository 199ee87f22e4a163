#!/usr/bin/python3 -SE
"""A trainer for volume: does a job with the seed SCRIPTED by a script in a moment, runs on for ever and deaf to SIGTERM with the
seed STUBBORN, and gives any other to the real one.

Some scripted jobs fail, for a reason that is tried again or for one that is not; some hang until they are taken back.
"""
import os
import pathlib
import random
import signal
import sys
import time

SCRIPTED = 424242
STUBBORN = 434343


def varint(number):
    out = b""
    while number >= 0x80:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def text(field, value):
    data = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(data)) + data


def send(field, message):
    event = text(field, message)
    os.write(3, varint(len(event)) + event)


def progress(step):
    send(1, text(1, "train") + varint(2 << 3) + varint(step) + varint(3 << 3) + varint(10))


def fail(reason, *files):
    event = text(5, text(1, reason) + text(2, "as scripted")) + b"".join(
        text(6, text(1, name) + text(2, "application/json")) for name in files)
    os.write(3, varint(len(event)) + event)
    sys.exit(1)


def run_real_trainer(job):
    program = pathlib.Path(__file__).with_name("real_trainer").read_text()
    if job is not None:
        memory = os.memfd_create("job")
        os.write(memory, job)
        os.lseek(memory, 0, os.SEEK_SET)
        os.dup2(memory, 0)
    os.execv(program, [program, *sys.argv[1:]])


def run_for_ever():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    step = 0
    while True:
        step += 1
        progress(step)
        time.sleep(1)


def run_script():
    choice = random.random()
    for step in range(1, 4):
        progress(step)
        time.sleep(random.uniform(0, 0.15))
    if choice < 0.05:
        fail("BAD_DATA")
    if choice < 0.12:
        fail("INTERNAL")
    if choice < 0.14:
        sys.exit(7)
    if choice < 0.17:
        pathlib.Path("output/report.json").write_bytes(os.urandom(300))
        fail("GATE_FAILED", "report.json")
    if choice < 0.185:
        while True:
            time.sleep(60)
    # Bytes of its own for each attempt: two publications could not hide behind equal files.
    pathlib.Path("output/result.bin").write_bytes(os.urandom(random.choice([100, 5000, 60000])))
    send(4, text(1, text(1, "result.bin") + text(2, "application/octet-stream")))


def main():
    if sys.argv[1:2] != ["job"]:
        run_real_trainer(None)
    job = sys.stdin.buffer.read()
    # Field 13 of TrainingConfig.
    if varint(13 << 3) + varint(SCRIPTED) in job:
        run_script()
    elif varint(13 << 3) + varint(STUBBORN) in job:
        run_for_ever()
    else:
        run_real_trainer(job)


if __name__ == "__main__":
    main()
