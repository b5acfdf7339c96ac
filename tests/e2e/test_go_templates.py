"""Models made with templates of Ollama's own language, by its own client: what they are shown as,
what their prompts are, what they can do, and how their answers are read in every dialect."""
import json
import pathlib

import ollama
import pytest
import requests

FAMILIES = pathlib.Path(__file__).parents[1] / "golden/templates/go/families"
SUM = [{"role": "user", "content": "What is 21 + 13?"}]
TOOL = {"type": "function", "function": {
    "name": "add", "description": "Adds <numbers>.",
    "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}}}


@pytest.fixture
def create(ollama_client, mesh):
    """Makes a model of the teacher, which goes away again."""
    made = []

    def make(name, **said):
        ollama_client.create(model=name, **said)
        made.append(name)
        mesh.wait_for_model(name)
        return name

    yield make
    for name in reversed(made):
        ollama_client.delete(name)


def family(name):
    return (FAMILIES / f"{name}.gotmpl").read_text()


def post(mesh, path, body):
    reply = requests.post(mesh.url + path, json=body, timeout=60)
    assert reply.status_code == 200, reply.text
    return reply.json()


def prompt_of(mesh, model, messages, **more):
    return post(mesh, "/apply-template", {"model": model, "messages": messages, **more})["prompt"]


def test_a_template_comes_back_as_it_was_and_makes_the_prompt(create, ollama_client, mesh, teacher):
    template = ("{{- if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ end }}"
                "{{- range .Messages }}{{ if ne .Role \"system\" }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n"
                "{{ end }}{{ end }}<|im_start|>assistant\n")
    create("gopher", from_=teacher, template=template, system="You add numbers.",
           parameters={"temperature": 0, "num_predict": 16, "stop": ["<|im_end|>"]})
    shown = ollama_client.show("gopher")
    assert shown.template == template
    assert f'TEMPLATE """{template}"""' in shown.modelfile
    assert prompt_of(mesh, "gopher", SUM) == (
        "<|im_start|>system\nYou add numbers.<|im_end|>\n<|im_start|>user\nWhat is 21 + 13?<|im_end|>\n"
        "<|im_start|>assistant\n")
    # The base's own template writes the same, so the answer is the same.
    plain = ollama_client.chat(model=teacher, options={"temperature": 0}, messages=[
        {"role": "system", "content": "You add numbers."}, *SUM])
    reply = ollama_client.chat(model="gopher", messages=SUM)
    assert reply.prompt_eval_count == plain.prompt_eval_count
    assert reply.message.content == plain.message.content and "34" in reply.message.content
    streamed = "".join(part.message.content for part in
                       ollama_client.chat(model="gopher", messages=SUM, stream=True))
    assert streamed == reply.message.content
    generated = ollama_client.generate(model="gopher", prompt=SUM[0]["content"])
    assert generated.response == reply.message.content
    assert generated.prompt_eval_count == reply.prompt_eval_count
    answer = post(mesh, "/v1/chat/completions", {"model": "gopher", "messages": SUM})
    assert answer["choices"][0]["message"]["content"] == reply.message.content
    message = post(mesh, "/v1/messages", {"model": "gopher", "messages": SUM, "max_tokens": 16})
    assert message["content"][0]["text"] == reply.message.content


def test_a_modelfile_made_again_makes_the_same_model(create, ollama_client, mesh, teacher):
    create("first", from_=teacher, template=family("chatml_thinking"), system="Be brief.")
    shown = ollama_client.show("first")
    blocks = shown.modelfile.split('TEMPLATE """')[1].split('"""')[0]
    create("second", from_=shown.modelfile.splitlines()[0].removeprefix("FROM "), template=blocks,
           system=shown.modelfile.split('SYSTEM """')[1].split('"""')[0])
    for think in (None, False):
        more = {} if think is None else {"chat_template_kwargs": {"enable_thinking": think}}
        assert prompt_of(mesh, "second", SUM, **more) == prompt_of(mesh, "first", SUM, **more)
    # Made from a derived model, it inherits the template.
    create("third", from_="first", parameters={"temperature": 0})
    assert ollama_client.show("third").template == shown.template


def test_an_older_template_runs_turn_by_turn(create, mesh, teacher):
    create("turns", from_=teacher, template=family("instruction"))
    talk = [{"role": "system", "content": "S"}, {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    assert prompt_of(mesh, "turns", talk) == (
        "S\n\n### Instruction:\na\n\n### Response:\nb\n\n### Instruction:\nc\n\n### Response:\n")


@pytest.mark.parametrize("template, line", [
    ("{{ if .System }}\n{{ .Prompt }}", "line 2: "), ("x\ny\n{{ .Prompt | upper }}", "line 3: "),
    ("{{ .Prompt }}{{ end }}", "line 1: "), ("{{ range .Messages }}\n\n{{ .Content", "line 3: "),
    ("{% for m in messages %}\n{{ m.content }}", "line 2: "),
])
def test_what_does_not_parse_is_refused_by_line(ollama_client, teacher, template, line):
    with pytest.raises(ollama.ResponseError) as failure:
        ollama_client.create(model="broken", from_=teacher, template=template)
    assert failure.value.status_code == 400 and line in failure.value.error, failure.value.error
    assert "broken:latest" not in [model.model for model in ollama_client.list().models]


def test_what_a_model_can_do_is_what_its_template_names(create, ollama_client, teacher):
    for name, expected in [("instruction", set()), ("bare_json", {"tools"}), ("bracketed", {"tools"}),
                           ("chatml_thinking", {"tools", "thinking"}), ("gap", {"insert"})]:
        create(f"can-{name}", from_=teacher, template=family(name))
        can = set(ollama_client.show(f"can-{name}").capabilities)
        assert can & {"tools", "thinking"} == expected - {"insert"} and can >= expected, name
    with pytest.raises(ollama.ResponseError) as failure:
        ollama_client.chat(model="can-instruction", messages=SUM, tools=[TOOL])
    assert failure.value.status_code == 400 and "does not support tools" in failure.value.error
    with pytest.raises(ollama.ResponseError) as failure:
        ollama_client.chat(model="can-instruction", messages=SUM, think=True)
    assert failure.value.status_code == 400 and "does not support thinking" in failure.value.error


@pytest.mark.parametrize("name", ["chatml_thinking", "bare_json", "bracketed"])
def test_calls_are_read_as_the_template_writes_them(create, ollama_client, mesh, teacher, name):
    create("caller", from_=teacher, template=family(name))
    rendered = prompt_of(mesh, "caller", SUM, tools=[TOOL])
    assert '"name":"add","description":"Adds \\u003cnumbers\\u003e."' in rendered
    reply = requests.post(mesh.url + "/api/chat", timeout=60, json={
        "model": "caller", "messages": SUM, "tools": [TOOL], "tool_choice": "required", "stream": False,
        "think": False if name == "chatml_thinking" else None}).json()
    assert "tool_calls" in reply["message"], reply
    call = reply["message"]["tool_calls"][0]["function"]
    assert call["name"] == "add" and isinstance(call["arguments"]["a"], int)
    # And shown again, behind what the tool said.
    talk = [*SUM, {"role": "assistant", "content": "", "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "add", "arguments": json.dumps(call["arguments"])}}]},
        {"role": "tool", "content": "34", "tool_call_id": "c1"}]
    again = prompt_of(mesh, "caller", talk, tools=[TOOL])
    assert json.dumps(call["arguments"], separators=(",", ":")) in again and "34" in again
    answer = post(mesh, "/v1/chat/completions", {
        "model": "caller", "messages": SUM, "tools": [TOOL], "tool_choice": "required",
        "reasoning_effort": "none"})
    assert answer["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "add"


def test_thinking_reaches_the_template(create, mesh, ollama_client, teacher):
    create("levels", from_=teacher, template="{{ range .Messages }}{{ .Thinking }}{{ .Content }}{{ end }}"
           "|{{ .Think }}|{{ .ThinkLevel }}|{{ .IsThinkSet }}")
    ask = {"model": "levels", "messages": SUM}
    assert prompt_of(mesh, **ask).endswith("|true|medium|true")
    assert prompt_of(mesh, **ask, reasoning_effort="low").endswith("|true|low|true")
    assert prompt_of(mesh, **ask, reasoning_effort="none").endswith("|false||true")
    quiet = ollama_client.chat(model="levels", messages=SUM, think=False, options={"num_predict": 1})
    level = ollama_client.chat(model="levels", messages=SUM, think="high", options={"num_predict": 1})
    assert quiet.prompt_eval_count != level.prompt_eval_count


def test_a_template_fills_gaps(create, ollama_client, mesh, teacher):
    create("filler", from_=teacher, template=family("gap"))
    reply = ollama_client.generate(model="filler", prompt="def add(a, b):\n    return ", suffix="\n",
                                   options={"num_predict": 4, "temperature": 0})
    # About as many tokens as the text that the template makes: what a request brings is tokenised
    # apart from what is the template's.
    text = "<|fim_prefix|>def add(a, b):\n    return <|fim_suffix|>\n<|fim_middle|>"
    counted = post(mesh, "/tokenize", {"model": teacher, "prompt": text, "add_special_tokens": True})
    assert 0 <= reply.prompt_eval_count - len(counted["tokens"]) <= 2 and reply.eval_count <= 4
    with pytest.raises(ollama.ResponseError) as failure:
        ollama_client.generate(model=teacher, prompt="a", suffix="b")
    assert failure.value.status_code == 400
