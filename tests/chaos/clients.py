"""The clients of a chaos run, and what they were told."""
import collections
import concurrent.futures
import os
import pathlib
import random
import subprocess
import threading
import time
import uuid

from conftest import BIN

UNREACHABLE = 3
# The seed of scripted jobs: see chaos_trainer.py.
SCRIPTED = 424242


class Clients:
    """People who submit and cancel, repeat what was not answered, and remember what they were told."""

    def __init__(self, world, seed, real_jobs):
        self.world = world
        self.rng = random.Random(seed)
        self.real_left = real_jobs
        self.lock = threading.Lock()
        self.acknowledged = collections.defaultdict(set)
        self.cancelled = set()
        self.real = set()
        self.stopping = threading.Event()
        self.volume = None

    def submit_once(self, request, flags):
        world = self.world
        return world.service.cli("jobs", "submit", "--model", world.model, "--data", world.data, "--eval-data", world.eval,
                                 "--preset", "qat_int8", "--request-id", request, "--max-attempts", 20, *flags, rc=None)

    def submit(self):
        request = str(uuid.UUID(int=self.rng.getrandbits(128), version=4))
        with self.lock:
            real = self.real_left > 0
            self.real_left -= real
        flags = (["--set", "training.steps=60", "--set", "training.checkpoint_every=10"] if real else
                 ["--set", f"training.seed={SCRIPTED}", "--stall-minutes", "0.2"])
        while True:
            # The same request twice at once, now and then; and again where no answer came.
            copies = 2 if self.rng.random() < 0.15 else 1
            with concurrent.futures.ThreadPoolExecutor(copies) as pool:
                answers = list(pool.map(lambda _: self.submit_once(request, flags), range(copies)))
            names = {answer.stdout.strip() for answer in answers if answer.returncode == 0}
            for answer in answers:
                assert answer.returncode in (0, UNREACHABLE), answer.stderr
            if names:
                break
            if self.stopping.is_set():
                return
        with self.lock:
            self.acknowledged[request] |= names
            if real:
                self.real |= names
        if not real and self.rng.random() < 0.08:
            self.cancel(next(iter(names)))

    def cancel(self, name):
        time.sleep(self.rng.uniform(0, 1))
        done = self.world.service.cli("jobs", "cancel", name, rc=None)
        if done.returncode == 0:
            with self.lock:
                self.cancelled.add(name)

    def run(self, pause):
        while not self.stopping.wait(pause):
            self.submit()

    def start_volume(self, rate):
        """Starts the clients of queue_load, which submit, repeat, and send again late and out of order."""
        world = self.world
        self.volume_log = world.folder / "acknowledgements"
        tokens = {"PACTORY_TOKEN": pathlib.Path(world.token("user")).read_text().strip()}
        with open(world.folder / "volume.log", "ab") as log:
            self.volume = subprocess.Popen(
                [str(BIN / "queue_load"), "--server", world.address, "--model", world.model, "--data", world.data,
                 "--eval-data", world.eval, "--seed", str(SCRIPTED), "clients", "--clients", "6", "--rate", str(rate),
                 "--acknowledgements", str(self.volume_log)], stdout=log, stderr=log, env={**os.environ, **tokens})

    def stop_volume(self):
        """Ends them and adds what they were told."""
        self.volume.terminate()
        code = self.volume.wait(timeout=120)
        assert code == 0, (self.world.folder / "volume.log").read_text()[-2000:]
        for line in self.volume_log.read_text().splitlines():
            words = line.split()
            if words[0] == "job":
                self.acknowledged[words[1]].add(words[2])
            else:
                self.cancelled.add(words[1])
