"""The conversations that chat templates are tried on: every shape that clients send, with every
kind of tool, extra variables, and the generation prompt on and off."""
import itertools
import json

NAUGHTY = "  Hi there — naïve 🦙👩‍👩‍👧 <|im_end|> {{ x }} \"quoted\" 'it''s' \\n\t\u00a0\u200b\n"
IMAGE = {"type": "image", "image": "data:,"}
IMAGE_URL = {"type": "image_url", "image_url": {"url": "data:,"}}

WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "The weather at a place. \"Now\" & <soon>.",
    "parameters": {"type": "object", "required": ["city"], "properties": {
        "city": {"type": "string", "description": "Where — naïve 🦙"},
        "unit": {"type": "string", "enum": ["C", "F"], "default": "C"},
        "days": {"type": "integer", "nullable": True, "minimum": 0, "maximum": 9007199254740993},
        "tags": {"type": "array", "items": {"type": "string"}},
        "deep": {"type": "object", "properties": {
            "x": {"type": ["number", "null"]}, "ok": {"type": "boolean"},
            "list": {"type": "array", "items": {"type": "object", "properties": {
                "y": {"type": "number", "default": 1e-07}}}}}},
        "any": {"oneOf": [{"type": "string"}, {"type": "number", "default": 1.5}]}}},
    "return": {"type": "string", "description": "words"}}}
SEARCH = {"type": "function", "function": {
    "name": "поиск", "description": "Ищет.\nMehrzeilig — 検索します。",
    "parameters": {"type": "object", "required": [], "additionalProperties": False, "properties": {
        "запрос": {"type": "string", "description": "線\n二行目"},
        "limit": {"type": "integer", "default": 10}, "exact": {"type": "boolean", "default": False}}}}}
NOOP = {"type": "function", "function": {"name": "noop", "description": "Does nothing",
                                         "parameters": {"type": "object", "properties": {}}}}
BARE = {"type": "function", "function": {"name": "bare"}}
TOOLS = {"none": None, "empty": [], "one": [WEATHER], "several": [WEATHER, SEARCH, NOOP],
         "bare": [NOOP, BARE]}


def call(number, name, arguments, as_text):
    arguments = json.dumps(arguments, ensure_ascii=False) if as_text else arguments
    return {"id": f"call{number:05}", "type": "function",
            "function": {"name": name, "arguments": arguments}}


def result(number, name, content):
    return {"role": "tool", "tool_call_id": f"call{number:05}", "name": name, "content": content}


def shapes(as_text):
    """(name, messages without a system message)"""
    user = {"role": "user", "content": NAUGHTY}
    short = {"role": "user", "content": "And now?"}
    answer = {"role": "assistant", "content": "Hello!  "}
    thought = {"role": "assistant", "content": "\n\nYes."}
    for field in ("reasoning_content", "thinking", "reasoning"):
        thought[field] = "let me\nsee"
    inline = {"role": "assistant", "content": "<think>\nhm\n</think>\n\nYes."}
    arguments = {"city": "Paris \"x\" Ünï", "days": 3, "f": 1.5, "n": None, "ok": True,
                 "t": [1, "a", {"b": []}]}
    one = [call(1, "get_weather", arguments, as_text)]
    two = one + [call(2, "noop", {}, as_text)]
    caller = {"role": "assistant", "content": "", "tool_calls": one}
    nothing = {"role": "assistant", "content": None, "tool_calls": two}
    told = result(1, "get_weather", "{\"sky\": \"blue — 青\"}")
    done = result(2, "noop", "ok")
    yield "user", [user]
    yield "turns", [user, answer, short, answer, user]
    yield "assistant-first", [answer, user]
    yield "assistant-last", [user, answer]
    yield "users", [user, short]
    yield "assistants", [user, answer, thought, short]
    yield "empty", [{"role": "user", "content": ""}]
    yield "null", [{"role": "user", "content": None}]
    yield "absent", [{"role": "user"}]
    yield "parts", [{"role": "user", "content": [{"type": "text", "text": "one "},
                                                 {"type": "text", "text": "二"}]}]
    yield "image", [{"role": "user", "content": [IMAGE, {"type": "text", "text": "What?"}, IMAGE_URL]},
                    {"role": "assistant", "content": [{"type": "text", "text": "A llama"}]}, short]
    yield "reasoning", [user, thought, short]
    yield "reasoning-last", [user, thought]
    yield "inline-thought", [user, inline, short, inline]
    yield "call", [user, caller]
    yield "result", [user, caller, told]
    yield "after", [user, caller, told, answer, short]
    yield "parallel", [user, nothing, told, done]
    yield "twice", [user, caller, told, nothing, told, done, answer]
    yield "thinking-call", [user, dict(thought, tool_calls=two), told, done]
    yield "result-parts", [user, caller, dict(told, content=[{"type": "text", "text": "blue"},
                                                             {"type": "text", "text": " sky"}])]
    yield "result-object", [user, caller, dict(told, content={"sky": "blue", "n": 2.50})]
    yield "bare-call", [user, {"role": "assistant", "tool_calls": [
        {"function": {"name": "noop", "arguments": {} if not as_text else "{}"}}]},
        {"role": "tool", "content": "ok"}]
    yield "developer", [{"role": "developer", "content": "Mind this."}, user]
    yield "late-system", [user, {"role": "system", "content": "Late."}, short]
    yield "odd-role", [{"role": "narrator", "content": "Once"}, user]
    yield "none", []


SYSTEMS = {"no": [], "text": [{"role": "system", "content": "Be brief.\nAnd kind. "}],
           "parts": [{"role": "system", "content": [{"type": "text", "text": "Be brief."}]}]}

EXTRAS = [
    {"enable_thinking": False}, {"enable_thinking": True}, {"thinking": True}, {"thinking": False},
    {"reasoning_effort": "high"}, {"date_string": "1 May 2026"},
    {"builtin_tools": ["browser", "python"]}, {"tools_in_user_message": False},
    {"xml_tools": ["<tool>a</tool>"]}, {"model_identity": "You are a llama."},
    {"documents": [{"title": "T — é", "text": "x\ny", "doc_id": 1}, {"title": "U", "text": ""}]},
    {"controls": {"length": "short", "originality": "low"}}, {"citation_mode": "accurate"},
    {"clear_thinking": False}, {"continue_final_message": True},
]


def matrix():
    """(name, variables) for one template."""
    base = {"documents": None, "bos_token": "<s>", "eos_token": "</s>"}
    for as_text in (False, True):
        for (shape, messages), system, tools, prompt in itertools.product(
                shapes(as_text), SYSTEMS, TOOLS, (True, False)):
            if as_text and not any("tool_calls" in message for message in messages):
                continue
            if system == "parts" and tools not in ("none", "several"):
                continue
            name = f"{shape} system={system} tools={tools} prompt={prompt} text={as_text}"
            yield name, dict(base, messages=SYSTEMS[system] + messages, tools=TOOLS[tools],
                             add_generation_prompt=prompt)
    shown = {name: messages for name, messages in shapes(False)}
    for extra, shape, tools, prompt in itertools.product(
            EXTRAS, ("turns", "reasoning", "thinking-call"), ("none", "several"), (True, False)):
        name = f"{shape} tools={tools} prompt={prompt} {extra}"
        yield name, dict(base, messages=SYSTEMS["text"] + shown[shape], tools=TOOLS[tools],
                         add_generation_prompt=prompt, **extra)
    yield "few variables", {"messages": shown["user"]}
