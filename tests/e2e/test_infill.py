"""Filling gaps: Ollama's suffix with its own client, OpenAI's with its own, and /infill as editors'
plug-ins send it. The scripted coder answers with all that reached it."""

import json

import ollama
import openai
import pytest
import requests

from mesh import REPO, SCRIPTED_MODEL, Mesh

CODER = "coder"
# What llama.vim sends.
VIM = {
    "input_prefix": "int add(int a, int b) {\n", "prompt": "  return ", "input_suffix": ";\n}\n",
    "input_extra": [{"filename": "a.h", "text": "int add(int, int);\n"}],
    "n_predict": 128, "n_indent": 2, "top_k": 40, "top_p": 0.9, "stream": False,
    "samplers": ["top_k", "top_p", "infill"], "cache_prompt": True, "t_max_prompt_ms": 500,
    "t_max_predict_ms": 1000,
    "response_fields": ["content", "timings/prompt_n", "timings/predicted_n", "truncated"],
}


@pytest.fixture(scope="module")
def coder_mesh(request):
    running = Mesh(request.config.getoption("--build-dir"),
                   f"--script {CODER}={REPO / 'tests/e2e/scripted_coder.json'}")
    try:
        running.up()
        running.wait_for_model(CODER)
        yield running
    finally:
        running.destroy()


def events(reply):
    return [json.loads(line.removeprefix("data: "))
            for line in reply.text.splitlines() if line.startswith("data: ")]


def test_an_editor_gets_the_fields_it_asks_for(coder_mesh):
    reply = requests.post(coder_mesh.url + "/infill", json=VIM, timeout=30)
    assert reply.status_code == 200, reply.text
    body = reply.json()
    assert list(body) == VIM["response_fields"]
    assert body["content"] == ("<file>a.h\nint add(int, int);\n<before>int add(int a, int b) {\n"
                               "  return <after>;\n}\n<gap>")
    assert body["timings/predicted_n"] == len(body["content"])


def test_a_prompt_is_warmed_up_without_an_answer(coder_mesh):
    reply = requests.post(coder_mesh.url + "/infill", timeout=30,
                          json=VIM | {"n_predict": 0, "response_fields": []})
    assert reply.json()["content"] == "" and reply.json()["stop_type"] == "limit"


def test_the_stream_is_the_same_text(coder_mesh):
    asked = {"input_prefix": "a", "input_suffix": "c"}
    whole = requests.post(coder_mesh.url + "/infill", json=asked, timeout=30).json()
    streamed = events(requests.post(coder_mesh.url + "/infill", json=asked | {"stream": True},
                                    timeout=30))
    assert "".join(event["content"] for event in streamed) == whole["content"] == \
        "<before>a<after>c<gap>"
    assert [event["stop"] for event in streamed] == [False] * (len(streamed) - 1) + [True]
    assert streamed[-1]["tokens_predicted"] == whole["tokens_predicted"]


def test_a_broken_stream_does_not_stop(coder_mesh):
    reply = requests.post(coder_mesh.url + "/infill", timeout=30, json={
        "input_prefix": "break-midway", "input_suffix": "", "stream": True})
    last = events(reply)[-1]
    assert "error" in last and "inside" not in last["error"]["message"]


def test_ollama_inserts_where_the_model_can(coder_mesh):
    client = ollama.Client(host=coder_mesh.url)
    assert "insert" in client.show(CODER).capabilities
    assert "insert" not in client.show(SCRIPTED_MODEL).capabilities
    asked = {"model": CODER, "prompt": "def f():\n  ", "suffix": "\n  return x"}
    whole = client.generate(**asked)
    assert whole.response == "<before>def f():\n  <after>\n  return x<gap>"
    assert whole.done_reason == "stop" and whole.context is None
    assert "".join(part.response for part in client.generate(**asked, stream=True)) == whole.response
    with pytest.raises(ollama.ResponseError) as refused:
        client.generate(model=SCRIPTED_MODEL, prompt="a", suffix="b")
    assert refused.value.status_code == 400 and "does not support insert" in refused.value.error


def test_openai_completions_insert(coder_mesh):
    client = openai.OpenAI(base_url=coder_mesh.url + "/v1", api_key="none", max_retries=0)
    reply = client.completions.create(model=CODER, prompt="a", suffix="c", max_tokens=100)
    assert reply.choices[0].text == "<before>a<after>c<gap>"


def test_models_that_cannot_say_so(coder_mesh, mesh):
    named = requests.post(coder_mesh.url + "/infill", json=VIM | {"model": SCRIPTED_MODEL}, timeout=30)
    assert named.status_code == 400 and "insert" in named.json()["error"]["message"]
    none = requests.post(mesh.url + "/infill", json=VIM, timeout=30)
    assert none.status_code == 404 and "insert" in none.json()["error"]["message"]
