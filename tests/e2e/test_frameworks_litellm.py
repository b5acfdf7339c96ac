"""The litellm library: one call signature over the OpenAI, Ollama and Anthropic dialects."""

import asyncio
import json

import litellm
import openai
import pytest
import requests

from mesh import SCRIPTED_MODEL, counts

SUM = [{"role": "user", "content": "What is 37 + 45?"}]
# Of litellm's own types.
pytestmark = pytest.mark.filterwarnings("ignore:.*ReadOnly:UserWarning")
PREFIXES = ["openai", "ollama_chat", "anthropic"]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "The city"}},
            "required": ["city"],
        },
    },
}


def user(content):
    return [{"role": "user", "content": content}]


@pytest.fixture(params=PREFIXES)
def ask(request, mesh):
    """litellm.completion through one dialect; ask.target is what its async twin needs, too."""
    base = mesh.url + ("/v1" if request.param == "openai" else "")
    target = {"api_base": base, "api_key": "none", "max_retries": 0, "num_retries": 0, "timeout": 60}

    def call(model, messages, **options):
        return litellm.completion(model=f"{request.param}/{model}", messages=messages,
                                  **target, **options)

    call.prefix, call.target = request.param, target
    return call


def test_completion_answers_and_counts(ask, teacher):
    reply = ask(teacher, SUM, temperature=0)
    assert reply.choices[0].message.content == "37 + 45 = 82"
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage.prompt_tokens > 0 and reply.usage.completion_tokens > 0
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


def test_chunks_build_the_same_answer(ask):
    whole = ask(SCRIPTED_MODEL, user("count lite"), max_tokens=4096)
    chunks = list(ask(SCRIPTED_MODEL, user("count lite"), max_tokens=4096, stream=True,
                      stream_options={"include_usage": True}))
    built = litellm.stream_chunk_builder(chunks, messages=user("count lite"))
    assert len(chunks) > 40
    assert built.choices[0].message.content == counts("lite", 40)
    assert built.choices[0].message.content == whole.choices[0].message.content
    assert built.choices[0].finish_reason == "stop"
    assert built.usage.completion_tokens == whole.usage.completion_tokens
    assert built.usage.prompt_tokens == whole.usage.prompt_tokens


def test_stop_and_length(ask):
    stopped = ask(SCRIPTED_MODEL, user("count x"), stop=[" x:2"], max_tokens=4096)
    assert stopped.choices[0].message.content == "x:0 x:1"
    assert stopped.choices[0].finish_reason == "stop"
    cut = ask(SCRIPTED_MODEL, user("count x"), max_tokens=3)
    assert cut.choices[0].message.content == "x:0"
    assert cut.choices[0].finish_reason == "length"


def test_tools_loop(ask):
    messages = user("call-weather")
    reply = ask(SCRIPTED_MODEL, messages, tools=[WEATHER])
    call, = reply.choices[0].message.tool_calls
    assert reply.choices[0].finish_reason == "tool_calls"
    assert call.id and call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    messages += [reply.choices[0].message,
                 {"role": "tool", "tool_call_id": call.id, "name": "get_weather", "content": "sunny"}]
    answer = ask(SCRIPTED_MODEL, messages, tools=[WEATHER])
    assert answer.choices[0].message.content == "It is sunny in Paris."


def test_streamed_tool_calls_are_built(ask):
    chunks = list(ask(SCRIPTED_MODEL, user("call-weather"), tools=[WEATHER], stream=True))
    built = litellm.stream_chunk_builder(chunks)
    call, = built.choices[0].message.tool_calls
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    assert built.choices[0].finish_reason == "tool_calls"


def test_reasoning_has_its_own_field(ask):
    options = {}
    if ask.prefix == "anthropic":  # thinks only when asked to
        options = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 4096,
                   "allowed_openai_params": ["thinking"]}
    message = ask(SCRIPTED_MODEL, user("think-aloud"), **options).choices[0].message
    assert message.content == "It is 5."
    assert message.reasoning_content == "2 and 3 make 5"
    built = litellm.stream_chunk_builder(
        list(ask(SCRIPTED_MODEL, user("think-aloud"), stream=True, **options)))
    assert built.choices[0].message.content == "It is 5."
    assert built.choices[0].message.reasoning_content == "2 and 3 make 5"


