"""A worker whose GPU is the emulated one, smaller than its model: what can be read of the placement,
and what callers see of a GPU that fails."""

import json
import os
import pathlib

import pytest
import requests

from mesh import Mesh, wait_until

TEACHER = "conclave-teacher"
ARGS = "--device cuda --gpu-experts 2 --numerics fast --expert-half-life 256 --max-sequences 4 --kv-bytes 8388608"


def mesh_with(build_dir, settings):
    module = pathlib.Path(build_dir).resolve() / "tests/support/cuda_emulator/libconclave_cuda_emulated.so"
    settings = {"CONCLAVE_CUDA_MODULE": str(module), **settings}
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    running = Mesh(build_dir, ARGS)
    try:
        running.up()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    return running


def chat(mesh, max_tokens, **extra):
    body = {"model": TEACHER, "max_tokens": max_tokens, "temperature": 0,
            "messages": [{"role": "user", "content": "What is 37 + 45?"}], **extra}
    return requests.post(mesh.url + "/v1/chat/completions", json=body, timeout=300)


def test_the_placement_and_what_is_chosen_can_be_read(request):
    mesh = mesh_with(request.config.getoption("--build-dir"), {})
    try:
        assert chat(mesh, 8).status_code == 200
        answer = requests.get(f"{mesh.url}/admin/models/{TEACHER}/experts", timeout=30).json()
        (one,) = answer["data"]
        assert one["device"].startswith("cuda/emulated + cpu/")
        assert "DRAM" in one["plan"]
        assert one["moves"] is True
        assert 0 < one["device_selections"] < one["selections"]
        assert one["layers"]
        for layer in one["layers"]:
            assert len(layer["device_experts"]) == 2
            assert sum(layer["hotness"]) > 0
        share = mesh.metric(mesh.worker_probe, "conclave_expert_device_share")
        assert share == pytest.approx(one["device_share"])
        nobody = requests.get(f"{mesh.url}/admin/models/nobody/experts", timeout=30)
        assert nobody.status_code == 404
    finally:
        mesh.destroy()


def test_a_gpu_that_fails_ends_its_streams_and_the_worker_comes_back(request):
    # Enough for loading and a short answer, not for a long one.
    mesh = mesh_with(request.config.getoption("--build-dir"),
                     {"CONCLAVE_EMULATOR_FAIL_LAUNCH": "2500"})
    try:
        first = mesh.pid("worker")
        answer = chat(mesh, 200, stream=True, ignore_eos=True)
        lines = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
        failed = [json.loads(line)["error"] for line in lines
                  if line != "[DONE]" and "error" in json.loads(line)]
        assert answer.status_code >= 500 or failed, answer.text[-500:]
        mesh.wait_restarted("worker", first)

        def served():
            again = chat(mesh, 4)
            return again.status_code == 200 and again.json()["choices"][0]["message"]["content"]

        assert wait_until(served, 120, "an answer of the new worker")
    finally:
        mesh.destroy()
