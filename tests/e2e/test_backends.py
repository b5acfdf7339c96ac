"""A second worker and gateway whose models are the first mesh's, a program, and servers that fail."""

import http.server
import json
import os
import pathlib
import signal
import ssl
import subprocess
import sys
import threading

import openai
import pytest
import requests

from mesh import SCRIPTED_MODEL, free_port_block, wait_until

HERE = pathlib.Path(__file__).resolve().parent
WEATHER = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}},
}


class Flaky(http.server.BaseHTTPRequestHandler):
    """Serves one model; hangs up in the middle of every answer."""

    def do_GET(self):
        body = json.dumps({"object": "list", "data": [{"id": "m", "object": "model"}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        chunk = {"choices": [{"index": 0, "delta": {"content": "so far "}}]}
        self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())

    def log_message(self, *_):
        pass


def serve(context=None):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Flaky)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class Outer:
    def __init__(self, build_dir, folder, providers):
        base = free_port_block(4)
        self.url = f"http://127.0.0.1:{base}"
        self.probe = f"http://127.0.0.1:{base + 2}"
        (folder / "providers.yaml").write_text(providers)
        binaries = pathlib.Path(build_dir).resolve() / "bin"
        self.log = open(folder / "log", "wb")
        environment = dict(os.environ, INNER_KEY="sk-inner-secret")
        start = lambda *argv: subprocess.Popen(argv, env=environment, stderr=self.log)
        self.worker = start(
            str(binaries / "conclave-worker"), "--listen", f"127.0.0.1:{base + 1}",
            "--probe-listen", f"127.0.0.1:{base + 2}", "--providers",
            str(folder / "providers.yaml"))
        self.gateway = start(
            str(binaries / "conclave-gateway"), "--listen", f"127.0.0.1:{base}",
            "--inference-workers", f"127.0.0.1:{base + 1}")
        self.client = openai.OpenAI(base_url=self.url + "/v1", api_key="none", max_retries=0,
                                    timeout=60)

    def text_of_log(self):
        return pathlib.Path(self.log.name).read_text(errors="replace")

    def stop(self):
        for process in (self.gateway, self.worker):
            process.send_signal(signal.SIGTERM)
        codes = [process.wait(60) for process in (self.gateway, self.worker)]
        self.log.close()
        return codes


@pytest.fixture(scope="module")
def outer(mesh, teacher, request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("outer")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=t",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key.pem", "-out",
         folder / "cert.pem"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    flaky, secure = serve(), serve(context)
    providers = f"""
providers:
  inference:
    - provider_id: inner
      provider_type: remote::openai
      config: {{url: {mesh.url}/v1, api_key_env: INNER_KEY, health_interval: 200ms}}
      models:
        - {{name: far, provider_model_id: {SCRIPTED_MODEL}, aliases: [far-away]}}
        - {{name: far-teacher, provider_model_id: {teacher}}}
        - {{name: unknown, provider_model_id: nobody-serves-this}}
    - provider_id: flaky
      provider_type: remote::openai
      config: {{url: "http://127.0.0.1:{flaky.server_port}/"}}
      models: [{{name: flaky, provider_model_id: m}}]
    - provider_id: trusted
      provider_type: remote::openai
      config: {{url: "https://127.0.0.1:{secure.server_port}/", ca_file: {folder}/cert.pem}}
      models: [{{name: secure, provider_model_id: m}}]
    - provider_id: distrusted
      provider_type: remote::openai
      config: {{url: "https://127.0.0.1:{secure.server_port}/"}}
      models: [{{name: insecure, provider_model_id: m}}]
    - provider_id: programs
      provider_type: subprocess
      config:
        models:
          echo:
            argv: [{sys.executable}, {HERE}/echo_chat.py]
            protocol: chat
            restart_pause: 10ms
      models: [echo]
"""
    running = Outer(request.config.getoption("--build-dir"), folder, providers)
    try:
        wait_until(lambda: requests.get(running.probe + "/readyz", timeout=2).ok, 60, "readyz")
        wait_until(lambda: "far" in [m.id for m in running.client.models.list()], 60, "models")
        yield running
    finally:
        codes = running.stop()
        flaky.shutdown()
        secure.shutdown()
    assert codes == [0, 0]


def chat(client, model, content, **more):
    return client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": content}], **more)


def test_only_what_a_provider_serves_is_there(outer):
    with pytest.raises(openai.APIStatusError) as refused:
        chat(outer.client, "unknown", "hi")
    assert refused.value.status_code in (400, 404)
    with pytest.raises(openai.APIStatusError):
        chat(outer.client, "insecure", "hi")


def test_a_chat_through_two_meshes_is_the_same(outer, openai_client, teacher):
    question = "What is 21 + 13?"
    near = chat(openai_client, teacher, question, temperature=0)
    far = chat(outer.client, "far-teacher", question, temperature=0)
    assert far.choices[0].message.content == near.choices[0].message.content
    assert far.usage.prompt_tokens == near.usage.prompt_tokens
    assert far.usage.completion_tokens == near.usage.completion_tokens
    stream = list(chat(outer.client, "far-teacher", question, temperature=0, stream=True))
    text = "".join(c.choices[0].delta.content or "" for c in stream if c.choices)
    assert text == near.choices[0].message.content
    seeded = [chat(outer.client, "far-teacher", "Tell me something.", seed=7, max_tokens=12,
                   temperature=1).choices[0].message.content for _ in range(2)]
    assert seeded[0] == seeded[1]


def test_tools_reasoning_and_logprobs_come_through(outer):
    reply = chat(outer.client, "far", "call-weather", tools=[WEATHER])
    call = reply.choices[0].message.tool_calls[0]
    assert reply.choices[0].finish_reason == "tool_calls"
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    answer = outer.client.chat.completions.create(
        model="far-away", tools=[WEATHER],
        messages=[{"role": "user", "content": "call-weather"}, reply.choices[0].message,
                  {"role": "tool", "tool_call_id": call.id, "content": "sun"}])
    assert answer.choices[0].message.content == "It is sunny in Paris."
    thought = chat(outer.client, "far", "think-aloud")
    assert thought.choices[0].message.content == "It is 5."
    assert thought.choices[0].message.reasoning_content == "2 and 3 make 5"
    likely = chat(outer.client, "far", "count", logprobs=True, top_logprobs=2)
    content = likely.choices[0].logprobs.content
    assert "".join(token.token for token in content) == likely.choices[0].message.content
    assert all(len(token.top_logprobs) == 2 for token in content)


def test_several_answers_of_one_that_gives_one_at_a_time(outer):
    for model, content in (("far", "count go"), ("echo", "say hi")):
        whole = chat(outer.client, model, content, n=3)
        assert [choice.index for choice in whole.choices] == [0, 1, 2]
        assert len({choice.message.content for choice in whole.choices}) == 1
        one = chat(outer.client, model, content)
        assert whole.choices[0].message.content == one.choices[0].message.content
        assert whole.usage.prompt_tokens == one.usage.prompt_tokens
        assert whole.usage.completion_tokens == 3 * one.usage.completion_tokens
        streamed = ["", "", ""]
        for chunk in chat(outer.client, model, content, n=3, stream=True):
            for choice in chunk.choices:
                streamed[choice.index] += choice.delta.content or ""
        assert streamed == [one.choices[0].message.content] * 3


def test_several_answers_of_the_far_teacher_differ_and_repeat(outer):
    def ask(seed):
        answer = chat(outer.client, "far-teacher", "Tell me a story.", n=4, seed=seed,
                      temperature=2, max_tokens=24)
        return [choice.message.content for choice in answer.choices]

    first = ask(7)
    assert len(set(first)) > 1
    assert ask(7) == first and ask(8) != first


def test_errors_keep_their_meaning(outer):
    with pytest.raises(openai.BadRequestError):
        chat(outer.client, "far-teacher", "word " * 20000)
    with pytest.raises(openai.APIError) as failed:
        list(chat(outer.client, "far", "break-midway", stream=True))
    assert failed.value.message


def test_a_client_that_goes_frees_the_far_worker(outer, mesh):
    running = lambda: mesh.metric(mesh.worker_probe, "vllm:num_requests_running")
    stream = chat(outer.client, "far", "count-slowly", stream=True)
    next(iter(stream))
    wait_until(lambda: running() >= 1, 10, "the far sequence")
    stream.close()
    wait_until(lambda: running() == 0, 10, "the far sequence's end")


def test_a_remote_that_hangs_up_is_an_explicit_error(outer):
    for model in ("flaky", "secure"):
        pieces = []
        with pytest.raises(openai.APIError) as failed:
            for chunk in chat(outer.client, model, "hi", stream=True):
                pieces.append(chunk.choices[0].delta.content or "")
        assert "".join(pieces) == "so far "
        assert "early" in failed.value.message
        with pytest.raises(openai.InternalServerError):
            chat(outer.client, model, "hi")


def test_a_program_answers_crashes_and_answers_again(outer):
    assert chat(outer.client, "echo", "one two").choices[0].message.content == "one two "
    with pytest.raises(openai.APIStatusError):
        chat(outer.client, "echo", "crash")
    again = chat(outer.client, "echo", "three four", stream=True)
    assert "".join(c.choices[0].delta.content or "" for c in again if c.choices) == "three four "


def test_a_remote_killed_midway_is_an_error_and_comes_back(outer, mesh):
    # Before the first words the request would be put to the remote again, once it is back.
    stream = iter(chat(outer.client, "far", "count-slowly", stream=True))
    while not next(stream).choices[0].delta.content:
        pass
    old = mesh.kill("gateway")
    with pytest.raises(openai.APIError):
        list(stream)
    mesh.wait_restarted("gateway", old)
    mesh.wait_ready()

    def answers():
        try:
            return chat(outer.client, "far", "count").choices[0].message.content
        except openai.APIStatusError:
            return None

    assert wait_until(answers, 30, "an answer of the remote that is back")


def test_no_key_and_no_prompt_is_in_the_log(outer):
    log = outer.text_of_log()
    assert "model loaded" in log
    assert "sk-inner-secret" not in log
    assert "count-slowly" not in log and "three four" not in log
