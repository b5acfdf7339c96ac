"""llama-stack-client 0.0.63, a client of the wire in between: /alpha, hyphens, `model_id`."""

import json

import llama_stack_client
import pytest

from llama_stack import SUM, TEACHER, WEATHER, client_of, counts
from mesh import SCRIPTED_MODEL

GREEDY = {"strategy": "greedy", "max_tokens": 64}


@pytest.fixture(scope="module")
def client(mesh):
    return client_of(mesh)


def test_chat_and_its_stream(client):
    request = {"model_id": TEACHER, "messages": SUM, "sampling_params": GREEDY}
    whole = client.inference.chat_completion(**request).completion_message
    assert "34" in whole.content and whole.stop_reason == "end_of_turn"
    events = [chunk.event for chunk in client.inference.chat_completion(stream=True, **request)]
    assert events[0].event_type == "start" and events[-1].event_type == "complete"
    assert "".join(event.delta for event in events) == whole.content


def test_structured_output(client):
    schema = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"],
              "additionalProperties": False}
    reply = client.inference.chat_completion(
        model_id=TEACHER, messages=SUM, sampling_params=GREEDY,
        response_format={"type": "json_schema", "json_schema": schema})
    assert set(json.loads(reply.completion_message.content)) == {"sum"}


def test_tools_loop(client):
    messages = [{"role": "user", "content": "call-weather"}]
    message = client.inference.chat_completion(
        model_id=SCRIPTED_MODEL, messages=messages, tools=[WEATHER]).completion_message
    (call,) = message.tool_calls
    assert call.tool_name == "get_weather" and call.arguments == {"city": "Paris"}
    messages += [message.to_dict(),
                 {"role": "ipython", "call_id": call.call_id, "tool_name": call.tool_name,
                  "content": "sunny"}]
    answer = client.inference.chat_completion(
        model_id=SCRIPTED_MODEL, messages=messages, tools=[WEATHER])
    assert answer.completion_message.content == "It is sunny in Paris."


def test_completion_and_embeddings(client, embedding_model):
    whole = client.inference.completion(model_id=SCRIPTED_MODEL, content="count y")
    assert whole.content == counts("y", 40) and whole.stop_reason == "end_of_turn"
    assert len(client.inference.embeddings(model_id=embedding_model, contents=["one", "two"]).embeddings) == 2


def test_batches(client):
    batch = [[{"role": "user", "content": f"count n{i}"}] for i in range(3)]
    reply = client.batch_inference.chat_completion(model=SCRIPTED_MODEL, messages_batch=batch)
    assert [message.content for message in reply.completion_message_batch] == \
        [counts(f"n{i}", 40) for i in range(3)]
    reply = client.batch_inference.completion(
        model=SCRIPTED_MODEL, content_batch=["count y", "count z"])
    assert [message.content for message in reply.completion_message_batch] == \
        [counts("y", 40), counts("z", 40)]


def test_models_providers_and_health(client):
    model = client.models.retrieve(identifier=TEACHER)
    assert model.identifier == TEACHER and model.api_model_type == "llm"
    assert model.provider_resource_id == TEACHER and model.type == "model"
    assert client.inspect.health().status == "OK"
    assert client.providers.list()["inference"][0].provider_id == "conclave"


def test_errors_have_their_classes(client):
    with pytest.raises(llama_stack_client.NotFoundError):
        client.inference.chat_completion(model_id="no-such-model", messages=SUM)
    with pytest.raises(llama_stack_client.InternalServerError) as memory:
        client.memory_banks.list()
    assert memory.value.status_code == 501
