"""The same measures of Procrastinate (PyPI), by its public API: a worker in this process, jobs that do nothing."""
import argparse
import asyncio
import json
import time

import procrastinate


def summary(milliseconds):
    ordered = sorted(milliseconds)
    at = lambda share: ordered[min(len(ordered) - 1, int(share * len(ordered)))]
    return {"count": len(ordered), "p50_ms": at(0.5), "p99_ms": at(0.99), "max_ms": ordered[-1]}


async def starts(app, task, started, jobs):
    """Submit to start, with one idle worker that listens."""
    worker = asyncio.create_task(app.run_worker_async(concurrency=1, install_signal_handlers=False))
    await asyncio.sleep(1)
    times = []
    for number in range(jobs):
        begin = time.perf_counter()
        await task.defer_async(number=number)
        times.append((await started.get() - begin) * 1000)
        await asyncio.sleep(0.01)
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)
    return summary(times)


async def lives(app, task, started, jobs, width):
    """Defer, fetch, run, finish, by so many at a time."""
    worker = asyncio.create_task(app.run_worker_async(concurrency=width, install_signal_handlers=False))
    begin = time.perf_counter()
    left = iter(range(jobs))

    async def submit():
        for number in left:
            await task.defer_async(number=number)

    await asyncio.gather(*(submit() for _ in range(width)))
    for _ in range(jobs):
        await started.get()
    seconds = time.perf_counter() - begin
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)
    return {"submitters": width, "workers": width, "jobs": jobs, "seconds": seconds, "lives_per_second": jobs / seconds}


async def claims(app, depths, count):
    """The statement that fetches a job, with so many in the queue."""
    found = {}
    connector = app.connector
    worker = await app.job_manager.register_worker()
    for depth in depths:
        queued = (await connector.execute_query_one_async("SELECT count(*) AS n FROM procrastinate_jobs WHERE status = 'todo'"))["n"]
        await connector.execute_query_async(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, args) SELECT 'default', 'nothing', '{\"number\": 1}' "
            "FROM generate_series(1, %(count)s)", count=max(0, depth - queued))
        await connector.execute_query_async("ANALYZE procrastinate_jobs")
        times = []
        for _ in range(count):
            begin = time.perf_counter()
            assert await app.job_manager.fetch_job(queues=None, worker_id=worker)
            times.append((time.perf_counter() - begin) * 1000)
        found[str(depth)] = summary(times)
    return found


async def measure(url, sizes):
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url, max_size=16))
    started = asyncio.Queue()

    @app.task(name="nothing")
    async def nothing(number):
        started.put_nowait(time.perf_counter())

    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        found = {"version": procrastinate.__version__, "starts": await starts(app, nothing, started, sizes["starts"])}
        found["lives"] = [await lives(app, nothing, started, sizes["lives"], width) for width in (4, 16)]
        found["claim_by_depth"] = await claims(app, sizes["depths"], sizes["claims"])
    print(json.dumps(found))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--sizes", required=True, type=json.loads)
    options = parser.parse_args()
    asyncio.run(measure(options.url, options.sizes))


if __name__ == "__main__":
    main()
