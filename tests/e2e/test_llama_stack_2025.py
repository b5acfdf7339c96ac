"""llama-stack-client 0.2.12, a client of the wire of 2025: /v1, tagged strategies and deltas."""

import json

import llama_stack_client
import pytest

from llama_stack import SUM, TEACHER, WEATHER, client_of, counts
from mesh import SCRIPTED_MODEL

GREEDY = {"strategy": {"type": "greedy"}, "max_tokens": 64}


@pytest.fixture(scope="module")
def client(mesh):
    return client_of(mesh)


def ask(client, content, **more):
    return client.inference.chat_completion(
        model_id=SCRIPTED_MODEL, messages=[{"role": "user", "content": content}], **more)


def test_chat_answers_and_counts(client):
    reply = client.inference.chat_completion(model_id=TEACHER, messages=SUM, sampling_params=GREEDY)
    assert "34" in reply.completion_message.content
    assert reply.completion_message.stop_reason == "end_of_turn"
    metrics = {metric.metric: metric.value for metric in reply.metrics}
    assert metrics["total_tokens"] == metrics["prompt_tokens"] + metrics["completion_tokens"]


def test_a_stream_is_the_same_answer_in_order(client):
    request = {"model_id": TEACHER, "messages": SUM, "sampling_params": GREEDY}
    whole = client.inference.chat_completion(**request).completion_message
    chunks = list(client.inference.chat_completion(stream=True, **request))
    events = [chunk.event for chunk in chunks]
    kinds = [event.event_type for event in events]
    assert kinds == ["start"] + ["progress"] * (len(events) - 2) + ["complete"]
    assert {event.delta.type for event in events} == {"text"}
    assert "".join(event.delta.text for event in events) == whole.content
    assert events[-1].stop_reason == "end_of_turn" and chunks[-1].metrics


def test_its_own_event_logger_reads_the_stream(client):
    from llama_stack_client.lib.inference.event_logger import EventLogger

    printed = EventLogger().log(ask(client, "count z", stream=True))
    text = "".join(piece.content for piece in printed)
    assert text == "Assistant> " + counts("z", 40)


def test_strategies_and_stop(client):
    sampled = client.inference.chat_completion(
        model_id=TEACHER, messages=SUM, logprobs={"top_k": 1},
        sampling_params={"strategy": {"type": "top_p", "temperature": 0.8, "top_p": 0.9},
                         "max_tokens": 8})
    assert sampled.logprobs
    stopped = ask(client, "count x", sampling_params={**GREEDY, "stop": [" x:2"]})
    assert stopped.completion_message.content == "x:0 x:1"
    assert stopped.completion_message.stop_reason == "end_of_turn"


def test_structured_output_by_schema_and_by_grammar(client):
    schema = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"],
              "additionalProperties": False}
    reply = client.inference.chat_completion(
        model_id=TEACHER, messages=SUM, sampling_params=GREEDY,
        response_format={"type": "json_schema", "json_schema": schema})
    assert set(json.loads(reply.completion_message.content)) == {"sum"}
    reply = client.inference.chat_completion(
        model_id=TEACHER, messages=SUM, sampling_params=GREEDY,
        response_format={"type": "grammar", "bnf": {"root": "word", "word": '"yes" | "no"'}})
    assert reply.completion_message.content in ("yes", "no")


def test_tools_loop(client):
    messages = [{"role": "user", "content": "call-weather"}]
    message = client.inference.chat_completion(
        model_id=SCRIPTED_MODEL, messages=messages, tools=[WEATHER],
        tool_config={"tool_choice": "auto"}).completion_message
    (call,) = message.tool_calls
    assert call.tool_name == "get_weather" and call.arguments == {"city": "Paris"}
    assert json.loads(call.arguments_json) == call.arguments
    messages += [message.to_dict(), {"role": "tool", "call_id": call.call_id, "content": "sunny"}]
    answer = client.inference.chat_completion(
        model_id=SCRIPTED_MODEL, messages=messages, tools=[WEATHER])
    assert answer.completion_message.content == "It is sunny in Paris."


def test_a_call_streams_through_its_statuses(client):
    deltas = [chunk.event.delta for chunk in ask(client, "call-weather", tools=[WEATHER], stream=True)]
    calls = [delta for delta in deltas if delta.type == "tool_call"]
    statuses = [delta.parse_status for delta in calls]
    assert statuses[0] == "started" and statuses[-1] == "succeeded"
    assert set(statuses[1:-1]) == {"in_progress"}
    assert "".join(delta.tool_call for delta in calls[1:-1]) == '{"city":"Paris"}'
    assert calls[-1].tool_call.arguments == {"city": "Paris"}


