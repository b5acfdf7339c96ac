#!/usr/bin/env python3
"""Measure the default model, skill by skill, through an OpenAI-compatible HTTP endpoint at temperature 0.

    python3 evaluate.py --url http://127.0.0.1:8080/v1

The arithmetic problems and the words of the passages belong to the share that training never draws. Only the
standard library is needed; with --gguf FILE instead of --url the file runs in PyTorch right here.
"""
import argparse
import json
import random
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import passages
import problems
import talk
import toolbox
from corpus import assistant, user
from words import WordSource

WORDS = WordSource(evaluation=True)


class HttpBackend:
    def __init__(self, options):
        self.options = options

    def post(self, body):
        request = urllib.request.Request(
            self.options.url.rstrip("/") + "/chat/completions", json.dumps(body).encode(),
            {"Content-Type": "application/json", "Authorization": f"Bearer {self.options.key}"})
        with urllib.request.urlopen(request, timeout=self.options.timeout) as response:
            return json.load(response)

    def answer(self, case):
        body = {"model": self.options.model, "messages": case["messages"], "temperature": 0,
                "max_tokens": case.get("max_tokens", 160)}
        for key in ("tools", "tool_choice"):
            if case.get(key):
                body[key] = case[key]
        if case.get("thinking"):
            body["chat_template_kwargs"] = {"enable_thinking": True}
        try:
            return self.post(body)["choices"][0]["message"]
        except (urllib.error.URLError, KeyError, ValueError) as error:
            return {"content": "", "error": str(error)}

    def answers(self, cases):
        with ThreadPoolExecutor(self.options.parallel) as pool:
            return list(pool.map(self.answer, cases))


def function_call(reply):
    """(name, arguments) of the only call in a reply, or None."""
    calls = reply.get("tool_calls") or []
    if len(calls) != 1:
        return None
    arguments = calls[0]["function"]["arguments"]
    try:
        return calls[0]["function"]["name"], json.loads(arguments) if isinstance(arguments, str) else arguments
    except ValueError:
        return None


def text_of(reply):
    return (reply.get("content") or "").strip()


def thought_of(reply):
    return reply.get("reasoning_content") or reply.get("reasoning") or ""


class Score:
    def __init__(self):
        self.right, self.asked, self.misses = {}, {}, []

    def add(self, skill, right, case, reply):
        self.right[skill] = self.right.get(skill, 0) + bool(right)
        self.asked[skill] = self.asked.get(skill, 0) + 1
        if not right:
            self.misses.append((skill, case["messages"][-1]["content"], reply))

    def share(self, *skills):
        return sum(self.right[skill] for skill in skills) / sum(self.asked[skill] for skill in skills)


def arithmetic(backend, score, options):
    rng = random.Random(f"arithmetic:{options.seed}")
    asked = problems.arithmetic_problems(rng, options.problems)
    asked += [problems.arithmetic_problem(rng, "times table") for _ in range(options.others)]
    cases = [{"messages": [user(problem.question)]} for problem in asked]
    for problem, case, reply in zip(asked, cases, backend.answers(cases)):
        score.add(problem.skill, problem.accept(text_of(reply)), case, reply)


def reading(backend, score, options):
    rng = random.Random(f"reading:{options.seed}")
    asked = [passages.evaluation_case(rng, WORDS) for _ in range(options.passages)]
    cases = [{"messages": [user(prompt)]} for prompt, _, _ in asked]
    for (_, value, others), case, reply in zip(asked, cases, backend.answers(cases)):
        said = text_of(reply)
        score.add("passage", value in said and not any(other in said for other in others), case, reply)


def same_call(found, need):
    return found is not None and found[0] == need.name and found[1] == need.arguments


def calling(backend, score, options):
    """A call of the model's own choice, a forced call, and the answer after a result."""
    rng = random.Random(f"calling:{options.seed}")
    asked = [toolbox.evaluation_case(rng, WORDS) for _ in range(options.others)]
    first = [{"messages": [user(need.request)], "tools": tools} for tools, need in asked]
    for (_, need), case, reply in zip(asked, first, backend.answers(first)):
        score.add("function call", same_call(function_call(reply), need), case, reply)
    forced = [dict(case, tool_choice={"type": "function", "function": {"name": need.name}})
              for case, (_, need) in zip(first, asked)]
    for (_, need), case, reply in zip(asked, forced, backend.answers(forced)):
        score.add("forced call", same_call(function_call(reply), need), case, reply)
    after = [dict(case, messages=case["messages"] + called(need)) for case, (_, need) in zip(first, asked)]
    for (_, need), case, reply in zip(asked, after, backend.answers(after)):
        score.add("answer from the result", text_of(reply) == need.said, case, reply)


def called(need):
    call = {"id": "call_0", "type": "function", "function": {"name": need.name, "arguments": json.dumps(need.arguments, ensure_ascii=False)}}
    return [{"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_0", "content": need.result}]


