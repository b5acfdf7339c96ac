"""Models that come into memory and leave it: the official ollama package, OpenAI's and the
administrator's routes, against a mesh whose worker has room for one of its two models at a time."""

import datetime
import json
import pathlib
import re
import subprocess
import threading

import ollama
import openai
import pytest
import requests

from mesh import REPO, Mesh, free_port_block, wait_until

GGUF = REPO / "deploy/models/conclave-teacher.gguf"
TEACHER = "conclave-teacher"
TWIN = "twin"
SUM = [{"role": "user", "content": "What is 21 + 13?"}]
GREEDY = {"temperature": 0}
ENGINE = ["--max-sequences", "4", "--context-length", "2048", "--kv-bytes", "16M"]


def planned(build_dir, *args):
    tool = pathlib.Path(build_dir).resolve() / "bin/conclave-plan"
    return subprocess.run([tool, "--model", GGUF, *args], capture_output=True, text=True)


def total_of(plan):
    return int(re.search(r"= (\d+) bytes", plan.stdout).group(1))


@pytest.fixture(scope="module")
def build_dir(request):
    return request.config.getoption("--build-dir")


@pytest.fixture(scope="module")
def need(build_dir):
    """What one of the models takes."""
    plan = planned(build_dir, *ENGINE, "--memory-budget", "8G")
    assert plan.returncode == 0, plan.stderr
    return total_of(plan)


@pytest.fixture(scope="module")
def life(build_dir, need):
    budget = need * 3 // 2
    mesh = Mesh(build_dir, f"--model {TWIN}={GGUF} --memory-budget {budget} " + " ".join(ENGINE))
    try:
        mesh.up()
        yield mesh
    finally:
        mesh.destroy()


@pytest.fixture(scope="module")
def client(life):
    return ollama.Client(host=life.url)


def loaded(client):
    return sorted(model.model.split(":")[0] for model in client.ps().models
                  if model.details.format == "gguf")


def used(mesh):
    return mesh.metric(mesh.worker_probe, "conclave_model_memory_used_bytes")


def resident(mesh):
    """Anonymous memory of the worker's process: packed weights, keys and values."""
    status = pathlib.Path(f"/proc/{mesh.pid('worker')}/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+) kB", status).group(1)) * 1024


def load(client, model):
    assert client.generate(model=model, prompt="").done_reason == "load"
    assert model in loaded(client)


def unload(client, model):
    assert client.generate(model=model, prompt="", keep_alive=0).done_reason == "unload"


def test_the_second_model_is_known_and_not_loaded(client, life, need):
    names = [model.model.split(":")[0] for model in client.list().models]
    assert TEACHER in names and TWIN in names
    assert loaded(client) == [TEACHER]
    assert used(life) == pytest.approx(need, rel=0.05)
    shown = client.show(TWIN)
    assert shown.modelinfo["general.architecture"] == "qwen3moe"
    assert "completion" in shown.capabilities


def test_two_models_that_fit_one_at_a_time_make_room_for_each_other(client, life, need):
    for _ in range(2):
        for model in (TWIN, TEACHER):
            reply = client.chat(model=model, messages=SUM, options=GREEDY)
            assert "34" in reply.message.content
            assert reply.load_duration > 0
            wait_until(lambda: loaded(client) == [model], 10, f"{model} alone")
            assert used(life) == pytest.approx(need, rel=0.05)
    # Nothing is loaded for what is there.
    loads = life.log("worker").count('"model loaded"')
    client.chat(model=TEACHER, messages=SUM, options=GREEDY)
    assert life.log("worker").count('"model loaded"') == loads


def test_keep_alive_zero_gives_the_memory_back(client, life, need):
    load(client, TEACHER)
    client.chat(model=TEACHER, messages=SUM, options=GREEDY)
    before = resident(life)
    unload(client, TEACHER)
    assert loaded(client) == []
    assert used(life) == 0
    weights = planned_weights(life)
    assert before - resident(life) > 0.8 * weights
    # Asked for again, it is there again.
    assert "34" in client.chat(model=TEACHER, messages=SUM, options=GREEDY).message.content
    wait_until(lambda: loaded(client) == [TEACHER], 10, "the model in ps")


