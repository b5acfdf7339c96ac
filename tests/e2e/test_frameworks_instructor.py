"""instructor: classes out of models, by functions, by JSON and by JSON schemas, asked again when the
answer is not valid."""

import asyncio
import json

import instructor
import openai
import pytest
from instructor.core import InstructorRetryException
from pydantic import BaseModel, Field, field_validator

from mesh import SCRIPTED_MODEL

SUM = [{"role": "user", "content": "What is 21 + 13?"}]


class get_weather(BaseModel):  # the name is the function's
    """Get the weather of a city."""

    city: str


class Pair(BaseModel):
    first: int = Field(ge=0, le=99)
    second: int = Field(ge=0, le=99)


def user(content):
    return [{"role": "user", "content": content}]


@pytest.fixture(scope="module")
def client(mesh):
    """A maker of clients of one mode; their `sent` collects what they send."""

    def make(mode):
        made = instructor.from_openai(
            openai.OpenAI(base_url=mesh.url + "/v1", api_key="none", max_retries=0, timeout=60),
            mode=mode)
        made.sent = []
        made.on("completion:kwargs", lambda *_, **request: made.sent.append(request))
        return made

    return make


def test_a_function_gives_the_class(client):
    tools = client(instructor.Mode.TOOLS)
    weather, completion = tools.chat.completions.create_with_completion(
        model=SCRIPTED_MODEL, messages=user("call-weather"), response_model=get_weather)
    assert isinstance(weather, get_weather) and weather.city == "Paris"
    assert completion.choices[0].finish_reason == "tool_calls"
    assert tools.sent[0]["tool_choice"]["function"]["name"] == "get_weather"


def test_a_wrong_call_is_asked_again(client):
    tools = client(instructor.Mode.TOOLS)
    weather = tools.chat.completions.create(
        model=SCRIPTED_MODEL, messages=user("call-wrongly"), response_model=get_weather, max_retries=2)
    assert isinstance(weather, get_weather) and weather.city == "Paris"
    assert len(tools.sent) == 2
    assert tools.sent[1]["messages"][-1]["role"] == "tool"


def test_it_gives_up_after_the_retries(client):
    with pytest.raises(InstructorRetryException) as failure:
        client(instructor.Mode.TOOLS).chat.completions.create(
            model=SCRIPTED_MODEL, messages=user("call-wrongly"), response_model=get_weather,
            max_retries=0)
    assert failure.value.n_attempts == 1
    call, = failure.value.last_completion.choices[0].message.tool_calls
    assert json.loads(call.function.arguments) == {"city": ["Paris"]}


def test_partial_objects_grow_to_the_whole(client):
    parts = list(client(instructor.Mode.TOOLS).chat.completions.create_partial(
        model=SCRIPTED_MODEL, messages=user("call-weather"), response_model=get_weather))
    cities = [part.city for part in parts if part.city]
    assert cities[-1] == "Paris" and len(set(cities)) > 1
    assert all("Paris".startswith(city) for city in cities)


@pytest.mark.parametrize("mode", [instructor.Mode.JSON_SCHEMA, instructor.Mode.JSON])
def test_json_gives_the_class(client, teacher, mode):
    extra = {}
    if mode == instructor.Mode.JSON:
        # Its own format is any JSON object, and the schema stands in the prompt, which the default
        # model cannot read: here it goes along in the way of llama.cpp's server.
        extra = {"response_format": {"type": "json_object", "schema": Pair.model_json_schema()}}
    pair = client(mode).chat.completions.create(
        model=teacher, messages=SUM, response_model=Pair, temperature=0, max_tokens=200,
        max_retries=0, extra_body=extra)
    assert isinstance(pair, Pair)


def test_json_that_fails_a_validator_is_asked_again(client, teacher):
    seen = []

    class Accepted(Pair):
        @field_validator("second")
        @classmethod
        def only_the_second_time(cls, value):
            seen.append(value)
            if len(seen) == 1:
                raise ValueError("not this time")
            return value

    schema = client(instructor.Mode.JSON_SCHEMA)
    pair = schema.chat.completions.create(
        model=teacher, messages=SUM, response_model=Accepted, temperature=0, max_tokens=200,
        max_retries=2)
    assert isinstance(pair, Accepted)
    assert len(schema.sent) == 2 and "not this time" in schema.sent[1]["messages"][-1]["content"]


def test_the_async_client(mesh):
    async def ask():
        client = instructor.from_openai(
            openai.AsyncOpenAI(base_url=mesh.url + "/v1", api_key="none", max_retries=0),
            mode=instructor.Mode.TOOLS)
        calls = [client.chat.completions.create(
            model=SCRIPTED_MODEL, messages=user(text), response_model=get_weather, max_retries=2)
            for text in ("call-weather", "call-wrongly") * 3]
        return await asyncio.gather(*calls)

    assert [weather.city for weather in asyncio.run(ask())] == ["Paris"] * 6
