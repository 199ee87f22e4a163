"""A job from upload to download, and what the command line says on the way."""
import json

import numpy as np
import onnxruntime
import pytest


def test_run_brings_back_a_model_that_the_runtime_runs_and_a_report(service, files, tmp_path):
    out = tmp_path / "out"
    done = service.cli("run", "--model", files.model, "--data", files.train, "--eval-data", files.eval, "--preset",
                       "pact_int8", "--set", "training.steps=60", "--set", "training.learning_rate=0.001", "--out", out,
                       timeout=300)
    report = json.loads((out / "report.json").read_text())
    assert (out / "report.html").exists()
    session = onnxruntime.InferenceSession(str(out / "model.int8.onnx"), providers=["CPUExecutionProvider"])
    data = np.load(files.eval)
    answers = session.run(None, {session.get_inputs()[0].name: data["x"]})[0].argmax(1)
    # What the report calls the deployed accuracy is what the runtime gives here.
    assert report["deployed"]["metric"] == pytest.approx((answers == data["y"]).mean(), abs=1e-6)
    assert "deployed" in done.stdout
    assert "SUCCEEDED" in done.stderr


def test_second_run_sends_no_file_again_and_leaves_finished_downloads(service, files, tmp_path):
    arguments = ["run", "--model", files.model, "--data", files.train, "--eval-data", files.eval, "--preset", "ptq_int8",
                 "--out", tmp_path / "out"]
    service.cli(*arguments, timeout=300)
    before = service.metric('pactory_blob_bytes_total{direction="in"}')
    models = len(service.json("models", "list")["models"])
    assert service.cli("models", "upload", files.model).stdout.startswith("models/")
    assert service.metric('pactory_blob_bytes_total{direction="in"}') == before
    assert len(service.json("models", "list")["models"]) == models


def test_watch_metrics_and_artifacts_of_a_finished_job(service, files):
    name = service.submit(files, steps=30)
    watched = service.cli("jobs", "watch", name, "--output", "json", timeout=200).stdout.splitlines()
    events = [json.loads(line) for line in watched]
    assert events[-1]["job"]["state"] == "SUCCEEDED"
    streamed = sum(len(event["metrics"]) for event in events)
    metrics = service.json("jobs", "metrics", name)["metrics"]
    assert streamed == len(metrics) > 0
    losses = [metric for metric in metrics if metric["name"] == "train/loss"]
    assert [int(metric["step"]) for metric in losses] == sorted({int(metric["step"]) for metric in losses})
    artifacts = {artifact["name"].rsplit("/", 1)[1] for artifact in service.json("jobs", "artifacts", name)["artifacts"]}
    assert {"model.int8.onnx", "report.json", "report.html"} <= artifacts


def test_equal_creates_with_one_request_id_make_one_job(service, files):
    request = "11111111-2222-4333-8444-555555555555"
    service.cli("models", "upload", files.model)
    names = {service.submit(files, "--request-id", request, steps=10) for _ in range(2)}
    assert len(names) == 1
    assert sum(job["name"] in names for job in service.json("jobs", "list")["jobs"]) == 1


def test_validate_only_queues_nothing(service, files):
    before = len(service.json("jobs", "list", "--limit", 1000)["jobs"])
    assert service.submit(files, "--validate-only") == "valid"
    assert len(service.json("jobs", "list", "--limit", 1000)["jobs"]) == before


def test_cancel_ends_a_running_job_and_its_trainer(service, files):
    name = service.submit(files, steps=1000000)
    service.wait_for_training(name)
    assert service.trainer_pids()
    service.cli("jobs", "cancel", name)
    service.wait_for(name, "CANCELLED", seconds=15)
    assert not service.trainer_pids()
    assert service.cli("jobs", "watch", name, rc=1)


def test_stopped_training_publishes_its_best_model(service, files, tmp_path):
    name = service.submit(files, "--set", "training.evaluate_every=20", steps=1000000)
    service.wait_for_training(name, step=25)
    service.cli("jobs", "stop-training", name)
    job = service.wait_for(name, "SUCCEEDED", seconds=60)
    assert job["stop_training_requested"] and job["attempt"] == 1
    service.cli("jobs", "download", name, "--out", tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    assert "StopTraining" in report["training"]["ended_early"]
    assert report["qat"]["metric"] == max(entry["metric"] for entry in report["training"]["evaluations"])
    assert onnxruntime.InferenceSession(str(tmp_path / "model.int8.onnx"), providers=["CPUExecutionProvider"])
    # Where it ended hung on a moment, which nothing repeats.
    assert "StopTraining" in service.cli("jobs", "replay", name, rc=2).stderr


def test_replay_makes_the_same_file(service, files):
    name = service.submit(files, "--set", "training.seed=5", steps=25)
    service.wait_for(name, "SUCCEEDED", seconds=120)
    replay = service.json("jobs", "replay", name)
    assert replay["same"] and replay["sha256"] == replay["job_sha256"] and replay["replay"] != name
    spec = [service.job(job)["spec"] for job in (name, replay["replay"])]
    assert spec[0] == spec[1] and spec[0]["config"]["training"]["seed"] == "5"
    failed = service.cli("jobs", "replay", "jobs/11111111-2222-4333-8444-555555555556", rc=2)
    assert "no such job" in failed.stderr


def test_two_workers_run_four_jobs_and_none_twice(service_with_two_workers, files):
    service = service_with_two_workers
    names = [service.submit(files, "--name", f"job {number}", steps=40 + number) for number in range(4)]
    jobs = [service.wait_for(name, "SUCCEEDED", seconds=240) for name in names]
    assert [job["attempt"] for job in jobs] == [1, 1, 1, 1]
    logs = "".join((service.folder / "logs" / f"worker-{number}.log").read_text() for number in (1, 2))
    assert [logs.count(f"{name}: attempt") for name in names] == [1, 1, 1, 1]
    assert len({job["worker"] for job in jobs}) == 2


def test_up_again_changes_nothing_and_a_taken_port_is_named(service, tmp_path):
    before = service.status()
    assert service.up()["server"]["pid"] == before["server"]["pid"]
    port = before["server"]["grpc"].rsplit(":", 1)[1]
    other = tmp_path / "other"
    failed = service.cli("local", "up", "--dir", other, "--grpc-port", port, "--http-port", 0, rc=2)
    service.cli("local", "down", "--dir", other, "--delete-data")
    assert port in failed.stderr and "--grpc-port" in failed.stderr
