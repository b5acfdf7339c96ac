"""tool_choice held by the grammar in every dialect, on the default model at temperature 1.

Each dialect is asked `--calls` times required and named; 500 is what the project promises:
`pytest tests/e2e/test_tools.py --calls 500`.
"""

import json
from concurrent.futures import ThreadPoolExecutor

import jsonschema
import openai
import pytest

ASK = [{"role": "user", "content": "What is the weather in Paris?"}]
WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 20},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
        "days": {"type": "integer", "minimum": 1, "maximum": 14},
    },
    "required": ["city", "unit"],
    "additionalProperties": False,
}
BOOK = {
    "type": "object",
    "properties": {
        "guests": {"type": "array", "minItems": 1, "maxItems": 3, "items": {
            "type": "object", "properties": {"name": {"type": "string", "pattern": "^[A-Z][a-z]{1,8}$"}},
            "required": ["name"], "additionalProperties": False}},
        "price": {"type": "number", "multipleOf": 0.5, "minimum": 0, "maximum": 100},
        "tags": {"type": "array", "items": {"enum": ["quiet", "view", "bath"]}, "uniqueItems": True},
    },
    "required": ["guests", "price", "tags"],
    "additionalProperties": False,
}
SCHEMAS = {"get_weather": WEATHER, "book": BOOK, "ping": {"type": "object", "properties": {}}}


def functions(strict=False):
    tools = []
    for name, schema in SCHEMAS.items():
        function = {"name": name, "description": f"Use {name}.", "strict": strict}
        if name != "ping":
            function["parameters"] = schema
        tools.append({"type": "function", "function": function})
    return tools


def wrong(name, arguments):
    """What is wrong with a call; None when nothing is."""
    if name not in SCHEMAS:
        return f"no such tool: {name}"
    try:
        value = json.loads(arguments) if isinstance(arguments, str) else arguments
        jsonschema.validate(value, SCHEMAS[name])
    except (ValueError, jsonschema.ValidationError) as error:
        return f"{name}({arguments}): {error}"
    if name == "ping" and value != {}:
        return f"ping has no arguments: {arguments}"
    return None


def check(seed, calls, ended, named=None):
    """`calls`: name and arguments of each; `ended` as the dialect says that it called."""
    if not ended or not calls:
        return [f"seed {seed}: ended {ended} with {calls}"]
    if named is not None and [name for name, _ in calls] != [named]:
        return [f"seed {seed}: {named} was asked for, not {calls}"]
    return [f"seed {seed}: {text}" for text in (wrong(*call) for call in calls) if text]


def ask_openai(clients, model, seed, named):
    choice = {"type": "function", "function": {"name": named}} if named else "required"
    reply = clients["openai"].chat.completions.create(
        model=model, messages=ASK, tools=functions(), tool_choice=choice, temperature=1, seed=seed,
        max_tokens=1000, parallel_tool_calls=seed % 2 == 0 and bool(named)).choices[0]
    calls = [(c.function.name, c.function.arguments) for c in reply.message.tool_calls or []]
    return calls, reply.finish_reason == "tool_calls"


def ask_openai_streamed(clients, model, seed, named):
    choice = {"type": "function", "function": {"name": named}} if named else {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "required", "tools": [
            {"type": "function", "function": {"name": name}} for name in ("get_weather", "ping")]}}
    stream = clients["openai"].chat.completions.create(
        model=model, messages=ASK, tools=functions(), tool_choice=choice, temperature=1, seed=seed,
        max_tokens=1000, parallel_tool_calls=False, stream=True)
    calls, reason = [], None
    for chunk in stream:
        for choice in chunk.choices:
            reason = choice.finish_reason or reason
            for delta in choice.delta.tool_calls or []:
                if delta.id:
                    assert delta.function.arguments == ""
                    calls.append([delta.function.name, ""])
                calls[delta.index][1] += delta.function.arguments or ""
    if named is None:
        assert all(name != "book" for name, _ in calls)
    return [tuple(call) for call in calls], reason == "tool_calls"


