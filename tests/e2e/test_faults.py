"""What the mesh promises when things break: nobody's text in another's stream, slots given back,
runs that survive kill -9 of every process, and a drain that fails nobody."""

import concurrent.futures
import contextlib
import json
import random
import resource
import signal
import socket
import threading
import time
import warnings

import pytest
import requests

from mesh import SCRIPTED_MODEL, counts, wait_until

warnings.filterwarnings("ignore", category=DeprecationWarning)


def stream_text(url, content, model=SCRIPTED_MODEL, timeout=120, began=None, **extra):
    """(text, finish reason, saw [DONE]) of one streamed chat; `began` is released at its first text."""
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": content}],
            **extra}
    text, reason, done = "", None, False
    with requests.post(url + "/v1/chat/completions", json=body, stream=True, timeout=timeout) as r:
        assert r.status_code == 200, r.text
        for line in r.iter_lines():
            if not line.startswith(b"data: "):
                continue
            if line == b"data: [DONE]":
                done = True
                continue
            chunk = json.loads(line[6:])
            assert "error" not in chunk, chunk
            choice = chunk["choices"][0]
            piece = choice["delta"].get("content") or ""
            if piece and not text and began is not None:
                began.release()
            text += piece
            reason = choice["finish_reason"] or reason
    return text, reason, done


def wait_slots_free(mesh):
    def free():
        return (mesh.metric(mesh.worker_probe, "vllm:num_requests_running") == 0
                and mesh.metric(mesh.worker_probe, "vllm:num_requests_waiting") == 0)

    wait_until(free, 20, "all slots of the worker free")


def test_64_streams_at_once_each_gets_its_own_text(mesh):
    tags = [f"stream-{i}" for i in range(64)]
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        results = list(pool.map(lambda tag: stream_text(mesh.url, f"count {tag}"), tags))
    for tag, (text, reason, done) in zip(tags, results, strict=True):
        assert text == counts(tag, 40)
        assert reason == "stop" and done
    wait_slots_free(mesh)


def test_64_streams_of_the_real_model_equal_their_lone_selves(mesh, teacher):
    prompts = [f"What is {20 + i} + {13 + i % 7}?" for i in range(64)]

    def ask(prompt):
        return stream_text(mesh.url, prompt, model=teacher, temperature=0, max_tokens=48)

    alone = [ask(prompt) for prompt in prompts[:8]]
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        together = list(pool.map(ask, prompts))
    assert together[:8] == alone
    assert all(reason in ("stop", "length") and done for _, reason, done in together)
    wait_slots_free(mesh)


def resident_kb(pid):
    with open(f"/proc/{pid}/status") as status:
        return int(next(line for line in status if line.startswith("VmRSS:")).split()[1])


def test_10_000_idle_connections_leave_room_for_requests(mesh):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = 10_000 if hard == resource.RLIM_INFINITY else min(10_000, hard - 1_000)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    pid = mesh.pid("gateway")
    try:
        with contextlib.ExitStack() as idle:
            before = resident_kb(pid)
            for _ in range(count):
                idle.enter_context(socket.create_connection(("127.0.0.1", mesh.port), timeout=60))
            # Accepted in order: whoever is served comes after all of them.
            assert stream_text(mesh.url, "count idle")[0] == counts("idle", 40)
            # 25 KB each, and what the gateway had not needed before.
            assert resident_kb(pid) - before <= 25 * count + 8 * 1024
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_200_disconnects_at_random_points_free_every_slot(mesh, teacher):
    chooser = random.Random(20261122)

    def hang_up(i):
        model = teacher if i % 2 else SCRIPTED_MODEL
        body = {"model": model, "stream": True, "max_tokens": 200,
                "messages": [{"role": "user", "content": f"count-slowly visitor-{i}"}]}
        lines = chooser.randrange(0, 12)
        try:
            with requests.post(mesh.url + "/v1/chat/completions", json=body, stream=True,
                               timeout=60) as reply:
                for n, _ in enumerate(reply.iter_lines()):
                    if n >= lines:
                        break
        except requests.RequestException:
            pass

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(hang_up, range(200)))
    wait_slots_free(mesh)
    text, reason, _ = stream_text(mesh.url, "count after")
    assert text == counts("after", 40) and reason == "stop"


@pytest.mark.parametrize("service", ["worker", "store", "postgres"])
def test_a_run_survives_kill_9(mesh, openai_client, service):
    """Ten times: the process dies in the middle of a run; the run ends all the same, and its
    message is there exactly once and whole."""
    beta = openai_client.with_options(max_retries=8).beta
    assistant = beta.assistants.create(model=SCRIPTED_MODEL)
    interrupted = 0
    for attempt in range(10):
        tag = f"{service}-{attempt}"
        thread = beta.threads.create(
            messages=[{"role": "user", "content": f"count-steadily {tag}"}])
        run = beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id)

        def begun():
            status = beta.threads.runs.retrieve(run.id, thread_id=thread.id).status
            return status != "queued" and status

        interrupted += wait_until(begun, 20, "the run to start") == "in_progress"
        old = mesh.kill(service)
        mesh.wait_restarted(service, old)

        def ended():
            try:
                state = beta.threads.runs.retrieve(run.id, thread_id=thread.id)
            except Exception:  # noqa: BLE001 - 503 while the service is away
                return None
            return state if state.status not in ("queued", "in_progress") else None

        final = wait_until(ended, 60, f"the end of run {tag}")
        assert final.status == "completed", final.last_error
        messages = [m for m in beta.threads.messages.list(thread_id=thread.id) if m.run_id]
        assert [m.content[0].text.value for m in messages] == [counts(tag, 60)]
    assert interrupted >= 8  # the others were over before the blow fell
    mesh.wait_ready()


