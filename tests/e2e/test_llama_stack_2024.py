"""llama-stack-client 0.0.50, a client of the wire of 2024: no prefix, underscores, `model`."""

import json

import llama_stack_client
import pytest

from llama_stack import SUM, TEACHER, WEATHER, client_of, counts
from mesh import SCRIPTED_MODEL

GREEDY = {"strategy": "greedy", "max_tokens": 64}


@pytest.fixture(scope="module")
def client(mesh):
    return client_of(mesh)


def ask(client, content, **more):
    return client.inference.chat_completion(
        model=SCRIPTED_MODEL, messages=[{"role": "user", "content": content}], **more)


def test_chat_answers(client):
    reply = client.inference.chat_completion(
        model=TEACHER, messages=SUM, sampling_params=GREEDY, tool_prompt_format="json")
    message = reply.completion_message
    assert message.role == "assistant" and "34" in message.content
    assert message.stop_reason == "end_of_turn" and message.tool_calls == []
    assert reply.logprobs is None


def test_a_stream_is_the_same_answer_in_order(client):
    request = {"model": TEACHER, "messages": SUM, "sampling_params": GREEDY}
    whole = client.inference.chat_completion(**request).completion_message
    events = [chunk.event for chunk in client.inference.chat_completion(stream=True, **request)]
    kinds = [event.event_type for event in events]
    assert kinds == ["start"] + ["progress"] * (len(events) - 2) + ["complete"]
    assert "".join(event.delta for event in events) == whole.content
    assert [event.stop_reason for event in events[-2:]] == ["end_of_turn"] * 2
    assert all(event.stop_reason is None for event in events[:-2])


def test_max_tokens_runs_out(client):
    reply = ask(client, "count x", sampling_params={"strategy": "greedy", "max_tokens": 3})
    assert reply.completion_message.content == "x:0"
    assert reply.completion_message.stop_reason == "out_of_tokens"


def test_sampling_and_logprobs(client):
    reply = client.inference.chat_completion(
        model=TEACHER, messages=SUM, logprobs={"top_k": 2},
        sampling_params={"strategy": "top_p", "temperature": 0.8, "top_p": 0.9, "max_tokens": 8})
    assert reply.logprobs
    for position in reply.logprobs:
        assert 1 <= len(position.logprobs_by_token) <= 3
        assert all(value <= 0 for value in position.logprobs_by_token.values())


def test_tools_loop(client):
    messages = [{"role": "user", "content": "call-weather"}]
    reply = client.inference.chat_completion(
        model=SCRIPTED_MODEL, messages=messages, tools=[WEATHER], tool_choice="auto")
    message = reply.completion_message
    assert message.stop_reason == "end_of_message"
    (call,) = message.tool_calls
    assert call.tool_name == "get_weather" and call.arguments == {"city": "Paris"}
    messages += [message.to_dict(),
                 {"role": "ipython", "call_id": call.call_id, "tool_name": call.tool_name,
                  "content": "sunny"}]
    answer = client.inference.chat_completion(
        model=SCRIPTED_MODEL, messages=messages, tools=[WEATHER])
    assert answer.completion_message.content == "It is sunny in Paris."


def test_a_call_streams_through_its_statuses(client):
    deltas = [chunk.event.delta for chunk in ask(client, "call-weather", tools=[WEATHER], stream=True)]
    calls = [delta for delta in deltas if not isinstance(delta, str)]
    statuses = [delta.parse_status for delta in calls]
    assert statuses[0] == "started" and statuses[-1] == "success"
    assert set(statuses[1:-1]) == {"in_progress"}
    assert "".join(delta.content for delta in calls[1:-1]) == '{"city":"Paris"}'
    assert calls[-1].content.arguments == {"city": "Paris"}


def test_a_required_tool_is_called_by_the_real_model(client):
    """The form of the call is the mesh's promise, its arguments are the model's."""
    reply = client.inference.chat_completion(
        model=TEACHER, messages=[{"role": "user", "content": "What is the weather in Paris?"}],
        tools=[WEATHER], tool_choice="required", sampling_params=GREEDY)
    assert reply.completion_message.tool_calls[0].tool_name == "get_weather"


