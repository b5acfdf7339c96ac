"""Assistants v2 through the official openai package, its streaming helper and its pagination."""

import json
import warnings

import openai
import pytest
from openai import AssistantEventHandler

from mesh import SCRIPTED_MODEL

warnings.filterwarnings("ignore", category=DeprecationWarning)


@pytest.fixture(scope="module")
def beta(openai_client):
    return openai_client.beta


@pytest.fixture(scope="module")
def assistant(beta, teacher):
    return beta.assistants.create(
        model=teacher, name="Second Grade Math Teacher", temperature=0.01,
        instructions="You are a second-grade math teacher.",
    )


def question(beta, text="What is 21 + 13?"):
    return beta.threads.create(messages=[{"role": "user", "content": text}])


def test_a_run_answers_the_thread(beta, assistant):
    thread = question(beta)
    run = beta.threads.runs.create_and_poll(
        thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=100
    )
    assert run.status == "completed", run.last_error
    assert run.usage.completion_tokens > 0
    messages = beta.threads.messages.list(thread_id=thread.id).data
    assert [message.role for message in messages] == ["assistant", "user"]
    assert "34" in messages[0].content[0].text.value
    assert messages[0].run_id == run.id and messages[0].status == "completed"
    steps = beta.threads.runs.steps.list(run_id=run.id, thread_id=thread.id).data
    assert [step.type for step in steps] == ["message_creation"]
    assert steps[0].step_details.message_creation.message_id == messages[0].id


def test_the_streaming_helper_sees_every_event_in_order(beta, assistant):
    thread = question(beta)
    events = []

    class Recorder(AssistantEventHandler):
        def on_event(self, event):
            events.append(event.event)

    with beta.threads.runs.stream(
        thread_id=thread.id, assistant_id=assistant.id, event_handler=Recorder()
    ) as stream:
        stream.until_done()
        final = stream.get_final_messages()
    assert "34" in final[0].content[0].text.value
    compact = [name for i, name in enumerate(events) if i == 0 or events[i - 1] != name]
    assert compact == [
        "thread.run.created", "thread.run.queued", "thread.run.in_progress",
        "thread.run.step.created", "thread.run.step.in_progress",
        "thread.message.created", "thread.message.in_progress", "thread.message.delta",
        "thread.message.completed", "thread.run.step.completed", "thread.run.completed",
    ]


def test_a_function_call_waits_for_its_output(beta):
    tool = {
        "type": "function",
        "function": {
            "name": "get_weather", "description": "Get the weather of a city.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}},
                           "required": ["city"]},
        },
    }
    assistant = beta.assistants.create(model=SCRIPTED_MODEL, tools=[tool])
    thread = question(beta, "call-weather")
    run = beta.threads.runs.create_and_poll(
        thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=100
    )
    assert run.status == "requires_action", run.last_error
    call = run.required_action.submit_tool_outputs.tool_calls[0]
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    with pytest.raises(openai.BadRequestError, match="while a run"):
        beta.threads.messages.create(thread_id=thread.id, role="user", content="too early")
    run = beta.threads.runs.submit_tool_outputs_and_poll(
        thread_id=thread.id, run_id=run.id, poll_interval_ms=100,
        tool_outputs=[{"tool_call_id": call.id, "output": "sunny"}],
    )
    assert run.status == "completed", run.last_error
    steps = beta.threads.runs.steps.list(run_id=run.id, thread_id=thread.id, order="asc").data
    assert [step.type for step in steps] == ["tool_calls", "message_creation"]
    assert steps[0].step_details.tool_calls[0].function.output == "sunny"


def test_a_run_can_be_cancelled(beta):
    assistant = beta.assistants.create(model=SCRIPTED_MODEL)
    thread = question(beta, "count-slowly")
    run = beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id)
    run = beta.threads.runs.cancel(run_id=run.id, thread_id=thread.id)
    assert run.status in ("cancelling", "cancelled")
    run = beta.threads.runs.poll(run_id=run.id, thread_id=thread.id, poll_interval_ms=100)
    assert run.status == "cancelled"
    beta.threads.messages.create(thread_id=thread.id, role="user", content="free again")


def test_one_active_run_per_thread(beta):
    assistant = beta.assistants.create(model=SCRIPTED_MODEL)
    thread = question(beta, "count-slowly")
    run = beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id)
    with pytest.raises(openai.BadRequestError, match="already has an active run"):
        beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id)
    beta.threads.runs.cancel(run_id=run.id, thread_id=thread.id)
    beta.threads.runs.poll(run_id=run.id, thread_id=thread.id, poll_interval_ms=100)


def test_pages_join_to_the_whole_list(beta):
    thread = beta.threads.create()
    created = [
        beta.threads.messages.create(thread_id=thread.id, role="user", content=str(i)).id
        for i in range(7)
    ]
    seen = [m.id for m in beta.threads.messages.list(thread_id=thread.id, limit=3, order="asc")]
    assert seen == created
    newest_first = [m.id for m in beta.threads.messages.list(thread_id=thread.id, limit=2)]
    assert newest_first == created[::-1]
    page = beta.threads.messages.list(thread_id=thread.id, limit=3, order="asc")
    assert page.has_more and page.data[0].id == created[0]
    before = beta.threads.messages.list(
        thread_id=thread.id, limit=3, order="asc", before=created[2])
    assert [m.id for m in before.data] == created[:2]


def test_objects_are_modified_and_deleted(beta, teacher):
    assistant = beta.assistants.create(model=teacher, name="a", metadata={"k": "v"})
    assistant = beta.assistants.update(assistant.id, name="b")
    assert assistant.name == "b" and assistant.metadata == {"k": "v"}
    assert assistant.id in [a.id for a in beta.assistants.list(limit=100)]
    assert beta.assistants.delete(assistant.id).deleted
    with pytest.raises(openai.NotFoundError):
        beta.assistants.retrieve(assistant.id)
    thread = beta.threads.create(metadata={"a": "1"})
    assert beta.threads.update(thread.id, metadata={"b": "2"}).metadata == {"b": "2"}
    assert beta.threads.delete(thread.id).deleted
    with pytest.raises(openai.NotFoundError):
        beta.threads.messages.list(thread_id=thread.id)


def test_a_bad_field_is_named(beta, teacher):
    with pytest.raises(openai.BadRequestError) as failure:
        beta.assistants.create(model=teacher, metadata={str(i): "x" for i in range(17)})
    assert "metadata" in failure.value.body["message"]