def test_a_stream_survives_kill_9_of_the_worker(mesh):
    """The client sees a gap in time, not in text."""
    began = threading.Semaphore(0)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        stream = pool.submit(stream_text, mesh.url, "count-at-length phoenix", began=began)
        assert began.acquire(timeout=20)
        old = mesh.kill("worker")
        mesh.wait_restarted("worker", old)
        assert stream.result(90) == (counts("phoenix", 120), "stop", True)
    mesh.wait_ready()


def stream_answers(url, body, began):
    """The text and the end of each answer of one stream; `began` is released when some have come far."""
    texts, reasons, pieces = {}, {}, 0
    with requests.post(url + "/v1/chat/completions", json={**body, "stream": True}, stream=True,
                       timeout=120) as reply:
        assert reply.status_code == 200, reply.text
        done = False
        for line in reply.iter_lines():
            if not line.startswith(b"data: "):
                continue
            if line == b"data: [DONE]":
                done = True
                continue
            chunk = json.loads(line[6:])
            assert "error" not in chunk, chunk
            for choice in chunk["choices"]:
                index = choice["index"]
                texts[index] = texts.get(index, "") + (choice["delta"].get("content") or "")
                if choice["finish_reason"]:
                    assert index not in reasons
                    reasons[index] = choice["finish_reason"]
            pieces += 1
            if pieces == 30:
                began.release()
    assert done
    return texts, reasons


def test_several_answers_survive_kill_9_of_the_worker(mesh, teacher):
    """Each goes on where it was, also those that are drawn; none says anything twice."""
    drawn = {"model": teacher, "n": 3, "seed": 11, "temperature": 1, "max_tokens": 120,
             "ignore_eos": True, "messages": [{"role": "user", "content": "Tell me something."}]}
    told = {"model": SCRIPTED_MODEL, "n": 3,
            "messages": [{"role": "user", "content": "count-at-length phoenix"}]}
    for body in (told, drawn):
        never = threading.Semaphore(0)
        expected = stream_answers(mesh.url, body, never)
        assert len(expected[0]) == 3
        began = threading.Semaphore(0)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            stream = pool.submit(stream_answers, mesh.url, body, began)
            assert began.acquire(timeout=20)
            old = mesh.kill("worker")
            mesh.wait_restarted("worker", old)
            assert stream.result(90) == expected
        mesh.wait_ready()


def test_a_request_while_its_worker_restarts_never_finds_no_such_model(mesh):
    """It waits for the worker, or is told to come again; a client that retries gets its answer."""
    old = mesh.kill("worker")
    body = {"model": SCRIPTED_MODEL, "messages": [{"role": "user", "content": "count again"}]}

    def answered():
        reply = requests.post(mesh.url + "/v1/chat/completions", json=body, timeout=30)
        if reply.status_code == 503:
            assert int(reply.headers["Retry-After"]) >= 1
            return None
        assert reply.status_code == 200, reply.text
        return reply.json()["choices"][0]["message"]["content"]

    assert wait_until(answered, 60, "an answer") == counts("again", 40)
    mesh.wait_restarted("worker", old)
    mesh.wait_ready()


@pytest.mark.parametrize("service", ["gateway", "worker", "store"])
def test_sigterm_under_load_fails_no_stream(mesh, openai_client, service):
    """Streams that run when a service is told to stop finish with their whole text."""
    beta = openai_client.beta
    assistant = beta.assistants.create(model=SCRIPTED_MODEL)
    thread = beta.threads.create(messages=[{"role": "user", "content": "count-at-length run"}])
    run = beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id)
    tags = [f"drain-{service}-{i}" for i in range(8)]
    began = threading.Semaphore(0)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(stream_text, mesh.url, f"count-at-length {tag}", began=began)
                   for tag in tags]
        for _ in tags:
            assert began.acquire(timeout=20)
        mesh.kill(service, signal.SIGTERM)
        mesh.wait_stopped(service)
        mesh.up()  # starts what is down; the rest is left alone
        results = [future.result(120) for future in futures]
    for tag, result in zip(tags, results, strict=True):
        assert result == (counts(tag, 120), "stop", True)
    mesh.wait_ready()
    final = beta.threads.runs.poll(run.id, thread_id=thread.id, poll_interval_ms=100)
    assert final.status == "completed"


def test_data_survives_down_and_up(mesh, openai_client):
    beta = openai_client.beta
    thread = beta.threads.create(metadata={"kept": "yes"})
    assert mesh.down().returncode == 0
    started = time.monotonic()
    mesh.up()
    assert time.monotonic() - started < 30
    assert beta.threads.retrieve(thread.id).metadata == {"kept": "yes"}
