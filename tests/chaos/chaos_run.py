"""A chaos run: a real service, agents and clients; faults without pause; then the judgement of every job's history."""
import argparse
import collections
import concurrent.futures
import pathlib
import random
import shutil
import sys
import tempfile
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent), str(pathlib.Path(__file__).resolve().parents[1] / "e2e")]

from clients import Clients  # noqa: E402
from conftest import wait_until  # noqa: E402
from faults import LEASE_SECONDS, Faults  # noqa: E402
from history import unexcused_losses, violations  # noqa: E402
from run_report import add_report_argument, publish  # noqa: E402
from world import World  # noqa: E402

CLIENTS = 2


def read_history(world):
    jobs = {f"jobs/{row[0]}": {"state": row[1], "fence": int(row[2]), "lost": int(row[3]), "failed": int(row[4]),
                               "request": row[5], "reason": row[6]}
            for row in world.sql("SELECT id, state, fence, lost_attempts, failed_attempts, request_id, error_reason FROM job")}
    events = [(f"jobs/{row[0]}", row[1]) for row in world.sql("SELECT job_id, kind FROM job_event ORDER BY sequence")]
    artifacts = [(f"jobs/{row[0]}", row[1], int(row[2]), row[3] == "t") for row in world.sql(
        "SELECT a.job_id, a.name, a.fence, b.sha256 = (SELECT encode(sha256(coalesce(string_agg(c.data, ''::bytea ORDER BY "
        "c.index), ''::bytea)), 'hex') FROM blob_chunk c WHERE c.blob_id = b.id) FROM artifact a JOIN blob b ON b.id = a.blob_id")]
    return jobs, events, artifacts


def read_losses(world):
    """The leases that ran out, and how many of them no worker had: the answer to the claim was lost with its connection."""
    rows = world.sql(
        "SELECT e.job_id, e.worker_id, extract(epoch FROM max(l.time)), extract(epoch FROM e.time), count(*) "
        "FROM job_event e JOIN job_event l ON l.job_id = e.job_id AND l.kind = 'LEASED' AND l.sequence < e.sequence "
        "WHERE e.kind = 'WORKER_LOST' OR (e.kind = 'FAILED' AND (e.detail LIKE 'POISON%' OR e.detail LIKE 'WORKER_LOST%')) "
        "GROUP BY e.sequence, e.job_id, e.worker_id, e.time")
    logs = {agent.worker_id(): agent.log() for agent in world.agents}
    had = [row for row in rows if f"jobs/{row[0]}: attempt {row[4]} starts" in logs[row[1]]]
    return [(f"jobs/{row[0]}", row[1], float(row[2]), float(row[3])) for row in had], len(rows) - len(had)


def faults_before(done, moment):
    """What was done in the last terms before a moment, for whoever looks for the cause."""
    return ", ".join(f"{name} {start:.1f}-{end:.1f}" for name, start, end in done if moment - 5 * LEASE_SECONDS < end and start < moment)


def run(minutes, seed, agents, pause, rate):
    rng = random.Random(seed)
    # Short, for the path of a Unix socket.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pactory-chaos-"))
    world = World(folder, agents)
    clients = Clients(world, seed, real_jobs=max(1, round(minutes * 1.3)))
    kept = False
    try:
        pool = concurrent.futures.ThreadPoolExecutor(CLIENTS)
        running = [pool.submit(clients.run, pause) for _ in range(CLIENTS)]
        clients.start_volume(rate)
        faults = Faults(world, rng)
        done = []
        begin = time.time()
        # Each of them once, then any.
        plan = faults.all()
        rng.shuffle(plan)
        while plan or time.time() - begin < minutes * 60:
            fault = plan.pop() if plan else rng.choice(faults.all())
            start = time.time()
            faults.do(fault)
            done.append((fault.__name__, start - begin, time.time() - begin))
            time.sleep(rng.uniform(0.2, 1))
        clients.stopping.set()
        # A client that met anything but an answer or an outage ends the run.
        for client in running:
            client.result()
        world.up()
        clients.stop_volume()
        wait_until(lambda: world.sql("SELECT count(*) FROM job WHERE end_time IS NULL") == [["0"]], 900, "every job has ended")
        jobs, events, artifacts = read_history(world)
        losses, unanswered = read_losses(world)
        broken = violations(clients.acknowledged, clients.cancelled, jobs, events, artifacts)
        broken += [f"{job}: lost by {worker} at {moment - begin:.1f} s, to which nothing had happened; before it: "
                   f"{faults_before(done, moment - begin)}" for job, worker, _, moment in
                   unexcused_losses(losses, faults.harms, faults.outages, LEASE_SECONDS)]
        # The logs, for whoever looks for the cause.
        kept = bool(broken)
        return {"minutes": minutes, "seed": seed, "folder": str(folder) if kept else None, "began": begin,
                "faults": dict(collections.Counter(name for name, _, _ in done)), "acknowledged": len(clients.acknowledged),
                "jobs": len(jobs), "states": dict(collections.Counter(job["state"] for job in jobs.values())),
                "real_trainings_done": sum(jobs[name]["state"] == "SUCCEEDED" for name in clients.real if name in jobs),
                "cancels": len(clients.cancelled), "leases_lost": len(losses), "claims_unanswered": unanswered,
                "attempts_failed": sum(job["failed"] for job in jobs.values()), "violations": broken}
    finally:
        clients.stopping.set()
        if clients.volume and clients.volume.poll() is None:
            clients.volume.kill()
        world.stop()
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--agents", type=int, default=4)
    parser.add_argument("--rate", type=float, default=6, help="scripted jobs a second")
    parser.add_argument("--pause", type=float, default=2, help="seconds between the submits of each client of the command line")
    add_report_argument(parser)
    options = parser.parse_args()
    report = run(options.minutes, options.seed, options.agents, options.pause, options.rate)
    publish(report, options)
    return 1 if report["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
