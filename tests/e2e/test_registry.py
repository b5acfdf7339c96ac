"""Models that come and go while everything runs: the official ollama package, OpenAI's and the
administrator's routes, against a mesh of its own."""

import hashlib
import http.server
import json
import pathlib
import signal
import tempfile
import threading

import ollama
import openai
import pytest
import requests

from mesh import REPO, Mesh, wait_until

GGUF = REPO / "deploy/models/conclave-teacher.gguf"
SUM = [{"role": "user", "content": "What is 21 + 13?"}]
GREEDY = {"temperature": 0}
SERVICES = ["worker", "store", "gateway", "postgres"]


def digest_of(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Mirror(http.server.BaseHTTPRequestHandler):
    """A registry like Ollama's with one model; each connection breaks after 4 MB."""

    weights = GGUF.read_bytes() + bytes(32)  # no digest that is here already
    system = b"You add numbers."
    template = b"{{ .System }} {{ .Prompt }} ="
    ranges = []

    def do_GET(self):
        if self.path == "/models/v2/library/mirrored/manifests/latest":
            layers = [{"mediaType": f"application/vnd.ollama.image.{kind}", "digest": digest_of(data),
                       "size": len(data)} for kind, data in (("model", self.weights),
                                                             ("template", self.template),
                                                             ("system", self.system))]
            return self.answer(200, json.dumps({"schemaVersion": 2, "layers": layers}).encode())
        for data in (self.weights, self.template, self.system):
            if self.path == f"/models/v2/library/mirrored/blobs/{digest_of(data)}":
                begin = int(self.headers.get("Range", "bytes=0-")[6:-1])
                self.ranges.append(begin)
                return self.answer(206 if begin else 200, data[begin:], begin, len(data))
        return self.answer(404, b"")

    def answer(self, status, body, begin=0, size=0):
        self.send_response(status)
        if status == 206:
            self.send_header("Content-Range", f"bytes {begin}-{size - 1}/{size}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:4 << 20])

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def registry(request):
    """A mesh whose worker can pull from a folder that has one model, and from a mirror."""
    source = pathlib.Path(tempfile.mkdtemp(prefix="cvepull", dir="/tmp"))
    (source / "tiny.gguf").write_bytes(GGUF.read_bytes())
    mirror = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    threading.Thread(target=mirror.serve_forever, daemon=True).start()
    mesh = Mesh(request.config.getoption("--build-dir"),
                f"--pull-from {source},http://127.0.0.1:{mirror.server_port}/models")
    try:
        mesh.up()
        yield mesh
    finally:
        mesh.destroy()
        mirror.shutdown()
        mirror.server_close()
        (source / "tiny.gguf").unlink()
        source.rmdir()


@pytest.fixture(scope="module")
def client(registry):
    return ollama.Client(host=registry.url)


@pytest.fixture(scope="module")
def base(client):
    names = [model.model for model in client.list().models]
    return next(name for name in names if name.startswith("conclave-teacher"))


def names(client):
    return [model.model for model in client.list().models]


def test_a_derived_model_is_created_shown_and_answers(client, base):
    steps = list(
        client.create(
            model="Clerk", from_=base, stream=True, system="You add numbers.", license="MIT",
            parameters={"temperature": 0, "num_predict": 1, "stop": ["\n\n"]},
            messages=[{"role": "user", "content": "What is 1 + 1?"},
                      {"role": "assistant", "content": "1 + 1 = 2"}],
        )
    )
    assert steps[-1].status == "success"
    assert "Clerk:latest" in names(client)
    shown = client.show("clerk")  # whatever its case
    assert shown.parameters.splitlines()[0].split() == ["num_predict", "1"]
    assert "SYSTEM \"\"\"You add numbers.\"\"\"" in shown.modelfile
    assert shown.details.parent_model == base.removesuffix(":latest")
    assert shown.license == "MIT"
    reply = client.chat(model="clerk", messages=SUM)
    plain = client.chat(model=base, messages=SUM, options=GREEDY)
    # num_predict is its default; system and examples are in its prompt.
    assert reply.eval_count == 1 and reply.done_reason == "length"
    assert reply.prompt_eval_count > plain.prompt_eval_count
    assert client.chat(model="clerk", messages=SUM, options={"num_predict": 3}).eval_count == 3


def test_a_template_of_its_own_makes_the_prompt(client, registry, base):
    client.create(
        model="templated", from_=base,
        template="{% for m in messages %}[{{ m.content }}]{% endfor %}",
    )
    reply = requests.post(
        registry.url + "/api/generate",
        json={"model": "templated", "prompt": "x", "stream": False, "options": {"num_predict": 1}},
        timeout=60,
    ).json()
    plain = client.generate(model=base, prompt="x", options={"num_predict": 1})
    assert 0 < reply["prompt_eval_count"] < plain.prompt_eval_count
    client.delete("templated")


def test_creating_again_replaces(client, base):
    client.create(model="clerk", from_=base, parameters={"num_predict": 2, "temperature": 0})
    assert wait_until(
        lambda: client.chat(model="clerk", messages=SUM).eval_count == 2, 10, "the new clerk"
    )
    assert names(client).count("Clerk:latest") == 1


def test_copy_and_delete(client, base):
    client.copy("clerk", "bookkeeper")
    client.delete("clerk")
    wait_until(lambda: "Clerk:latest" not in names(client), 10, "the end of clerk")
    # The copy stands on its own.
    assert client.chat(model="bookkeeper", messages=SUM).eval_count == 2
    for wrong in ["clerk", "ghost"]:
        with pytest.raises(ollama.ResponseError) as failure:
            client.delete(wrong)
        assert failure.value.status_code == 404
    with pytest.raises(ollama.ResponseError) as failure:
        client.copy("ghost", "spirit")
    assert failure.value.status_code == 404
    with pytest.raises(ollama.ResponseError) as failure:
        client.delete(base)  # the worker's own
    assert failure.value.status_code == 403


def test_a_model_is_made_of_an_uploaded_file(client, registry):
    digest = client.create_blob(GGUF)
    assert digest == "sha256:" + hashlib.sha256(GGUF.read_bytes()).hexdigest()
    assert requests.head(f"{registry.url}/api/blobs/{digest}", timeout=10).status_code == 200
    steps = list(
        client.create(model="uploaded", files={"teacher.gguf": digest}, system="You add numbers.",
                      stream=True)
    )
    assert [step.status for step in steps] == [
        f"using existing layer {digest}", "writing manifest", "success"
    ]
    reply = client.chat(model="uploaded", messages=SUM, options=GREEDY)
    assert "34" in reply.message.content
    # Others can be made from it, and it stays while they are there.
    client.create(model="child", from_="uploaded", parameters={"num_predict": 1})
    assert client.chat(model="child", messages=SUM).eval_count == 1
    with pytest.raises(ollama.ResponseError) as failure:
        client.delete("uploaded")
    assert failure.value.status_code == 400 and "child" in failure.value.error
    client.delete("child")
    # The file goes with the last model that names it.
    path = registry.data / "models/blobs" / digest.replace(":", "-")
    client.create(model="again", files={"teacher.gguf": digest})
    client.delete("uploaded")
    assert "34" in client.chat(model="again", messages=SUM, options=GREEDY).message.content
    assert path.exists()
    client.delete("again")
    wait_until(lambda: not path.exists(), 30, "the end of the file")
    assert requests.head(f"{registry.url}/api/blobs/{digest}", timeout=10).status_code == 404
    assert client.create_blob(GGUF) == digest
    client.create(model="uploaded", files={"teacher.gguf": digest}, system="You add numbers.")


def test_a_file_without_a_template_takes_one_of_ollamas(client, registry, tmp_path):
    bare = tmp_path / "bare.gguf"
    bare.write_bytes(GGUF.read_bytes().replace(b"tokenizer.chat_template", b"tokenizer.chat_templatE"))
    client.create(model="bare", files={"bare.gguf": client.create_blob(bare)},
                  template="{{ with .System }}{{ . }}\n{{ end }}Q: {{ .Prompt }}\nA: {{ .Response }}\n")
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, *SUM]
    reply = requests.post(registry.url + "/apply-template", timeout=60,
                          json={"model": "bare", "messages": talk}).json()
    assert reply["prompt"] == "Q: a\nA: b\nQ: What is 21 + 13?\nA: "
    assert client.chat(model="bare", messages=SUM, options={"num_predict": 2}).eval_count == 2
    client.delete("bare")


def test_a_blob_is_what_its_digest_says(registry):
    digest = "sha256:" + hashlib.sha256(b"one").hexdigest()
    url = f"{registry.url}/api/blobs/{digest}"
    assert requests.head(url, timeout=10).status_code == 404
    assert requests.post(url, data=b"other", timeout=10).status_code == 400
    assert requests.head(url, timeout=10).status_code == 404
    chunks = iter([b"o", b"n", b"e"])
    assert requests.post(url, data=chunks, timeout=10).status_code == 201
    assert requests.head(url, timeout=10).status_code == 200
    for bad in ["sha256:1234", "sha256:" + "A" * 64, "..%2F..%2Fetc%2Fpasswd"]:
        assert requests.head(f"{registry.url}/api/blobs/{bad}", timeout=10).status_code == 400


def test_a_model_is_pulled_with_progress(client):
    steps = list(client.pull("tiny", stream=True))
    assert steps[0].status == "pulling manifest"
    assert [step.status for step in steps[-3:]] == [
        "verifying sha256 digest", "writing manifest", "success"
    ]
    size = GGUF.stat().st_size
    progress = [(step.completed or 0) for step in steps if step.total == size]
    assert progress == sorted(progress) and progress[-1] == size
    assert "34" in client.chat(model="tiny", messages=SUM, options=GREEDY).message.content
    with pytest.raises(ollama.ResponseError) as failure:
        client.pull("ghost")
    assert failure.value.status_code == 404
    with pytest.raises(ollama.ResponseError) as failure:
        client.pull("../../etc/passwd")
    assert failure.value.status_code == 400
    with pytest.raises(ollama.ResponseError) as failure:
        client.push("tiny")
    assert failure.value.status_code == 501


def test_a_model_is_pulled_from_a_mirror_over_breaks(client, registry):
    steps = list(client.pull("mirrored", stream=True))
    assert steps[-1].status == "success"
    digest, size = digest_of(Mirror.weights), len(Mirror.weights)
    told = [step for step in steps if step.digest == digest]
    assert {step.total for step in told} == {size}
    completed = [step.completed or 0 for step in told]
    assert completed == sorted(completed) and completed[-1] == size
    assert Mirror.ranges[:3] == [0, 4 << 20, 8 << 20]
    shown = client.show("mirrored")
    assert "You add numbers." in shown.modelfile and shown.template == Mirror.template.decode()
    asked = {"model": "mirrored", "messages": SUM}
    rendered = requests.post(registry.url + "/apply-template", json=asked, timeout=60).json()
    assert rendered["prompt"] == "You add numbers. What is 21 + 13? ="
    assert client.chat(**asked, options=GREEDY).prompt_eval_count > 0


def test_without_a_source_a_pull_says_so(ollama_client):
    with pytest.raises(ollama.ResponseError) as failure:
        ollama_client.pull("tiny")
    assert failure.value.status_code == 400 and "--pull-from" in failure.value.error


@pytest.mark.parametrize(
    "registration, param",
    [
        ({"name": "../x", "path": "m.gguf"}, "name"),
        ({"name": "a\nb", "path": "m.gguf"}, "name"),
        ({"name": "x" * 201, "path": "m.gguf"}, "name"),
        ({"name": "x", "path": "../../etc/passwd"}, "path"),
        ({"name": "x", "path": "/etc/passwd"}, None),
        ({"name": "x", "path": "missing.gguf"}, None),
        ({"name": "x", "provider_id": "nobody"}, None),
        ({"name": "x", "derived": {"base": "ghost"}}, "derived.base"),
        ({"name": "x", "derived": {"base": "scripted", "template": "{{ x }}"}}, None),
    ],
)
def test_what_cannot_be_registered_leaves_nothing(registry, registration, param):
    reply = requests.post(registry.url + "/admin/models", json=registration, timeout=60)
    assert reply.status_code in (400, 403, 404, 501), reply.text
    error = reply.json()["error"]
    if param:
        assert error["param"] == param
    listed = requests.get(registry.url + "/admin/models", timeout=10).json()
    assert registration["name"] not in [model["name"] for model in listed["registered"]]
    assert registration["name"] not in [model["name"] for model in listed["served"]]


def test_openai_clients_see_and_delete_registered_models(client, registry, base):
    client.create(model="passing", from_=base)
    openai_client = openai.OpenAI(base_url=registry.url + "/v1", api_key="none", max_retries=0)
    assert "passing" in [model.id for model in openai_client.models.list()]
    gone = openai_client.models.delete("passing")
    assert gone.deleted and gone.id == "passing"
    wait_until(
        lambda: "passing" not in [model.id for model in openai_client.models.list()], 10, "the end"
    )
    with pytest.raises(openai.PermissionDeniedError):
        openai_client.models.delete(base.removesuffix(":latest"))


def test_registered_models_outlive_everything(client, registry, base):
    client.create(model="survivor", from_=base, parameters={"num_predict": 1, "temperature": 0})
    before = client.chat(model="survivor", messages=SUM).message.content
    expected = {"survivor:latest", "bookkeeper:latest", "uploaded:latest", "tiny:latest"}
    wait_until(lambda: expected <= set(names(client)), 10, "all models")
    old = {service: registry.pid(service) for service in SERVICES}
    for service in SERVICES:
        registry.kill(service, signal.SIGKILL)
    for service in SERVICES:
        registry.wait_restarted(service, old[service])
    registry.wait_ready()
    wait_until(lambda: expected <= set(names(client)), 60, "the models' return")

    def answer(model, options=None):
        try:
            return client.chat(model=model, messages=SUM, options=options).message.content
        except ollama.ResponseError:  # it is loading
            return ""

    wait_until(lambda: answer("survivor") == before, 60, "an answer of the survivor")
    wait_until(lambda: "34" in answer("tiny", GREEDY), 60, "an answer of the pulled model")
