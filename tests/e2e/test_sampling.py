"""Several answers, logprobs and the scoring of prompts, with the official SDK and lm-eval's requests."""

import concurrent.futures
import math
import operator

import openai
import pytest
import requests

from mesh import SCRIPTED_MODEL, wait_until

SUM = [{"role": "user", "content": "What is 21 + 13?"}]
# Hot enough that the small model says something else each time.
EGGS = [{"role": "user", "content": "A farmer has 12 eggs and finds 7 more. How many?"}]


def ask_many(client, model, n, **extra):
    return client.chat.completions.create(
        model=model, messages=EGGS, n=n, seed=77, temperature=2, max_tokens=24,
        logprobs=True, top_logprobs=20, **extra,
    )


@pytest.fixture(scope="module")
def eight(openai_client, teacher):
    return ask_many(openai_client, teacher, 8)


def test_eight_choices_in_order_with_their_sums(eight):
    assert [choice.index for choice in eight.choices] == list(range(8))
    texts = [choice.message.content for choice in eight.choices]
    assert len(set(texts)) == 8
    counted = 0
    for choice in eight.choices:
        tokens = choice.logprobs.content
        counted += len(tokens)
        assert b"".join(bytes(token.bytes) for token in tokens).decode() == choice.message.content
        for token in tokens:
            assert len(token.top_logprobs) == 20
            tops = [other.logprob for other in token.top_logprobs]
            assert tops == sorted(tops, reverse=True)
            assert token.logprob <= tops[0] <= 0
            assert sum(math.exp(top) for top in tops) <= 1 + 1e-4
            for other in token.top_logprobs:
                if other.bytes == token.bytes:
                    assert other.logprob == token.logprob
    # The stop token ends a choice and is no part of it.
    assert eight.usage.completion_tokens == counted
    assert eight.usage.total_tokens == eight.usage.prompt_tokens + counted


def test_the_prompt_is_counted_once(openai_client, teacher, eight):
    one = ask_many(openai_client, teacher, 1)
    assert one.usage.prompt_tokens == eight.usage.prompt_tokens


@pytest.mark.parametrize("n", [1, 3])
def test_a_choice_is_the_same_whatever_n_is(openai_client, teacher, eight, n):
    some = ask_many(openai_client, teacher, n)
    for choice in some.choices:
        assert choice.message == eight.choices[choice.index].message
        assert choice.logprobs == eight.choices[choice.index].logprobs


def test_a_stream_interleaves_the_same_choices(openai_client, teacher, eight):
    chunks = list(
        ask_many(openai_client, teacher, 8, stream=True, stream_options={"include_usage": True})
    )
    texts, finishes, order = [""] * 8, [None] * 8, []
    for chunk in chunks[:-1]:
        assert chunk.usage is None
        (choice,) = chunk.choices
        assert finishes[choice.index] is None, "nothing follows a choice's end"
        texts[choice.index] += choice.delta.content or ""
        if choice.finish_reason:
            finishes[choice.index] = choice.finish_reason
        elif choice.delta.content:
            order.append(choice.index)
    assert texts == [choice.message.content for choice in eight.choices]
    assert finishes == [choice.finish_reason for choice in eight.choices]
    assert order != sorted(order), "deltas interleave"
    assert chunks[-1].usage.completion_tokens == eight.usage.completion_tokens
    assert chunks[-1].usage.prompt_tokens == eight.usage.prompt_tokens


def test_the_same_seed_gives_the_same_text_amid_32_others(openai_client, teacher, eight):
    def other(i):
        return openai_client.chat.completions.create(
            model=teacher, messages=[{"role": "user", "content": f"What is {i} + {i}?"}],
            temperature=1, seed=i, max_tokens=24,
        )

    with concurrent.futures.ThreadPoolExecutor(34) as pool:
        others = [pool.submit(other, i) for i in range(32)]
        amid = pool.submit(ask_many, openai_client, teacher, 8)
        single = pool.submit(ask_many, openai_client, teacher, 1)
        assert amid.result().choices == eight.choices
        assert single.result().choices == eight.choices[:1]
        assert all(future.result().choices for future in others)


