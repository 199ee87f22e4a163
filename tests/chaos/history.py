"""Judges what happened: what clients were told against what the database holds. Pure; the rows come from chaos_run.py."""
import collections

FINAL = {"SUCCEEDED", "FAILED", "CANCELLED"}


def violations(acknowledged, cancelled, jobs, events, artifacts):
    """Every broken promise, as lines of text; empty where all were kept.

    acknowledged: {request id: set of job names that clients were told}
    cancelled: job names whose cancel was acknowledged
    jobs: {job name: {"state", "reason", "fence", "lost", "failed", "request"}}
    events: [(job name, kind)]
    artifacts: [(job name, artifact name, fence, whether its bytes have its digest)]
    """
    broken = []
    finals = collections.Counter(name for name, kind in events if kind in FINAL)
    last_kind = {name: kind for name, kind in events if kind in FINAL}
    published = collections.defaultdict(set)
    for name, artifact, fence, intact in artifacts:
        published[name].add(fence)
        if not intact:
            broken.append(f"{name}: the bytes of {artifact} are not those of its digest")
    for request, names in acknowledged.items():
        if len(names) != 1:
            broken.append(f"request {request}: made several jobs: {sorted(names)}")
        for name in names - jobs.keys():
            broken.append(f"{name}: acknowledged and lost")
    for name, job in jobs.items():
        if job["state"] not in FINAL:
            broken.append(f"{name}: did not end: {job['state']}")
        elif finals[name] != 1 or last_kind[name] != job["state"]:
            broken.append(f"{name}: is {job['state']}, and its history ended {finals[name]} times")
        if (job["state"] == "SUCCEEDED" or job["reason"] == "GATE_FAILED") != (len(published[name]) > 0):
            broken.append(f"{name}: is {job['state']} {job['reason']} with publications of {sorted(published[name])}")
        if len(published[name]) > 1 or published[name] - {job["fence"]}:
            broken.append(f"{name}: published by leases {sorted(published[name])}, the last is {job['fence']}")
    for name in cancelled:
        if name in jobs and jobs[name]["state"] != "CANCELLED":
            broken.append(f"{name}: its cancel was acknowledged, and it is {jobs[name]['state']}")
    requests = collections.Counter(job["request"] for job in jobs.values())
    broken.extend(f"request {request}: {count} jobs" for request, count in requests.items() if count > 1)
    return broken


def unexcused_losses(losses, harms, outages, term):
    """The leases that ran out though nothing had happened to their worker while it had them, of `losses`.

    losses: [(job, worker, when leased, when lost)]
    harms: [(worker, from, to)], in the same clock
    outages: [(from, to)] of the servers or the database, after which every lease has a fresh term, that of a worker that is gone too
    term: of a lease, in seconds
    """
    def latest(end):
        # A lease that is not renewed runs out one term later, and the reaper comes after that.
        end += 3 * term
        for begin, over in sorted(outages):
            if begin <= end:
                end = max(end, over + 3 * term)
        return end

    windows = [(worker, begin - 1, end + term / 4, latest(end)) for worker, begin, end in harms]
    return [loss for loss in losses
            if not any(worker == loss[1] and begin <= loss[3] <= last and loss[2] <= end for worker, begin, end, last in windows)]
