"""What lm-eval 0.4.13 sends with local-completions, local-chat-completions and tokenizer_backend=remote,
as recorded from it, and how it reads the answers. The harness itself brings 780 MB of packages, so it is
not among the clients here."""

import json

import pytest
import requests

TURN = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
PAIRS = [(30, 26), (19, 32)]
# An empty key is what it has without one.
API = {"Authorization": "Bearer ", "Accept": "*/*", "Accept-Encoding": "gzip, deflate",
       "User-Agent": "Python/3.11 aiohttp/3.14.5", "Content-Type": "application/json"}
UNTIL = ["\n", "<|im_end|>", "?", "!", ";", "So"]


def post(mesh, path, body, headers=API):
    reply = requests.post(mesh.url + path, data=json.dumps(body), headers=headers, timeout=60)
    assert reply.status_code == 200, reply.text
    return reply.json()


def tokenize(mesh, teacher, prompt):
    """Its tokenizer names no model; here are several."""
    body = {"prompt": prompt, "add_special_tokens": False, "model": teacher}
    return post(mesh, "/tokenize", body, {"Content-Type": "application/json"})["tokens"]


def score(mesh, teacher, rows, context_lengths):
    """(likelihood, would it have been said) of what follows each context."""
    answer = post(mesh, "/v1/completions", {
        "model": teacher, "prompt": rows, "temperature": 0, "max_tokens": 1, "logprobs": 1,
        "seed": 1234, "echo": True})
    scores = []
    choices = sorted(answer["choices"], key=lambda choice: choice["index"])
    assert len(choices) == len(rows)
    for choice, row, begin in zip(choices, rows, context_lengths, strict=True):
        told = choice["logprobs"]
        assert len(told["token_logprobs"]) == len(told["top_logprobs"]) == len(row) + 1
        assert told["token_logprobs"][0] is None
        own = told["token_logprobs"][begin:-1]
        best = [max(top.values()) for top in told["top_logprobs"][begin:-1]]
        scores.append((own, own == best))
    return scores


@pytest.mark.parametrize("a,b", PAIRS)
def test_choices_by_likelihood(mesh, teacher, a, b):
    context = TURN.format(f"What is {a} + {b}?")
    choices = [f"{a} + {b} = {a + b + off}" for off in (10, 0, -1)]
    # It moves the blanks at a context's end to the continuation, and cuts the whole.
    begin = len(tokenize(mesh, teacher, context.rstrip()))
    rows = [tokenize(mesh, teacher, context + choice) for choice in choices]
    alone = [score(mesh, teacher, [row], [begin])[0] for row in rows]
    likelihoods = [sum(own) for own, _ in alone]
    assert max(likelihoods) == likelihoods[1]
    assert [greedy for _, greedy in alone] == [False, True, False]
    # The same in one request, bit for bit.
    assert score(mesh, teacher, rows, [begin] * 3) == alone


def test_a_continuation_scores_what_its_generation_told(mesh, teacher):
    """The logprob of a token does not depend on whether it was in the prompt or was generated."""
    a, b = PAIRS[0]
    prompt = tokenize(mesh, teacher, TURN.format(f"What is {a} + {b}?"))
    said = post(mesh, "/v1/completions", {"model": teacher, "prompt": [prompt], "temperature": 0,
                                          "max_tokens": 6, "logprobs": 1, "seed": 1234})
    generated = said["choices"][0]
    whole = prompt + tokenize(mesh, teacher, generated["text"])
    own, greedy = score(mesh, teacher, [whole], [len(prompt)])[0]
    assert greedy and own == generated["logprobs"]["token_logprobs"]


@pytest.mark.parametrize("a,b", PAIRS)
def test_generation_until(mesh, teacher, a, b):
    expected = f"{a} + {b} = {a + b}"
    prompt = tokenize(mesh, teacher, TURN.format(f"What is {a} + {b}?"))
    text = post(mesh, "/v1/completions", {
        "prompt": [prompt], "model": teacher, "max_tokens": 32, "temperature": 0.0, "stop": UNTIL,
        "seed": 1234})["choices"][0]["text"]
    assert text == expected
    # Of chats it cuts the list to OpenAI's four.
    message = post(mesh, "/v1/chat/completions", {
        "messages": [{"role": "user", "content": f"What is {a} + {b}?"}], "model": teacher,
        "max_tokens": 32, "temperature": 0.0, "stop": UNTIL[:4],
        "seed": 1234})["choices"][0]["message"]
    assert message["content"] == expected
