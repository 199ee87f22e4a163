"""Everything that runs in a chaos run: PostgreSQL, two servers on it, agents, and the proxies between them."""
import pathlib
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]

from conftest import BIN, Files, Service, await_last_thread, process_runs, wait_until  # noqa: E402
from fault_proxy import FaultProxy  # noqa: E402
from faults import LEASE_SECONDS, kill  # noqa: E402

POSTGRES_BIN = max(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), default=pathlib.Path("/usr/bin"))
SERVER_FLAGS = [f"--lease-seconds={LEASE_SECONDS}", "--heartbeat-seconds=0.5", "--reaper-seconds=0.5", "--retry-seconds=0.5",
                "--sweep-seconds=2", "--keep-old-checkpoints-minutes=0.1"]


def sql(url, statement, check=True):
    """The rows of a statement, as lists of text."""
    done = subprocess.run([str(POSTGRES_BIN / "psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statement, url],
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 or not check, done.stderr
    return [line.split("|") for line in done.stdout.splitlines()]


def lasting_port():
    """A free port that no outgoing connection of this machine takes while its server is down."""
    end = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(10000, end)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                # Somebody has it: another one.
                continue


class ChaosService(Service):
    """The first server and PostgreSQL; the rest is the world's own."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.port = lasting_port()

    def up(self):
        server = [f"--server-arg={argument}" for argument in SERVER_FLAGS]
        return self.json("local", "up", "--dir", self.folder, "--workers", 0, "--grpc-port", self.port, "--http-port", 0, "--python",
                         sys.executable, *server)


class SecondServer:
    """Another server on the same database, which it reaches by a proxy."""

    def __init__(self, folder, url):
        self.folder = folder
        folder.mkdir()
        # postgresql://ROLE@/NAME?host=FOLDER, as a folder of a Unix socket.
        parts = urllib.parse.urlsplit(url)
        query = urllib.parse.parse_qs(parts.query)
        self.database = FaultProxy(f"{query['host'][0]}/.s.PGSQL.5432")
        self.role = parts.username or query["user"][0]
        self.name = parts.path.strip("/")
        self.url = f"postgresql://{self.role}@{self.database.address}/{self.name}"
        self.address = f"127.0.0.1:{lasting_port()}"
        self.process = None

    def up(self):
        """Starts it where it does not run."""
        if self.process and self.process.poll() is None:
            return
        ready = self.folder / "ready"
        ready.unlink(missing_ok=True)
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [str(BIN / "pactory-server"), "serve", "--database-url", self.url, "--listen", self.address,
                 "--http-listen", "127.0.0.1:0", "--ready-file", str(ready), *SERVER_FLAGS], stdout=log, stderr=log)
        wait_until(lambda: ready.exists() or self.process.poll() is not None, 60, "the second server is ready")
        assert ready.exists(), (self.folder / "log").read_text()[-2000:]

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=30)
        self.database.stop()


class Agent:
    """One pactory-worker, by the proxy where it has one."""

    def __init__(self, folder, address, token_file, trainer, proxy=None, slots=4):
        self.folder = folder
        self.proxy = proxy
        folder.mkdir(parents=True)
        self.command = [str(BIN / "pactory-worker"), "--server", proxy.address if proxy else address, "--token-file", token_file,
                        "--cache-dir", str(folder / "cache"), "--work-dir", str(folder / "work"), "--trainer", str(trainer),
                        "--runtime-check", f"{sys.executable} {HERE.parents[1]}/workers/runtime_check/ort_check.py",
                        "--slots", str(slots)]
        self.process = None

    def start(self):
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def log(self):
        """What it said, over all its restarts."""
        return (self.folder / "log").read_text(errors="replace")

    def worker_id(self):
        """The id it keeps over its restarts."""
        return (self.folder / "work" / "worker_id").read_text().strip()


def install_trainer(folder):
    """Puts the scripted trainer, and the path of the real one, into a folder; returns its path."""
    folder.mkdir()
    trainer = folder / "chaos_trainer.py"
    shutil.copy(HERE / "chaos_trainer.py", trainer)
    (folder / "real_trainer").write_text(str(BIN / "pactory-trainer"))
    return trainer


class World:
    """Everything that runs."""

    def __init__(self, folder, agents):
        self.folder = folder
        self.files = Files(folder / "files")
        trainer = install_trainer(folder / "trainer")
        self.service = ChaosService(folder / "pactory", 0)
        self.service.up()
        status = self.service.status()
        self.url = status["postgres"]["url"]
        self.address = status["server"]["grpc"]
        self.second = SecondServer(folder / "second", self.url)
        self.second.up()
        self.agents = []
        for number in range(agents):
            # The first by a proxy, the next directly, the third at the second server, and so on.
            proxy = FaultProxy(self.address) if number % 3 == 0 else None
            address = self.second.address if number % 3 == 2 else self.address
            self.agents.append(Agent(folder / f"agent-{number}", address, self.token("worker"), trainer, proxy))
        for agent in self.agents:
            agent.start()
        # Their content is with the server before the faults begin: uploads have tests of their own.
        self.model = self.service.json("models", "upload", self.files.model)["name"]
        self.data = self.service.json("datasets", "upload", self.files.train)["name"]
        self.eval = self.service.json("datasets", "upload", self.files.eval)["name"]

    def token(self, kind):
        """The file that holds it."""
        return str(self.service.folder / "tokens" / kind)

    def agents_of_second(self):
        return self.agents[2::3]

    def agents_of_first(self):
        return [agent for agent in self.agents if agent not in self.agents_of_second()]

    def kill_postgres(self):
        pid = self.service.status()["postgres"]["pid"]
        kill(pid, signal.SIGQUIT)
        await_last_thread(pid, 30)

    def up(self):
        """Starts again what was killed."""
        self.service.up()
        self.second.up()

    def session(self):
        return subprocess.Popen([str(POSTGRES_BIN / "psql"), "-XAtq", self.url], stdin=subprocess.PIPE,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def idle_session(self):
        """A connection to PostgreSQL that says who it is and then nothing more, as one of a forgotten pool."""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self.second.database.target)
        startup = f"user\0{self.second.role}\0database\0{self.second.name}\0\0".encode()
        connection.sendall(struct.pack("!ii", len(startup) + 8, 196608) + startup)
        return connection

    def terminate_backends_of_servers(self):
        """So that they need new ones."""
        self.sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type = 'client backend' "
                 "AND query <> '' AND pid <> pg_backend_pid()", check=False)

    def sql(self, statement, check=True):
        return sql(self.url, statement, check)

    def trainer_pids(self):
        pids = []
        for entry in pathlib.Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and str((entry / "cwd").readlink()).startswith(str(self.folder / "agent-")):
                    pids.append(int(entry.name))
            except OSError:
                # It ended meanwhile.
                continue
        return [pid for pid in pids if process_runs(pid)]

    def stop(self):
        for agent in self.agents:
            if agent.process and agent.process.poll() is None:
                agent.process.terminate()
        for agent in self.agents:
            if agent.process:
                agent.process.wait(timeout=30)
            if agent.proxy:
                agent.proxy.stop()
        self.second.stop()
        self.service.down()
