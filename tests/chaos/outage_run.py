"""Both servers, then PostgreSQL, are gone for minutes while an agent trains: does it train on, and deliver afterwards?

    tests/chaos/outage_run.py [--minutes 10]      prints a report; exits 1 where a job was begun again or not delivered

Of two jobs one ends while nobody hears of it, the other trains through the whole of it. Needs a build.
"""
import argparse
import pathlib
import shutil
import sys
import tempfile
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent), str(pathlib.Path(__file__).resolve().parents[1] / "e2e")]

from conftest import wait_until  # noqa: E402
from run_report import add_report_argument, publish  # noqa: E402
from world import World  # noqa: E402

SHORT_STEPS = 2000
ENDLESS_STEPS = 10**7
ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")


class Outages:
    def __init__(self, world, seconds):
        self.world = world
        self.seconds = seconds

    def submit(self, steps):
        world = self.world
        return world.service.cli("jobs", "submit", "--model", world.model, "--data", world.data, "--eval-data", world.eval, "--preset",
                                 "qat_int8", "--set", f"training.steps={steps}").stdout.strip()

    def job(self, name):
        return self.world.service.json("jobs", "show", name)

    def step(self, name):
        return int(self.world.sql(f"SELECT coalesce(max(step), 0) FROM job_metric WHERE job_id = '{name.split('/')[1]}'")[0][0])

    def kill_servers(self):
        self.world.service.kill(self.world.service.server_pid())
        self.world.second.kill()

    def through(self, take_away):
        """One outage; returns what became of its two jobs."""
        names = {"short": self.submit(SHORT_STEPS), "long": self.submit(ENDLESS_STEPS)}
        wait_until(lambda: all(self.step(name) > 0 for name in names.values()), 120, "both trainings are under way")
        found = {kind: {"step_before": self.step(name)} for kind, name in names.items()}
        trainers = len(self.world.trainer_pids())
        take_away()
        time.sleep(self.seconds)
        found["short"]["ended_meanwhile"] = len(self.world.trainer_pids()) < trainers
        self.world.up()
        back = time.monotonic()
        wait_until(lambda: self.job(names["short"])["state"] in ENDED, 120, "the short job has ended")
        found["short"]["delivered_after_s"] = round(time.monotonic() - back, 1)
        self.world.service.cli("jobs", "stop-training", names["long"])
        wait_until(lambda: self.job(names["long"])["state"] in ENDED, 300, "the long job has ended")
        for kind, name in names.items():
            leases = self.world.sql(f"SELECT count(*) FROM job_event WHERE kind = 'LEASED' AND job_id = '{name.split('/')[1]}'")
            found[kind] |= {"last_step": self.step(name), "state": self.job(name)["state"], "leases": int(leases[0][0])}
        return found

    def run(self):
        return {"servers": self.through(self.kill_servers), "postgres": self.through(self.world.kill_postgres)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    add_report_argument(parser)
    options = parser.parse_args()
    # Short, for the path of a Unix socket.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pactory-outage-"))
    world = World(folder, 1)
    try:
        report = Outages(world, options.minutes * 60).run()
    finally:
        world.stop()
        shutil.rmtree(folder, ignore_errors=True)
    publish(report, options)
    jobs = [job for outage in report.values() for job in outage.values()]
    kept = all(job["state"] == "SUCCEEDED" and job["leases"] == 1 for job in jobs)
    return int(not (kept and all(outage["short"]["ended_meanwhile"] for outage in report.values())))


if __name__ == "__main__":
    sys.exit(main())
