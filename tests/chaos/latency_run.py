"""How long the service takes to react, with its default settings and a trainer that ignores SIGTERM.

    tests/chaos/latency_run.py [--rounds 3] [--slots 16]      prints a report; exits 1 where a time is over its limit

Measured: a killed worker's jobs running elsewhere, the end of an agent that is told to stop, the end of cancelled jobs, running
and queued. Needs a build.
"""
import argparse
import pathlib
import shutil
import signal
import sys
import tempfile
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent), str(pathlib.Path(__file__).resolve().parents[1] / "e2e")]

from chaos_trainer import STUBBORN  # noqa: E402
from conftest import Files, Service, wait_until  # noqa: E402
from run_report import add_report_argument, publish  # noqa: E402
from world import Agent, install_trainer, sql  # noqa: E402

# In seconds.
LIMITS = {"killed_to_running_elsewhere": 35, "graceful_stop": 5, "cancel_running": 15, "cancel_queued": 1}


class Plain(Service):
    """Server and PostgreSQL with their defaults."""

    def up(self):
        return self.json("local", "up", "--dir", self.folder, "--workers", 0, "--grpc-port", 0, "--http-port", 0)


class Bench:
    def __init__(self, folder, slots):
        self.slots = slots
        self.service = Plain(folder / "pactory", 0)
        self.service.up()
        self.files = Files(folder / "files")
        status = self.service.status()
        self.url = status["postgres"]["url"]
        trainer = install_trainer(folder / "trainer")
        self.agents = [Agent(folder / f"agent-{number}", status["server"]["grpc"], str(self.service.folder / "tokens" / "worker"),
                             trainer, slots=slots) for number in range(2)]

    def submit(self):
        return self.service.submit(self.files, "--set", f"training.seed={STUBBORN}")

    def running(self, agent=None):
        """The running jobs, of one agent or of all, whose trainers have said something."""
        where = f"AND worker_id = '{agent.worker_id()}'" if agent else ""
        return int(sql(self.url, f"SELECT count(*) FROM job_lease WHERE progress IS NOT NULL {where}")[0][0])

    def wait_for_running(self, count, agent=None):
        wait_until(lambda: self.running(agent) == count, 120, f"{count} jobs run")

    def killed_to_running_elsewhere(self, rounds):
        times = []
        for number in range(rounds):
            killed, other = self.agents[number % 2], self.agents[(number + 1) % 2]
            time.sleep(3)
            begin = float(sql(self.url, "SELECT extract(epoch FROM clock_timestamp())")[0][0])
            killed.kill()
            self.wait_for_running(self.slots, other)
            times += [float(row[0]) - begin for row in sql(
                self.url, f"SELECT extract(epoch FROM time) FROM job_event WHERE kind = 'LEASED' AND time > to_timestamp({begin}) "
                          f"AND worker_id = '{other.worker_id()}'")]
            # The same jobs lose a worker in each round, and three would park them.
            sql(self.url, "UPDATE job SET lost_attempts = 0")
            killed.start()
        return times

    def graceful_stop(self, rounds):
        times = []
        for number in range(rounds):
            holder = next(agent for agent in self.agents if self.running(agent) == self.slots)
            other = next(agent for agent in self.agents if agent is not holder)
            begin = time.monotonic()
            holder.process.send_signal(signal.SIGTERM)
            holder.process.wait(timeout=60)
            times.append(time.monotonic() - begin)
            self.wait_for_running(self.slots, other)
            holder.start()
            time.sleep(1)
        return times

    def cancel_running(self, jobs):
        for name in jobs:
            self.service.cli("jobs", "cancel", name)
        wait_until(lambda: sql(self.url, "SELECT count(*) FROM job WHERE end_time IS NULL") == [["0"]], 60, "all have ended")
        return [float(row[0]) for row in sql(self.url, "SELECT extract(epoch FROM end_time - cancel_time) FROM job")]

    def cancel_queued(self, count):
        for agent in self.agents:
            agent.process.terminate()
            agent.process.wait(timeout=30)
        times = []
        for _ in range(count):
            name = self.submit()
            begin = time.monotonic()
            assert self.service.json("jobs", "cancel", name)["state"] == "CANCELLED"
            times.append(time.monotonic() - begin)
        return times

    def run(self, rounds):
        self.agents[0].start()
        jobs = [self.submit() for _ in range(self.slots)]
        self.wait_for_running(self.slots)
        self.agents[1].start()
        return {"killed_to_running_elsewhere": self.killed_to_running_elsewhere(rounds), "graceful_stop": self.graceful_stop(rounds),
                "cancel_running": self.cancel_running(jobs), "cancel_queued": self.cancel_queued(self.slots)}

    def stop(self):
        for agent in self.agents:
            if agent.process and agent.process.poll() is None:
                agent.kill()
        self.service.down()


def summary(times, limit):
    ordered = sorted(times)
    p99 = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    return {"count": len(ordered), "p50_s": round(ordered[len(ordered) // 2], 3), "p99_s": round(p99, 3), "limit_s": limit}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slots", type=int, default=16)
    add_report_argument(parser)
    options = parser.parse_args()
    # Short, for the path of a Unix socket.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pactory-latency-"))
    bench = Bench(folder, options.slots)
    try:
        report = {name: summary(times, LIMITS[name]) for name, times in bench.run(options.rounds).items()}
    finally:
        bench.stop()
        shutil.rmtree(folder, ignore_errors=True)
    publish(report, options)
    return int(any(found["p99_s"] > found["limit_s"] for found in report.values()))


if __name__ == "__main__":
    sys.exit(main())
