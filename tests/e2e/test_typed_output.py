"""Classes out of models, by the helpers of the official packages: parse, stream, format."""

import asyncio

import openai
import pytest
from pydantic import BaseModel, Field

from mesh import SCRIPTED_MODEL

ASK = [{"role": "user", "content": "What is 21 + 13?"}]


class Pair(BaseModel):
    """Two numbers."""

    first: int = Field(ge=0, le=99)
    second: int = Field(ge=0, le=99)


class GetWeather(BaseModel):
    """Get the weather of a city."""

    city: str


def test_openai_parses_to_the_class(openai_client, teacher):
    reply = openai_client.chat.completions.parse(
        model=teacher, messages=ASK, response_format=Pair, temperature=0, max_tokens=200)
    assert isinstance(reply.choices[0].message.parsed, Pair)


def test_openai_streams_to_the_class(openai_client, teacher):
    with openai_client.chat.completions.stream(
            model=teacher, messages=ASK, response_format=Pair, temperature=0, max_tokens=200,
            stream_options={"include_usage": True}) as stream:
        events = list(stream)
        final = stream.get_final_completion()
    pieces = [event.delta for event in events if event.type == "content.delta"]
    message = final.choices[0].message
    assert isinstance(message.parsed, Pair) and "".join(pieces) == message.content
    assert events[-1].type in ("content.done", "chunk") and final.usage.completion_tokens > 0


def test_openai_streams_a_function_to_its_class(openai_client):
    tool = openai.pydantic_function_tool(GetWeather, name="get_weather")
    with openai_client.chat.completions.stream(
            model=SCRIPTED_MODEL, messages=[{"role": "user", "content": "call-weather"}],
            tools=[tool]) as stream:
        done = [event for event in stream if event.type == "tool_calls.function.arguments.done"]
        final = stream.get_final_completion()
    assert [(event.name, event.parsed_arguments) for event in done] == [
        ("get_weather", GetWeather(city="Paris"))]
    assert final.choices[0].message.tool_calls[0].function.parsed_arguments == GetWeather(city="Paris")


def test_openai_says_when_the_length_cut_the_object(openai_client, teacher):
    with pytest.raises(openai.LengthFinishReasonError):
        openai_client.chat.completions.parse(
            model=teacher, messages=ASK, response_format=Pair, temperature=0, max_tokens=2)


def test_anthropic_parses_to_the_class(anthropic_client, teacher):
    reply = anthropic_client.messages.parse(
        model=teacher, max_tokens=200, messages=ASK, output_format=Pair,
        extra_body={"temperature": 0})
    assert isinstance(reply.parsed_output, Pair)


def test_ollama_formats_as_the_class(ollama_client, teacher):
    reply = ollama_client.chat(model=teacher, messages=ASK, format=Pair.model_json_schema(),
                               options={"temperature": 0, "num_predict": 200})
    assert Pair.model_validate_json(reply.message.content)
    reply = ollama_client.generate(model=teacher, prompt="What is 21 + 13?",
                                   format=Pair.model_json_schema(),
                                   options={"temperature": 0, "num_predict": 200})
    assert Pair.model_validate_json(reply.response)


def test_the_async_client_of_openai(mesh, teacher, embedding_model):
    async def ask():
        async with openai.AsyncOpenAI(base_url=mesh.url + "/v1", api_key="none") as client:
            stream = await client.chat.completions.create(
                model=teacher, messages=ASK, temperature=0, stream=True)
            text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
            parsed, vectors = await asyncio.gather(
                client.chat.completions.parse(model=teacher, messages=ASK, response_format=Pair,
                                              temperature=0, max_tokens=200),
                client.embeddings.create(model=embedding_model, input=["one", "two"]))
            return text, parsed.choices[0].message.parsed, vectors.data

    text, parsed, vectors = asyncio.run(ask())
    assert text == "21 + 13 = 34" and isinstance(parsed, Pair)
    assert [len(vector.embedding) for vector in vectors] == [384, 384]