def test_a_client_that_leaves_frees_every_choice(openai_client, mesh):
    stream = openai_client.chat.completions.create(
        model=SCRIPTED_MODEL, messages=[{"role": "user", "content": "count-slowly"}], n=6, stream=True
    )
    for _, chunk in zip(range(12), stream):
        assert chunk.choices
    stream.close()
    # Left alone each would speak for many seconds more.
    wait_until(
        lambda: mesh.metric(mesh.worker_probe, "vllm:num_requests_running") == 0, 5, "free slots"
    )


def test_too_many_choices_are_refused(openai_client, teacher):
    with pytest.raises(openai.BadRequestError) as refused:
        openai_client.chat.completions.create(model=teacher, messages=SUM, n=17)
    assert refused.value.param == "n"


# ---- scoring -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def greedy(mesh, teacher):
    """A raw continuation: the ids of prompt and answer, and the answer's logprobs."""
    reply = requests.post(
        f"{mesh.url}/api/generate",
        json={
            "model": teacher, "raw": True, "stream": False, "logprobs": True, "top_logprobs": 3,
            "prompt": "The sum of two and three is", "options": {"temperature": 0, "num_predict": 24},
        },
        timeout=60,
    ).json()
    count = reply["prompt_eval_count"]
    return reply["context"][:count], reply["context"][count:], reply


def lm_eval_request(model, prompts):
    """Exactly what lm-eval's local-completions sends for a loglikelihood."""
    return {
        "model": model, "prompt": prompts, "temperature": 0, "max_tokens": 1, "logprobs": 1,
        "seed": 1234, "echo": True,
    }


def lm_eval_parse(reply, context_lengths):
    """What it makes of the answer: the sum of logprobs of each continuation, and whether it is greedy."""
    results = []
    choices = sorted(reply["choices"], key=operator.itemgetter("index"))
    for choice, start in zip(choices, context_lengths, strict=True):
        assert start > 0
        logprobs = choice["logprobs"]["token_logprobs"][start:-1]
        tops = choice["logprobs"]["top_logprobs"][start:-1]
        greedy = all(one == max(top.values()) for one, top in zip(logprobs, tops, strict=True))
        results.append((sum(logprobs), greedy))
    return results


def test_a_scored_text_is_as_likely_as_it_was_when_it_was_written(mesh, teacher, greedy):
    prompt, answer, generated = greedy
    reply = requests.post(
        f"{mesh.url}/v1/completions",
        json=lm_eval_request(teacher, [prompt + answer, prompt + answer[:3]]), timeout=60,
    ).json()
    (whole, is_greedy), (part, part_is_greedy) = lm_eval_parse(reply, [len(prompt)] * 2)
    told = [entry["logprob"] for entry in generated["logprobs"]]
    assert whole == pytest.approx(sum(told), abs=1e-9)
    assert part == pytest.approx(sum(told[:3]), abs=1e-9)
    assert is_greedy and part_is_greedy
    for choice, ids in zip(reply["choices"], [prompt + answer, prompt + answer[:3]]):
        arrays = choice["logprobs"]
        for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
            assert len(arrays[name]) == len(ids) + 1, name
        assert arrays["token_logprobs"][0] is None and arrays["top_logprobs"][0] is None
        assert all(arrays["top_logprobs"][1:])
    assert reply["usage"]["prompt_tokens"] == 2 * len(prompt) + len(answer) + 3


def test_what_is_not_the_best_is_not_greedy(mesh, teacher, greedy):
    prompt, answer, _ = greedy
    other = answer[:2] + [(answer[2] + 1) % 300] + answer[3:5]
    reply = requests.post(
        f"{mesh.url}/v1/completions", json=lm_eval_request(teacher, [prompt + other]), timeout=60
    ).json()
    ((score, is_greedy),) = lm_eval_parse(reply, [len(prompt)])
    assert not is_greedy
    assert score < -0.1