def ask_ollama(clients, model, seed, named):
    choice = {"type": "function", "function": {"name": named}} if named else "required"
    reply = clients["ollama"]._client.post("/api/chat", json={
        "model": model, "messages": ASK, "tools": functions(), "stream": False,
        "tool_choice": choice, "parallel_tool_calls": False,
        "options": {"temperature": 1, "top_k": 0, "top_p": 1, "seed": seed, "num_predict": 1000},
    }).json()
    calls = [(c["function"]["name"], c["function"]["arguments"])
             for c in reply["message"].get("tool_calls", [])]
    return calls, reply["done_reason"] == "stop"


def ask_anthropic(clients, model, seed, named):
    tools = [{"name": name, "description": f"Use {name}.", "input_schema": schema}
             for name, schema in SCHEMAS.items()]
    choice = {"type": "tool", "name": named} if named else {"type": "any"}
    reply = clients["anthropic"].messages.create(
        model=model, max_tokens=1000, messages=ASK, tools=tools,
        tool_choice={**choice, "disable_parallel_tool_use": True},
        extra_body={"temperature": 1, "seed": seed})
    calls = [(block.name, block.input) for block in reply.content if block.type == "tool_use"]
    assert all(block.type == "tool_use" for block in reply.content)
    return calls, reply.stop_reason == "tool_use"


@pytest.fixture(scope="session")
def clients(openai_client, ollama_client, anthropic_client):
    return {"openai": openai_client, "ollama": ollama_client, "anthropic": anthropic_client}


@pytest.mark.parametrize("named", [None, "get_weather", "book", "ping"])
@pytest.mark.parametrize("ask", [ask_openai, ask_openai_streamed, ask_ollama, ask_anthropic])
def test_forced_calls_are_well_formed(ask, named, clients, teacher, request):
    count = request.config.getoption("--calls")
    if named is not None:  # 500 named ones are shared by the three tools
        count = max(1, count // 3 + (count % 3 > ["get_weather", "book", "ping"].index(named)))

    def one(seed):
        return check(seed, *ask(clients, teacher, seed, named), named=named)

    with ThreadPoolExecutor(8) as pool:
        complaints = [text for texts in pool.map(one, range(count)) for text in texts]
    assert complaints == []


def test_none_calls_nothing(openai_client, teacher):
    reply = openai_client.chat.completions.create(
        model=teacher, messages=ASK, tools=functions(), tool_choice="none", temperature=1, seed=1,
        max_tokens=60).choices[0]
    assert reply.message.tool_calls is None and reply.finish_reason in ("stop", "length")


def test_a_strict_tool_holds_the_calls_the_model_makes_by_itself(openai_client, teacher):
    called = 0
    for seed in range(6):
        reply = openai_client.chat.completions.create(
            model=teacher, messages=ASK, tools=functions(strict=True), temperature=1, seed=seed,
            max_tokens=600).choices[0]
        for call in reply.message.tool_calls or []:
            called += 1
            assert wrong(call.function.name, call.function.arguments) is None
    assert called > 0


def test_a_format_beside_tools_is_an_answer_or_a_call(openai_client, teacher):
    answer = {"type": "object", "properties": {"sum": {"type": "integer", "minimum": 0, "maximum": 99}},
              "required": ["sum"], "additionalProperties": False}
    seen = set()
    for question in ("What is the weather in Paris?", "What is 21 + 13?"):
        for seed in range(4):
            reply = openai_client.chat.completions.create(
                model=teacher, messages=[{"role": "user", "content": question}],
                tools=functions(strict=True), temperature=1, seed=seed, max_tokens=900,
                parallel_tool_calls=False,
                response_format={"type": "json_schema",
                                 "json_schema": {"name": "answer", "schema": answer}}).choices[0]
            if reply.message.tool_calls:
                seen.add("call")
                assert reply.finish_reason == "tool_calls"
                for call in reply.message.tool_calls:
                    assert wrong(call.function.name, call.function.arguments) is None
            else:
                seen.add("answer")
                assert reply.finish_reason == "stop"
                jsonschema.validate(json.loads(reply.message.content), answer)
    assert seen


@pytest.mark.parametrize("request_,field", [
    ({"tools": [{"type": "function", "function": {
        "name": "f", "strict": True, "parameters": {"properties": {"a": {"if": {}}}}}}]},
     "tools[0].function.parameters.properties.a"),
    ({"response_format": {"type": "json_schema", "json_schema": {
        "name": "n", "schema": {"items": {"if": {}}}}}}, "response_format.json_schema.schema.items"),
    ({"extra_body": {"guided_json": {"type": "object", "unevaluatedProperties": False}}},
     "guided_json"),
    ({"extra_body": {"structured_outputs": {"json": {"properties": {"x": {"if": {}}}}}}},
     "structured_outputs.json.properties.x"),
])
def test_a_refused_keyword_is_named_by_its_place(openai_client, teacher, request_, field):
    with pytest.raises(openai.APIStatusError) as refused:
        openai_client.chat.completions.create(model=teacher, messages=ASK, **request_)
    assert refused.value.status_code == 501
    assert refused.value.body["param"] == field
    assert refused.value.body["message"].startswith(field + ": ")


def test_anthropic_format_and_its_refusal(anthropic_client, teacher):
    import anthropic

    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 99}},
              "required": ["n"], "additionalProperties": False}
    body = {"temperature": 1, "seed": 2,
            "output_config": {"format": {"type": "json_schema", "schema": schema}}}
    reply = anthropic_client.messages.create(
        model=teacher, max_tokens=300, messages=ASK, extra_body=body)
    jsonschema.validate(json.loads(reply.content[0].text), schema)
    body["output_config"]["format"]["schema"] = {"properties": {"n": {"if": {}}}}
    with pytest.raises(anthropic.APIStatusError) as refused:
        anthropic_client.messages.create(model=teacher, max_tokens=9, messages=ASK, extra_body=body)
    assert "output_config.format.schema.properties.n: \"if\"" in str(refused.value)


