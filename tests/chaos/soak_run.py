"""Mixed load without faults for hours (scripted jobs; real trainings, which bring metrics, checkpoints and files, each followed and
fetched by two people): does the memory of server and agents grow, do the hot tables?

    tests/chaos/soak_run.py --hours 1      prints a report; exits 1 where something grows beyond its limit

Growth is the slope of a line through the resident memory after the first tenth of the time. Needs a build.
"""
import argparse
import concurrent.futures
import pathlib
import shutil
import sys
import tempfile
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent), str(pathlib.Path(__file__).resolve().parents[1] / "e2e")]

from clients import Clients  # noqa: E402
from conftest import wait_until  # noqa: E402
from run_report import add_report_argument, publish  # noqa: E402
from world import World  # noqa: E402

MIB_PER_HOUR = 1
HOT_TABLE_MIB = 64
HOT_TABLES = ["job_ready", "job_lease", "worker", "blob_upload", "tenant_share", "share_settlement",
              "superseded_checkpoint"]
SAMPLE_SECONDS = 5
REAL_JOB_SECONDS = 20


def resident_mib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"process {pid} has no resident memory")


def slope(samples):
    """Least squares of [(hours, MiB)], in MiB an hour."""
    mean_x = sum(x for x, _ in samples) / len(samples)
    mean_y = sum(y for _, y in samples) / len(samples)
    spread = sum((x - mean_x) ** 2 for x, _ in samples)
    return sum((x - mean_x) * (y - mean_y) for x, y in samples) / spread


def follow(world, clients, folder):
    """Watches every real job to its end and downloads its files."""
    followed = set()
    while not clients.stopping.wait(1):
        with clients.lock:
            left = clients.real - followed
        for name in left:
            world.service.cli("jobs", "watch", name)
            world.service.cli("jobs", "download", name, "--out", folder)
            shutil.rmtree(folder)
            followed.add(name)


def run(hours, rate, agents):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pactory-soak-"))
    world = World(folder, agents)
    clients = Clients(world, 1, real_jobs=round(hours * 3600))
    people = concurrent.futures.ThreadPoolExecutor(3)
    try:
        clients.start_volume(rate)
        running = [people.submit(clients.run, REAL_JOB_SECONDS),
                   *(people.submit(follow, world, clients, folder / f"files-{number}") for number in range(2))]
        pids = {"server": world.service.server_pid(), "second server": world.second.process.pid,
                **{f"agent {number}": agent.process.pid for number, agent in enumerate(world.agents)}}
        samples = {name: [] for name in pids}
        tables = dict.fromkeys(HOT_TABLES, 0.0)
        begin = time.monotonic()
        while (now := (time.monotonic() - begin) / 3600) < hours:
            for name, pid in pids.items():
                samples[name].append((now, resident_mib(pid)))
            for table in HOT_TABLES:
                size = float(world.sql(f"SELECT pg_total_relation_size('{table}') / 1048576.0")[0][0])
                tables[table] = max(tables[table], size)
            time.sleep(SAMPLE_SECONDS)
        clients.stopping.set()
        for person in running:
            person.result()
        clients.stop_volume()
        wait_until(lambda: world.sql("SELECT count(*) FROM job WHERE end_time IS NULL") == [["0"]], 600, "every job has ended")
        memory = {}
        for name, seen in samples.items():
            warm = seen[len(seen) // 10:]
            memory[name] = {"first_mib": round(warm[0][1], 1), "last_mib": round(warm[-1][1], 1),
                            "mib_per_hour": round(slope(warm), 2)}
        return {"hours": hours, "jobs": int(world.sql("SELECT count(*) FROM job")[0][0]), "real_trainings": len(clients.real), "memory": memory,
                "largest_table_mib": {table: round(size, 2) for table, size in tables.items()}}
    finally:
        clients.stopping.set()
        if clients.volume and clients.volume.poll() is None:
            clients.volume.kill()
        world.stop()
        shutil.rmtree(folder, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, default=1)
    parser.add_argument("--rate", type=float, default=4, help="jobs a second")
    parser.add_argument("--agents", type=int, default=3)
    add_report_argument(parser)
    options = parser.parse_args()
    report = run(options.hours, options.rate, options.agents)
    publish(report, options)
    grows = any(found["mib_per_hour"] > MIB_PER_HOUR for found in report["memory"].values())
    return int(grows or any(size > HOT_TABLE_MIB for size in report["largest_table_mib"].values()))


if __name__ == "__main__":
    sys.exit(main())
