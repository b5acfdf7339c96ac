"""The official ollama package against the same mesh."""

import asyncio
import datetime

import ollama
import pytest
import requests

from mesh import SCRIPTED_MODEL, counts, wait_until

SUM = [{"role": "user", "content": "What is 21 + 13?"}]


def test_chat_streams_to_done(ollama_client, teacher):
    parts = list(
        ollama_client.chat(model=teacher, messages=SUM, stream=True, options={"temperature": 0})
    )
    assert "34" in "".join(part.message.content for part in parts)
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    last = parts[-1]
    assert last.done_reason == "stop"
    assert last.eval_count > 0 and last.prompt_eval_count > 0
    assert last.total_duration > 0 and last.eval_duration > 0


def test_chat_without_stream_is_one_object(ollama_client, teacher):
    reply = ollama_client.chat(model=teacher, messages=SUM, options={"temperature": 0})
    assert "34" in reply.message.content and reply.done


def test_generate_uses_the_template(ollama_client, teacher):
    reply = ollama_client.generate(
        model=teacher, prompt="What is 21 + 13?", options={"temperature": 0}
    )
    assert "34" in reply.response
    assert reply.done_reason == "stop"


def test_a_last_message_of_the_assistant_s_is_continued(ollama_client, teacher):
    question = {"role": "user", "content": "What is 21 + 13?"}

    def ask(*turns):
        return ollama_client.chat(model=teacher, messages=[question, *turns],
                                  options={"temperature": 0}).message.content

    whole = ask()
    words = whole.split(" ")
    beginning = " ".join(words[: len(words) // 2])
    assert beginning + ask({"role": "assistant", "content": beginning}) == whole


def test_num_predict_ends_with_length(ollama_client, teacher):
    reply = ollama_client.generate(
        model=teacher, prompt="Hello", options={"temperature": 0, "num_predict": 1}
    )
    assert reply.done_reason == "length" and reply.eval_count == 1


def test_list_show_and_ps(ollama_client, teacher):
    names = [model.model for model in ollama_client.list().models]
    assert any(name.split(":")[0] == teacher for name in names)
    shown = ollama_client.show(teacher)
    assert shown.modelinfo["general.architecture"] == "qwen3moe"
    assert "completion" in shown.capabilities
    assert shown.details.quantization_level == "Q8_0"
    assert any(model.model.split(":")[0] == teacher for model in ollama_client.ps().models)


def test_embed(ollama_client, embedding_model):
    reply = ollama_client.embed(model=embedding_model, input=["one", "two"])
    assert len(reply.embeddings) == 2
    assert sum(x * x for x in reply.embeddings[0]) == pytest.approx(1, abs=1e-4)


def test_an_unknown_model_is_ollamas_404(ollama_client):
    with pytest.raises(ollama.ResponseError) as failure:
        ollama_client.chat(model="no-such-model", messages=SUM)
    assert failure.value.status_code == 404
    assert "not found" in failure.value.error


DURATIONS = ["total_duration", "load_duration", "prompt_eval_duration", "eval_duration"]
GREEDY = {"temperature": 0}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather of a city.",
        "parameters": {"type": "object", "required": ["city"],
                       "properties": {"city": {"type": "string", "description": "The city"}}},
    },
}


def user(content):
    return [{"role": "user", "content": content}]


def ask(client, way, model, text, **extra):
    """The parts of an answer of one of the two ways to ask."""
    stream = extra.pop("stream", True)
    reply = (client.chat(model=model, messages=user(text), stream=stream, **extra) if way == "chat"
             else client.generate(model=model, prompt=text, stream=stream, **extra))
    return list(reply) if stream else [reply]


def text_of(part):
    return part.message.content if isinstance(part, ollama.ChatResponse) else part.response


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("way", ["chat", "generate"])
def test_every_part_and_the_last_have_their_fields(ollama_client, teacher, way, stream):
    parts = ask(ollama_client, way, teacher, "What is 21 + 13?", stream=stream, options=GREEDY)
    for part in parts:
        assert part.model == teacher
        made = datetime.datetime.fromisoformat(part.created_at)
        assert abs(made - datetime.datetime.now(datetime.UTC)) < datetime.timedelta(minutes=5)
    last = parts[-1]
    assert last.done is True and last.done_reason == "stop"
    assert last.prompt_eval_count > 0 and last.eval_count > 0
    for name in DURATIONS:
        assert last[name] > 0, name
    assert sum(last[name] for name in DURATIONS[1:]) <= last.total_duration
    for part in parts[:-1]:
        assert part.done is False and part.done_reason is None
        assert all(part.get(name) is None for name in [*DURATIONS, "eval_count"])
    if way == "generate":
        assert last.context and all(part.context is None for part in parts[:-1])