def test_reasoning_keeps_to_its_budget(openai_client, teacher):
    def think(budget, seed):
        return openai_client.chat.completions.create(
            model=teacher, messages=[{"role": "user", "content": "What is 21 + 13?"}], temperature=1,
            seed=seed, max_tokens=300, extra_body={
                "chat_template_kwargs": {"enable_thinking": True}, "thinking_budget": budget})

    for seed in range(3):
        free = think(300, seed)
        assert free.usage.completion_tokens_details.reasoning_tokens > 3
        for budget in (0, 3):
            reply = think(budget, seed)
            assert reply.usage.completion_tokens_details.reasoning_tokens <= budget
            assert reply.choices[0].message.content
            assert "</think>" not in reply.choices[0].message.content


def test_reasoning_has_three_spellings(openai_client, ollama_client, anthropic_client, teacher):
    ask = [{"role": "user", "content": "What is 21 + 13?"}]
    chat = openai_client.chat.completions.create(
        model=teacher, messages=ask, temperature=0, max_tokens=300, reasoning_effort="low",
        extra_body={"chat_template_kwargs": {"enable_thinking": True}}).choices[0].message
    ollama = ollama_client.chat(model=teacher, messages=ask, think="low",
                                options={"temperature": 0, "num_predict": 300})["message"]
    blocks = anthropic_client.messages.create(
        model=teacher, max_tokens=1200, messages=ask, extra_body={"temperature": 0},
        thinking={"type": "enabled", "budget_tokens": 1024}).content
    assert chat.reasoning_content
    assert ollama["thinking"] == chat.reasoning_content
    assert [block.type for block in blocks] == ["thinking", "text"]
    assert blocks[0].thinking == chat.reasoning_content
    assert blocks[1].text == chat.content == ollama["content"]


def test_hostile_definitions_are_refused(openai_client, teacher):
    deep = {"type": "string"}
    for _ in range(60):
        deep = {"type": "array", "items": deep}
    hostile = [
        {"guided_grammar": "root ::= " + "(" * 60000 + ")" * 60000},
        {"guided_grammar": 'root ::= root "a" | "b"'},
        {"guided_grammar": 'root ::= "a"{1,1000000000}'},
        {"guided_regex": "(((a{0,500}){0,500}){0,500}b)*c"},
        {"guided_json": {"$ref": "#"}},
        {"guided_json": deep},
    ]
    for body in hostile:
        with pytest.raises(openai.BadRequestError):
            openai_client.chat.completions.create(
                model=teacher, messages=ASK, max_tokens=1, extra_body=body)
