#!/usr/bin/env python3
"""What the gateway costs: one scripted worker, asked directly over gRPC and through the gateway;
beside it, if they are there, nginx as a plain proxy and LiteLLM's proxy, both in front of the gateway.
Prints Markdown tables. Every configuration runs in each round, in turn.

  tests/bench/gateway.py --build-dir build/release [--rounds 5] [--litellm VENV/bin/litellm]
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

TOKENS = 64
TOKEN_MS = 20
# How the tokens of an answer come: (ms between two of one answer, ms between moments for all).
MODELS = {"paced": (TOKEN_MS, 0), "steps": (0, TOKEN_MS), "flood": (0, 0)}
KEY = "sk-bench-0123456789abcdef0123456789abcdef"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(url, process, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"{process.args[0]} ended with {process.returncode}")
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"{url}: not within {seconds} s")


def script(token_ms, step_ms=0):
    answer = "".join(chr(ord("a") + i % 26) for i in range(TOKENS))
    rule = {"mode": "steps", "steps": [{"text": answer}], "token_ms": token_ms}
    return {"slots": 512, "max_queued": 1024, "step_ms": step_ms, "rules": [rule]}


class Servers:
    """The processes, by name, each with the address it is asked at."""

    def __init__(self, stack, build_dir, litellm):
        self.bin = pathlib.Path(build_dir) / "bin"
        self.data = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self.stack = stack
        self.addresses = {}
        self.pids = {}
        self.worker()
        self.gateway()
        if shutil.which("nginx"):
            self.nginx()
        if litellm:
            self.litellm(litellm)

    def start(self, name, arguments, ready, **more):
        log = self.stack.enter_context(open(self.data / f"{name}.log", "wb"))
        process = subprocess.Popen([str(a) for a in arguments], stdout=log, stderr=log, **more)
        self.stack.callback(process.wait)
        self.stack.callback(process.terminate)
        wait_for(ready, process)
        self.pids[name] = process.pid
        return process

    def worker(self):
        for name, pace in MODELS.items():
            (self.data / f"{name}.json").write_text(json.dumps(script(*pace)))
        port, probe = free_port(), free_port()
        self.start(
            "worker",
            [self.bin / "conclave-worker", "--listen", f"127.0.0.1:{port}", "--probe-listen",
             f"127.0.0.1:{probe}", "--script",
             ",".join(f"{name}={self.data / name}.json" for name in MODELS)],
            f"http://127.0.0.1:{probe}/readyz",
        )
        self.addresses["gRPC"] = f"127.0.0.1:{port}"

    def gateway(self):
        port = free_port()
        keys = self.data / "keys"
        keys.write_text(KEY + "\n")
        self.start(
            "gateway",
            [self.bin / "conclave-gateway", "--listen", f"127.0.0.1:{port}",
             "--inference-workers", self.addresses["gRPC"], "--api-keys-file", keys],
            f"http://127.0.0.1:{port}/readyz",
        )
        self.addresses["gateway"] = f"127.0.0.1:{port}"

    def nginx(self):
        port = free_port()
        config = self.data / "nginx.conf"
        config.write_text(f"""
