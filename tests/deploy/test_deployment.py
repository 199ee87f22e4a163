"""What deploy/ installs, run from where it was installed: libraries, packages, TLS between client, server and worker."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("PACTORY_BINARY_DIR", ROOT / "build/release"))
PROGRAMS = {"server": ["pactory-server"], "worker": ["pactory-worker", "pactory-trainer"], "client": ["pactory"]}
# Of every Debian installation.
ALWAYS_THERE = {"libc6", "libgcc-s1"}


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    folder = tmp_path_factory.mktemp("opt") / "pactory"
    for part in PROGRAMS:
        subprocess.run(["cmake", "--install", BUILD, "--prefix", folder, "--component", part, "--strip"], check=True,
                       stdout=subprocess.DEVNULL)
    return folder


def needed(program):
    """The libraries a program names itself, and where the loader finds them."""
    found = dict(re.findall(r"^\s*(\S+) => (\S+) \(", run(["ldd", program]), re.MULTILINE))
    names = re.findall(r"\(NEEDED\).*\[(.*)\]", run(["readelf", "-d", program]))
    return {name: found.get(name) for name in names if not name.startswith("ld-")}


def packages_of(library):
    # /lib is a link to /usr/lib, and packages name either.
    path = os.path.realpath(library)
    found = subprocess.run(["dpkg", "-S", path, path.removeprefix("/usr")], capture_output=True, text=True).stdout
    packages = {line.split(":")[0] for line in found.splitlines()}
    assert packages, f"no package holds {path}"
    return packages


def run(command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120, **options)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("part", PROGRAMS)
def test_every_library_is_installed_or_in_the_list_of_packages(prefix, part):
    listed = set((ROOT / f"deploy/packages/{part}.txt").read_text().split())
    used = set()
    for program in PROGRAMS[part]:
        for name, path in needed(prefix / "bin" / program).items():
            assert path is not None, f"{program} does not find {name}"
            if pathlib.Path(path).is_relative_to(prefix):
                continue
            used |= packages_of(path) - ALWAYS_THERE
    assert used <= listed, f"{part} also needs {used - listed}"
    # Programs of the list, not libraries.
    assert listed - used <= {"python3", "python3-venv", "ca-certificates", "libstdc++6"}, f"{part} does not need {listed - used}"


def test_the_trainer_brings_its_own_libtorch(prefix):
    libraries = needed(prefix / "bin/pactory-trainer")
    assert libraries["libtorch_cpu.so"] == str(prefix / "bin/../lib/pactory/torch/lib/libtorch_cpu.so")
    # Nothing of the build tree is read.
    assert "Conv" in run([prefix / "bin/pactory-trainer", "ops"], env={"PATH": "/usr/bin:/bin"})


def test_units_start_programs_that_are_installed(prefix):
    for part in ("server", "worker"):
        unit = (ROOT / f"deploy/systemd/pactory-{part}.service").read_text()
        program, *arguments = re.search(r"^ExecStart=(.*)$", unit, re.MULTILINE)[1].split()
        installed = prefix / pathlib.Path(program).relative_to("/opt/pactory")
        assert run([installed, *arguments, "--help"])
        for flag in re.findall(r"PACTORY_[A-Z_]+", unit):
            assert flag in run([installed, *arguments, "--help"]), f"{flag} of pactory-{part}.service is no setting"


def database_url(folder):
    """Where the embedded PostgreSQL of `pactory local up` listens: its server was told."""
    status = json.loads(run([BUILD / "bin/pactory", "local", "status", "--dir", folder, "--output", "json"]))
    words = pathlib.Path(f"/proc/{status['server']['pid']}/cmdline").read_bytes().decode().split("\0")
    return words[words.index("--database-url") + 1]


def wait_for_file(path, process):
    while not path.exists():
        try:
            process.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
        raise AssertionError(f"{process.args[0]} ended with {process.returncode} before {path} was there")


@pytest.fixture
def database(tmp_path):
    folder = tmp_path / "local"
    run([BUILD / "bin/pactory", "local", "up", "--dir", folder, "--workers", 0, "--grpc-port", 0, "--http-port", 0])
    try:
        yield database_url(folder)
    finally:
        run([BUILD / "bin/pactory", "local", "down", "--dir", folder, "--delete-data"])


def test_server_worker_and_client_speak_tls(prefix, database, tmp_path):
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    certificates = tmp_path / "tls"
    run([ROOT / "deploy/make_certificates.sh", certificates, "localhost", "127.0.0.1"])
    server_program = prefix / "bin/pactory-server"

    def token(kind):
        return run([server_program, "token", "create", "--database-url", database, "--kind", kind], env=environment).strip()

    ready = tmp_path / "server.json"
    server = subprocess.Popen(
        [server_program, "serve", "--database-url", database, "--listen", "0.0.0.0:0", "--http-listen", "127.0.0.1:0",
         "--tls-cert", certificates / "server.pem", "--tls-key", certificates / "server.key", "--ready-file", ready],
        env=environment, stderr=subprocess.DEVNULL)
    started = [server]
    try:
        wait_for_file(ready, server)
        address = "localhost:" + json.loads(ready.read_text())["grpc"].rsplit(":", 1)[1]
        registered = tmp_path / "worker.ready"
        (tmp_path / "worker.token").write_text(token("worker") + "\n")
        worker = subprocess.Popen(
            [prefix / "bin/pactory-worker", "--server", address, "--tls-ca", certificates / "ca.pem", "--token-file",
             tmp_path / "worker.token", "--cache-dir", tmp_path / "cache", "--work-dir", tmp_path / "work", "--ready-file",
             registered, "--runtime-check", f"{sys.executable} {prefix}/share/pactory/runtime_check/ort_check.py"],
            env=environment, stderr=subprocess.DEVNULL)
        started.append(worker)
        wait_for_file(registered, worker)

        def client(*arguments):
            return subprocess.run(
                [str(prefix / "bin/pactory"), "--server", address, "--token", user, *arguments],
                env=environment, capture_output=True, text=True, timeout=60)

        user = token("user")
        status = client("--tls-ca", str(certificates / "ca.pem"), "status", "--output", "json")
        assert status.returncode == 0, status.stderr
        assert len(json.loads(status.stdout)["workers"]) == 1

        # Without the CA nothing is sent, the token least of all.
        refused = client("status")
        assert refused.returncode == 3
        assert "certificate" in refused.stderr.lower() or "tls" in refused.stderr.lower(), refused.stderr
    finally:
        for process in reversed(started):
            process.send_signal(signal.SIGTERM)
            assert process.wait(15) == 0
