"""OpenAI's Agents SDK over chat completions: loops of tools, hand-offs, streams, typed outputs."""

import asyncio
import json

import openai
import pytest
from agents import (
    Agent,
    ItemHelpers,
    ModelSettings,
    OpenAIChatCompletionsModel,
    RunConfig,
    Runner,
    SQLiteSession,
    function_tool,
)
from pydantic import BaseModel, Field

from mesh import SCRIPTED_MODEL, counts

asked = []


@function_tool
def get_weather(city: str) -> str:
    """Get the weather of a city."""
    asked.append(city)
    return f"sunny in {city}"


class Pair(BaseModel):
    first: int = Field(ge=0, le=99)
    second: int = Field(ge=0, le=99)


@pytest.fixture
def agent(mesh):
    """A maker of agents. Each test has a client of its own, as each has an event loop of its own."""
    client = openai.AsyncOpenAI(base_url=mesh.url + "/v1", api_key="none", max_retries=0, timeout=60)
    asked.clear()

    def make(model, name="assistant", **options):
        options.setdefault("model_settings", ModelSettings(temperature=0, include_usage=True))
        return Agent(name=name, model=OpenAIChatCompletionsModel(model=model, openai_client=client),
                     **options)

    return make


def run(agent, text, **options):
    return Runner.run_sync(agent, text, run_config=RunConfig(tracing_disabled=True), **options)


def streamed(agent, text):
    """(result, text deltas, kinds of items) of a streamed run."""
    async def follow():
        result = Runner.run_streamed(agent, text, run_config=RunConfig(tracing_disabled=True))
        deltas, items = [], []
        async for event in result.stream_events():
            if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
                deltas.append(event.data.delta)
            elif event.type == "run_item_stream_event":
                items.append(event.item.type)
        return result, deltas, items

    return asyncio.run(follow())


def test_an_agent_answers_and_counts(agent, teacher):
    result = run(agent(teacher), "What is 37 + 45?")
    assert result.final_output == "37 + 45 = 82"
    usage = result.context_wrapper.usage
    assert usage.requests == 1
    assert usage.input_tokens > 0 and usage.output_tokens > 0
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens


def test_tools_loop(agent):
    result = run(agent(SCRIPTED_MODEL, instructions="Be brief.", tools=[get_weather]), "call-weather")
    assert result.final_output == "It is sunny in Paris."
    assert asked == ["Paris"]
    assert [item.type for item in result.new_items] == [
        "tool_call_item", "tool_call_output_item", "message_output_item"]
    assert result.new_items[1].output == "sunny in Paris"


def test_calls_in_one_answer_are_all_made(agent):
    result = run(agent(SCRIPTED_MODEL, tools=[get_weather]), "call-both")
    assert sorted(asked) == ["Paris", "Rome"]
    outputs = [item for item in result.new_items if item.type == "tool_call_output_item"]
    assert [item.output for item in outputs] == ["sunny in Paris", "sunny in Rome"]
    assert len({item.raw_item["call_id"] for item in outputs}) == 2


def test_the_default_model_calls_and_reads_the_result(agent, teacher):
    minutes_set = []

    @function_tool
    def set_timer(minutes: int) -> str:
        """Set a timer."""
        minutes_set.append(minutes)
        return "ok"

    result = run(agent(teacher, tools=[set_timer]), "Set a timer for 25 minutes.")
    assert minutes_set == [25]
    assert result.final_output == "The timer is set for 25 minutes."


def test_a_hand_over_goes_to_the_other_agent(agent):
    desk = agent(SCRIPTED_MODEL, name="weather desk", tools=[get_weather])
    result = run(agent(SCRIPTED_MODEL, name="triage", handoffs=[desk]), "hand-over")
    assert result.last_agent.name == "weather desk"
    assert asked == ["Paris"]
    assert result.final_output == "It is sunny in Paris."


def test_a_streamed_run_is_the_same(agent):
    result, deltas, _ = streamed(agent(SCRIPTED_MODEL), "count agent")
    assert len(deltas) > 40
    assert "".join(deltas) == result.final_output == counts("agent", 40)
    assert result.context_wrapper.usage.output_tokens > 0


def test_a_streamed_run_with_tools_and_hand_over(agent):
    desk = agent(SCRIPTED_MODEL, name="weather desk", tools=[get_weather])
    triage = agent(SCRIPTED_MODEL, name="triage", handoffs=[desk])
    result, deltas, items = streamed(triage, "hand-over")
    assert items == ["handoff_call_item", "handoff_output_item", "tool_call_item",
                     "tool_call_output_item", "message_output_item"]
    assert asked == ["Paris"] and result.last_agent.name == "weather desk"
    assert "".join(deltas) == result.final_output == "It is sunny in Paris."
    call = next(item for item in result.new_items if item.type == "tool_call_item")
    assert json.loads(call.raw_item.arguments) == {"city": "Paris"}


def test_reasoning_is_an_item_of_its_own(agent):
    result = run(agent(SCRIPTED_MODEL), "think-aloud")
    reasoning, message = result.new_items
    assert reasoning.type == "reasoning_item"
    assert reasoning.raw_item.summary[0].text == "2 and 3 make 5"
    assert ItemHelpers.text_message_output(message) == "It is 5."


def test_the_output_has_its_type(agent, teacher):
    result = run(agent(teacher, output_type=Pair), "What is 21 + 13?")
    assert isinstance(result.final_output, Pair)


def test_a_session_remembers(agent, teacher):
    session = SQLiteSession("one")
    assistant = agent(teacher)
    run(assistant, "My name is Anna.", session=session)
    assert "Anna" in run(assistant, "What is my name?", session=session).final_output


def test_runs_at_once_keep_answers_apart(agent):
    async def all_of(tags):
        assistant = agent(SCRIPTED_MODEL)
        results = await asyncio.gather(*(
            Runner.run(assistant, f"count {tag}", run_config=RunConfig(tracing_disabled=True))
            for tag in tags))
        return [result.final_output for result in results]

    tags = [f"run-{i}" for i in range(8)]
    assert asyncio.run(all_of(tags)) == [counts(tag, 40) for tag in tags]


def test_an_unknown_model_is_named(agent):
    with pytest.raises(openai.NotFoundError, match="no-such-model"):
        run(agent("no-such-model"), "Hello")


def test_a_stream_that_breaks_raises(agent):
    with pytest.raises(openai.APIError, match="internal error"):
        streamed(agent(SCRIPTED_MODEL), "break-midway")
