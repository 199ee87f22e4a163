"""Measures the queue through gRPC with durable commits, and Procrastinate on the same PostgreSQL in the same run.

Default settings of the server and of PostgreSQL; clients, workers, server and database share this machine. Prints JSON.
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1] / "tests" / "chaos"), str(HERE.parents[1] / "tests" / "e2e")]

from conftest import BIN, Files, Service  # noqa: E402
from run_report import add_report_argument, publish  # noqa: E402
from world import sql  # noqa: E402

FULL = {"starts": 300, "lives": 5000, "depths": [1000, 100000, 1000000], "claims": 300, "workers": 2000, "beats_seconds": 60}
SMALL = {"starts": 40, "lives": 300, "depths": [1000, 20000], "claims": 50, "workers": 100, "beats_seconds": 12}

# Queued jobs like one that was submitted, without the time of so many submits.
FILL = """
WITH made AS (
  INSERT INTO job (tenant_id, display_name, spec, model_id, train_dataset_id, eval_dataset_id, priority, max_attempts, deadline)
  SELECT tenant_id, '', spec, model_id, train_dataset_id, eval_dataset_id, 0, 3, '1 day'
  FROM (SELECT * FROM job LIMIT 1) AS one, generate_series(1, {count})
  RETURNING id, tenant_id, priority, create_time)
INSERT INTO job_ready (job_id, tenant_id, priority, create_time) SELECT id, tenant_id, priority, create_time FROM made"""


class Plain(Service):
    """Server and PostgreSQL with their defaults."""

    def up(self):
        return self.json("local", "up", "--dir", self.folder, "--workers", 0, "--grpc-port", 0, "--http-port", 0)


def cpu_seconds(pid):
    """CPU time of a process and all that it started, the ended ones too."""
    ticks = 0
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(entry.name) == pid:
            ticks += sum(int(field) for field in fields[11:15])
        elif int(fields[1]) == pid:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


class Bench:
    def __init__(self, folder, sizes):
        self.sizes = sizes
        self.service = Plain(folder / "pactory", 0)
        self.service.up()
        files = Files(folder / "files")
        self.model = self.service.json("models", "upload", files.model)["name"]
        self.data = self.service.json("datasets", "upload", files.train)["name"]
        status = self.service.status()
        self.address = status["server"]["grpc"]
        self.server_pid = status["server"]["pid"]
        self.postgres_pid = status["postgres"]["pid"]
        self.url = status["postgres"]["url"]
        tokens = self.service.folder / "tokens"
        self.environment = {**os.environ, "PACTORY_TOKEN": (tokens / "user").read_text().strip(),
                            "PACTORY_WORKER_TOKEN": (tokens / "worker").read_text().strip()}

    def start_load(self, *arguments):
        return subprocess.Popen([str(BIN / "queue_load"), "--server", self.address, "--model", self.model, "--data", self.data,
                                 "--eval-data", self.data, *map(str, arguments)], stdout=subprocess.PIPE, text=True,
                                env=self.environment)

    def load(self, *arguments):
        process = self.start_load(*arguments)
        out, _ = process.communicate(timeout=3600)
        assert process.returncode == 0, arguments
        return json.loads(out.splitlines()[-1])

    def queued(self):
        return int(sql(self.url, "SELECT count(*) FROM job_ready")[0][0])

    def fill_to(self, depth):
        missing = depth - self.queued()
        if missing > 0:
            sql(self.url, FILL.format(count=missing))
        sql(self.url, "ANALYZE")

    def claims(self):
        found = {}
        for depth in self.sizes["depths"]:
            self.fill_to(depth)
            found[str(depth)] = self.load("claims", "--jobs", self.sizes["claims"])["lease"]
        return found

    def heartbeats(self):
        self.fill_to(self.sizes["workers"])
        process = self.start_load("heartbeats", "--workers", self.sizes["workers"], "--interval", 10, "--seconds",
                                  self.sizes["beats_seconds"])
        assert process.stdout.readline().strip() == "ready"
        begin, postgres, server = time.monotonic(), cpu_seconds(self.postgres_pid), cpu_seconds(self.server_pid)
        out, _ = process.communicate(timeout=600)
        assert process.returncode == 0
        seconds = time.monotonic() - begin
        return {**json.loads(out), "percent_of_a_core_postgres": round((cpu_seconds(self.postgres_pid) - postgres) / seconds * 100, 1),
                "percent_of_a_core_server": round((cpu_seconds(self.server_pid) - server) / seconds * 100, 1)}

    def run(self):
        found = {"starts": self.load("starts", "--jobs", self.sizes["starts"])["submit_to_start"]}
        found["lives"] = [self.load("lives", "--submitters", n, "--workers", n, "--jobs", self.sizes["lives"]) for n in (4, 16)]
        found["heartbeats"] = self.heartbeats()
        found["claim_by_depth"] = self.claims()
        return found


def peer(python, bench):
    """The other queue, in a database of its own of the same cluster."""
    sql(bench.url, "CREATE DATABASE peer")
    url = bench.url.replace("/pactory?", "/peer?") if "/pactory?" in bench.url else bench.url
    assert url != bench.url, bench.url
    done = subprocess.run([python, str(HERE / "procrastinate_peer.py"), "--url", url, "--sizes", json.dumps(bench.sizes)],
                          stdout=subprocess.PIPE, text=True, timeout=3600)
    assert done.returncode == 0
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a minute, to see that it works")
    parser.add_argument("--peer-python", help="Python with Procrastinate; without it there is no peer")
    add_report_argument(parser)
    options = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pactory-queue-"))
    bench = None
    try:
        bench = Bench(folder, SMALL if options.small else FULL)
        report = {"cpus": os.cpu_count(), "load_before": os.getloadavg()[0], "sizes": bench.sizes, "pactory": bench.run()}
        if options.peer_python:
            report["procrastinate"] = peer(options.peer_python, bench)
        report["load_after"] = os.getloadavg()[0]
    finally:
        if bench:
            bench.service.down()
        shutil.rmtree(folder, ignore_errors=True)
    publish(report, options)


if __name__ == "__main__":
    main()
