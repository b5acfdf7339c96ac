"""Further clients of the three dialects, each with a chat, a stream, a loop of tools and an answer of a
form: Pydantic AI, Agno, langchain-anthropic, Outlines, huggingface_hub."""

import asyncio
import json
import re
from typing import Literal

import anthropic
import ollama
import openai
import pytest
from pydantic import BaseModel

from mesh import SCRIPTED_MODEL, counts

SUM = "What is 21 + 13?"
SUNNY = "It is sunny in Paris."


class Pair(BaseModel):
    """Two numbers."""

    first: int
    second: int


def get_weather(city: str) -> str:
    """Get the weather of a city.

    Args:
        city: the city
    """
    return f"sunny in {city}"


# --- Pydantic AI -------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["openai", "anthropic"])
def pydantic_model(request, mesh):
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.anthropic import AnthropicProvider
    from pydantic_ai.providers.openai import OpenAIProvider

    if request.param == "openai":
        return lambda name: OpenAIChatModel(
            name, provider=OpenAIProvider(base_url=mesh.url + "/v1", api_key="none"))
    return lambda name: AnthropicModel(
        name, provider=AnthropicProvider(base_url=mesh.url, api_key="none"))


def test_pydantic_ai(pydantic_model, teacher):
    from pydantic_ai import Agent, ToolOutput

    async def run():
        answer = await Agent(pydantic_model(teacher)).run(SUM)
        assert "13" in answer.output and answer.usage.output_tokens > 0
        async with Agent(pydantic_model(SCRIPTED_MODEL)).run_stream("count pa") as stream:
            pieces = [piece async for piece in stream.stream_text(delta=True, debounce_by=None)]
        assert "".join(pieces) == counts("pa", 40) and len(pieces) > 3
        agent = Agent(pydantic_model(SCRIPTED_MODEL), tools=[get_weather])
        assert (await agent.run("call-weather")).output == SUNNY
        async with agent.run_stream("call-weather") as stream:
            assert await stream.get_output() == SUNNY
        thought = await Agent(pydantic_model(SCRIPTED_MODEL)).run("think-aloud")
        assert [part.content for part in thought.all_messages()[-1].parts] == [
            "2 and 3 make 5", "It is 5."]
        typed = Agent(pydantic_model(teacher), output_type=ToolOutput(Pair), retries=0,
                      model_settings={"max_tokens": 300})
        assert isinstance((await typed.run(SUM)).output, Pair)

    asyncio.run(run())


# --- Agno --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["openai", "anthropic", "ollama"])
def agno_model(request, mesh):
    from agno.models.anthropic import Claude
    from agno.models.ollama import Ollama
    from agno.models.openai.like import OpenAILike

    return {
        "openai": lambda name: OpenAILike(id=name, base_url=mesh.url + "/v1", api_key="none"),
        "anthropic": lambda name: Claude(
            id=name, client_params={"base_url": mesh.url}, api_key="none", max_tokens=300),
        "ollama": lambda name: Ollama(id=name, host=mesh.url),
    }[request.param]


def test_agno(agno_model, teacher):
    from agno.agent import Agent

    def agent(name, **options):
        return Agent(model=agno_model(name), telemetry=False, **options)

    assert "13" in agent(teacher).run(SUM).content
    events = agent(SCRIPTED_MODEL, tools=[get_weather]).run("call-weather", stream=True)
    text = [event.content for event in events if event.event == "RunContent"]
    assert "".join(piece or "" for piece in text) == SUNNY
    assert isinstance(agent(teacher, output_schema=Pair).run(SUM).content, Pair)


# --- langchain-anthropic -----------------------------------------------------------------------------


def test_langchain_anthropic(mesh, teacher):
    from langchain_anthropic import ChatAnthropic
    from langchain_core.tools import tool

    def model(name, **options):
        return ChatAnthropic(model=name, base_url=mesh.url, api_key="none", max_retries=0,
                             max_tokens=400, **options)

    assert model(teacher, temperature=0).invoke(SUM).content == "21 + 13 = 34"
    chunks = list(model(SCRIPTED_MODEL).stream("count la"))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert whole.content == counts("la", 40) and whole.usage_metadata["output_tokens"] > 0
    weather = tool(get_weather)
    caller = model(SCRIPTED_MODEL).bind_tools([weather])
    call = caller.invoke("call-weather")
    results = [weather.invoke(one) for one in call.tool_calls]
    assert caller.invoke(["call-weather", call, *results]).content == SUNNY
    for method in ("function_calling", "json_schema"):
        typed = model(teacher).with_structured_output(Pair, method=method)
        assert isinstance(typed.invoke(SUM), Pair)


# --- Outlines ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["openai", "vllm", "sglang", "ollama"])
def outlines_model(request, mesh, teacher):
    import outlines

    if request.param == "ollama":
        return request.param, outlines.from_ollama(ollama.Client(host=mesh.url), teacher)
    client = openai.OpenAI(base_url=mesh.url + "/v1", api_key="none", max_retries=0)
    return request.param, getattr(outlines, f"from_{request.param}")(client, teacher)


def test_outlines(outlines_model):
    import outlines

    server, model = outlines_model
    assert "13" in model(SUM)
    limit = {} if server == "ollama" else {"max_tokens": 200}
    assert Pair.model_validate_json(model(SUM, Pair, **limit))
    if server in ("vllm", "sglang"):  # for the others the client knows no such thing
        assert model("Is 1 < 2?", Literal["perhaps", "never"]) in ("perhaps", "never")
        assert re.fullmatch("[a-f]{7}", model(SUM, outlines.types.Regex("[a-f]{7}")))
    if server == "sglang":
        grammar = outlines.types.CFG('root ::= "one" | "two"')
        with pytest.warns(UserWarning, match="EBNF"):
            assert model(SUM, grammar) in ("one", "two")


# --- huggingface_hub ---------------------------------------------------------------------------------


def test_huggingface_hub(mesh, teacher, monkeypatch):
    from huggingface_hub import InferenceClient, constants

    # It would refuse our address, too; offline.py sees to the others.
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    client = InferenceClient(base_url=mesh.url + "/v1", api_key="none")

    def ask(content, model=teacher, **options):
        return client.chat_completion([{"role": "user", "content": content}], model=model, **options)

    assert "13" in ask(SUM).choices[0].message.content
    pieces = ask("count hf", SCRIPTED_MODEL, stream=True, max_tokens=1000)
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
    assert text == counts("hf", 40)
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": parameters}}]
    call = ask("call-weather", SCRIPTED_MODEL, tools=tools).choices[0].message.tool_calls[0]
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    # It writes a JSON schema as TGI does.
    schema = {"type": "json_schema", "json_schema": {"name": "p", "schema": Pair.model_json_schema()}}
    typed = ask(SUM, response_format=schema, max_tokens=200, temperature=1.0, seed=7)
    assert Pair.model_validate_json(typed.choices[0].message.content)


# --- anthropic ---------------------------------------------------------------------------------------


def test_the_beta_name_of_a_format(mesh, teacher):
    client = anthropic.Anthropic(base_url=mesh.url, api_key="none", max_retries=0)
    schema = {"type": "json_schema", "schema": {**Pair.model_json_schema(),
                                                "additionalProperties": False}}
    reply = client.beta.messages.create(
        model=teacher, max_tokens=200, messages=[{"role": "user", "content": SUM}],
        betas=["structured-outputs-2025-11-13"], extra_body={"output_format": schema})
    assert Pair.model_validate_json(reply.content[0].text)
