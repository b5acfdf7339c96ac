"""Models of other servers and of programs, registered while everything runs by each dialect that can:
there again after everything was killed, and never what the configuration does not allow."""

import contextlib
import http.server
import json
import os
import pathlib
import signal
import sys
import threading

import pytest
import requests

from mesh import SCRIPTED_MODEL, Mesh, counts, wait_until

HERE = pathlib.Path(__file__).resolve().parent
EVERYTHING = ["worker", "store", "gateway", "postgres"]


class Peer(http.server.BaseHTTPRequestHandler):
    """Knows one answer and one way elsewhere; keeps account of who came."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.bodies.append(body)
        self.server.methods.append(self.command)
        away = self.path == "/away"
        reply = json.dumps({"got": len(body)}).encode()
        self.send_response(307 if away else 200)
        if away:
            self.send_header("Location", self.server.elsewhere)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    do_GET = do_POST

    def log_message(self, *_):
        pass


class DualStack(http.server.ThreadingHTTPServer):
    address_family = http.server.socket.AF_INET6

    def server_bind(self):
        self.socket.setsockopt(http.server.socket.IPPROTO_IPV6, http.server.socket.IPV6_V6ONLY, 0)
        super().server_bind()


@contextlib.contextmanager
def peer(address, server=http.server.ThreadingHTTPServer):
    running = server((address, 0), Peer)
    running.bodies = []
    running.methods = []
    threading.Thread(target=running.serve_forever, daemon=True).start()
    try:
        yield running
    finally:
        running.shutdown()
        running.server_close()


@pytest.fixture(scope="module")
def scorer():
    """The destination that the configuration lists."""
    with peer("127.0.0.1") as running:
        yield running


@pytest.fixture(scope="module")
def inside():
    """What a pattern must not lead to: it would answer on every address of this machine."""
    with peer("::", DualStack) as running:
        yield running


@pytest.fixture(scope="module")
def registry(request, mesh, scorer, inside, tmp_path_factory):
    """A mesh with the three types of providers and no model of theirs; `mesh` is the other server."""
    scorer.elsewhere = f"http://127.0.0.1:{inside.server_port}/predict"
    file = tmp_path_factory.mktemp("providers") / "providers.yaml"
    file.write_text(f"""
providers:
  inference:
    - provider_id: inner
      provider_type: remote::openai
      config: {{url: {mesh.url}/v1, health_interval: 200ms}}
    - provider_id: listed
      provider_type: remote::http
      config: {{destinations: ["127.0.0.1:{scorer.server_port}"]}}
    - provider_id: public
      provider_type: remote::http
      config: {{destinations: ["*:{inside.server_port}", "*:80"], connect_timeout: 2s}}
    - provider_id: programs
      provider_type: subprocess
      config:
        models:
          echo: {{argv: [{sys.executable}, {HERE}/echo_chat.py], protocol: chat}}
          score: {{argv: [{sys.executable}, {HERE}/score.py]}}
