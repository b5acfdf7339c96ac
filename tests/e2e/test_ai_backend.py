"""AI-Backend has no client of its own: plain HTTP, as its examples have it."""

import json

import requests

from mesh import SCRIPTED_MODEL


def ask(mesh, method, path, body=None):
    return requests.request(method, mesh.url + path, timeout=60,
                            data=None if body is None else json.dumps(body))


def test_predict_answers_an_openai_object_for_both_methods_and_words(mesh, teacher):
    body = {"messages": [{"role": "user", "content": "What is 21 + 13?"}], "temperature": 0}
    answers = []
    for method in ("POST", "GET"):
        for word in ("post", "get"):
            reply = ask(mesh, method, f'/{word}/predict?id="{teacher}"', body)
            assert reply.status_code == 200, reply.text
            answers.append(reply.json()["choices"][0]["message"]["content"])
    assert "34" in answers[0] and set(answers) == {answers[0]}


def test_predict_streams_when_asked_to(mesh):
    reply = ask(mesh, "POST", f"/post/predict?id={SCRIPTED_MODEL}",
                {"input": "count go", "stream": True})
    assert reply.headers["Content-Type"].startswith("text/event-stream")
    assert reply.text.endswith("data: [DONE]\n\n")


def test_errors_are_a_text(mesh, teacher):
    unknown = ask(mesh, "POST", "/post/predict?id=nobody", {"prompt": "x"})
    assert unknown.status_code == 404 and isinstance(unknown.json()["error"], str)
    assert ask(mesh, "POST", f"/post/train?id={teacher}", {}).status_code == 400
    added = ask(mesh, "POST", '/post/addmodel?id=X?type=httpmodel?dest="169.254.169.254"')
    assert added.status_code == 400 and "remote::http" in added.json()["error"]
