"""The judge of the chaos run finds each kind of broken promise."""
import copy

import pytest

from history import unexcused_losses, violations

GOOD = {
    "acknowledged": {"r1": {"jobs/1"}, "r2": {"jobs/2"}, "r3": {"jobs/3"}},
    "cancelled": {"jobs/2"},
    "jobs": {"jobs/1": {"state": "SUCCEEDED", "reason": "", "fence": 2, "request": "r1"},
             "jobs/2": {"state": "CANCELLED", "reason": "", "fence": 1, "request": "r2"},
             "jobs/3": {"state": "FAILED", "reason": "GATE_FAILED", "fence": 1, "request": "r3"}},
    "events": [("jobs/1", "LEASED"), ("jobs/1", "WORKER_LOST"), ("jobs/1", "LEASED"), ("jobs/1", "SUCCEEDED"),
               ("jobs/2", "CANCELLED"), ("jobs/3", "FAILED")],
    "artifacts": [("jobs/1", "a", 2, True), ("jobs/1", "b", 2, True), ("jobs/3", "report", 1, True)],
}


def lose(history):
    del history["jobs"]["jobs/1"]


def leave_open(history):
    history["jobs"]["jobs/1"]["state"] = "RUNNING"


def end_twice(history):
    history["events"].append(("jobs/1", "FAILED"))


def lose_the_report(history):
    del history["artifacts"][-1]


def publish_of_another_failure(history):
    history["jobs"]["jobs/3"]["reason"] = "BAD_DATA"


def publish_twice(history):
    history["artifacts"].append(("jobs/1", "a", 1, True))


def publish_by_a_zombie(history):
    history["artifacts"] = [("jobs/1", "a", 1, True)]


def publish_nothing(history):
    history["artifacts"] = []


def publish_after_cancel(history):
    history["jobs"]["jobs/2"]["state"] = "SUCCEEDED"
    history["events"][-2] = ("jobs/2", "SUCCEEDED")
    history["artifacts"].append(("jobs/2", "a", 1, True))


def damage(history):
    history["artifacts"][0] = ("jobs/1", "a", 2, False)


def answer_twice(history):
    history["acknowledged"]["r1"].add("jobs/2")


def make_two(history):
    history["jobs"]["jobs/2"]["request"] = "r1"


def test_kept_promises_are_no_violation():
    assert violations(**GOOD) == []


@pytest.mark.parametrize("sabotage", [lose, leave_open, end_twice, publish_twice, publish_by_a_zombie, publish_nothing,
                                      publish_after_cancel, lose_the_report, publish_of_another_failure, damage, answer_twice, make_two])
def test_each_broken_promise_is_found(sabotage):
    history = copy.deepcopy(GOOD)
    sabotage(history)
    assert violations(**history)


def test_a_loss_needs_an_excuse():
    losses = [("jobs/1", "w1", 5.0, 20.0), ("jobs/2", "w2", 5.0, 20.0), ("jobs/3", "w1", 9.0, 90.0)]
    assert unexcused_losses(losses, [("w1", 6.0, 10.0)], [], 8) == [losses[1], losses[2]]


def test_what_happened_before_a_lease_began_is_no_excuse():
    loss = ("jobs/1", "w1", 13.0, 22.0)
    assert unexcused_losses([loss], [("w1", 6.0, 10.0)], [], 8) == [loss]


def test_an_excuse_holds_on_through_outages():
    loss = ("jobs/1", "w1", 5.0, 70.0)
    assert unexcused_losses([loss], [("w1", 6.0, 10.0)], [(50.0, 55.0), (33.0, 40.0)], 8) == []
    assert unexcused_losses([loss], [("w1", 6.0, 10.0)], [(50.0, 55.0)], 8) == [loss]
