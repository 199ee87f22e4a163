"""What operators rely on: doctor, gc, alert rules over numbers that exist, and a backup from which jobs go on."""
import json
import pathlib
import re
import subprocess
import urllib.request

import pytest

from conftest import BIN, ROOT, run_service, wait_until

POSTGRES_BIN = max(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), default=pathlib.Path("/usr/bin"))


def server_program(service, *arguments, rc=0):
    url = service.status()["postgres"]["url"]
    done = subprocess.run([str(BIN / "pactory-server"), *arguments, "--database-url", url], capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == rc, f"{arguments}: rc={done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def postgres_program(name, *arguments):
    """Runs a client program of PostgreSQL; returns what it printed."""
    done = subprocess.run([str(POSTGRES_BIN / name), *map(str, arguments)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{name}: {done.stdout}\n{done.stderr}"
    return done.stdout


def sql(service, statement):
    return postgres_program("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statement, service.status()["postgres"]["url"]).strip()


def test_doctor_finds_a_working_service_well(service, files):
    report = json.loads(server_program(service, "doctor", "--output", "json").stdout)
    assert report["healthy"] is True
    checks = {check["check"]: check["level"] for check in report["checks"]}
    assert {"schema", "leases", "jobs", "queue", "unused_blobs", "oldest_transaction", "bloat_job_lease"} <= set(checks)
    assert "problem" not in checks.values()
    assert "oldest_transaction" in server_program(service, "doctor").stdout


def test_doctor_ends_with_1_for_a_problem_and_3_without_a_database(service):
    sql(service, "UPDATE schema_migration SET number = number + 1000 WHERE number = (SELECT max(number) FROM schema_migration)")
    try:
        done = server_program(service, "doctor", "--output", "json", rc=1)
        assert json.loads(done.stdout)["healthy"] is False
        assert "schema" in done.stderr
    finally:
        sql(service, "UPDATE schema_migration SET number = number - 1000 WHERE number > 1000")
    away = subprocess.run([str(BIN / "pactory-server"), "doctor", "--database-url", "postgresql://u:very-secret@127.0.0.1:1/x"],
                          capture_output=True, text=True, timeout=60)
    assert away.returncode == 3
    assert "very-secret" not in away.stdout + away.stderr


def test_tenants_are_limited_by_the_operator(service, files):
    listed = {tenant["name"]: tenant for tenant in json.loads(server_program(service, "tenant", "list", "--output", "json").stdout)}
    assert (listed["default"]["weight"], listed["default"]["max_queued"]) == (1, None)
    server_program(service, "tenant", "set", "default", "--weight", "3", "--max-queued", "0", "--max-running", "8")
    try:
        assert "3" in server_program(service, "tenant", "list").stdout
        refused = service.cli("jobs", "submit", "--model", files.model, "--data", files.train, "--eval-data", files.eval, rc=1)
        assert "at most 0 queued" in refused.stderr
    finally:
        server_program(service, "tenant", "set", "default", "--weight", "1", "--no-max-queued", "--no-max-running")
    assert "nobody" in server_program(service, "tenant", "set", "nobody", "--weight", "2", rc=1).stderr
    server_program(service, "tenant", "set", "default", "--weight", "0", rc=2)


def test_gc_removes_what_nothing_refers_to_and_no_more(service, files):
    service.cli("models", "upload", files.model)
    models = len(service.json("models", "list")["models"])
    lonely = files.folder / "lonely.npz"
    files.save_data(lonely, 16, 7)
    dataset = service.json("datasets", "upload", lonely)
    service.cli("datasets", "delete", dataset["name"])
    assert json.loads(server_program(service, "gc", "--output", "json").stdout)["removed"]["blobs"] == 0
    sql(service, "UPDATE blob SET use_time = now() - interval '2 hours'")
    removed = json.loads(server_program(service, "gc", "--keep-unused-blobs-hours", "1", "--output", "json").stdout)["removed"]
    assert removed["blobs"] >= 1
    assert len(service.json("models", "list")["models"]) == models
    assert "blobs" in server_program(service, "gc").stdout
    server_program(service, "gc", "--keep-unused-blobs-hours", "0", rc=2)


def test_every_alert_is_about_a_number_that_is_there(service):
    address = service.status()["server"]["http"]
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    there = {re.split(r"[{ ]", line)[0] for line in text.splitlines() if line and not line.startswith("#")}
    rules = (ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text()
    expressions = re.findall(r"^\s+expr: (.+)$", rules, re.MULTILINE)
    assert len(expressions) == len(re.findall(r"- alert:", rules)) >= 10
    for expression in expressions:
        names = re.findall(r"\b(?:pactory_\w+|up)\b", expression)
        assert names, expression
        assert set(names) - {"up"} <= there, expression
        for label, value in re.findall(r'(\w+)="([^"]+)"', expression):
            assert label == "job" or f'{label}="{value}"' in text, expression
    documented = (ROOT / "docs" / "operations.md").read_text()
    for alert in re.findall(r"- alert: (\w+)", rules):
        assert f"`{alert}`" in documented, alert


@pytest.fixture
def own_service(tmp_path_factory):
    yield from run_service(tmp_path_factory.mktemp("service") / "pactory", 1)


def test_jobs_go_on_from_a_backup(own_service, files, tmp_path):
    service = own_service
    done = service.submit(files, steps=20)
    service.wait_for(done, "SUCCEEDED")
    running = service.submit(files, "--set", "training.checkpoint_every=30", steps=600)
    queued = service.submit(files, steps=20)
    service.wait_for_training(running, step=100)
    wait_until(lambda: sql(service, "SELECT count(*) FROM job WHERE checkpoint_step IS NOT NULL") == "1", 60,
               "a checkpoint is stored")
    url = service.status()["postgres"]["url"]
    dump = tmp_path / "pactory.dump"
    postgres_program("pg_dump", "--format=custom", f"--file={dump}", url)

    # The disaster: the programs die and the database is empty.
    service.kill(service.server_pid())
    service.kill(service.worker_pid())
    sql(service, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    postgres_program("pg_restore", "--exit-on-error", "--no-owner", f"--dbname={url}", dump)
    doctor = subprocess.run([str(BIN / "pactory-server"), "doctor", "--output", "json", "--database-url", url],
                            capture_output=True, text=True, timeout=60)
    levels = {check["check"]: check["level"] for check in json.loads(doctor.stdout)["checks"]}
    assert levels["schema"] == levels["jobs"] == "ok"
    service.up()

    assert service.job(done)["state"] == "SUCCEEDED"
    job = service.wait_for(running, "SUCCEEDED", seconds=400)
    assert (job["attempt"], job["lost_attempts"]) == (2, 1)
    service.wait_for(queued, "SUCCEEDED", seconds=300)
    metrics = service.json("jobs", "metrics", running, "--prefix", "train/loss")["metrics"]
    assert min(int(metric["step"]) for metric in metrics) > 1, "the job started from nothing, not from its checkpoint"
    out = tmp_path / "out"
    service.cli("jobs", "download", done, "--out", out)
    assert (out / "model.int8.onnx").exists()
