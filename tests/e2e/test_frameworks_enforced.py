"""What must hold whatever the model is like: a function that is demanded is called, with arguments of
its schema, and as many answers come as were asked for. The question invites the default model to call
nothing."""

import json

import instructor
import litellm
import openai
import pytest
from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    RunConfig,
    Runner,
    StopAtTools,
    function_tool,
)
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field

SUM = "What is 21 + 13?"


class Pair(BaseModel):
    """Keep two numbers."""

    first: int = Field(ge=0, le=99)
    second: int = Field(ge=0, le=99)


PAIR_TOOL = {"type": "function", "function": {"name": "Pair", "description": "Keep two numbers.",
                                              "parameters": Pair.model_json_schema()}}


@pytest.fixture(scope="module")
def chat(mesh, teacher):
    return ChatOpenAI(model=teacher, base_url=mesh.url + "/v1", api_key="none", max_retries=0,
                      temperature=0, max_tokens=200)


@pytest.mark.parametrize("choice", ["Pair", "any"])
@pytest.mark.parametrize("strict", [None, True])
def test_langchain_demands_a_function(chat, choice, strict):
    message = chat.bind_tools([Pair], tool_choice=choice, strict=strict).invoke(SUM)
    assert message.invalid_tool_calls == []
    call = message.tool_calls[0]
    assert call["name"] == "Pair" and Pair.model_validate(call["args"])


def test_langchain_has_structured_output_by_function(chat):
    model = chat.with_structured_output(Pair, method="function_calling")
    assert isinstance(model.invoke(SUM), Pair)


def test_langchain_gets_several_answers(mesh, teacher):
    model = ChatOpenAI(model=teacher, base_url=mesh.url + "/v1", api_key="none", n=3, temperature=0)
    answers, = model.generate([[HumanMessage(SUM)]]).generations
    assert [answer.text for answer in answers] == ["21 + 13 = 34"] * 3


def test_instructor_gets_the_class_by_function(mesh, teacher):
    client = instructor.from_openai(openai.OpenAI(base_url=mesh.url + "/v1", api_key="none"),
                                    mode=instructor.Mode.TOOLS)
    pair = client.chat.completions.create(
        model=teacher, messages=[{"role": "user", "content": SUM}], response_model=Pair,
        max_retries=0, temperature=0, max_tokens=200)
    assert isinstance(pair, Pair)
    several = list(client.chat.completions.create_partial(
        model=teacher, messages=[{"role": "user", "content": SUM}], response_model=Pair,
        temperature=0, max_tokens=200))
    assert several[-1].first is not None and several[-1].second is not None


@pytest.mark.parametrize("prefix", ["openai", "anthropic"])
@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "Pair"}}])
def test_litellm_demands_a_function(mesh, teacher, prefix, choice):
    reply = litellm.completion(
        model=f"{prefix}/{teacher}", messages=[{"role": "user", "content": SUM}], tools=[PAIR_TOOL],
        tool_choice=choice, temperature=0, max_tokens=200, api_key="none",
        api_base=mesh.url + ("/v1" if prefix == "openai" else ""))
    call = reply.choices[0].message.tool_calls[0]
    assert call.function.name == "Pair"
    assert Pair.model_validate(json.loads(call.function.arguments))


def test_litellm_has_schemas_over_anthropic(mesh, teacher):
    reply = litellm.completion(
        model=f"anthropic/{teacher}", messages=[{"role": "user", "content": SUM}],
        response_format=Pair, temperature=0, max_tokens=200, api_key="none", api_base=mesh.url)
    assert Pair.model_validate_json(reply.choices[0].message.content)


def test_litellm_gets_several_answers(mesh, teacher):
    reply = litellm.completion(
        model=f"openai/{teacher}", messages=[{"role": "user", "content": SUM}], n=3, temperature=0,
        api_key="none", api_base=mesh.url + "/v1")
    assert [choice.message.content for choice in reply.choices] == ["21 + 13 = 34"] * 3
    assert [choice.index for choice in reply.choices] == [0, 1, 2]


def test_agents_demand_a_function(mesh, teacher):
    kept = []

    @function_tool
    def keep(first: int, second: int) -> str:
        """Keep two numbers."""
        kept.append((first, second))
        return "kept"

    client = openai.AsyncOpenAI(base_url=mesh.url + "/v1", api_key="none", max_retries=0)
    agent = Agent(
        name="keeper", tools=[keep], tool_use_behavior=StopAtTools(stop_at_tool_names=["keep"]),
        model=OpenAIChatCompletionsModel(model=teacher, openai_client=client),
        model_settings=ModelSettings(tool_choice="required", temperature=0, max_tokens=200,
                                     parallel_tool_calls=False))
    result = Runner.run_sync(agent, SUM, run_config=RunConfig(tracing_disabled=True))
    assert result.final_output == "kept" and len(kept) == 1


def test_agents_have_typed_outputs_beside_functions(mesh, teacher):
    @function_tool
    def set_timer(minutes: int) -> str:
        """Set a timer."""
        return "ok"

    client = openai.AsyncOpenAI(base_url=mesh.url + "/v1", api_key="none", max_retries=0)
    agent = Agent(name="both", tools=[set_timer], output_type=Pair,
                  model=OpenAIChatCompletionsModel(model=teacher, openai_client=client),
                  model_settings=ModelSettings(temperature=0, max_tokens=200))
    result = Runner.run_sync(agent, SUM, run_config=RunConfig(tracing_disabled=True))
    assert isinstance(result.final_output, Pair)
