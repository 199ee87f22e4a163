"""The model of the lease protocol, checked exhaustively by SPIN; and with faults put in, each of which must be found.

Run as a program it checks in minutes what the tests leave out: that every job ends with two crashes.
"""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import pytest

MODEL = pathlib.Path(__file__).parent / "lease.pml"
MEMORY_MIB = 3000
# Of one command; on two idle cores the longest takes 40.
SECONDS = 150
LONG_SECONDS = 3600


@pytest.fixture(scope="session", autouse=True)
def tools():
    for tool in ("spin", "gcc"):
        assert shutil.which(tool), f"{tool} must be installed: scripts/bootstrap.sh"


def check(folder, *defines, liveness=False, optimize="-O2", seconds=SECONDS):
    """Runs the check in `folder`; returns the number of errors, whether every state was seen, and what was printed."""
    flags = [f"-D{name}" for name in (*defines, *(["LIVENESS"] if liveness else []))]
    subprocess.run(["spin", *flags, "-a", str(MODEL)], cwd=folder, check=True, capture_output=True, timeout=SECONDS)
    kind = ["-DNFAIR=3"] if liveness else ["-DSAFETY", "-DNOCLAIM"]
    subprocess.run(["gcc", optimize, "-w", "-DCOLLAPSE", f"-DMEMLIM={MEMORY_MIB}", "-DVECTORSZ=2048", *kind, "-o", "pan", "pan.c"],
                   cwd=folder, check=True, timeout=SECONDS)
    run = ["./pan", "-m1000000", *(["-a", "-f", "-N", "every_job_ends"] if liveness else [])]
    done = subprocess.run(run, cwd=folder, capture_output=True, text=True, timeout=seconds)
    errors = re.search(r"errors: (\d+)", done.stdout)
    assert errors, done.stdout + done.stderr
    complete = "Search not completed" not in done.stdout and "max search depth too small" not in done.stdout
    return int(errors.group(1)), complete, done.stdout


def test_no_job_is_lost_or_published_twice_or_after_a_cancel(tmp_path):
    errors, complete, output = check(tmp_path)
    assert errors == 0, output
    assert complete, output
    # A model that can't move has no errors either.
    assert float(re.search(r"([\d.e+]+) states, stored", output).group(1)) > 100000, output


def test_every_job_ends(tmp_path):
    errors, complete, output = check(tmp_path, liveness=True)
    assert errors == 0, output
    assert complete, output


@pytest.mark.parametrize("fault, violated", [
    ("NO_FENCE", "fence"),
    # An ended job is queued again.
    ("REAP_WITHOUT_GUARD", ""),
    ("PUBLISH_AFTER_CANCEL", "cancel_acknowledged"),
    ("NO_FRESH_TERM", "unheard"),
    # A job stands nowhere.
    ("NO_REQUEUE", ""),
])
def test_a_fault_in_the_protocol_is_found(tmp_path, fault, violated):
    errors, _, output = check(tmp_path, fault, optimize="-O0")
    assert errors > 0, output
    violation = re.search(r"assertion violated (.*)", output)
    assert violation and violated in violation.group(1), output


def test_a_job_that_nobody_queues_again_never_ends(tmp_path):
    errors, _, output = check(tmp_path, "NO_REQUEUE", "ATTEMPTS=2", liveness=True)
    assert errors > 0 and "acceptance cycle" in output, output


def main():
    with tempfile.TemporaryDirectory() as folder:
        errors, complete, output = check(folder, "CRASHES=2", liveness=True, seconds=LONG_SECONDS)
    print(output)
    return int(errors > 0 or not complete)


if __name__ == "__main__":
    sys.exit(main())