@pytest.mark.parametrize("stream", [True, False])
def test_a_context_goes_on_with_the_conversation(ollama_client, teacher, stream):
    first = ask(ollama_client, "generate", teacher, "My name is Anna.", stream=stream,
                options=GREEDY)[-1]
    assert len(first.context) == first.prompt_eval_count + first.eval_count
    again = ask(ollama_client, "generate", teacher, "What is my name?", stream=stream,
                context=first.context, options=GREEDY)
    assert "Anna" in "".join(text_of(part) for part in again)
    assert again[-1].context[: len(first.context)] == first.context
    alone = ask(ollama_client, "generate", teacher, "What is my name?", options=GREEDY)
    assert "Anna" not in "".join(text_of(part) for part in alone)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("way", ["chat", "generate"])
def test_logprobs_belong_to_the_text(ollama_client, teacher, way, stream):
    parts = ask(ollama_client, way, teacher, "What is 21 + 13?", stream=stream, logprobs=True,
                top_logprobs=3, options=GREEDY)
    entries = [entry for part in parts for entry in part.logprobs or []]
    text = "".join(text_of(part) for part in parts)
    assert text and "".join(entry.token for entry in entries).startswith(text)
    for entry in entries:
        assert entry.logprob <= 0 and entry.token
        alternatives = entry.top_logprobs
        assert len(alternatives) == 3
        assert [a.logprob for a in alternatives] == sorted((a.logprob for a in alternatives),
                                                          reverse=True)
        assert entry.token == alternatives[0].token  # greedy
    plain = ask(ollama_client, way, teacher, "What is 21 + 13?", stream=stream, options=GREEDY)
    assert all(part.logprobs is None for part in plain)


def test_logprob_bytes_are_those_of_the_token(mesh, teacher):
    """The package has no field for them."""
    reply = requests.post(mesh.url + "/api/generate", timeout=30, json={
        "model": teacher, "prompt": "What is 21 + 13?", "stream": False, "logprobs": True,
        "top_logprobs": 2, "options": GREEDY}).json()
    for entry in reply["logprobs"]:
        for token in [entry, *entry["top_logprobs"]]:
            assert bytes(token["bytes"]).decode() == token["token"]


def test_an_empty_prompt_loads_and_unloads(ollama_client, teacher):
    for reply in (ollama_client.generate(model=teacher), ollama_client.chat(model=teacher)):
        assert reply.done and reply.done_reason == "load"
        assert text_of(reply) == ""
    assert ollama_client.generate(model=teacher, keep_alive=0).done_reason == "unload"
    assert text_of(ollama_client.chat(model=teacher, messages=SUM, options=GREEDY)) == "21 + 13 = 34"


def test_what_runs_is_described(ollama_client, teacher):
    def by_name(reply):
        return {model.model.split(":")[0]: model for model in reply.models}

    # The gateway hears from its workers a moment after a model has been loaded.
    running = wait_until(lambda: (found := by_name(ollama_client.ps())) and teacher in found and found,
                         10, f"{teacher} in ps")
    listed = by_name(ollama_client.list())
    for model in (running[teacher], listed[teacher]):
        assert model.size > 0 and len(bytes.fromhex(model.digest)) == 32
        assert model.details.format == "gguf" and model.details.family == "qwen3moe"
        assert model.details.parameter_size == "11.2M"
        assert model.details.quantization_level == "Q8_0"
    assert running[teacher].digest == listed[teacher].digest
    assert running[teacher].name == running[teacher].model
    assert running[teacher].expires_at > datetime.datetime.now(datetime.UTC)
    assert running[teacher].context_length == 2048
    assert 0 <= running[teacher].size_vram <= running[teacher].size
    assert listed[teacher].modified_at < datetime.datetime.now(datetime.UTC)


def test_show_tells_license_template_and_metadata(ollama_client, teacher):
    shown = ollama_client.show(teacher)
    assert shown.license == "apache-2.0" and shown.modelfile.startswith("FROM ")
    assert "<|im_start|>" in shown.template
    assert shown.modelinfo["qwen3moe.context_length"] == 2048
    assert set(shown.capabilities) >= {"completion", "tools", "thinking"}
    assert shown.modified_at < datetime.datetime.now(datetime.UTC)


def test_tools_loop(ollama_client):
    messages = user("call-weather")
    parts = list(ollama_client.chat(model=SCRIPTED_MODEL, messages=messages, tools=[WEATHER],
                                    stream=True))
    call, = [call for part in parts for call in part.message.tool_calls or []]
    assert call.function.name == "get_weather" and call.function.arguments == {"city": "Paris"}
    assert parts[-1].done_reason == "stop"
    messages += [{"role": "assistant", "content": "", "tool_calls": [call.model_dump()]},
                 {"role": "tool", "tool_name": "get_weather", "content": "sunny"}]
    reply = ollama_client.chat(model=SCRIPTED_MODEL, messages=messages, tools=[WEATHER])
    assert reply.message.content == "It is sunny in Paris."


def test_a_python_function_is_a_tool(ollama_client, teacher):
    def set_timer(minutes: int) -> str:
        """Set a timer.

        Args:
            minutes: The minutes
        """
        return "ok"

    reply = ollama_client.chat(model=teacher, messages=user("Set a timer for 25 minutes."),
                               tools=[set_timer], options=GREEDY)
    call, = reply.message.tool_calls
    assert call.function.name == "set_timer" and call.function.arguments == {"minutes": 25}


