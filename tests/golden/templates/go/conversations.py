"""The conversations that Ollama's rules are tried on, as Ollama's API takes them."""
import itertools
import random

TOOLS = [
    {"type": "function", "function": {
        "name": "get_weather", "description": "Tells the weather & \"more\" <here>.",
        "parameters": {"type": "object", "required": ["city"], "additionalProperties": False,
                       "properties": {
                           "city": {"type": "string", "description": "A city."},
                           "days": {"type": ["integer", "null"], "enum": [1, 2, None]},
                           "area": {"type": "object", "required": ["z"],
                                    "properties": {"z": {"type": "number"}, "a": {"type": "array", "items": {
                                        "type": "string"}}}},
                           "any": {"anyOf": [{"type": "string"}, {"type": "array"}]}}}}},
    {"type": "function", "function": {"name": "stop", "description": ""}},
    {"type": "function", "function": {"name": "défs", "description": "d", "parameters": {
        "type": "object", "$defs": {"t": {"b": 1, "a": [1.5]}}, "properties": {}}}},
]


def say(role, content="", **more):
    return {"role": role, "content": content, **more}


def call(name, **arguments):
    return {"id": "call_1", "function": {"name": name, "arguments": arguments}}


SYSTEM = say("system", "Be brief.")
HI = say("user", "Hi there <|im_end|>")
HELLO = say("assistant", "Hello!\n")
THOUGHT = say("assistant", "4", thinking="2+2")
CALLS = say("assistant", "", tool_calls=[call("get_weather", city="Paris", days=2, area={"z": 1.0, "a": []}),
                                         call("stop")])
RESULT = say("tool", "{\"t\": 20}", tool_name="get_weather", tool_call_id="call_1")
CONVERSATIONS = [
    [HI], [SYSTEM, HI], [SYSTEM], [], [SYSTEM, HI, HELLO, say("user", "And?")], [HI, HELLO],
    [say("user", "a"), say("user", "b"), say("user", "")], [SYSTEM, say("system", "Always."), HI],
    [HI, HELLO, say("system", "New rules."), HI], [HI, SYSTEM, HI, HELLO, say("assistant", "more"), HI],
    [HI, THOUGHT, say("user", "Sure?")], [SYSTEM, HI, CALLS, RESULT], [HI, CALLS, RESULT, RESULT, HELLO, HI],
    [HELLO], [say("user", ""), HELLO, HI], [SYSTEM, HI, say("assistant", "Let me", tool_calls=CALLS["tool_calls"]),
                                            RESULT, say("assistant", "20", thinking="fine"), HI],
    [say("user", "  spaced \n"), say("assistant", "x" * 30), say("user", "🦙")],
]


def cases(template):
    """Each conversation with and without tools, under each way to think; and gaps to fill."""
    for messages, tools, think in itertools.product(CONVERSATIONS, [[], TOOLS], [None, False, True, "low"]):
        case = {"template": template, "messages": messages}
        if tools:
            case["tools"] = tools
        if think is not None:
            case["think"] = think
        yield case
    for prompt, suffix in [("def f():", "return x"), ("a", " "), ("<|x|>", "\n\n")]:
        yield {"template": template, "prompt": prompt, "suffix": suffix}


def random_conversation(rng):
    """Any roles in any order."""
    texts = ["", "a", "Hi <b>", "two\nlines", "  ", "🦙", "{{ .Prompt }}"]
    made = []
    for _ in range(rng.randint(0, 7)):
        role = rng.choice(["system", "user", "user", "assistant", "assistant", "tool"])
        message = say(role, rng.choice(texts))
        if role == "assistant" and rng.random() < 0.3:
            message["tool_calls"] = [call(rng.choice(["stop", "get_weather"]), **rng.choice(
                [{}, {"city": "Rome"}, {"n": rng.random() * 10 ** rng.randint(-9, 22)}, {"x": None, "b": [True]}]))]
        if role == "assistant" and rng.random() < 0.3:
            message["thinking"] = rng.choice(["", "hm", "a\nb"])
        if role == "tool":
            message["tool_name"] = "stop"
        made.append(message)
    return made


def random_cases(seed, templates, count):
    rng = random.Random(seed)
    for _ in range(count):
        case = {"template": rng.choice(templates), "messages": random_conversation(rng)}
        if rng.random() < 0.4:
            case["tools"] = rng.sample(TOOLS, rng.randint(1, 3))
        if rng.random() < 0.5:
            case["think"] = rng.choice([True, False, "high"])
        yield case