def planned_weights(mesh):
    plan = requests.post(mesh.url + "/admin/plan", json={"model": TEACHER}, timeout=30).json()
    return plan["data"][0]["weight_bytes"]


def test_a_chat_may_ask_to_unload_afterwards(client):
    load(client, TEACHER)
    reply = client.chat(model=TEACHER, messages=SUM, options=GREEDY, keep_alive=0)
    assert "34" in reply.message.content and reply.done_reason == "stop"
    wait_until(lambda: loaded(client) == [], 10, "an empty ps")


def test_a_running_answer_keeps_its_model(client):
    load(client, TEACHER)
    parts = client.generate(model=TEACHER, prompt="Tell me a story.", stream=True,
                            options={"temperature": 0, "num_predict": 300, "seed": 1})
    next(iter(parts))
    assert client.generate(model=TEACHER, prompt="", keep_alive=0).done_reason == "unload"
    last = list(parts)[-1]
    assert last.done and last.done_reason in ("length", "stop")
    wait_until(lambda: loaded(client) == [], 10, "an empty ps")


def test_a_keep_alive_runs_out(client):
    client.chat(model=TEACHER, messages=SUM, options=GREEDY, keep_alive="2s")
    entry = next((m for m in client.ps().models if m.details.format == "gguf"), None)
    if entry is not None:  # the fleet's word may come late, the model cannot be late to go
        left = entry.expires_at - datetime.datetime.now(datetime.timezone.utc)
        assert left.total_seconds() < 2.5
        assert entry.size > 0 and entry.size_vram == 0
    wait_until(lambda: loaded(client) == [], 20, "an empty ps")
    client.generate(model=TEACHER, prompt="", keep_alive=-1)
    assert loaded(client) == [TEACHER]
    entry = next(m for m in client.ps().models if m.details.format == "gguf")
    assert entry.expires_at.year > 2200


def test_a_wrong_keep_alive_is_refused(client):
    with pytest.raises(ollama.ResponseError) as refused:
        client.generate(model=TEACHER, prompt="", keep_alive="soon")
    assert refused.value.status_code == 400
    assert "keep_alive" in refused.value.error


def test_many_callers_share_one_load(client, life):
    unload(client, TEACHER)
    assert loaded(client) == []
    loads = life.log("worker").count('"model loaded"')
    answers = []

    def ask():
        reply = ollama.Client(host=life.url).chat(model=TEACHER, messages=SUM, options=GREEDY)
        answers.append(reply.message.content)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(answers) == 8 and len(set(answers)) == 1 and "34" in answers[0]
    assert life.log("worker").count('"model loaded"') == loads + 1


def test_a_derived_model_shares_its_base_s_life(client):
    client.create(model="clerk", from_=TEACHER, system="You add numbers.")
    load(client, "clerk")
    assert loaded(client) == ["clerk", TEACHER]
    unload(client, "clerk")
    assert loaded(client) == []
    assert client.chat(model="clerk", messages=SUM, options=GREEDY).done
    wait_until(lambda: loaded(client) == ["clerk", TEACHER], 10, "both in ps")
    client.delete("clerk")