daemon off; master_process off; pid {self.data}/nginx.pid; error_log {self.data}/nginx.err;
events {{ worker_connections 4096; }}
http {{
  access_log {self.data}/access.log;
  client_body_temp_path {self.data}/body; proxy_temp_path {self.data}/proxy;
  fastcgi_temp_path {self.data}/f; uwsgi_temp_path {self.data}/u; scgi_temp_path {self.data}/s;
  upstream server {{ server {self.addresses["gateway"]}; keepalive 512; }}
  server {{
    listen 127.0.0.1:{port}; keepalive_requests 1000000;
    location / {{
      proxy_pass http://server; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;
      proxy_buffering off;
    }}
  }}
}}
""")
        self.start("nginx", ["nginx", "-c", config], f"http://127.0.0.1:{port}/readyz")
        self.addresses["nginx"] = f"127.0.0.1:{port}"

    def litellm(self, program):
        port = free_port()
        config = self.data / "litellm.yaml"
        models = [
            {
                "model_name": name,
                "litellm_params": {
                    "model": f"openai/{name}",
                    "api_base": f"http://{self.addresses['gateway']}/v1",
                    "api_key": KEY,
                },
            }
            for name in MODELS
        ]
        config.write_text(json.dumps({"model_list": models, "general_settings": {"master_key": KEY}}))
        environment = dict(os.environ, LITELLM_LOCAL_MODEL_COST_MAP="True", LITELLM_TELEMETRY="False",
                           DISABLE_ADMIN_UI="True", NO_DOCS="True")
        self.start(
            "litellm",
            [program, "--config", config, "--host", "127.0.0.1", "--port", port, "--telemetry", "False"],
            f"http://127.0.0.1:{port}/health/liveliness", env=environment,
        )
        self.addresses["litellm"] = f"127.0.0.1:{port}"

    def measure(self, name, model, streams, requests):
        kind = "--grpc" if name == "gRPC" else "--http"
        pid = self.pids["worker" if name == "gRPC" else name]
        command = [
            self.bin / "conclave-gateway-bench", kind, self.addresses[name], "--model", model,
            "--streams", streams, "--requests", requests, "--warm-up", min(streams, requests),
            "--pids", pid, "--api-key", KEY,
        ]
        result = subprocess.run([str(c) for c in command], capture_output=True, text=True)
        if result.returncode != 0:
            raise SystemExit(f"{name}, {streams} streams: {result.stderr}")
        found = json.loads(result.stdout)
        if found["pieces"] != requests * TOKENS and name != "litellm":
            raise SystemExit(f"{name}: {found['pieces']} pieces of {requests * TOKENS}")
        return found


def spread(values, digits=2, sign=""):
    values = sorted(values)
    shown = [f"{value:{sign}.{digits}f}" for value in (statistics.median(values), values[0], values[-1])]
    return f"{shown[0]} ({shown[1]} to {shown[2]})"


def table(head, rows):
    print("\n| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    sys.stdout.flush()


def compare(servers, model, streams, requests, rounds):
    """Rows of one load: what each adds to the one behind it, round by round."""
    names = list(servers.addresses)
    found = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            found[name].append(servers.measure(name, model, streams, requests))
    behind = {"gateway": "gRPC", "nginx": "gateway", "litellm": "gateway"}
    rows = []
    for name in names:
        row = [str(streams), name]
        for key, share in (("first_ms", "p50"), ("first_ms", "p99"), ("whole_ms", "p50"), ("whole_ms", "p99")):
            values = [one[key][share] for one in found[name]]
            if name in behind:
                base = [one[key][share] for one in found[behind[name]]]
                row.append(spread([mine - theirs for mine, theirs in zip(values, base)], sign="+"))
            else:
                row.append(spread(values))
        row.append(spread([one["cpu_us_per_piece"][0] for one in found[name]], 1))
        row.append(spread([one["pieces_per_second"] for one in found[name]], 0))
        rows.append(row)
    return rows


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--build-dir", default="build/release")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--streams", type=int, nargs="+", default=[1, 32, 256])
    options.add_argument("--litellm", help="the program of LiteLLM's proxy")
    o = options.parse_args()
    with contextlib.ExitStack() as stack:
        servers = Servers(stack, o.build_dir, o.litellm)
        print(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors")
        head = ["streams", "asked", "first ms p50", "p99", "whole ms p50", "p99", "its CPU µs/token", "tokens/s"]
        for model, what in (("paced", f"{TOKENS} tokens, one every {TOKEN_MS} ms, each answer for itself"),
                            ("steps", f"{TOKENS} tokens, one every {TOKEN_MS} ms, all answers together"),
                            ("flood", f"{TOKENS} tokens, as fast as they are read")):
            print(f"\n{what}; median (lowest to highest) of {o.rounds} rounds; + over what is behind it")
            rows = []
            for streams in o.streams:
                requests = max(4 * streams, 20) if model != "flood" else max(8 * streams, 200)
                rows += compare(servers, model, streams, requests, o.rounds)
            table(head, rows)
        print(f"\nload average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
