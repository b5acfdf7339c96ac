"""A running mesh under test: started by deploy/local/up.sh on free ports, with its own data."""

import fcntl
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import requests

REPO = pathlib.Path(__file__).resolve().parents[2]
SCRIPTED_MODEL = "scripted"


def counts(tag, n):
    """The scripted model's answer to a message that ends with `tag` (mode "counts")."""
    return " ".join(f"{tag}:{i}" for i in range(n))


# The locks of the blocks this process has taken; the kernel gives them back when it ends.
_blocks = []


def free_port_block(count):
    """The first of `count` consecutive ports (at most 100) that nobody listens on and that no other
    test run has taken: a lock says so from here on, as ports stay free until the services are up."""
    for base in range(21000, 31000, 100):
        probes = []
        try:
            block = open(pathlib.Path(tempfile.gettempdir(), f"conclave-test-ports-{base}"), "a")
            fcntl.flock(block, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for port in range(base, base + count):
                probes.append(socket.socket())
                probes[-1].bind(("127.0.0.1", port))
        except OSError:
            continue
        finally:
            for probe in probes:
                probe.close()
        _blocks.append(block)
        return base
    raise RuntimeError("no free block of ports")


def wait_until(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while True:
        try:
            value = condition()
        except requests.RequestException:
            value = None
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.05)


class Mesh:
    def __init__(self, build_dir, worker_args=""):
        self.build_dir = pathlib.Path(build_dir).resolve()
        self.worker_args = worker_args
        # Short, because a unix socket lies below it.
        self.data = pathlib.Path(tempfile.mkdtemp(prefix="cve", dir="/tmp"))
        self.data.chmod(0o755)
        base = free_port_block(20)
        self.port = base
        self.internal_port = base + 1
        self.url = f"http://127.0.0.1:{self.port}"
        self.compat_urls = {
            profile: f"http://127.0.0.1:{base + 4 + i}"
            for i, profile in enumerate(["kt-legacy", "ls-seed", "llm-serving"])
        }
        self.worker_probe = f"http://127.0.0.1:{self.internal_port + 10}"
        self.store_probe = f"http://127.0.0.1:{self.internal_port + 12}"

    def up(self):
        environment = dict(
            os.environ,
            CONCLAVE_WORKER_ARGS=f"--script {SCRIPTED_MODEL}={REPO / 'tests/e2e/scripted.json'} "
            + self.worker_args,
            CONCLAVE_STORE_ARGS="--lease 2s",
            CONCLAVE_GATEWAY_ARGS="--admin-open --compat-listen "
            + ",".join(f"{profile}=127.0.0.1:{url.rsplit(':')[-1]}"
                       for profile, url in self.compat_urls.items()),
        )
        result = subprocess.run(
            [
                str(REPO / "deploy/local/up.sh"),
                "--no-install", "--no-build", "--build-dir", str(self.build_dir),
                "--data", str(self.data), "--port", str(self.port),
                "--internal-port", str(self.internal_port),
            ],
            env=environment, capture_output=True, text=True, timeout=300,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def down(self):
        return subprocess.run(
            [str(REPO / "deploy/local/down.sh"), "--data", str(self.data)],
            capture_output=True, text=True, timeout=300,
        )

    def destroy(self):
        self.down()
        shutil.rmtree(self.data, ignore_errors=True)

    def pid(self, service):
        return int((self.data / "run" / f"{service}.pid").read_text())

    def runs(self, service):
        return (self.data / "run" / f"{service}.supervisor.pid").exists()

    def wait_for_model(self, prefix, seconds=30):
        """The name of the model: the gateway may find a worker a moment after both are ready."""
        def found():
            models = requests.get(self.url + "/v1/models", timeout=10).json()["data"]
            return next((m["id"] for m in models if m["id"].startswith(prefix)), None)

        return wait_until(found, seconds, f"a model {prefix}…")

    def kill(self, service, how=signal.SIGKILL):
        """Signals the service; its supervisor starts it again unless it ends with 0."""
        pid = self.pid(service)
        os.kill(pid, how)
        return pid

    def wait_restarted(self, service, old_pid, seconds=60):
        def fresh():
            try:
                pid = self.pid(service)
            except (FileNotFoundError, ValueError):
                return False
            return pid != old_pid

        wait_until(fresh, seconds, f"restart of {service}")

    def wait_stopped(self, service, seconds=90):
        """Until the service has drained and its supervisor has gone."""
        supervisor = self.data / "run" / f"{service}.supervisor.pid"
        wait_until(lambda: not supervisor.exists(), seconds, f"the end of {service}")

    def wait_ready(self, seconds=60):
        wait_until(lambda: requests.get(self.url + "/readyz", timeout=2).ok, seconds, "readyz")

    def metric(self, base_url, name):
        """Sum over the label sets of one metric in a /metrics text."""
        text = requests.get(base_url + "/metrics", timeout=5).text
        values = re.findall(rf"^{re.escape(name)}(?:{{[^}}]*}})? ([0-9.eE+-]+)$", text, re.M)
        assert values, f"metric {name} is not exported"
        return sum(float(value) for value in values)

    def log(self, service):
        return (self.data / "log" / f"{service}.log").read_text(errors="replace")
