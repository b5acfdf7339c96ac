"""Holds answers of the OpenAI dialect against OpenAI's own description of them, where that file lies
beside the repository, and against a short one of ours otherwise.

The file is OpenAPI 3.1 with some of 3.0 left in it: `nullable: true` is rewritten to a union with null,
enumerations of model names are opened (a server of one's own has names of its own), the ids of a
list's ends may be null, as they are for an empty list. Of /completions two things may be null as well: what the
first token of an echoed prompt has for its probability, and why a streamed choice ended before it has."""

import copy
import functools
import json
import pathlib
import re

import jsonschema

from mesh import REPO

SPECIFICATION = REPO.parent / "shared/fixtures/specs/openai-openapi.yaml"
OURS = pathlib.Path(__file__).with_name("openai_schema.json")

# Path (without /v1, or what Azure has in its place), method, streamed → the schema of the answer, or of one event's data.
CLAIMED = [
    ("POST", r"/chat/completions", False, "CreateChatCompletionResponse"),
    ("POST", r"/chat/completions", True, "CreateChatCompletionStreamResponse"),
    ("POST", r"/completions", False, "CreateCompletionResponse"),
    ("POST", r"/completions", True, "CreateCompletionResponse"),
    ("POST", r"/embeddings", False, "CreateEmbeddingResponse"),
    ("GET", r"/models", False, "ListModelsResponse"),
    ("GET", r"/models/.+", False, "Model"),
    ("POST", r"/assistants", False, "AssistantObject"),
    ("GET", r"/assistants", False, "ListAssistantsResponse"),
    ("GET|POST", r"/assistants/[^/]+", False, "AssistantObject"),
    ("DELETE", r"/assistants/[^/]+", False, "DeleteAssistantResponse"),
    ("POST", r"/threads", False, "ThreadObject"),
    ("POST", r"/threads/runs", False, "RunObject"),
    ("GET|POST", r"/threads/[^/]+", False, "ThreadObject"),
    ("DELETE", r"/threads/[^/]+", False, "DeleteThreadResponse"),
    ("GET", r"/threads/[^/]+/messages", False, "ListMessagesResponse"),
    ("POST", r"/threads/[^/]+/messages", False, "MessageObject"),
    ("GET|POST", r"/threads/[^/]+/messages/[^/]+", False, "MessageObject"),
    ("DELETE", r"/threads/[^/]+/messages/[^/]+", False, "DeleteMessageResponse"),
    ("GET", r"/threads/[^/]+/runs", False, "ListRunsResponse"),
    ("POST", r"/threads/[^/]+/runs", False, "RunObject"),
    ("GET", r"/threads/[^/]+/runs/[^/]+/steps", False, "ListRunStepsResponse"),
    ("GET", r"/threads/[^/]+/runs/[^/]+/steps/[^/]+", False, "RunStepObject"),
    ("POST", r"/threads/[^/]+/runs/[^/]+/(cancel|submit_tool_outputs)", False, "RunObject"),
    ("GET|POST", r"/threads/[^/]+/runs/[^/]+", False, "RunObject"),
    ("POST", r"/threads(/[^/]+)?/runs", True, "AssistantStreamEvent"),
    ("POST", r"/threads/[^/]+/runs/[^/]+/submit_tool_outputs", True, "AssistantStreamEvent"),
]


def is_model_enumeration(schema):
    names = schema.get("enum", [])
    return len(names) > 3 and any(str(name).startswith(("gpt-", "text-embedding")) for name in names)


def as_2020_12(node):
    """The same schema in JSON Schema 2020-12."""
    if isinstance(node, list):
        return [as_2020_12(item) for item in node]
    if not isinstance(node, dict):
        return node
    schema = {key: as_2020_12(value) for key, value in node.items()}
    if is_model_enumeration(schema):
        del schema["enum"]
    properties = schema.get("properties")
    if isinstance(properties, dict):
        for end in ("first_id", "last_id"):
            if properties.get(end, {}).get("type") == "string":
                properties[end]["type"] = ["string", "null"]
        if "text" in properties and "finish_reason" in properties:
            properties["finish_reason"] = {"anyOf": [properties["finish_reason"], {"type": "null"}]}
        for array in ("token_logprobs", "top_logprobs"):
            items = properties.get(array, {}).get("items")
            if "tokens" in properties and items:
                properties[array]["items"] = {"anyOf": [items, {"type": "null"}]}
    if schema.pop("nullable", False):
        return {"anyOf": [schema, {"type": "null"}]}
    return schema


@functools.cache
def document():
    if not SPECIFICATION.exists():
        return json.loads(OURS.read_text())
    import yaml

    class PlainLoader(yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader):
        """Dates stay the strings they are on the wire."""

    PlainLoader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in pairs if tag != "tag:yaml.org,2002:timestamp"]
        for first, pairs in copy.deepcopy(yaml.SafeLoader.yaml_implicit_resolvers).items()}
    whole = yaml.load(SPECIFICATION.read_text(), PlainLoader)
    return {"components": {"schemas": as_2020_12(whole["components"]["schemas"])}}


@functools.cache
def validator(name):
    schema = {**document(), "$ref": f"#/components/schemas/{name}"}
    return jsonschema.Draft202012Validator(schema)


def check(name, value):
    """Raises AssertionError with the places that do not fit."""
    if name not in document()["components"]["schemas"]:
        return
    errors = [f"{error.json_path}: {error.message[:300]}"
              for error in validator(name).iter_errors(value)]
    assert not errors, f"not a {name}: {errors[:5]} in {json.dumps(value)[:1500]}"


def schema_of(method, path, streamed):
    path = re.sub(r"^(/openai/deployments/[^/]+|/openai/v1|/openai|/v1)(?=/)", "", path).rstrip("/")
    for methods, pattern, is_stream, name in CLAIMED:
        if is_stream == streamed and re.fullmatch(methods, method) and re.fullmatch(pattern, path):
            return name
    return None


def events(text):
    """(event name, data) of each event of an SSE text."""
    for block in text.split("\n\n"):
        name, data = None, None
        for line in block.split("\n"):
            if line.startswith("event: "):
                name = line[7:]
            if line.startswith("data: "):
                data = line[6:]
        if data is not None:
            yield name, data


def check_answer(method, path, status, content_type, body):
    """One whole answer. Returns how many JSON values were held against a schema."""
    if status >= 400:
        check("ErrorResponse", json.loads(body))
        return 1
    streamed = content_type.startswith("text/event-stream")
    name = schema_of(method, path, streamed)
    if name is None:
        return 0
    if not streamed:
        check(name, json.loads(body))
        return 1
    checked = 0
    for event, data in events(body):
        if data == "[DONE]":
            continue
        value = json.loads(data)
        if event == "error" or "error" in value and event is None:
            check("ErrorResponse", value)
        elif event is None:
            check(name, value)
        else:
            check(name, {"event": event, "data": value})
        checked += 1
    return checked