def test_the_async_call_keeps_answers_apart(ask):
    async def streamed(tag):
        stream = await litellm.acompletion(
            model=f"{ask.prefix}/{SCRIPTED_MODEL}", messages=user(f"count {tag}"), stream=True,
            max_tokens=4096, **ask.target)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async def all_of(tags):
        return await asyncio.gather(*(streamed(tag) for tag in tags))

    tags = [f"{ask.prefix}-{i}" for i in range(6)]
    assert asyncio.run(all_of(tags)) == [counts(tag, 40) for tag in tags]


@pytest.mark.parametrize("ask", ["openai", "ollama_chat"], indirect=True)
def test_a_schema_is_kept(ask, teacher):
    schema = {"type": "object", "additionalProperties": False, "required": ["first", "second"],
              "properties": {key: {"type": "integer", "minimum": 0, "maximum": 99}
                             for key in ("first", "second")}}
    reply = ask(teacher, SUM, temperature=0, max_tokens=200, response_format={
        "type": "json_schema", "json_schema": {"name": "pair", "schema": schema, "strict": True}})
    value = json.loads(reply.choices[0].message.content)
    assert set(value) == {"first", "second"}
    assert all(0 <= number <= 99 for number in value.values())


def test_errors_have_their_classes(ask, teacher):
    with pytest.raises(litellm.NotFoundError, match="no-such-model") as unknown:
        ask("no-such-model", SUM)
    assert unknown.value.status_code == 404
    with pytest.raises(litellm.BadRequestError, match="temperature") as hot:
        ask(teacher, SUM, temperature=7)
    assert hot.value.status_code == 400
    # It knows this one by its text, and no text of Ollama's.
    too_long = (litellm.BadRequestError if ask.prefix == "ollama_chat"
                else litellm.ContextWindowExceededError)
    with pytest.raises(too_long, match="maximum context length is 2048 tokens"):
        ask(teacher, user("one two three " * 2000))


def test_a_stream_that_breaks_raises(ask):
    text = ""
    with pytest.raises(openai.OpenAIError, match="internal error") as failure:
        for chunk in ask(SCRIPTED_MODEL, user("break-midway"), stream=True):
            text += chunk.choices[0].delta.content or ""
    assert text == "so far "
    assert "inside" not in str(failure.value)


def test_text_completion(mesh):
    target = {"api_base": mesh.url + "/v1", "api_key": "none", "max_retries": 0}
    reply = litellm.text_completion(model=f"text-completion-openai/{SCRIPTED_MODEL}",
                                    prompt="count it", max_tokens=4096, **target)
    assert reply.choices[0].text == counts("it", 40)
    stream = litellm.text_completion(model=f"text-completion-openai/{SCRIPTED_MODEL}",
                                     prompt="count it", max_tokens=4096, stream=True, **target)
    assert "".join(chunk.choices[0].text or "" for chunk in stream) == counts("it", 40)


@pytest.mark.parametrize("prefix", ["openai", "ollama"])
def test_embeddings(mesh, embedding_model, prefix):
    base = mesh.url + ("/v1" if prefix == "openai" else "")
    texts = ["The cat sleeps on the sofa.", "Numbers are fun."]
    reply = litellm.embedding(model=f"{prefix}/{embedding_model}", input=texts, api_base=base,
                              api_key="none")
    direct = requests.post(mesh.url + "/v1/embeddings", timeout=30,
                           json={"model": embedding_model, "input": texts}).json()
    for item, expected in zip(reply.data, direct["data"], strict=True):
        assert item["embedding"] == pytest.approx(expected["embedding"], abs=1e-6)
    assert reply.usage.prompt_tokens == direct["usage"]["prompt_tokens"]
