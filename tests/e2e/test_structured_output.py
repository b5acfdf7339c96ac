"""Outputs held to a schema, an expression, a choice or a grammar by the default model at temperature 1.

The schemas are made from a seed; jsonschema judges what comes out. 1,000 of them are
`pytest tests/e2e/test_structured_output.py --schemas 1000`.
"""

import json
import random
import re
from concurrent.futures import ThreadPoolExecutor

import jsonschema
import openai
import pytest

ASK = [{"role": "user", "content": "What is 21 + 13?"}]
WORDS = ["name", "age", "city", "tags", "price", "id", "état", "a b", "ok", "list"]


class SchemaMaker:
    """A random schema whose values end: lengths, items and depth have bounds."""

    def __init__(self, seed):
        self.rng = random.Random(seed)

    def schema(self, depth=0):
        kinds = [self.string, self.integer, self.number, self.enum, self.constant, self.boolean]
        if depth < 3:
            kinds += [self.object, self.object, self.array, self.any_of]
        return self.rng.choice(kinds if depth else [self.object, self.array, self.any_of])(depth)

    def string(self, _):
        low = self.rng.randrange(4)
        return self.rng.choice([
            {"type": "string", "maxLength": 12},
            {"type": "string", "minLength": low, "maxLength": low + self.rng.randrange(6)},
            {"type": "string", "pattern": "^[a-z]{2,5}-[0-9]{1,3}$"},
            {"type": "string", "format": "date"},
            {"type": "string", "format": "uuid"},
        ])

    def integer(self, _):
        low = self.rng.randrange(-50, 50)
        return self.rng.choice([
            {"type": "integer", "minimum": low, "maximum": low + self.rng.randrange(200)},
            {"type": "integer", "exclusiveMinimum": low, "maximum": low + 7},
        ])

    def number(self, _):
        return {"type": "number", "minimum": 0, "maximum": self.rng.randrange(1, 100)}

    def enum(self, _):
        return {"enum": self.rng.sample(["red", 1, None, True, "grün", 2.5, [1, 2], {"a": 0}], 3)}

    def constant(self, _):
        return {"const": self.rng.choice(["fixed", 7, False, None, {"x": [1]}])}

    def boolean(self, _):
        return {"type": self.rng.choice(["boolean", ["boolean", "null"]])}

    def object(self, depth):
        names = self.rng.sample(WORDS, self.rng.randrange(1, 4))
        return {
            "type": "object",
            "properties": {name: self.schema(depth + 1) for name in names},
            "required": self.rng.sample(names, self.rng.randrange(len(names) + 1)),
            "additionalProperties": False,
        }

    def array(self, depth):
        low = self.rng.randrange(3)
        return {"type": "array", "items": self.schema(depth + 1), "minItems": low,
                "maxItems": low + self.rng.randrange(3)}

    def any_of(self, depth):
        return {"anyOf": [self.schema(depth + 1) for _ in range(self.rng.randrange(2, 4))]}


def ask(client, model, schema, seed):
    reply = client.chat.completions.create(
        model=model, messages=ASK, temperature=1, seed=seed, max_tokens=1200,
        response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
    )
    return reply.choices[0]


def test_every_output_of_random_schemas_validates(openai_client, teacher, request):
    count = request.config.getoption("--schemas")

    def one(seed):
        schema = SchemaMaker(seed).schema()
        choice = ask(openai_client, teacher, schema, seed)
        if choice.finish_reason != "stop":
            return f"seed {seed}: {choice.finish_reason} {choice.message.content!r}"
        try:
            jsonschema.validate(json.loads(choice.message.content), schema,
                                format_checker=jsonschema.FormatChecker())
        except ValueError as error:
            return f"seed {seed}: no JSON: {error}: {choice.message.content!r}"
        except jsonschema.ValidationError as error:
            return f"seed {seed}: {error.message}: {choice.message.content!r} {schema}"
        return None

    with ThreadPoolExecutor(8) as pool:
        wrong = [text for text in pool.map(one, range(count)) if text]
    assert wrong == []


def test_json_object_is_an_object(openai_client, teacher):
    for seed in range(5):
        choice = openai_client.chat.completions.create(
            model=teacher, messages=ASK, temperature=1, seed=seed, max_tokens=400,
            response_format={"type": "json_object"}).choices[0]
        if choice.finish_reason == "stop":
            assert isinstance(json.loads(choice.message.content), dict)
        else:
            assert choice.finish_reason == "length"


def test_seeded_output_is_the_same_streamed_and_amid_others(openai_client, teacher):
    schema = SchemaMaker(4).schema()
    alone = ask(openai_client, teacher, schema, 11).message.content
    with ThreadPoolExecutor(8) as pool:
        amid = [choice.message.content for choice in
                pool.map(lambda seed: ask(openai_client, teacher, schema, seed),
                         [11, 1, 2, 11, 3, 4, 5, 11])]
    assert [amid[0], amid[3], amid[7]] == [alone] * 3
    stream = openai_client.chat.completions.create(
        model=teacher, messages=ASK, temperature=1, seed=11, max_tokens=1200, stream=True,
        response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}})
    assert "".join(c.choices[0].delta.content or "" for c in stream if c.choices) == alone


@pytest.mark.parametrize("extra,pattern", [
    ({"guided_regex": "[a-f]{3}-[0-9]{2}"}, "[a-f]{3}-[0-9]{2}"),
    ({"guided_choice": ["yes", "no", "perhaps"]}, "yes|no|perhaps"),
    ({"guided_grammar": 'root ::= "(" [0-9]+ ")" | "none"'}, r"\([0-9]+\)|none"),
])
def test_guided_output_is_in_the_language(openai_client, teacher, extra, pattern):
    for seed in range(4):
        choice = openai_client.chat.completions.create(
            model=teacher, messages=ASK, temperature=1, seed=seed, max_tokens=200,
            extra_body=extra).choices[0]
        if choice.finish_reason == "stop":
            assert re.fullmatch(pattern, choice.message.content)
        else:
            assert choice.finish_reason == "length"


def test_ollama_format_is_a_schema(ollama_client, teacher):
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 99}},
              "required": ["n"], "additionalProperties": False}
    reply = ollama_client.chat(model=teacher, messages=ASK, format=schema,
                               options={"temperature": 1, "seed": 3, "num_predict": 100})
    assert 0 <= json.loads(reply["message"]["content"])["n"] <= 99


def test_what_cannot_be_compiled_is_refused_by_place(openai_client, teacher):
    with pytest.raises(openai.OpenAIError) as refused:
        ask(openai_client, teacher,
            {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}}, 1)
    assert refused.value.status_code == 501
    assert "uniqueItems" in str(refused.value)