def test_scores_do_not_depend_on_what_was_seen_before(mesh, teacher, greedy):
    prompt, answer, _ = greedy
    request = lm_eval_request(teacher, [prompt + answer])
    replies = [
        requests.post(f"{mesh.url}/v1/completions", json=request, timeout=60).json()["choices"]
        for _ in range(3)
    ]
    assert replies[0] == replies[1] == replies[2]


def test_a_stop_at_once_leaves_the_position_after_the_prompt(mesh, teacher):
    """The end of a turn is what follows a whole chat: lm-eval still drops exactly one position."""
    reply = requests.post(
        f"{mesh.url}/v1/completions",
        json={**lm_eval_request(teacher, "2 + 2 = 4"), "logit_bias": {}, "stop_token_ids": list(range(64))},
        timeout=60,
    ).json()
    arrays = reply["choices"][0]["logprobs"]
    assert len(arrays["tokens"]) == reply["usage"]["prompt_tokens"] + 1


def test_echo_with_the_sdk_whole_and_streamed(openai_client, teacher):
    arguments = dict(
        model=teacher, prompt=["One, two,", "Apples and"], echo=True, logprobs=2, max_tokens=6,
        temperature=0, n=2,
    )
    whole = openai_client.completions.create(**arguments)
    assert [choice.index for choice in whole.choices] == [0, 1, 2, 3]
    for choice in whole.choices:
        prompt = arguments["prompt"][choice.index // 2]
        assert choice.text.startswith(prompt)
        arrays = choice.logprobs
        assert len(arrays.tokens) == len(arrays.token_logprobs) == len(arrays.text_offset)
        assert arrays.text_offset == sorted(arrays.text_offset)
        for logprob, top in zip(arrays.token_logprobs[1:], arrays.top_logprobs[1:]):
            assert 2 <= len(top) <= 3 and logprob in top.values()
    streamed = [
        {"text": "", "finish": None, "tokens": [], "token_logprobs": [], "text_offset": []}
        for _ in whole.choices
    ]
    for chunk in openai_client.completions.create(**arguments, stream=True):
        (choice,) = chunk.choices
        one = streamed[choice.index]
        one["text"] += choice.text
        one["finish"] = choice.finish_reason or one["finish"]
        if choice.logprobs:
            for name in ("tokens", "token_logprobs", "text_offset"):
                one[name] += getattr(choice.logprobs, name)
    for choice, one in zip(whole.choices, streamed):
        assert one["text"] == choice.text
        assert one["finish"] == choice.finish_reason
        for name in ("tokens", "token_logprobs", "text_offset"):
            assert one[name] == getattr(choice.logprobs, name), name


def test_best_of_takes_the_most_probable(openai_client, teacher):
    arguments = dict(
        model=teacher, prompt="A farmer has", max_tokens=8, temperature=1.3, seed=5, logprobs=0
    )
    all_six = openai_client.completions.create(**arguments, n=6)

    def mean(choice):
        return sum(choice.logprobs.token_logprobs) / len(choice.logprobs.token_logprobs)

    ranked = sorted(all_six.choices, key=mean, reverse=True)
    best = openai_client.completions.create(**arguments, n=2, best_of=6)
    assert [choice.text for choice in best.choices] == [choice.text for choice in ranked[:2]]
    assert [choice.index for choice in best.choices] == [0, 1]
    assert best.usage.completion_tokens == all_six.usage.completion_tokens


def test_generation_requests_of_lm_eval(mesh, teacher):
    stops = [f"stop {i}" for i in range(14)] + ["\n\n", "Question:"]
    reply = requests.post(
        f"{mesh.url}/v1/completions",
        json={
            "prompt": ["Question: 2 + 2?\nAnswer:"], "model": teacher, "max_tokens": 16,
            "temperature": 0, "stop": stops, "seed": 1234,
        },
        timeout=60,
    )
    assert reply.status_code == 200, reply.text
    assert not any(stop in reply.json()["choices"][0]["text"] for stop in stops)


def test_a_suffix_is_refused_by_name(openai_client, teacher):
    with pytest.raises(openai.APIStatusError) as refused:
        openai_client.completions.create(model=teacher, prompt="a", suffix="b")
    assert refused.value.status_code == 501
    assert refused.value.param == "suffix"
