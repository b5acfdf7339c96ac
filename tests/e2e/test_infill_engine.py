"""Gaps filled by the engine itself, through the mesh: every route gives what the model's own tokens
around the texts give, put together here by hand, and what llama.cpp's server gives."""

import json
import pathlib
import sys

import ollama
import openai
import pytest
import requests

from mesh import Mesh

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "infill"
sys.path.insert(0, str(GOLDEN))
import coder  # noqa: E402

ANSWERS = json.loads((GOLDEN / "llama_server.json").read_text())
SNIPPET = "\n\n--- snippet ---\n\n"
CASES = [(model, name) for model in coder.MARKS for name in coder.REQUESTS]


@pytest.fixture(scope="module")
def filled_mesh(request, tmp_path_factory):
    build_dir = request.config.getoption("--build-dir")
    folder = tmp_path_factory.mktemp("coders")
    models = [f"{name}={coder.write_gguf(name, folder / name, pathlib.Path(build_dir) / 'bin')}"
              for name in coder.MARKS]
    running = Mesh(build_dir, "".join(f" --model {model}" for model in models))
    try:
        running.up()
        for name in coder.MARKS:
            running.wait_for_model(name)
        yield running
    finally:
        running.destroy()


@pytest.fixture(scope="module")
def api(filled_mesh):
    return openai.OpenAI(base_url=filled_mesh.url + "/v1", api_key="none", max_retries=0)


class ByHand:
    """The ids of a prompt, mark by mark."""

    def __init__(self, model):
        self.marks = coder.MARKS[model]
        self.tokenizer = coder.tokenizer(model)

    def mark(self, name):
        return [self.tokenizer.token_to_id(self.marks[name])]

    def ends(self):
        """Of a gap, besides the end of a text: marks that begin what is no more of it."""
        return [self.mark(name)[0] for name in ("file", "repository", "pad") if name in self.marks]

    def text(self, text):
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def gap(self, before, after):
        return (self.mark("prefix") + self.text(before) + self.mark("suffix") + self.text(after) +
                self.mark("middle"))

    def repository(self, request):
        shown = request.get("input_extra", [])
        gap = self.gap(request["input_prefix"] + request["prompt"], request["input_suffix"])
        if "repository" not in self.marks:
            return [i for file in shown for i in self.text(SNIPPET) + self.text(file["text"])] + gap
        if not shown:
            return gap
        ids = self.mark("repository") + self.text("myproject\n")
        for file in shown:
            ids += self.mark("file") + self.text(file.get("filename", "tmp") + "\n")
            ids += self.text(file["text"])
        return ids + self.mark("file") + self.text("filename\n") + gap


def continued(api, model, ids):
    reply = api.completions.create(model=model, prompt=ids, max_tokens=coder.NUM_TOKENS,
                                   temperature=0,
                                   extra_body={"stop_token_ids": ByHand(model).ends()})
    assert reply.usage.prompt_tokens == len(ids)
    return reply.choices[0].text


def infill(mesh, model, request, **options):
    reply = requests.post(mesh.url + "/infill", timeout=60, json={
        "model": model, "n_predict": coder.NUM_TOKENS, "temperature": 0, "return_tokens": True,
        **request, **options})
    assert reply.status_code == 200, reply.text
    return reply.json()


@pytest.mark.parametrize("model,name", CASES)
def test_infill_is_the_repository_put_together_by_hand(model, name, filled_mesh, api):
    request = coder.REQUESTS[name]
    ids = ByHand(model).repository(request)
    answer = infill(filled_mesh, model, request)
    assert answer["tokens_evaluated"] == len(ids)
    assert answer["content"] == continued(api, model, ids)


@pytest.mark.parametrize("model,name", [
    (model, name) for model, name in CASES
    if coder.llama_cpp_says_the_same(model, coder.REQUESTS[name])])
def test_infill_is_what_llama_cpp_says(model, name, filled_mesh):
    answer = infill(filled_mesh, model, coder.REQUESTS[name])
    expected = dict(ANSWERS[model][name])
    if expected["stop_type"] == "eos":  # it counts the mark that ended the text
        assert expected["tokens"].pop() in ByHand(model).ends()
    assert {key: answer[key] for key in expected} == expected


@pytest.mark.parametrize("model,name", CASES)
def test_a_suffix_is_the_gap_put_together_by_hand(model, name, filled_mesh, api):
    """OpenAI's and Ollama's know of no other files, and name no repository."""
    request = coder.REQUESTS[name]
    before, after = request["input_prefix"] + request["prompt"], request["input_suffix"]
    expected = continued(api, model, ByHand(model).gap(before, after))
    if after:  # without one there is no gap
        reply = api.completions.create(model=model, prompt=before, suffix=after,
                                       max_tokens=coder.NUM_TOKENS, temperature=0)
        assert reply.choices[0].text == expected
        answer = ollama.Client(host=filled_mesh.url).generate(
            model=model, prompt=before, suffix=after,
            options={"temperature": 0, "num_predict": coder.NUM_TOKENS, "repeat_penalty": 1})
        assert answer.response == expected


@pytest.mark.parametrize("mark", ["end", "file", "repository", "pad"])
def test_a_gap_ends_where_the_model_goes_on_to_another_file(mark, filled_mesh, api):
    hand = ByHand("coder")
    id_ = hand.mark(mark)[0]
    forced = infill(filled_mesh, "coder", coder.REQUESTS["gap"], logit_bias={str(id_): 100})
    assert forced["content"] == "" and forced["stop_type"] == "eos"
    if mark == "end":
        return
    # Where no gap is filled, they are tokens like others.
    ids = hand.repository(coder.REQUESTS["gap"])
    reply = api.completions.create(model="coder", prompt=ids, max_tokens=3, temperature=0,
                                   logit_bias={str(id_): 100})
    assert reply.usage.completion_tokens == 3 and reply.choices[0].finish_reason == "length"
