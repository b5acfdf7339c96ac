"""The official ollama package against the same mesh."""

import ollama
import pytest

SUM = [{"role": "user", "content": "What is 21 + 13?"}]


def test_chat_streams_to_done(ollama_client, teacher):
    parts = list(
        ollama_client.chat(model=teacher, messages=SUM, stream=True, options={"temperature": 0})
    )
    assert "34" in "".join(part.message.content for part in parts)
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    last = parts[-1]
    assert last.done_reason == "stop"
    assert last.eval_count > 0 and last.prompt_eval_count > 0
    assert last.total_duration > 0 and last.eval_duration > 0


def test_chat_without_stream_is_one_object(ollama_client, teacher):
    reply = ollama_client.chat(model=teacher, messages=SUM, options={"temperature": 0})
    assert "34" in reply.message.content and reply.done


def test_generate_uses_the_template(ollama_client, teacher):
    reply = ollama_client.generate(
        model=teacher, prompt="What is 21 + 13?", options={"temperature": 0}
    )
    assert "34" in reply.response
    assert reply.done_reason == "stop"


def test_num_predict_ends_with_length(ollama_client, teacher):
    reply = ollama_client.generate(
        model=teacher, prompt="Hello", options={"temperature": 0, "num_predict": 1}
    )
    assert reply.done_reason == "length" and reply.eval_count == 1


def test_list_show_and_ps(ollama_client, teacher):
    names = [model.model for model in ollama_client.list().models]
    assert any(name.split(":")[0] == teacher for name in names)
    shown = ollama_client.show(teacher)
    assert shown.modelinfo["general.architecture"] == "qwen3moe"
    assert "completion" in shown.capabilities
    assert shown.details.quantization_level == "Q8_0"
    assert any(model.model.split(":")[0] == teacher for model in ollama_client.ps().models)


def test_embed(ollama_client, embedding_model):
    reply = ollama_client.embed(model=embedding_model, input=["one", "two"])
    assert len(reply.embeddings) == 2
    assert sum(x * x for x in reply.embeddings[0]) == pytest.approx(1, abs=1e-4)


def test_an_unknown_model_is_ollamas_404(ollama_client):
    with pytest.raises(ollama.ResponseError) as failure:
        ollama_client.chat(model="no-such-model", messages=SUM)
    assert failure.value.status_code == 404
    assert "not found" in failure.value.error