@pytest.mark.parametrize("way", ["chat", "generate"])
def test_thinking_is_apart(ollama_client, way):
    parts = ask(ollama_client, way, SCRIPTED_MODEL, "think-aloud", think=True)
    said = [part.message if way == "chat" else part for part in parts]
    assert "".join(part.thinking or "" for part in said) == "2 and 3 make 5"
    assert "".join(text_of(part) for part in parts) == "It is 5."


def test_raw_prompts_are_taken_as_they_are(ollama_client, teacher):
    raw = "<|im_start|>user\nWhat is 21 + 13?<|im_end|>\n<|im_start|>assistant\n"
    reply = ollama_client.generate(model=teacher, prompt=raw, raw=True, options=GREEDY)
    assert reply.response == "21 + 13 = 34"
    templated = ollama_client.generate(model=teacher, prompt="What is 21 + 13?", options=GREEDY)
    assert reply.context == templated.context
    with pytest.raises(ollama.ResponseError) as failure:
        ollama_client.generate(model=teacher, prompt=raw, raw=True, system="Be brief.")
    assert failure.value.status_code == 400


def test_stop_strings(ollama_client):
    reply = ollama_client.generate(model=SCRIPTED_MODEL, prompt="count x",
                                   options={"stop": [" x:2"]})
    assert reply.response == "x:0 x:1" and reply.done_reason == "stop"


def test_old_embeddings_and_cut_ones(ollama_client, embedding_model):
    old = ollama_client.embeddings(model=embedding_model, prompt="why is the sky blue?")
    assert len(old.embedding) == 384
    cut = ollama_client.embed(model=embedding_model, input="why is the sky blue?", dimensions=64)
    assert len(cut.embeddings[0]) == 64
    assert sum(x * x for x in cut.embeddings[0]) == pytest.approx(1, abs=1e-4)
    assert cut.prompt_eval_count > 0 and cut.total_duration > 0 and cut.load_duration > 0


def test_a_text_too_long_is_cut_or_refused(ollama_client, embedding_model):
    long = "why is the sky blue? " * 200
    cut = ollama_client.embed(model=embedding_model, input=long)
    assert cut.prompt_eval_count == 256
    with pytest.raises(ollama.ResponseError) as failure:
        ollama_client.embed(model=embedding_model, input=long, truncate=False)
    assert failure.value.status_code == 400


def test_a_stream_that_breaks_raises(ollama_client):
    text = ""
    with pytest.raises(ollama.ResponseError) as failure:
        for part in ask_lazily(ollama_client, "break-midway"):
            text += part.message.content
    assert text == "so far " and "inside" not in failure.value.error


def ask_lazily(client, text):
    return client.chat(model=SCRIPTED_MODEL, messages=user(text), stream=True)


def test_closing_a_stream_frees_its_slot(ollama_client, mesh):
    """Left alone the answer would go on for about fifteen seconds."""
    def running():
        return mesh.metric(mesh.worker_probe, "vllm:num_requests_running")

    stream = ask_lazily(ollama_client, "count-slowly away")
    assert text_of(next(stream)) and running() == 1
    stream.close()
    wait_until(lambda: running() == 0, 5, "the slot of a stream that was closed")


def test_the_async_client_keeps_answers_apart(mesh):
    async def all_of(tags):
        client = ollama.AsyncClient(host=mesh.url)

        async def streamed(tag):
            stream = await client.generate(model=SCRIPTED_MODEL, prompt=f"count {tag}", stream=True)
            return "".join([part.response async for part in stream])

        return await asyncio.gather(*(streamed(tag) for tag in tags))

    tags = [f"ol-{i}" for i in range(8)]
    assert asyncio.run(all_of(tags)) == [counts(tag, 40) for tag in tags]


def test_an_embedding_model_leaves_memory_and_comes_back(ollama_client, embedding_model):
    def running():
        return {model.model.split(":")[0]: model for model in ollama_client.ps().models}

    before = ollama_client.embed(model=embedding_model, input="hello").embeddings[0]
    assert embedding_model in running()
    assert ollama_client.embed(model=embedding_model, input=[], keep_alive=0).embeddings == []
    assert embedding_model not in running()
    assert embedding_model in [m.model.split(":")[0] for m in ollama_client.list().models]
    # Asked for again, it is the same; `keep_alive` says for how long.
    again = ollama_client.embed(model=embedding_model, input="hello", keep_alive="1h")
    assert again.embeddings[0] == before and again.load_duration > 0
    left = running()[embedding_model].expires_at - datetime.datetime.now(datetime.timezone.utc)
    assert 3500 < left.total_seconds() <= 3600
    ollama_client.embed(model=embedding_model, input="hello", keep_alive=0)
    wait_until(lambda: embedding_model not in running(), 10, "an empty place")
    ollama_client.embed(model=embedding_model, input=[], keep_alive=-1)
    assert running()[embedding_model].expires_at.year > 2200


def test_tags_have_the_digest_of_an_embedding_model(ollama_client, embedding_model):
    def digest():
        return next(model.digest for model in ollama_client.list().models
                    if model.model.split(":")[0] == embedding_model)

    assert len(wait_until(digest, 30, "the digest")) == 64
