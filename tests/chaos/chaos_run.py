"""A chaos run: a real service, agents and clients; faults without pause; then the judgement of every job's history."""
import argparse
import collections
import concurrent.futures
import json
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import uuid

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]

from conftest import BIN, Files, Service, process_runs, wait_until  # noqa: E402
from fault_proxy import FaultProxy  # noqa: E402
from faults import LEASE_SECONDS, Faults  # noqa: E402
from history import unexcused_losses, violations  # noqa: E402

UNREACHABLE = 3
CLIENTS = 3
# The seed of scripted jobs: see chaos_trainer.py.
SCRIPTED = 424242
POSTGRES_BIN = max(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), default=pathlib.Path("/usr/bin"))
SERVER_FLAGS = [f"--lease-seconds={LEASE_SECONDS}", "--heartbeat-seconds=0.5", "--reaper-seconds=0.5", "--retry-seconds=0.5",
                "--sweep-seconds=2", "--keep-old-checkpoints-minutes=0.1"]


class ChaosService(Service):
    """The server and PostgreSQL; agents are the world's own."""

    def up(self):
        server = [f"--server-arg={argument}" for argument in SERVER_FLAGS]
        return self.json("local", "up", "--dir", self.folder, "--workers", 0, "--grpc-port", 0, "--http-port", 0, "--python",
                         sys.executable, *server)


class Agent:
    """One pactory-worker, by the proxy where it has one."""

    def __init__(self, folder, address, token_file, trainer, proxy):
        self.folder = folder
        self.proxy = proxy
        folder.mkdir(parents=True)
        self.command = [str(BIN / "pactory-worker"), "--server", proxy.address if proxy else address, "--token-file", token_file,
                        "--cache-dir", str(folder / "cache"), "--work-dir", str(folder / "work"), "--trainer", str(trainer),
                        "--runtime-check", f"{sys.executable} {HERE.parents[1]}/workers/runtime_check/ort_check.py",
                        "--slots", "2"]
        self.process = None

    def start(self):
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def worker_id(self):
        """The id it keeps over its restarts."""
        return (self.folder / "work" / "worker_id").read_text().strip()


