#!/usr/bin/env python3
"""Renders templates with Jinja2, set up as transformers does, and with conclave-render, and compares.

    compare.py BUILD_DIR TEMPLATE.jinja…      compares over a matrix of conversations
    compare.py --regenerate                   rewrites snippets.json from snippets.py with Jinja2 alone

Needs jinja2 3.1.6. Errors count as equal when both sides fail.
"""
import itertools
import json
import pathlib
import subprocess
import sys
from datetime import datetime

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

FOLDER = pathlib.Path(__file__).parent
NOW = 1_790_000_000


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_same"), [], [], body).set_lineno(line)

    def _same(self, caller):
        return caller()


def environment():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                        extensions=[Generation, loopcontrols])

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                          sort_keys=sort_keys)

    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda f: datetime.fromtimestamp(NOW).strftime(f)
    return env


TOOLS = [
    {"type": "function", "function": {
        "name": "get_weather", "description": "The weather at a place. \"Now\" & <soon>.",
        "parameters": {"type": "object", "required": ["city"], "properties": {
            "city": {"type": "string", "description": "Where — naïve 🦙"},
            "unit": {"type": "string", "enum": ["C", "F"], "default": "C"},
            "days": {"type": "integer", "nullable": True},
            "tags": {"type": "array", "items": {"type": "string"}},
            "deep": {"type": "object", "properties": {"x": {"type": ["number", "null"]},
                                                      "ok": {"type": "boolean"}}},
            "any": {"oneOf": [{"type": "string"}, {"type": "number", "default": 1.5}]}}},
        "return": {"type": "string", "description": "words"}}},
    {"type": "function", "function": {
        "name": "noop", "description": "Does nothing",
        "parameters": {"type": "object", "properties": {}}}},
]


def conversations(arguments_as_text):
    def args(value):
        return json.dumps(value) if arguments_as_text else value

    user = {"role": "user", "content": "  Hi there — naïve 🦙 <|im_end|>\n"}
    system = {"role": "system", "content": "Be brief.\nAnd kind. "}
    answer = {"role": "assistant", "content": "Hello!  "}
    thought = {"role": "assistant", "content": "<think>\nhm\n</think>\n\nYes.",
               "reasoning_content": "let me\nsee", "thinking": "let me\nsee",
               "reasoning": "let me\nsee"}
    call = {"role": "assistant", "content": "", "tool_calls": [
        {"id": "call00001", "type": "function", "function": {
            "name": "get_weather", "arguments": args({"city": "Paris \"x\"", "days": 3, "f": 1.5,
                                                      "n": None, "t": [1, "a"]})}}]}
    calls = {"role": "assistant", "content": None, "tool_calls": call["tool_calls"] + [
        {"id": "call00002", "type": "function", "function": {"name": "noop", "arguments": args({})}}]}
    result = {"role": "tool", "tool_call_id": "call00001", "name": "get_weather",
              "content": "{\"sky\": \"blue\"}"}
    result2 = {"role": "tool", "tool_call_id": "call00002", "name": "noop", "content": "ok"}
    yield [user]
    yield [system, user]
    yield [system, user, answer, user]
    yield [user, thought, user]
    yield [system, user, thought, user, answer]
    yield [user, call, result, answer, user]
    yield [system, user, calls, result, result2]
    yield [system, user, calls, result, result2, answer]
    yield [user, dict(call, reasoning_content="why not", thinking="why not"), result]
    yield [answer, user]
    yield [user, user]
    yield [{"role": "developer", "content": "Mind this."}, user]
    yield [{"role": "user", "content": [{"type": "text", "text": "part one"},
                                        {"type": "text", "text": "part two"}]}]
    yield []


def cases():
    for as_text in (False, True):
        for messages, tools, prompt in itertools.product(conversations(as_text), (None, TOOLS),
                                                         (True, False)):
            yield {"messages": messages, "tools": tools, "documents": None,
                   "add_generation_prompt": prompt, "bos_token": "<s>", "eos_token": "</s>"}
    base = {"messages": list(conversations(False))[1], "tools": TOOLS, "documents": None,
            "add_generation_prompt": True, "bos_token": "<s>", "eos_token": "</s>"}
    for extra in ({"enable_thinking": False}, {"enable_thinking": True}, {"thinking": True},
                  {"reasoning_effort": "high"}, {"date_string": "1 May 2026"},
                  {"builtin_tools": ["browser", "python"]}, {"tools_in_user_message": False},
                  {"documents": [{"title": "t", "text": "x", "doc_id": 1}]},
                  {"controls": {"length": "short", "originality": "low"}}):
        yield dict(base, **extra)


def expected(template, case):
    try:
        return template.render(**case)
    except Exception as error:  # whatever the template does wrong
        return error


def compare(build, paths):
    failures = total = errors = 0
    for path in paths:
        template = environment().from_string(pathlib.Path(path).read_text())
        for case in cases():
            total += 1
            want = expected(template, case)
            run = subprocess.run([pathlib.Path(build) / "bin/conclave-render", path, "--now", str(NOW)],
                                 input=json.dumps(case).encode(), capture_output=True)
            got = run.stdout.decode() if run.returncode == 0 else None
            if isinstance(want, Exception):
                errors += 1
                same = got is None
            else:
                same = got == want
            if not same:
                failures += 1
                if failures <= 10:
                    print(f"--- {path}\n{json.dumps(case, ensure_ascii=False)[:600]}\nwant: {want!r}\n"
                          f"got:  {got!r} {run.stderr.decode()}")
    print(f"{total} renderings ({errors} of them errors), {failures} differ")
    return 1 if failures else 0


def snippets():
    sys.path.insert(0, str(FOLDER))
    import snippets as written
    texts = ["{{ " + e + " }}" for e in written.EXPRESSIONS] + written.TEMPLATES
    return written.VARIABLES, texts


def regenerate():
    variables, texts = snippets()
    rows = []
    for text in texts:
        try:
            row = {"template": text, "text": environment().from_string(text).render(**variables)}
        except Exception:  # whatever is wrong with it
            row = {"template": text, "fails": True}
        rows.append(json.dumps(row, ensure_ascii=False))
    (FOLDER / "snippets.json").write_text(
        json.dumps({"now": NOW, "variables": variables}, ensure_ascii=False)[:-1]
        + ',\n"cases": [\n' + ",\n".join(rows) + "\n]}\n")


if __name__ == "__main__":
    if sys.argv[1:] == ["--regenerate"]:
        regenerate()
    else:
        sys.exit(compare(sys.argv[1], sys.argv[2:]))