@pytest.fixture
def impatient(life, build_dir):
    """A second gateway, which does not wait for models."""
    port = free_port_block(2)
    process = subprocess.Popen(
        [pathlib.Path(build_dir).resolve() / "bin/conclave-gateway",
         "--listen", f"127.0.0.1:{port}", "--load-wait", "0",
         "--inference-workers", f"127.0.0.1:{life.internal_port}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"

    def ready():
        try:
            return requests.get(url + "/readyz", timeout=2).ok
        except requests.ConnectionError:
            return False

    try:
        wait_until(ready, 30, "the second gateway")
        yield url
    finally:
        process.terminate()
        process.wait(30)


def test_every_gateway_shows_what_one_has_answered(client, life, impatient):
    """At once, however often: the workers' own reports come up to 100 ms later."""
    other = ollama.Client(host=impatient)

    def states():
        served = requests.get(impatient + "/v1/models", timeout=10).json()["data"]
        return {model["id"]: model["status"]["value"] for model in served}

    for _ in range(20):
        load(client, TEACHER)
        assert loaded(other) == [TEACHER] and states()[TEACHER] == "loaded"
        unload(client, TEACHER)
        assert loaded(other) == [] and states()[TEACHER] == "unloaded"


def test_who_does_not_wait_hears_when_to_come_back(client, life, impatient):
    unload(client, TEACHER)
    assert loaded(client) == []
    api = openai.OpenAI(base_url=impatient + "/v1", api_key="none", max_retries=0)
    with pytest.raises(openai.APIStatusError) as refused:
        api.chat.completions.create(model=TEACHER, messages=SUM, temperature=0)
    assert refused.value.status_code == 503
    assert int(refused.value.response.headers["retry-after"]) >= 1
    assert refused.value.body["code"] == "model_loading"
    assert re.search(r"is loading \(\d+ %\)", refused.value.body["message"])
    # The load it has started goes on; a client that comes back as told is served.
    patient = api.with_options(max_retries=5)
    answer = patient.chat.completions.create(model=TEACHER, messages=SUM, temperature=0)
    assert "34" in answer.choices[0].message.content
    # The other gateway waits, so its clients see nothing of it.
    client.generate(model=TEACHER, prompt="", keep_alive=0)
    waiting = openai.OpenAI(base_url=life.url + "/v1", api_key="none", max_retries=0)
    answer = waiting.chat.completions.create(model=TEACHER, messages=SUM, temperature=0)
    assert "34" in answer.choices[0].message.content


def test_an_administrator_loads_unloads_and_plans(client, life, need):
    def post(route, **body):
        return requests.post(life.url + route, json=body, timeout=60)

    assert post("/admin/models/unload", model=TEACHER).json()["success"]
    assert loaded(client) == []

    def states():
        served = requests.get(life.url + "/admin/models", timeout=10).json()["served"]
        return {model["name"]: model["state"] for model in served}

    assert states()[TEACHER] == states()[TWIN] == "unloaded"
    plan = post("/admin/plan", model=TEACHER).json()["data"][0]
    assert plan["fits"] and plan["fits_now"] and plan["total_bytes"] == need
    assert plan["weight_bytes"] + plan["kv_bytes"] + plan["scratch_bytes"] == need
    assert post("/admin/models/load", model=TWIN).json() == {
        "success": True, "model": TWIN, "state": "ready"}
    plan = post("/admin/plan", model=TEACHER).json()["data"][0]
    assert plan["fits"] and not plan["fits_now"]
    large = post("/admin/plan", model=TEACHER, kv_bytes=1 << 40).json()["data"][0]
    assert not large["fits"] and large["options"][0]["setting"] == "kv_bytes"
    assert post("/admin/plan", path="/etc/passwd").status_code == 403
    assert post("/admin/plan", model="nobody").status_code == 404
    assert post("/admin/plan").status_code == 400


def props(mesh, model):
    reply = requests.get(mesh.url + "/props", params={"model": model}, timeout=10)
    assert reply.status_code == 200, reply.text
    return reply.json()


def test_looking_at_a_model_does_not_load_it(client, life):
    """llama-server's /props and /slots, as its clients read them."""
    unload(client, TEACHER)
    for _ in range(5):
        asleep = props(life, TEACHER)
        assert asleep["is_sleeping"] is True
        assert requests.get(life.url + "/slots", params={"model": TEACHER}, timeout=10).ok
    assert TEACHER not in loaded(client)
    load(client, TEACHER)
    awake = props(life, TEACHER)
    assert awake["is_sleeping"] is False and awake["total_slots"] == 4
    assert awake["default_generation_settings"]["n_ctx"] == 2048
    assert awake["chat_template"] and awake["eos_token"] and awake["model_alias"] == TEACHER
    # What is looked at goes when its time is over all the same.
    client.chat(model=TEACHER, messages=SUM, options=GREEDY, keep_alive="1s")
    wait_until(lambda: props(life, TEACHER)["is_sleeping"], 20, "the end of its time")


def test_slots_are_taken_while_somebody_is_answered(client, life):
    def slots(**query):
        return requests.get(life.url + "/slots", params={"model": TEACHER, **query}, timeout=10)

    load(client, TEACHER)
    wait_until(lambda: [s["is_processing"] for s in slots().json()] == [False] * 4, 10, "free slots")
    body = {"model": TEACHER, "prompt": "Tell me a story.", "stream": True, "max_tokens": 1500,
            "ignore_eos": True}
    parts = [requests.post(life.url + "/v1/completions", json=body, stream=True, timeout=60)
             for _ in range(4)]
    try:
        wait_until(lambda: slots(fail_on_no_slot=1).status_code == 503, 10, "a full server")
        busy = slots().json()
        assert [slot["is_processing"] for slot in busy] == [True] * 4
        assert "story" not in json.dumps(busy)
    finally:
        for one in parts:
            one.close()
    wait_until(lambda: slots(fail_on_no_slot=1).status_code == 200, 30, "a free slot")


def test_the_router_s_verbs_load_and_unload_and_tell_who_listens(client, life):
    def verb(name, model):
        return requests.post(f"{life.url}/models/{name}", json={"model": model}, timeout=60)

    def value(model):
        served = requests.get(life.url + "/models", timeout=10).json()["data"]
        return next(entry["status"]["value"] for entry in served if entry["id"] == model)

    unload(client, TEACHER)
    assert value(TEACHER) == "unloaded"
    with requests.get(life.url + "/models/sse", stream=True, timeout=60) as stream:
        assert verb("load", TEACHER).json()["success"] is True
        wait_until(lambda: value(TEACHER) == "loaded", 30, "the model in memory")
        told = []
        for line in stream.iter_lines():
            assert not line.startswith(b": keep-alive"), told  # nothing for so long
            if not line.startswith(b"data: "):
                continue
            event = json.loads(line[6:])
            if event["model"] != TEACHER:
                continue
            assert event["event"] == "model_status"
            told.append(event["data"]["status"])
            if told[-1] == "loaded":
                break
    assert told[-1] == "loaded" and set(told[:-1]) <= {"loading", "unloaded"}
    assert verb("unload", TEACHER).json()["success"] is True
    assert value(TEACHER) == "unloaded"
    assert verb("load", "nobody").status_code == 404


def test_plan_says_what_would_fit(build_dir, need):
    plan = planned(build_dir, *ENGINE, "--memory-budget", "1M")
    assert plan.returncode == 3
    assert "does not fit" in plan.stdout and "would fit with memory_budget" in plan.stdout


def test_a_worker_refuses_what_its_budget_cannot_hold(build_dir, tmp_path):
    """Said once at the start, with both figures; there is nothing to serve."""
    bin_dir = pathlib.Path(build_dir).resolve() / "bin"
    port = free_port_block(2)
    log = tmp_path / "worker.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [bin_dir / "conclave-worker", "--listen", f"127.0.0.1:{port}",
             "--probe-listen", f"127.0.0.1:{port + 1}", "--model", GGUF, "--memory-budget", "1M"],
            stdout=out, stderr=out)
    try:
        refusal = wait_until(
            lambda: re.search(r"needs \d+ bytes; this worker has 1048576 for models", log.read_text()),
            30, "the refusal")
        assert refusal
        probe = f"http://127.0.0.1:{port + 1}/readyz"
        wait_until(lambda: requests.get(probe, timeout=5).status_code == 503, 30, "the probe")
    finally:
        process.terminate()
        process.wait(30)
