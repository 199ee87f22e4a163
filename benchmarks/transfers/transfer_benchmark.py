"""Starts a service with default settings and times blobs through it, beside libpq alone on the same PostgreSQL. Prints JSON.

Client, server and database share this machine. The server's memory is sampled meanwhile.
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1] / "tests" / "chaos"), str(HERE.parents[1] / "tests" / "e2e"), str(HERE.parent / "queue")]

from conftest import BIN  # noqa: E402
from queue_benchmark import Plain  # noqa: E402
from run_report import add_report_argument, publish  # noqa: E402
from test_large_upload import PeakMemory  # noqa: E402


def transfers(service, folder, mib, rounds):
    status = service.status()
    token = (service.folder / "tokens" / "user").read_text().strip()
    done = subprocess.run([str(BIN / "transfer_benchmark"), status["server"]["grpc"], status["postgres"]["url"], str(folder),
                           str(mib), str(rounds)], stdout=subprocess.PIPE, text=True, timeout=3600,
                          env={**os.environ, "PACTORY_TOKEN": token})
    assert done.returncode == 0
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=6)
    add_report_argument(parser)
    options = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pactory-transfers-"))
    service = Plain(folder / "pactory", 0)
    try:
        service.up()
        transfers(service, folder, 8, 1)
        memory = PeakMemory(service.server_pid())
        try:
            report = {"cpus": os.cpu_count(), "load_before": os.getloadavg()[0], **transfers(service, folder, options.mib, options.rounds)}
        finally:
            growth = memory.growth()
        report["server_memory_growth_mib"] = round(growth / (1 << 20), 1)
    finally:
        service.down()
        shutil.rmtree(folder, ignore_errors=True)
    publish(report, options)


if __name__ == "__main__":
    main()
