"""Schemas as the libraries of applications write them: pydantic, the strict form of the openai package, zod.

Each is asked of the default model at temperature 1 with several seeds; jsonschema judges the outputs with
formats checked, and pydantic reads what came of its classes.
"""

import datetime
import decimal
import enum
import ipaddress
import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Dict, List, Literal, Mapping, Optional, Tuple, Union

import jsonschema
import openai
import pytest
from pydantic import (UUID4, AnyUrl, BaseModel, Base64Bytes, ConfigDict, Field, HttpUrl, NegativeInt,
                      PositiveInt, RootModel, SecretStr, StringConstraints, conint, conlist, constr)

ASK = [{"role": "user", "content": "What is 21 + 13?"}]
SEEDS = 4
DECIMAL = r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$"  # pydantic's own, of what it writes
Short = Annotated[str, StringConstraints(max_length=8)]


class Color(str, enum.Enum):
    red = "red"
    green = "grün"


class Level(enum.IntEnum):
    low = 1
    high = 2


class Address(BaseModel):
    street: str = Field(min_length=1, max_length=20)
    zip: str = Field(pattern=r"^\d{5}(-\d{4})?$")
    country: Literal["DE", "FR"] = "DE"


class Person(BaseModel):
    name: Short
    age: Optional[int] = Field(default=None, ge=0, le=150)
    address: Address
    friends: List["Person"] = Field(default_factory=list, max_length=1)
    color: Color = Color.red
    level: Level


class Chain(BaseModel):
    value: conint(ge=0, le=9)
    next: Optional["Chain"] = None


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    meow: bool


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    meow: bool


class Reptile(BaseModel):
    kind: Literal["lizard", "gecko"]
    legs: Literal[0, 4]


class Pets(BaseModel):
    pets: List[Annotated[Union[Cat, Dog, Reptile], Field(discriminator="kind")]] = Field(max_length=2)


class Answer(RootModel[Union[conint(ge=0, le=99), Literal["none"], None]]):
    pass


class Asked(BaseModel):
    answer: Answer
    again: Answer = Field(description="a reference with a neighbour")


class Times(BaseModel):
    date: datetime.date
    at: datetime.datetime
    time: datetime.time
    id: uuid.UUID
    point: Tuple[conint(ge=0, le=9), Short, bool]
    many: Tuple[conint(ge=0, le=9), ...] = Field(max_length=2)
    by_name: Mapping[Literal["a", "b"], bool] = Field(max_length=2)


class Money(BaseModel):
    """Its schema lets any string through, its class does not."""

    price: decimal.Decimal = Field(ge=0, le=100)
    rebate: decimal.Decimal = Field(max_digits=6, decimal_places=2)


class Bounds(BaseModel):
    steps: conint(gt=0, lt=100, multiple_of=5)
    share: float = Field(gt=-1.5, lt=2.5)
    slug: constr(min_length=2, max_length=5, pattern="^[a-z]+$")
    long_slug: constr(min_length=2, max_length=300, pattern="^[a-z]{2,9}$")
    few: conlist(conint(ge=0, le=9), min_length=1, max_length=3)
    flags: set[Literal["x", "y", "z"]]
    up: PositiveInt
    down: NegativeInt


class Texts(BaseModel):
    secret: SecretStr = Field(max_length=9)
    data: Base64Bytes
    ip4: ipaddress.IPv4Address
    ip6: ipaddress.IPv6Address
    net: ipaddress.IPv4Network
    id: UUID4
    url: AnyUrl
    http: HttpUrl


class Open(BaseModel):
    model_config = ConfigDict(extra="forbid")
    counts: Dict[Annotated[str, StringConstraints(pattern="^[a-z]{1,5}$")], conint(ge=0, le=9)]
    anything: Optional[Any] = None
    nested: List[List[Optional[conint(ge=0, le=9)]]] = Field(max_length=2)
    mixed: Literal[1, "a", True, None]
    my_field: conint(ge=0, le=9) = Field(alias="myField")


CLASSES = [Person, Chain, Pets, Asked, Times, Bounds, Texts, Open]

EMAIL = (r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]@"
         r"([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$")
DURATION = (r"^P(?:(\d+W)|(?!.*W)(?=\d|T\d)(\d+Y)?(\d+M)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?"
            r"(\d+([.,]\d+)?S)?)?)$")
UUID = (r"^([0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[1-8][0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}"
        "|00000000-0000-0000-0000-000000000000|ffffffff-ffff-ffff-ffff-ffffffffffff)$")


def closed(**properties):
    return {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "properties": properties,
            "required": list(properties), "additionalProperties": False}