""")
    running = Mesh(request.config.getoption("--build-dir"), f"--providers {file}")
    try:
        running.up()
        yield running
    finally:
        running.destroy()


def admin(mesh, name, provider, model):
    body = {"name": name, "provider_id": provider, "provider_model_id": model}
    return requests.post(mesh.url + "/admin/models", json=body, timeout=60)


def llama_stack_2024(mesh, name, provider, model):
    body = {"model": {"identifier": name, "provider_id": provider, "llama_model": model,
                      "metadata": {}}}
    return requests.post(mesh.url + "/models/register", json=body, timeout=60)


def llama_stack_alpha(mesh, name, provider, model, path="/alpha/models/register"):
    body = {"model_id": name, "provider_id": provider, "provider_model_id": model}
    return requests.post(mesh.url + path, json=body, timeout=60)


def llama_stack_2025(mesh, name, provider, model):
    return llama_stack_alpha(mesh, name, provider, model, "/v1/models")


def ai_backend(mesh, name, provider, model):
    kind = "subprocessmodel" if provider == "programs" else "httpmodel"
    query = {"id": name, "type": kind, "dest": model, "provider": provider}
    return requests.get(mesh.url + "/get/addmodel", params=query, timeout=60)


DIALECTS = [admin, llama_stack_2024, llama_stack_alpha, llama_stack_2025, ai_backend]


def chat(mesh, model, content):
    body = {"model": model, "messages": [{"role": "user", "content": content}]}
    reply = requests.post(mesh.url + "/v1/chat/completions", json=body, timeout=60)
    return reply.json()["choices"][0]["message"]["content"] if reply.ok else None


def predict(mesh, model, body):
    return requests.post(mesh.url + "/post/predict", params={"id": model}, json=body, timeout=60)


def names(mesh):
    return {model["id"] for model in requests.get(mesh.url + "/v1/models", timeout=10).json()["data"]}


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")")[-1].split()[0] != "Z"


def test_registered_models_answer_at_once(registry):
    assert llama_stack_2025(registry, "far", "inner", SCRIPTED_MODEL).status_code == 200
    assert llama_stack_2024(registry, "teams/echo", "programs", "echo").text == "null"
    assert ai_backend(registry, "score", "programs", "score").json()["provider_id"] == "programs"
    assert chat(registry, "far", "count near") == counts("near", 40)
    assert chat(registry, "teams/echo", "one two") == "one two "
    assert predict(registry, "score", {"a": 1}).json()["length"] == len('{"a": 1}')


def test_the_word_of_the_path_is_the_method_towards_the_model(registry, scorer):
    added = ai_backend(registry, "worded", "listed", f"127.0.0.1:{scorer.server_port}")
    assert added.status_code == 200, added.text
    for word, method in (("post", "POST"), ("get", "GET")):
        for ours in ("GET", "POST"):
            reply = requests.request(ours, f"{registry.url}/{word}/predict", json={"a": 1},
                                     params={"id": "worded"}, timeout=60)
            assert reply.json() == {"got": len('{"a": 1}')}
            assert scorer.methods[-1] == method
    # Nothing said is nothing sent.
    reply = requests.get(f"{registry.url}/get/predict", params={"id": "worded"}, timeout=60)
    assert reply.json() == {"got": 0} and scorer.methods[-1] == "GET"
    assert requests.delete(registry.url + "/v1/models/worded", timeout=60).ok


def test_a_providers_model_has_defaults_of_its_own(registry):
    """A derived model without a base stands on what the provider serves; a base that is a provider's
    may be derived from, and stays while it is."""
    def register(name, **more):
        return requests.post(registry.url + "/admin/models", json={"name": name, **more}, timeout=60)

    served = {"provider_id": "inner", "provider_model_id": SCRIPTED_MODEL}
    defaults = {"system": "Be short.", "parameters": {"num_predict": 3}}
    assert register("short", **served, derived=defaults).status_code == 200
    assert chat(registry, "short", "count x") == "x:0"
    assert register("shorter", derived={"base": "far", "parameters": {"num_predict": 1}}).ok
    assert chat(registry, "shorter", "count x") == "x"
    held = requests.delete(registry.url + "/v1/models/far", timeout=60)
    assert held.status_code == 400 and "shorter" in held.json()["error"]["message"]
    # What cannot be is refused by name: both, a base that is not there, a template for a stranger.
    both = register("both", **served, derived={"base": "far"})
    assert both.status_code == 400 and both.json()["error"]["param"] == "derived.base"
    absent = register("absent", derived={"base": "nobody", "system": "x"})
    assert absent.status_code == 404 and absent.json()["error"]["param"] == "derived.base"
    none = register("none", derived={"system": "x"})
    assert none.status_code == 400 and none.json()["error"]["param"] == "derived.base"
    template = register("template", **served, derived={"template": "{{ messages[0].content }}"})
    assert template.status_code in (400, 501) and "template" in template.json()["error"]["message"]
    assert not {"both", "absent", "none", "template"} & names(registry)


@pytest.mark.parametrize("killed", [EVERYTHING, EVERYTHING[:3]], ids=["all", "all-but-the-database"])
def test_registered_models_outlive_everything(registry, scorer, killed):
    """kill -9 of every process: what was registered is there again and answers, what was removed is
    not, and no program of the dead worker stays behind."""
    destination = f"127.0.0.1:{scorer.server_port}"
    assert ai_backend(registry, "remote-score", "listed", destination).status_code == 200
    assert admin(registry, "passing", "programs", "echo").status_code == 200
    gone = requests.delete(registry.url + "/v1/models/passing", timeout=60)
    assert gone.status_code == 200
    program = predict(registry, "score", {}).json()["pid"]
    expected = {"far", "teams/echo", "score", "remote-score", "short", "shorter"}
    assert expected <= names(registry)

    old = {service: registry.pid(service) for service in killed}
    for service in killed:
        registry.kill(service, signal.SIGKILL)
    for service in killed:
        registry.wait_restarted(service, old[service])
    registry.wait_ready()

    wait_until(lambda: expected <= names(registry), 60, "the models' return")
    wait_until(lambda: chat(registry, "far", "count again") == counts("again", 40), 60, "the remote")
    wait_until(lambda: chat(registry, "teams/echo", "three") == "three ", 60, "the program")
    wait_until(lambda: chat(registry, "short", "count x") == "x:0", 60, "the remote with defaults")
    wait_until(lambda: chat(registry, "shorter", "count x") == "x", 60, "what was derived from one")
    wait_until(lambda: predict(registry, "score", {}).ok, 60, "the predict program")
    wait_until(lambda: predict(registry, "remote-score", {}).ok, 60, "the destination")
    assert "passing" not in names(registry)
    assert not alive(program) and predict(registry, "score", {}).json()["pid"] != program
    wrong = ai_backend(registry, "remote-score", "listed", "169.254.169.254")
    assert wrong.status_code in (400, 403, 409), wrong.text


def refused(mesh, register, name, provider, model):
    """The status of a refusal that left nothing behind and gave nothing away."""
    before = names(mesh)
    reply = register(mesh, name, provider, model)
    assert 400 <= reply.status_code < 500, (reply.status_code, reply.text)
    assert "error" in reply.json() or "detail" in reply.json(), reply.text
    listed = requests.get(mesh.url + "/admin/models", timeout=10).json()["registered"]
    assert name not in {entry["name"] for entry in listed}
    # The worker that tried it may still be taking its entry back.
    wait_until(lambda: names(mesh) == before, 10, "the list as it was")
    return reply.status_code


@pytest.mark.parametrize("register", DIALECTS, ids=lambda dialect: dialect.__name__)
@pytest.mark.parametrize("command", ["/bin/sh", "sh -c id", "echo; id", "../echo", "ECHO", "echo\n"])
def test_a_command_outside_the_list_is_refused(registry, register, command):
    assert refused(registry, register, "shell", "programs", command) in (400, 403, 404)


@pytest.mark.parametrize("register", DIALECTS, ids=lambda dialect: dialect.__name__)
@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a/../../b", "/etc/passwd", "..", "a\\..\\b", "a\nb", "a b", ".x",
             "x" * 201, "%2e%2e%2fx"])
def test_a_name_that_is_a_path_is_refused(registry, register, name):
    assert refused(registry, register, name, "programs", "echo") == 400


@pytest.mark.parametrize("register", DIALECTS, ids=lambda dialect: dialect.__name__)
@pytest.mark.parametrize(
    "destination",
    ["169.254.169.254", "http://169.254.169.254/latest/meta-data/", "[::ffff:169.254.169.254]:80",
     "http://2852039166/", "http://0xa9fea9fe/", "127.0.0.1:1", "localhost:{port}", "[::1]:{port}",
     "http://127.0.0.1:{port}@evil.example/", "http://evil.example\\@127.0.0.1:{port}/",
     "http://user:pass@127.0.0.1:{port}/", "file:///etc/passwd", "gopher://127.0.0.1:{port}/",
     "127.0.0.1:{port}\r\nHost: x"])
def test_a_destination_outside_the_list_is_refused(registry, scorer, register, destination):
    came = len(scorer.bodies)
    model = destination.format(port=scorer.server_port)
    assert refused(registry, register, "ssrf", "listed", model) in (400, 403, 404)
    assert len(scorer.bodies) == came


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1",
             "0.0.0.0", "[::]"])
def test_a_pattern_leads_to_no_address_inside(registry, inside, host):
    """A name may resolve to anything, so what it resolves to is judged, at each use."""
    name = "inside-" + "".join(c if c.isalnum() else "-" for c in host)
    added = ai_backend(registry, name, "public", f"{host}:{inside.server_port}")
    if added.status_code == 200:
        answer = predict(registry, name, {})
        assert answer.status_code == 403 and "not allowed" in answer.json()["error"], answer.text
        assert requests.delete(f"{registry.url}/v1/models/{name}", timeout=60).status_code == 200
    else:
        assert added.status_code in (400, 403), added.text
    assert inside.bodies == []


@pytest.mark.parametrize("host", ["169.254.169.254", "[::ffff:169.254.169.254]", "2852039166"])
def test_a_pattern_does_not_lead_to_a_clouds_credentials(registry, host):
    added = ai_backend(registry, "metadata", "public", host)
    if added.status_code == 200:
        answer = predict(registry, "metadata", {})
        assert answer.status_code == 403, answer.text
        assert requests.delete(f"{registry.url}/v1/models/metadata", timeout=60).status_code == 200
    else:
        assert added.status_code in (400, 403), added.text


@pytest.mark.parametrize("model", ["far", "teams/echo"])
def test_what_such_a_model_cannot_do_is_refused(registry, model):
    body = {"model": model, "prompt": "one", "echo": True, "logprobs": 1, "max_tokens": 1}
    reply = requests.post(registry.url + "/v1/completions", json=body, timeout=60)
    assert reply.status_code == 501 and reply.json()["error"]["param"] == "echo", reply.text


def test_a_redirect_is_not_followed(registry, scorer, inside):
    """Not even from a destination that is allowed."""
    target = f"http://127.0.0.1:{scorer.server_port}/away"
    assert ai_backend(registry, "redirects", "listed", target).status_code == 200
    came = len(scorer.bodies)
    answer = predict(registry, "redirects", {})
    assert answer.status_code >= 500 and "redirect" in answer.json()["error"], answer.text
    assert len(scorer.bodies) == came + 1 and inside.bodies == []


def test_a_registration_cannot_name_an_address_of_its_own(registry, inside):
    """Where a provider's server is stands in the configuration alone."""
    config = {"url": f"http://127.0.0.1:{inside.server_port}/v1", "argv": ["/bin/sh"]}
    for provider, model in [("inner", SCRIPTED_MODEL), ("programs", "echo")]:
        for key in config:
            body = {"name": "mine", "provider_id": provider, "provider_model_id": model,
                    "config": {key: config[key]}}
            reply = requests.post(registry.url + "/admin/models", json=body, timeout=60)
            assert reply.status_code == 400, reply.text
            assert reply.json()["error"]["param"].startswith("config"), reply.text
    assert inside.bodies == []
