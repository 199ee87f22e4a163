"""The short form of the chaos run: every fault once, and every promise kept."""
import json
import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

from conftest import require_programs  # noqa: E402


def test_every_fault_once_breaks_no_promise(tmp_path):
    require_programs()
    report = tmp_path / "report.json"
    environment = {**os.environ, "PACTORY_PYTHON": sys.executable}
    done = subprocess.run([str(pathlib.Path(__file__).with_name("run.sh")), "--minutes", "5", "--rate", "2", "--pause", "4", "--report", str(report)],
                          capture_output=True, text=True, timeout=1200, env=environment)
    assert report.exists(), done.stdout + done.stderr
    found = json.loads(report.read_text())
    assert found["violations"] == []
    assert done.returncode == 0
    # A run in which nothing happened proves nothing.
    assert len(found["faults"]) == 16
    assert found["acknowledged"] >= 20
    assert found["states"]["SUCCEEDED"] >= 10
    assert found["real_trainings_done"] >= 1


def test_racing_requests_make_one_job_each_though_servers_die_before_they_answer(tmp_path):
    require_programs()
    report = tmp_path / "race.json"
    done = subprocess.run([sys.executable, str(pathlib.Path(__file__).with_name("race_run.py")), "--rounds", "30", "--kills", "2",
                           "--report", str(report)], capture_output=True, text=True, timeout=300)
    assert report.exists(), done.stdout + done.stderr
    found = json.loads(report.read_text())
    assert done.returncode == 0, found
    assert (found["jobs"], found["doubled_requests"], found["rounds_with_several_jobs"]) == (30, 0, 0)
    assert found["kills_between_commit_and_answer"] == 2