def test_completion(client):
    request = {"model": SCRIPTED_MODEL, "content": "count y"}
    whole = client.inference.completion(**request)
    assert whole.content == counts("y", 40) and whole.stop_reason == "end_of_turn"
    # This release reads a streamed completion only as lines.
    with client.inference.with_streaming_response.completion(stream=True, **request) as reply:
        lines = [line.removeprefix("data: ") for line in reply.iter_lines() if line]
    chunks = [json.loads(line) for line in lines]
    assert "".join(chunk["delta"] for chunk in chunks) == whole.content
    assert chunks[-1]["stop_reason"] == "end_of_turn"


def test_a_batch_of_chats_is_answered_in_order(client):
    batch = [[{"role": "user", "content": f"count n{i}"}] for i in range(12)]
    reply = client.batch_inferences.chat_completion(
        model=SCRIPTED_MODEL, messages_batch=batch, tools=[WEATHER])
    messages = reply.completion_message_batch
    assert [message.content for message in messages] == [counts(f"n{i}", 40) for i in range(12)]
    assert {message.stop_reason for message in messages} == {"end_of_turn"}


def test_a_batch_of_completions(client):
    reply = client.batch_inferences.completion(
        model=TEACHER, content_batch=["Q: What is 21 + 13?", "Q: What is 2 + 3?"],
        sampling_params=GREEDY)
    assert [message.role for message in reply.completion_message_batch] == ["assistant"] * 2


def test_one_broken_entry_fails_the_batch_and_is_named(client):
    batch = [[{"role": "user", "content": text}] for text in ("count a", "break-midway")]
    with pytest.raises(llama_stack_client.InternalServerError) as failed:
        client.batch_inferences.chat_completion(model=SCRIPTED_MODEL, messages_batch=batch)
    assert failed.value.status_code == 500
    with pytest.raises(llama_stack_client.BadRequestError) as refused:
        client.batch_inferences.chat_completion(
            model=SCRIPTED_MODEL, messages_batch=batch, logprobs={"top_k": 1})
    (error,) = refused.value.body["error"]["detail"]["errors"]
    assert error["loc"] == ["body", "logprobs"]


def test_embeddings(client, embedding_model):
    reply = client.inference.embeddings.create(model=embedding_model, contents=["one", "two"])
    assert len(reply.embeddings) == 2
    assert sum(x * x for x in reply.embeddings[0]) == pytest.approx(1, abs=1e-4)


def test_models(client):
    model = client.models.retrieve(identifier=TEACHER)
    assert model.identifier == TEACHER and model.provider_id == "conclave"
    assert model.llama_model == TEACHER
    assert client.models.retrieve(identifier="no-such-model") is None
    names = {model.identifier for model in client.models.list()}
    assert {TEACHER, SCRIPTED_MODEL} <= names


def test_what_is_served_already_registers_again(client):
    model = {"identifier": TEACHER, "llama_model": TEACHER, "provider_id": "conclave", "metadata": {}}
    assert client.models.register(model=model) is None


def test_routes_and_providers(client):
    routes = client.routes.list()
    assert any(route.route == "/inference/chat_completion" for route in routes["inference"])
    providers = client.providers.list()
    assert providers["inference"][0].provider_type == "inline::conclave"


def test_errors_have_their_classes(client):
    with pytest.raises(llama_stack_client.NotFoundError) as unknown:
        client.inference.chat_completion(model="no-such-model", messages=SUM)
    assert "no-such-model" in unknown.value.body["detail"]
    with pytest.raises(llama_stack_client.BadRequestError) as refused:
        client.inference.chat_completion(
            model=TEACHER, messages=SUM, sampling_params={"strategy": "beam"})
    (error,) = refused.value.body["error"]["detail"]["errors"]
    assert error["loc"] == ["body", "sampling_params", "strategy"]
    with pytest.raises(llama_stack_client.InternalServerError) as agents:
        client.post("/agents/create", cast_to=object, body={})
    assert agents.value.status_code == 501


def test_a_stream_that_breaks_says_so_and_does_not_complete(client):
    chunks = list(ask(client, "break-midway", stream=True))
    assert [chunk.event.delta for chunk in chunks[:-1]] == ["", *"so far "]
    assert chunks[-1].error["message"]
    assert "inside" not in chunks[-1].error["message"]
