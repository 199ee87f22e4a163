import pathlib
import subprocess
import sys

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "count_tests.py"


def count(tmp_path, cases):
    report = tmp_path / "report.xml"
    report.write_text(f"<testsuite>{cases}</testsuite>")
    return subprocess.run([sys.executable, SCRIPT, report], capture_output=True, text=True, check=False)


def test_counts_and_passes(tmp_path):
    done = count(tmp_path, '<testcase name="a"/><testcase name="b"><skipped/></testcase>')
    assert (done.returncode, done.stdout) == (0, "1 passed, 0 failed, 1 skipped\n")


def test_a_failure_fails(tmp_path):
    done = count(tmp_path, '<testcase name="a"/><testcase name="b" status="fail"><failure/></testcase>')
    assert (done.returncode, done.stdout) == (1, "1 passed, 1 failed, 0 skipped\n")


def test_an_empty_report_fails(tmp_path):
    assert count(tmp_path, "").returncode != 0