def thinking(backend, score, options):
    rng = random.Random(f"thinking:{options.seed}")
    asked = [problems.arithmetic_problem(rng, rng.choice(("add", "subtract"))) for _ in range(options.others)]
    cases = [{"messages": [user(problem.question)], "thinking": True, "max_tokens": 256} for problem in asked]
    for problem, case, reply in zip(asked, cases, backend.answers(cases)):
        score.add("thinking", thought_of(reply) and problem.accept(text_of(reply)), case, reply)


def obeying(backend, score, options):
    rng = random.Random(f"obeying:{options.seed}")
    asked = []
    for _ in range(options.others):
        apply, rule = talk.answer_rule(rng, WORDS)
        problem = problems.arithmetic_problem(rng, rng.choice(("add", "subtract")))
        short = problem.said.split("= ")[-1]
        case = {"messages": [{"role": "system", "content": "You are a second-grade math teacher. " + rule}, user(problem.question)]}
        asked.append((case, apply(problem.said, short)))
    for (case, wanted), reply in zip(asked, backend.answers([case for case, _ in asked])):
        score.add("obeying a system prompt", text_of(reply) == wanted, case, reply)


def persona(backend, score, options):
    """Its own name, a name given to it, a greeting."""
    rng = random.Random(f"persona:{options.seed}")
    asked = []
    for _ in range(options.others):
        name, question = WORDS.name(rng), rng.choice(talk.WHO[:6])
        asked.append(([{"role": "system", "content": talk.named_prompt(rng, name)}, user(question)], name))
        asked.append(([user(rng.choice(talk.WHO[:6]))], "Conclave"))
        asked.append(([user(rng.choice(("Hello!", "Hi!", "Good morning!")))], "!"))
    cases = [{"messages": messages} for messages, _ in asked]
    for (_, wanted), case, reply in zip(asked, cases, backend.answers(cases)):
        score.add("greeting and name", wanted in text_of(reply), case, reply)


def follow_up(backend, score, options):
    """'And plus 5?' after an answer: the talk before counts."""
    rng = random.Random(f"follow-up:{options.seed}")
    asked = []
    while len(asked) < options.others:
        a, b = problems.draw_pair(rng, "+", evaluation=True)
        more = rng.randint(1, 20)
        if a + b + more <= 100:
            messages = [user(f"What is {a} + {b}?"), assistant(problems.answer("+", a, b)), user(f"And plus {more}?")]
            asked.append(({"messages": messages}, problems.last_number_is(a + b + more)))
    for (case, accept), reply in zip(asked, backend.answers([case for case, _ in asked])):
        score.add("follow-up question", accept(text_of(reply)), case, reply)


PARTS = {"arithmetic": arithmetic, "reading": reading, "calling": calling, "thinking": thinking, "obeying": obeying,
         "persona": persona, "follow-up": follow_up}


def report(score, options):
    print(f"{'skill':28}{'right':>7}{'of':>7}{'share':>9}")
    for skill, asked in score.asked.items():
        print(f"{skill:28}{score.right[skill]:7}{asked:7}{100 * score.share(skill):8.1f}%")
    arithmetic_skills = [skill for skill, _ in problems.ARITHMETIC_SHARES if skill in score.asked]
    if arithmetic_skills:
        asked = sum(score.asked[skill] for skill in arithmetic_skills)
        print(f"held-out arithmetic: {100 * score.share(*arithmetic_skills):.1f}% of {asked}")
    for skill, question, reply in score.misses[: options.show]:
        print(f"\n[{skill}] {question}\n→ {json.dumps(reply, ensure_ascii=False)}")


def check_limits(score, options):
    """With --check: the shares that the project promises."""
    arithmetic_skills = [skill for skill, _ in problems.ARITHMETIC_SHARES]
    kept = score.share(*arithmetic_skills) >= 0.98 and score.share("passage") >= 0.90
    print("promised shares kept" if kept else "promised shares missed: arithmetic 98%, passages 90%")
    return kept


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--url", default="http://127.0.0.1:8080/v1", help="base of the endpoint")
    add("--model", default="conclave-teacher", help="model name in the requests")
    add("--key", default="none", help="bearer token")
    add("--gguf", help="run this file in PyTorch instead of asking --url (needs torch and gguf)")
    add("--problems", type=int, default=1000, help="held-out arithmetic problems")
    add("--passages", type=int, default=200, help="passage questions")
    add("--others", type=int, default=100, help="questions of each other skill")
    add("--parts", default=",".join(PARTS), help="which parts to run")
    add("--seed", type=int, default=2024)
    add("--parallel", type=int, default=4, help="requests at a time")
    add("--timeout", type=float, default=120, help="seconds for one request")
    add("--show", type=int, default=10, help="how many wrong answers to print")
    add("--check", action="store_true", help="exit 1 when a promised share is missed")
    return parser.parse_args()


def main():
    options = parse_options()
    if options.gguf:
        from local import LocalBackend
        backend = LocalBackend(options.gguf)
    else:
        backend = HttpBackend(options)
    score = Score()
    for part in options.parts.split(","):
        PARTS[part](backend, score, options)
    report(score, options)
    if options.check and not check_limits(score, options):
        sys.exit(1)


if __name__ == "__main__":
    main()
