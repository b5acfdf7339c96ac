"""The listeners for clients of older servers, next to the strict one."""

import json

import openai
import pytest
import requests

from mesh import SCRIPTED_MODEL

SUM = [{"role": "user", "content": "What is 21 + 13?"}]


def sdk(url):
    return openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=60)


def test_llm_serving_answers_its_sample_client(mesh):
    """The package against the bare host, with the name of a model that nobody serves."""
    reply = sdk(mesh.compat_urls["llm-serving"]).chat.completions.create(
        model="gpt-4o", messages=SUM, temperature=0)
    assert reply.choices[0].message.content
    assert reply.model == "gpt-4o" and isinstance(reply.created, float)
    with pytest.raises(openai.NotFoundError):
        sdk(mesh.url).chat.completions.create(model="gpt-4o", messages=SUM)


def test_llm_serving_embeds_with_its_defaults(mesh, embedding_model):
    reply = requests.post(mesh.compat_urls["llm-serving"] + "/embeddings", json={"input": ["one"]},
                          timeout=60).json()
    assert reply["model"] == "mock-embed-model"
    assert len(reply["data"][0]["embedding"]) == 384


def test_kt_legacy_streams_chat_deltas_for_a_completion(mesh):
    reply = requests.post(
        mesh.compat_urls["kt-legacy"] + "/v1/completions", timeout=60,
        json={"model": SCRIPTED_MODEL, "prompt": "count kt", "max_tokens": 8, "stream": True})
    *chunks, done = [line for line in reply.text.split("\n\n") if line]
    assert done == "data: [DONE]"
    choices = [json.loads(chunk.removeprefix("data:"))["choices"][0] for chunk in chunks]
    assert "".join(choice["delta"]["content"] for choice in choices) == "kt:0 kt:"
    assert choices[-1]["finish_reason"] == ""


def test_kt_legacy_sends_usage_unasked_and_its_stream_is_read_by_the_sdk(mesh):
    chunks = list(sdk(mesh.compat_urls["kt-legacy"] + "/v1").chat.completions.create(
        model="DeepSeek-V3", messages=SUM, temperature=0, stream=True))
    assert chunks[-2].usage.total_tokens > 0 and chunks[-2].choices == []
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_ls_seed_has_its_words(mesh):
    url = mesh.compat_urls["ls-seed"]
    assert requests.get(url + "/health", timeout=10).json() == {"status": "OK"}
    refused = requests.post(url + "/inference/chat_completion", timeout=10,
                            json={"model": "other", "messages": SUM})
    assert refused.status_code == 400
    assert refused.json()["detail"] == "Invalid value: `other` not registered"
    assert requests.get(mesh.url + "/health", timeout=10).json() == {"status": "ok"}
