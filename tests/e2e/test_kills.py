"""kill -9 of each part in the middle of a job: the job ends well on its own, with one published result."""
import time

import pytest

from conftest import wait_until

# Long enough to be killed in the middle; checkpoints are written long before.
STEPS = 600


@pytest.fixture
def running_job(service, files):
    name = service.submit(files, "--set", "training.checkpoint_every=30", steps=STEPS)
    try:
        service.wait_for_training(name, step=100)
        yield name
    finally:
        # A case that failed must not keep the worker from the next one.
        service.cli("jobs", "cancel", name, rc=None)


def assert_published_once(service, name):
    artifacts = [artifact["name"] for artifact in service.json("jobs", "artifacts", name)["artifacts"]]
    assert len(artifacts) == len(set(artifacts)) and len(artifacts) >= 3
    states = [job["state"] for job in service.json("jobs", "list", "--limit", 1000)["jobs"] if job["name"] == name]
    assert states == ["SUCCEEDED"]


def steps_of(service, name):
    return [int(metric["step"]) for metric in service.json("jobs", "metrics", name, "--prefix", "train/loss")["metrics"]]


def test_killed_trainer_goes_on_from_its_checkpoint(service, running_job):
    service.kill(service.trainer_pids()[0])
    job = service.wait_for(running_job, "SUCCEEDED", seconds=400)
    assert job["lost_attempts"] == 0
    assert_published_once(service, running_job)
    log = (service.folder / "logs" / "worker-1.log").read_text()
    assert "killed by signal 9" in log and "started again, from step" in log


def test_killed_agent_takes_its_trainer_along_and_the_next_attempt_resumes(service, running_job):
    wait_until(lambda: "checkpoint of step" in (service.folder / "logs" / "worker-1.log").read_text().rsplit(
        f"{running_job}: attempt", 1)[1], 60, "a checkpoint is stored")
    service.kill(service.worker_pid())
    wait_until(lambda: not service.trainer_pids(), 5, "the trainer is gone with its agent")
    service.up()
    job = service.wait_for(running_job, "SUCCEEDED", seconds=400)
    assert (job["attempt"], job["lost_attempts"]) == (2, 1)
    assert_published_once(service, running_job)
    assert min(steps_of(service, running_job)) > 1, "the second attempt started from nothing"


def test_another_worker_resumes_what_a_lost_one_began(service_with_two_workers, files):
    service = service_with_two_workers
    name = service.submit(files, "--set", "training.checkpoint_every=30", steps=STEPS)
    service.wait_for_training(name, step=100)
    lost = service.job(name)["worker"]
    logs = [service.folder / "logs" / f"worker-{number}.log" for number in (1, 2)]
    holder = next(number for number, log in enumerate(logs) if f"{name}: attempt 1 starts" in log.read_text())
    wait_until(lambda: f"{name}: checkpoint of step" in logs[holder].read_text(), 60, "a checkpoint is stored")
    service.kill(service.worker_pid(holder))
    job = service.wait_for(name, "SUCCEEDED", seconds=400)
    assert (job["attempt"], job["lost_attempts"]) == (2, 1)
    assert f"{name}: attempt 2 starts" in logs[1 - holder].read_text()
    assert_published_once(service, name)
    assert min(steps_of(service, name)) > 30, "the second attempt started from nothing"
    assert job["worker"] != lost


def test_killed_server_costs_no_attempt(service, running_job):
    watcher = service.start("jobs", "watch", running_job)
    service.kill(service.server_pid())
    assert service.trainer_pids(), "training goes on without the server"
    service.up()
    job = service.wait_for(running_job, "SUCCEEDED", seconds=400)
    assert (job["attempt"], job["lost_attempts"]) == (1, 0)
    assert_published_once(service, running_job)
    assert watcher.wait(timeout=30) == 0, "the watch came through the restart"
    steps = steps_of(service, running_job)
    assert steps == sorted(set(steps)) and steps[-1] == STEPS, "no metric was lost or stored twice"


def test_busy_worker_is_heard_soon_after_the_server_is_back(service, files):
    name = service.submit(files, steps=1000000)
    service.wait_for_training(name)

    def step():
        return int(service.job(name)["progress"]["step"])

    for _ in range(3):
        before = step()
        service.kill(service.server_pid())
        # As long as some attempts to connect fail.
        time.sleep(2)
        service.up()
        wait_until(lambda: step() > before, 4, "a heartbeat came through")
    service.cli("jobs", "cancel", name)
    service.wait_for(name, "CANCELLED", seconds=15)


def test_worker_that_is_told_to_stop_gives_its_job_back(service, files):
    name = service.submit(files, steps=1000000)
    service.wait_for_training(name)
    service.cli("local", "down", "--dir", service.folder)
    assert not service.trainer_pids()
    service.up()
    job = service.job(name)
    assert job["lost_attempts"] == 0
    service.wait_for_training(name)
    service.cli("jobs", "cancel", name)
    service.wait_for(name, "CANCELLED", seconds=15)