def test_a_named_tool_is_called_by_the_real_model(client):
    """The form of the call is the mesh's promise, its arguments are the model's."""
    reply = client.inference.chat_completion(
        model_id=TEACHER, messages=[{"role": "user", "content": "What is the weather in Paris?"}],
        tools=[WEATHER], tool_config={"tool_choice": "get_weather"}, sampling_params=GREEDY)
    assert reply.completion_message.tool_calls[0].tool_name == "get_weather"


def test_completion(client):
    request = {"model_id": SCRIPTED_MODEL, "content": "count y"}
    whole = client.inference.completion(**request)
    assert whole.content == counts("y", 40) and whole.stop_reason == "end_of_turn"
    chunks = list(client.inference.completion(stream=True, **request))
    assert "".join(chunk.delta for chunk in chunks) == whole.content


def test_a_batch_of_chats_has_whole_answers_in_order(client):
    batch = [[{"role": "user", "content": text}] for text in ("count a", "call-weather", "count b")]
    reply = client.inference.batch_chat_completion(
        model_id=SCRIPTED_MODEL, messages_batch=batch, tools=[WEATHER], logprobs={"top_k": 0})
    first, called, last = reply.batch
    assert first.completion_message.content == counts("a", 40) and first.logprobs
    assert called.completion_message.tool_calls[0].arguments == {"city": "Paris"}
    assert last.completion_message.content == counts("b", 40)


def test_a_batch_of_completions_with_a_schema(client):
    schema = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"],
              "additionalProperties": False}
    reply = client.inference.batch_completion(
        model_id=TEACHER, content_batch=["21 + 13 is", "2 + 3 is"], sampling_params=GREEDY,
        response_format={"type": "json_schema", "json_schema": schema})
    assert [set(json.loads(one.content)) for one in reply.batch] == [{"sum"}] * 2


def test_one_broken_entry_fails_the_batch_and_is_named(client):
    with pytest.raises(llama_stack_client.BadRequestError) as refused:
        client.inference.batch_completion(
            model_id=TEACHER, content_batch=["short", "long " * 20_000])
    assert refused.value.body["error"]["message"].startswith("Invalid value: entry 1: ")


def test_embeddings(client, embedding_model):
    reply = client.inference.embeddings(
        model_id=embedding_model, contents=["one", "two"], text_truncation="end", output_dimension=64)
    assert [len(vector) for vector in reply.embeddings] == [64, 64]
    openai = client.embeddings.create(model=embedding_model, input="one")
    assert len(openai.data) == 1


def test_models(client, embedding_model):
    listed = {model.identifier: model for model in client.models.list()}
    # As the examples of vector stores read it.
    assert listed[embedding_model].metadata["embedding_dimension"] == 384
    assert listed[TEACHER].api_model_type == "llm" and listed[TEACHER].type == "model"
    model = client.models.retrieve(TEACHER)
    assert model.identifier == TEACHER and model.provider_id == "conclave"


def test_the_openai_layer(client):
    reply = client.chat.completions.create(model=TEACHER, messages=SUM, temperature=0)
    assert "34" in reply.choices[0].message.content
    chunks = client.chat.completions.create(model=TEACHER, messages=SUM, temperature=0, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == reply.choices[0].message.content


def test_providers_routes_health_and_version(client):
    providers = {provider.provider_id: provider for provider in client.providers.list()}
    assert providers["conclave"].provider_type == "inline::conclave"
    assert client.providers.retrieve("conclave").provider_id == "conclave"
    assert any(route.route == "/v1/inference/chat-completion" for route in client.routes.list())
    assert client.inspect.health().status == "ok"
    assert client.inspect.version().version


def test_errors_have_their_classes(client):
    with pytest.raises(llama_stack_client.NotFoundError) as unknown:
        client.inference.chat_completion(model_id="no-such-model", messages=SUM)
    assert "no-such-model" in unknown.value.body["error"]["message"]
    with pytest.raises(llama_stack_client.BadRequestError) as refused:
        client.inference.chat_completion(
            model_id=TEACHER, messages=SUM,
            sampling_params={"strategy": {"type": "top_p", "temperature": 0}})
    (error,) = refused.value.body["detail"]["errors"]
    assert error["loc"] == ["body", "sampling_params", "strategy", "temperature"]
    with pytest.raises(llama_stack_client.InternalServerError) as agents:
        client.agents.create(agent_config={"model": TEACHER, "instructions": "x"})
    assert agents.value.status_code == 501


def test_a_stream_that_breaks_says_so_and_does_not_complete(client):
    chunks = list(ask(client, "break-midway", stream=True))
    assert "".join(chunk.event.delta.text for chunk in chunks[:-1]) == "so far "
    assert all(chunk.event.event_type != "complete" for chunk in chunks[:-1])
    assert chunks[-1].error["message"]
