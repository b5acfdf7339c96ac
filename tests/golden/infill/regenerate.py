#!/usr/bin/env python3
"""Writes llama_server.json: what llama.cpp's server puts into the gaps, greedily.

    regenerate.py BIN_DIR LLAMA_SERVER    # where conclave-convert is, and the server's program
"""
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import coder

# Of two candidates nearer than this another order of additions may prefer the other.
NEAREST = 0.001


def post(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.load(reply)


def await_ready(url):
    for _ in range(600):
        try:
            urllib.request.urlopen(url + "/health", timeout=5)
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise TimeoutError(url)


def answers(url, model):
    for name, request in coder.REQUESTS.items():
        if not coder.llama_cpp_says_the_same(model, request):
            continue
        answer = post(url + "/infill", request | {
            "n_predict": coder.NUM_TOKENS, "temperature": 0, "n_probs": 2, "return_tokens": True,
            "cache_prompt": False})
        for step in answer["completion_probabilities"]:
            first, second = (top["logprob"] for top in step["top_logprobs"][:2])
            assert first - second > NEAREST, (name, first - second)
        yield name, {"tokens": answer["tokens"], "tokens_evaluated": answer["tokens_evaluated"],
                     "stop_type": answer["stop_type"]}


def recorded(name, bin_dir, server):
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as probe:
        model = coder.write_gguf(name, pathlib.Path(folder), bin_dir)
        port = probe.getsockname()[1]
        probe.close()
        # What is beyond a batch must be left for the files, or they are dropped.
        process = subprocess.Popen([server, "-m", model, "--port", str(port), "-np", "1", "-t", "1",
                                    "-c", str(coder.CONTEXT), "-b", "512"],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            url = f"http://127.0.0.1:{port}"
            await_ready(url)
            return dict(answers(url, name)), build_of(url)
        finally:
            process.terminate()
            process.wait(30)


def build_of(url):
    with urllib.request.urlopen(url + "/props", timeout=60) as reply:
        return json.load(reply)["build_info"]


def main():
    bin_dir, server = sys.argv[1:]
    golden = {}
    for name in coder.MARKS:
        golden[name], golden["build_info"] = recorded(name, bin_dir, server)
    path = pathlib.Path(__file__).with_name("llama_server.json")
    path.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