class World:
    """Everything that runs."""

    def __init__(self, folder, agents):
        self.folder = folder
        self.files = Files(folder / "files")
        trainer = folder / "trainer" / "chaos_trainer.py"
        trainer.parent.mkdir()
        shutil.copy(HERE / "chaos_trainer.py", trainer)
        (trainer.parent / "real_trainer").write_text(str(BIN / "pactory-trainer"))
        self.service = ChaosService(folder / "pactory", 0)
        self.service.up()
        status = self.service.status()
        self.url = status["postgres"]["url"]
        self.agents = []
        for number in range(agents):
            proxy = FaultProxy(status["server"]["grpc"]) if number % 2 == 0 else None
            self.agents.append(Agent(folder / f"agent-{number}", status["server"]["grpc"],
                                     str(self.service.folder / "tokens" / "worker"), trainer, proxy))
        for agent in self.agents:
            agent.start()
        # Their content is with the server before the faults begin: uploads have tests of their own.
        self.model = self.service.json("models", "upload", self.files.model)["name"]
        self.data = self.service.json("datasets", "upload", self.files.train)["name"]
        self.eval = self.service.json("datasets", "upload", self.files.eval)["name"]

    def session(self):
        return subprocess.Popen([str(POSTGRES_BIN / "psql"), "-XAtq", self.url], stdin=subprocess.PIPE,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def sql(self, statement, check=True):
        done = subprocess.run([str(POSTGRES_BIN / "psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statement, self.url],
                              capture_output=True, text=True, timeout=120)
        assert done.returncode == 0 or not check, done.stderr
        return [line.split("|") for line in done.stdout.splitlines()]

    def trainer_pids(self):
        pids = []
        for entry in pathlib.Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and str((entry / "cwd").readlink()).startswith(str(self.folder / "agent-")):
                    pids.append(int(entry.name))
            except OSError:
                # It ended meanwhile.
                continue
        return [pid for pid in pids if process_runs(pid)]

    def stop(self):
        for agent in self.agents:
            if agent.process and agent.process.poll() is None:
                agent.process.terminate()
        for agent in self.agents:
            if agent.process:
                agent.process.wait(timeout=30)
            if agent.proxy:
                agent.proxy.stop()
        self.service.down()


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


def read_history(world):
    jobs = {f"jobs/{row[0]}": {"state": row[1], "fence": int(row[2]), "lost": int(row[3]), "failed": int(row[4]),
                               "request": row[5]}
            for row in world.sql("SELECT id, state, fence, lost_attempts, failed_attempts, request_id FROM job")}
    events = [(f"jobs/{row[0]}", row[1]) for row in world.sql("SELECT job_id, kind FROM job_event ORDER BY sequence")]
    artifacts = [(f"jobs/{row[0]}", row[1], int(row[2]), row[3] == "t") for row in world.sql(
        "SELECT a.job_id, a.name, a.fence, b.sha256 = (SELECT encode(sha256(coalesce(string_agg(c.data, ''::bytea ORDER BY "
        "c.index), ''::bytea)), 'hex') FROM blob_chunk c WHERE c.blob_id = b.id) FROM artifact a JOIN blob b ON b.id = a.blob_id")]
    losses = [(f"jobs/{row[0]}", row[1], float(row[2])) for row in world.sql(
        "SELECT job_id, worker_id, extract(epoch FROM time) FROM job_event WHERE kind = 'WORKER_LOST' "
        "OR (kind = 'FAILED' AND (detail LIKE 'POISON%' OR detail LIKE 'WORKER_LOST%'))")]
    return jobs, events, artifacts, losses


def run(minutes, seed, agents, pause):
    rng = random.Random(seed)
    # Short, for the path of a Unix socket.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pactory-chaos-"))
    world = World(folder, agents)
    clients = Clients(world, seed, real_jobs=max(1, int(minutes)))
    try:
        pool = concurrent.futures.ThreadPoolExecutor(CLIENTS)
        running = [pool.submit(clients.run, pause) for _ in range(CLIENTS)]
        faults = Faults(world, rng)
        counts = collections.Counter()
        begin = time.monotonic()
        # Each of them once, then any.
        plan = faults.all()
        rng.shuffle(plan)
        while plan or time.monotonic() - begin < minutes * 60:
            fault = plan.pop() if plan else rng.choice(faults.all())
            fault()
            counts[fault.__name__] += 1
            time.sleep(rng.uniform(0.2, 1))
        clients.stopping.set()
        # A client that met anything but an answer or an outage ends the run.
        for client in running:
            client.result()
        world.service.up()
        wait_until(lambda: world.sql("SELECT count(*) FROM job WHERE end_time IS NULL") == [["0"]], 240, "every job has ended")
        jobs, events, artifacts, losses = read_history(world)
        broken = violations(clients.acknowledged, clients.cancelled, jobs, events, artifacts)
        broken += [f"{job}: lost by {worker}, to which nothing had happened" for job, worker, _ in
                   unexcused_losses(losses, faults.excuses)]
        return {"minutes": minutes, "seed": seed, "faults": dict(counts), "acknowledged": len(clients.acknowledged),
                "jobs": len(jobs), "states": dict(collections.Counter(job["state"] for job in jobs.values())),
                "real_trainings_done": sum(jobs[name]["state"] == "SUCCEEDED" for name in clients.real if name in jobs),
                "cancels": len(clients.cancelled), "leases_lost": len(losses),
                "attempts_failed": sum(job["failed"] for job in jobs.values()), "violations": broken}
    finally:
        clients.stopping.set()
        world.stop()
        shutil.rmtree(folder, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--agents", type=int, default=3)
    parser.add_argument("--pause", type=float, default=0.1, help="seconds between the submits of each client")
    parser.add_argument("--report", help="file for the report, beside standard output")
    options = parser.parse_args()
    report = run(options.minutes, options.seed, options.agents, options.pause)
    text = json.dumps(report, indent=2)
    print(text)
    if options.report:
        pathlib.Path(options.report).write_text(text)
    return 1 if report["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
