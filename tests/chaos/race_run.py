"""Clients race one request id, round after round, while servers are killed between a commit and its answer.

    tests/chaos/race_run.py --rounds 10000 --kills 200      prints a report; exits 1 where a request made two jobs

Each kill is aimed: the answers of the server are swallowed, a job is committed meanwhile, and then the server dies. Needs a build.
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

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent), str(pathlib.Path(__file__).resolve().parents[1] / "e2e")]

from conftest import BIN, Files, wait_until  # noqa: E402
from fault_proxy import FaultProxy  # noqa: E402
from run_report import add_report_argument, publish  # noqa: E402
from world import ChaosService, sql  # noqa: E402


def jobs(url):
    return int(sql(url, "SELECT count(*) FROM job")[0][0])


def kill_between_commit_and_answer(service, proxy, url, race):
    """Returns whether the race went on until the kill."""
    before = jobs(url)
    proxy.swallow = True
    # Either a job is committed now, or the one of this round was before: then the racers wait for answers that are lost.
    patience = time.monotonic() + 1
    while jobs(url) == before and time.monotonic() < patience:
        continue
    service.kill(service.server_pid())
    proxy.cut()
    proxy.swallow = False
    service.up()
    return race.poll() is None


def run(clients, rounds, kills):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pactory-race-"))
    service = ChaosService(folder / "pactory", 0)
    try:
        service.up()
        files = Files(folder / "files")
        model = service.json("models", "upload", files.model)["name"]
        data = service.json("datasets", "upload", files.train)["name"]
        status = service.status()
        url = status["postgres"]["url"]
        proxy = FaultProxy(status["server"]["grpc"])
        token = (service.folder / "tokens" / "user").read_text().strip()
        race = subprocess.Popen([str(BIN / "queue_load"), "--server", proxy.address, "--model", model, "--data", data, "--eval-data",
                                 data, "race", "--clients", str(clients), "--rounds", str(rounds)], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, env={**os.environ, "PACTORY_TOKEN": token})
        begin = time.monotonic()
        killed = 0
        for kill in range(kills):
            # Spread over the rounds.
            wait_until(lambda: jobs(url) >= (kill + 0.5) * rounds / kills or race.poll() is not None, 3600, "the next kill is due")
            if race.poll() is not None:
                break
            killed += kill_between_commit_and_answer(service, proxy, url, race)
        out, err = race.communicate(timeout=7200)
        proxy.stop()
        assert race.returncode == 0, err
        report = json.loads(out)
        doubled = int(sql(url, "SELECT count(*) FROM (SELECT request_id FROM job GROUP BY tenant_id, request_id HAVING count(*) > 1) AS d")[0][0])
        report.update({"kills_between_commit_and_answer": killed, "jobs": jobs(url), "doubled_requests": doubled,
                       "seconds": round(time.monotonic() - begin, 1)})
        return report
    finally:
        service.down()
        shutil.rmtree(folder, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=10000)
    parser.add_argument("--kills", type=int, default=200)
    add_report_argument(parser)
    options = parser.parse_args()
    report = run(options.clients, options.rounds, options.kills)
    publish(report, options)
    return 1 if report["doubled_requests"] or report["rounds_with_several_jobs"] or report["jobs"] != options.rounds else 0


if __name__ == "__main__":
    sys.exit(main())