WRITTEN = {
    "zod texts": closed(
        mail={"type": "string", "format": "email", "pattern": EMAIL, "maxLength": 40},
        length={"type": "string", "format": "duration", "pattern": DURATION, "maxLength": 12},
        id={"type": "string", "format": "uuid", "pattern": UUID},
        price={"type": "string", "pattern": DECIMAL, "maxLength": 8}),
    "zod numbers": closed(
        any={"type": "integer", "minimum": -9007199254740991, "maximum": 9007199254740991},
        above={"type": "integer", "exclusiveMinimum": 0, "maximum": 9007199254740991},
        either={"type": ["string", "number"], "maxLength": 5}, big={"type": "integer", "format": "int64"}),
    "zod tuple and record": closed(
        pair={"type": "array", "minItems": 2, "maxItems": 2,
              "items": [{"type": "integer", "minimum": 0, "maximum": 9}, {"type": "boolean"}]},
        record={"type": "object", "additionalProperties": {"type": "boolean"}, "maxProperties": 2,
                "propertyNames": {"pattern": "^[a-z]{1,4}$"}},
        never={"type": "array", "items": {"not": {}}}),
    "zod union": {"anyOf": [
        closed(type={"type": "string", "const": "circle"}, radius={"type": "number", "minimum": 0, "maximum": 9}),
        closed(type={"type": "string", "const": "square"}, side={"type": "number", "minimum": 0, "maximum": 9})]},
    "one of several names": {"oneOf": [{"const": name, "title": name.upper()} for name in "abcdef"]},
    "one of two members": {
        "type": "object",
        "properties": {"mail": {"type": "string", "maxLength": 5}, "phone": {"type": "string", "maxLength": 5}},
        "oneOf": [{"required": ["mail"]}, {"required": ["phone"]}]},
    "one of overlapping": {"oneOf": [{"type": "integer", "minimum": 0, "maximum": 20},
                                     {"type": "number", "minimum": 10, "maximum": 30},
                                     {"enum": ["red", 25, None]},
                                     {"type": "string", "maxLength": 4}]},
    "openapi discriminator": {
        "$defs": {"A": {"type": "object", "properties": {"t": {"enum": ["a"]}, "n": {"$ref": "#/$defs/Any"}},
                        "required": ["t", "n"]},
                  "B": {"type": "object", "properties": {"t": {"enum": ["b"]}}, "required": ["t"]},
                  "Any": {"oneOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/B"}],
                          "discriminator": {"propertyName": "t"}}},
        "$ref": "#/$defs/Any"},
    "a password": {"type": "string", "pattern": r"^(?=.*[a-z])(?=.*[A-Z])(?=.*\d)[A-Za-z\d]{8,12}$"},
    "a name that is free": {"type": "string", "pattern": "^[a-z]{3,6}$", "not": {"enum": ["admin", "root"]}},
    "no spaces": {"type": "string", "minLength": 1, "maxLength": 6, "not": {"pattern": r"\s"}},
}


def schemas():
    for model in CLASSES:
        yield f"{model.__name__} in", model, model.model_json_schema()
        yield f"{model.__name__} out", model, model.model_json_schema(mode="serialization")
        yield f"{model.__name__} strict", model, openai.pydantic_function_tool(model)["function"]["parameters"]
    for mode in ("validation", "serialization"):
        yield f"Money {mode}", None, Money.model_json_schema(mode=mode)
    for name, schema in WRITTEN.items():
        yield name, None, schema


def fault(schema, model, text):
    """What is wrong with an output; None when nothing is."""
    try:
        value = json.loads(text)
        draft = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
        draft(schema, format_checker=draft.FORMAT_CHECKER).validate(value)
        if model:
            model.model_validate_json(text)
    except (ValueError, jsonschema.ValidationError) as error:  # pydantic's is a ValueError
        return str(error)
    return None


@pytest.mark.parametrize("model,schema", [pytest.param(model, schema, id=name.replace(" ", "-"))
                                          for name, model, schema in schemas()])
def test_every_output_is_of_the_schema(openai_client, teacher, model, schema):
    def one(seed):
        choice = openai_client.chat.completions.create(
            model=teacher, messages=ASK, temperature=1, seed=seed, max_tokens=1500,
            response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
        ).choices[0]
        if choice.finish_reason == "length":  # nothing bounds a chain, say
            return None
        text = choice.message.content
        return f"{choice.finish_reason} {text!r}: {fault(schema, model, text)}" if (
            choice.finish_reason != "stop" or fault(schema, model, text)) else "whole"

    with ThreadPoolExecutor(SEEDS) as pool:
        results = list(pool.map(one, range(SEEDS)))
    assert set(results) <= {"whole", None}
    assert "whole" in results


@pytest.mark.parametrize("model", CLASSES, ids=lambda model: model.__name__)
def test_arguments_of_a_strict_tool_are_of_its_class(openai_client, teacher, model):
    tool = openai.pydantic_function_tool(model, name="record")
    schema = tool["function"]["parameters"]
    called = 0
    for seed in range(SEEDS):
        choice = openai_client.chat.completions.create(
            model=teacher, messages=ASK, temperature=1, seed=seed, max_tokens=1500, tools=[tool],
            tool_choice={"type": "function", "function": {"name": "record"}}).choices[0]
        if choice.finish_reason == "length":
            continue
        [call] = choice.message.tool_calls
        assert fault(schema, model, call.function.arguments) is None
        called += 1
    assert called > 0


@pytest.mark.parametrize("schema,place", [
    ({"oneOf": [{"type": "integer", "multipleOf": 3}, {"type": "integer", "multipleOf": 5}]}, "oneOf"),
    ({"type": "object", "properties": {"a": {"if": {"const": 1}, "then": {"const": 2}}}}, "properties.a"),
    ({"type": "object", "properties": {"a": {"type": "string", "pattern": "(?<!x)y"}}}, "properties.a.pattern"),
    ({"type": "array", "items": {"type": "string"}, "uniqueItems": True}, "uniqueItems"),
])
def test_what_cannot_be_kept_is_refused_by_place(openai_client, teacher, schema, place):
    with pytest.raises(openai.OpenAIError) as refused:
        openai_client.chat.completions.create(
            model=teacher, messages=ASK,
            response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}})
    assert refused.value.status_code == 501 and place in str(refused.value)
