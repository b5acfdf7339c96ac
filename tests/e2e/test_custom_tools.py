"""Tools whose input is a text, through the official client: a loop, an expression, a stream."""

import re

import openai
import pytest

ASK = [{"role": "user", "content": "What is the weather in Paris?"}]


def custom(name="look_up", **fields):
    return {"type": "custom", "custom": {"name": name, "description": "Looks a text up.", **fields}}


def held_to(expression):
    grammar = {"syntax": "regex", "definition": expression}
    return custom(format={"type": "grammar", "grammar": grammar})


@pytest.mark.parametrize("choice", ["required", {"type": "custom", "custom": {"name": "look_up"}}])
def test_a_call_has_its_input_as_text_and_goes_back(openai_client, teacher, choice):
    request = {"model": teacher, "messages": list(ASK), "tools": [custom()], "max_tokens": 300}
    message = openai_client.chat.completions.create(
        **request, tool_choice=choice, temperature=0).choices[0].message
    call = message.tool_calls[0]
    assert call.type == "custom" and call.custom.name == "look_up"
    assert isinstance(call.custom.input, str)
    request["messages"] += [message, {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    assert openai_client.chat.completions.create(**request, temperature=0).choices[0].message.content


def test_an_input_matches_its_expression(openai_client, teacher):
    expression = r'select "[a-z]{3}"\n(from|into) [a-f]{4}'
    for seed in range(8):
        call = openai_client.chat.completions.create(
            model=teacher, messages=ASK, tools=[held_to(expression)], tool_choice="required",
            temperature=1, seed=seed, max_tokens=300).choices[0].message.tool_calls[0]
        assert re.fullmatch(expression, call.custom.input), call.custom.input


def test_a_stream_brings_the_same_input(mesh, openai_client, teacher):
    request = {"model": teacher, "messages": ASK, "tools": [held_to('"[a-z]{9}"\n')],
               "tool_choice": "required", "seed": 5, "max_tokens": 300}
    whole = openai_client.chat.completions.create(**request).choices[0].message.tool_calls[0].custom
    # OpenAI's description has no such chunks, though its server sends them: no schema to check.
    plain = openai.OpenAI(base_url=mesh.url + "/v1", api_key="none", max_retries=0)
    calls = [call.model_dump() for chunk in plain.chat.completions.create(**request, stream=True)
             for call in chunk.choices[0].delta.tool_calls or []]
    assert calls[0]["type"] == "custom" and calls[0]["custom"]["name"] == "look_up"
    assert "".join(call["custom"]["input"] for call in calls) == whole.input


def test_what_cannot_be_held_is_refused(openai_client, teacher):
    lark = {"type": "grammar", "grammar": {"syntax": "lark", "definition": 'start: "a"'}}
    for tool, field in [(custom(format=lark), "tools[0].custom.format.grammar.syntax"),
                        (held_to("(a"), "tools[0].custom.format")]:
        with pytest.raises(openai.BadRequestError) as refused:
            openai_client.chat.completions.create(model=teacher, messages=ASK, tools=[tool],
                                                  tool_choice="required")
        assert refused.value.param.startswith(field), refused.value
