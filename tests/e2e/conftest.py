"""The real service for end-to-end tests: `pactory local up` in a folder of the test's own, with short leases."""
import hashlib
import json
import os
import pathlib
import select
import shutil
import signal
import subprocess
import sys
import time
import urllib.request

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("PACTORY_BINARY_DIR", ROOT / "build" / "release")) / "bin"
SHORT_LEASES = ["--lease-seconds=8", "--heartbeat-seconds=0.5", "--reaper-seconds=0.5"]


class Service:
    """One service in one folder, and the command line that talks to it."""

    def __init__(self, folder, workers):
        self.folder = folder
        self.workers = workers

    def environment(self):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PACTORY_")}
        environment["PACTORY_CONFIG"] = str(self.folder / "client.yaml")
        return environment

    def cli(self, *arguments, rc=0, timeout=120):
        """Runs `pactory`; checks its exit code; returns the finished process."""
        done = subprocess.run([str(BIN / "pactory"), *map(str, arguments)], env=self.environment(), capture_output=True,
                              text=True, timeout=timeout)
        assert rc is None or done.returncode == rc, f"{arguments}: rc={done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *arguments, **options):
        return json.loads(self.cli(*arguments, "--output", "json", **options).stdout)

    def start(self, *arguments, **options):
        return subprocess.Popen([str(BIN / "pactory"), *map(str, arguments)], env=self.environment(),
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)

    def up(self):
        server = [f"--server-arg={argument}" for argument in SHORT_LEASES]
        return self.json("local", "up", "--dir", self.folder, "--workers", self.workers, "--grpc-port", 0, "--http-port", 0,
                         "--python", sys.executable, *server)

    def status(self):
        return self.json("local", "status", "--dir", self.folder)

    def down(self):
        self.cli("local", "down", "--dir", self.folder, "--delete-data")

    def kill(self, pid):
        os.kill(pid, signal.SIGKILL)
        await_last_thread(pid, 10)

    def server_pid(self):
        return self.status()["server"]["pid"]

    def worker_pid(self, number=0):
        return self.status()["workers"][number]["pid"]

    def trainer_pids(self):
        """The trainers of this service's workers, also those whose worker is gone."""
        pids = []
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                command = (entry / "cmdline").read_bytes().split(b"\0")
                folder = os.readlink(entry / "cwd")
            except OSError:
                continue
            if b"job" in command and folder.startswith(str(self.folder)) and process_runs(int(entry.name)):
                pids.append(int(entry.name))
        return pids

    def metric(self, name):
        """Sum of the samples of one Prometheus metric whose line starts with `name`."""
        address = self.status()["server"]["http"]
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))

    def submit(self, files, *arguments, steps=40, **options):
        return self.cli("jobs", "submit", "--model", files.model, "--data", files.train, "--eval-data", files.eval,
                        "--preset", "qat_int8", "--set", f"training.steps={steps}", *arguments, **options).stdout.strip()

    def job(self, name):
        return self.json("jobs", "show", name)

    def wait_for(self, name, state, seconds=300):
        def reached():
            job = self.job(name)
            assert job["state"] == state or job["state"] not in ("SUCCEEDED", "FAILED", "CANCELLED"), job
            return job if job["state"] == state else None

        return wait_until(reached, seconds, f"{name} is {state}")

    def wait_for_training(self, name, step=1, seconds=200):
        """Waits until the job has trained so many steps."""

        def reached():
            job = self.job(name)
            assert job["state"] in ("PENDING", "RUNNING"), job
            # Until the first heartbeat with progress there is none.
            return job["state"] == "RUNNING" and int(job.get("progress", {}).get("step", 0)) >= step

        wait_until(reached, seconds, f"{name} has trained {step} steps")


def process_runs(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def await_last_thread(pid, seconds):
    """Waits until nothing of a process is left: a killed one holds its ports until its last thread has ended, as a zombie too."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([process], [], [], seconds)[0], f"process {pid} is still there"
    finally:
        os.close(process)


def wait_until(condition, seconds, what):
    """Waits for a truth about other processes, which no event tells; returns it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s: {what}")


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


class Files:
    """A small convolutional classifier and data it can learn."""

    def __init__(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.model = folder / "tiny.onnx"
        self.train = folder / "train.npz"
        self.eval = folder / "eval.npz"
        self.save_model(self.model)
        self.save_data(self.train, 256, 1)
        self.save_data(self.eval, 128, 2)

    @staticmethod
    def save_model(path, op="Relu"):
        rng = np.random.default_rng(0)
        weights = {
            "w1": rng.standard_normal((8, 3, 3, 3)) * 0.3,
            "w2": rng.standard_normal((8, 8, 3, 3)) * 0.2,
            "w3": rng.standard_normal((2, 8)),
            "b3": np.zeros(2),
        }
        nodes = [
            helper.make_node("Conv", ["x", "w1"], ["c1"], name="conv1", pads=[1, 1, 1, 1]),
            helper.make_node(op, ["c1"], ["r1"], name="act1"),
            helper.make_node("Conv", ["r1", "w2"], ["c2"], name="conv2", pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c2"], ["r2"], name="act2"),
            helper.make_node("GlobalAveragePool", ["r2"], ["p"], name="pool"),
            helper.make_node("Flatten", ["p"], ["f"], name="flatten"),
            helper.make_node("Gemm", ["f", "w3", "b3"], ["y"], name="fc", transB=1),
        ]
        graph = helper.make_graph(
            nodes, "tiny", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 16, 16])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])],
            [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.save(model, path)

    @staticmethod
    def save_data(path, count, seed, shape=(3, 16, 16), labels=None, change=None):
        rng = np.random.default_rng(seed)
        y = rng.integers(0, 2, count)
        x = rng.standard_normal((count, *shape)).astype(np.float32)
        x[:, 0] += (y * 2 - 1).reshape(-1, *([1] * (len(shape) - 1)))
        if change is not None:
            change(x)
        np.savez(path, x=x, y=y if labels is None else labels(y))


def require_programs():
    missing = [name for name in ("pactory", "pactory-server", "pactory-worker", "pactory-trainer") if not (BIN / name).exists()]
    if missing:
        pytest.skip(f"not built: {', '.join(missing)} in {BIN}")
    if not shutil.which("psql") and not pathlib.Path("/usr/lib/postgresql").exists():
        pytest.skip("PostgreSQL is not installed")


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    return Files(tmp_path_factory.mktemp("files"))


def run_service(folder, workers):
    require_programs()
    service = Service(folder, workers)
    try:
        service.up()
        yield service
    finally:
        service.down()


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    yield from run_service(tmp_path_factory.mktemp("service") / "pactory", 1)


@pytest.fixture(scope="module")
def service_with_two_workers(tmp_path_factory):
    yield from run_service(tmp_path_factory.mktemp("service") / "pactory", 2)
