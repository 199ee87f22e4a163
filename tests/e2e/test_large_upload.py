"""A large upload whose client is killed twice: it resumes, arrives right, and the server stays small."""
import pathlib
import threading

import numpy as np

from conftest import sha256_of, wait_until

MIB = 1 << 20


class PeakMemory:
    """Samples a process's resident memory in the background."""

    def __init__(self, pid):
        self.status = pathlib.Path(f"/proc/{pid}/status")
        self.first = self.peak = self.now()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.sample)
        self.thread.start()

    def now(self):
        lines = [line for line in self.status.read_text().splitlines() if line.startswith("VmRSS")]
        return int(lines[0].split()[1]) * 1024 if lines else 0

    def sample(self):
        while not self.done.wait(0.05):
            self.peak = max(self.peak, self.now())

    def growth(self):
        self.done.set()
        self.thread.join()
        return self.peak - self.first


def test_upload_killed_twice_resumes_and_arrives_whole(service, files, tmp_path):
    path = tmp_path / "large.npz"
    samples = 300 * MIB // (3 * 16 * 16)
    np.savez(path, x=np.random.default_rng(3).integers(0, 256, (samples, 3, 16, 16), dtype=np.uint8),
             y=np.zeros(samples, dtype=np.int64))
    service.cli("datasets", "upload", files.train)
    received = 'pactory_blob_bytes_total{direction="in"}'
    start = service.metric(received)
    memory = PeakMemory(service.server_pid())
    for share in (0.25, 0.6):
        client = service.start("datasets", "upload", path)
        wait_until(lambda: service.metric(received) - start > share * path.stat().st_size, 120, "a part is uploaded")
        assert client.poll() is None, "the upload is still under way"
        client.kill()
        client.wait()
    dataset = service.json("datasets", "upload", path, timeout=200)
    assert dataset["blob"] == "blobs/" + sha256_of(path)
    assert int(dataset["size_bytes"]) == path.stat().st_size
    # Each cut costs what was under way, not what was stored.
    assert service.metric(received) - start < path.stat().st_size + 16 * MIB
    assert memory.growth() <= 32 * MIB
