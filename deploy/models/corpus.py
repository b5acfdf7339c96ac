#!/usr/bin/env python3
"""The training corpus: conversations made by rule, one skill per function, drawn by weight.

Every conversation is (messages, tools). `python3 corpus.py --show 20` prints some. The same seed gives the same
conversations on any machine: only random.Random is used.
"""
import argparse
import random

import chat
import passages
import problems
import talk
import toolbox
from problems import answer, ask, compare_answer, draw_pair, result_of
from words import WordSource

WORDS = WordSource()


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


def with_system(rng, messages, share=0.5):
    """Most skills must work with no system prompt, as a teacher, as a helper, or under another name."""
    if rng.random() < share:
        return [{"role": "system", "content": talk.system_prompt(rng, WORDS)}] + messages
    return messages


def arithmetic_turn(rng, operation):
    if operation == "x":
        a, b = rng.randint(0, 10), rng.randint(0, 10)
    else:
        a, b = draw_pair(rng, operation)
    question = ask(rng, operation, a, b)
    if operation == "?":
        return question, compare_answer(question, a, b), a
    return question, answer(operation, a, b), result_of(operation, a, b)


def arithmetic(rng, operation):
    """One question or a few in a row, now and then one that goes on from the last result."""
    messages, last = [], None
    for _ in range(rng.choice((1, 1, 2, 2, 3))):
        if last is not None and operation != "x" and rng.random() < 0.3:
            question, said, last = follow_up(rng, last)
        else:
            question, said, last = arithmetic_turn(rng, operation)
        messages += [user(question), assistant(said)]
    return with_system(rng, messages), None


def follow_up(rng, last):
    """'And plus 5?' after a result, staying within 100 and off the pairs kept for evaluation."""
    while True:
        operation, b = rng.choice("+-"), rng.randint(0, 50)
        value = result_of(operation, last, b)
        if 0 <= value <= 100 and not problems.held_out(operation, last, b):
            break
        if last > 100:
            return arithmetic_turn(rng, "+")
    word = "plus" if operation == "+" else "minus"
    verb = f"add {b}" if operation == "+" else f"subtract {b}"
    question = rng.choice((f"And {word} {b}?", f"Now {verb}.", f"And {operation} {b}?", f"Then {verb} to that." if
                           operation == "+" else f"Then {verb} from that.", f"{word} {b}?", f"What if you {verb}?"))
    return question, answer(operation, last, b), value


def word_problem(rng):
    operation = rng.choice("+++---xx")
    if operation == "x":
        a, b = rng.randint(2, 10), rng.randint(1, 10)
    else:
        a, b = draw_pair(rng, operation)
    text, noun = problems.story(rng, operation, a, b, WORDS)
    return with_system(rng, [user(text), assistant(problems.story_answer(operation, a, b, noun))]), None


def steps(operation, a, b):
    """Working by tens and ones, as it is taught."""
    if operation == "x":
        if a == 0 or b == 0:
            return f"Anything times 0 is 0, so {a} x {b} = 0."
        added = " + ".join([str(b)] * a)
        return f"{a} x {b} means {a} times {b}: {added} = {a * b}."
    tens_a, ones_a, tens_b, ones_b = a // 10 * 10, a % 10, b // 10 * 10, b % 10
    if operation == "+":
        return (f"{a} is {tens_a} and {ones_a}. {b} is {tens_b} and {ones_b}. Tens: {tens_a} + {tens_b} = "
                f"{tens_a + tens_b}. Ones: {ones_a} + {ones_b} = {ones_a + ones_b}. Together: {tens_a + tens_b} + "
                f"{ones_a + ones_b} = {a + b}.")
    return (f"{b} is {tens_b} and {ones_b}. Take away the tens: {a} - {tens_b} = {a - tens_b}. Take away the ones: "
            f"{a - tens_b} - {ones_b} = {a - b}.")


def drill(rng):
    """Many sums in one answer, for training only: of '3 + 4 = 7' just the result is learnt, as the rest is chance."""
    count = rng.randint(6, 14)
    parts = []
    for index in range(count):
        operation = rng.choice("+++----x")
        a, b = (rng.randint(0, 10), rng.randint(0, 10)) if operation == "x" else draw_pair(rng, operation)
        parts += [(f"{', ' if index else ''}{a} {operation} {b} =", False), (f" {result_of(operation, a, b)}", True)]
    request = rng.choice(("Practice sums.", "Make up some sums.", "Show me some sums.", "Give me worked sums."))
    return [user(request), assistant("", parts=parts)], None


THINK_REQUESTS = "{q} /think|{q} Think step by step.|Think first: {q}|{q} Think about it first.|{q} Think before you answer.".split("|")


def thinking(rng):
    """Three ways to think: the prompt opens <think>, the user asks for it, or thinking is closed by the prompt."""
    operation = rng.choice("++--x?s")
    if operation == "?":
        a, b = draw_pair(rng, "?")
        question = ask(rng, "?", a, b)
        said = compare_answer(question, a, b)
        thought = f"I compare {a} and {b}. Tens: {a // 10} and {b // 10}. Ones: {a % 10} and {b % 10}. So {a} {problems.sign_of(a, b)} {b}."
    elif operation == "s":
        operation = rng.choice("+-")
        a, b = draw_pair(rng, operation)
        question, noun = problems.story(rng, operation, a, b, WORDS)
        said = problems.story_answer(operation, a, b, noun)
        thought = f"The numbers are {a} and {b}. I have to {'add' if operation == '+' else 'subtract'}: {a} {operation} {b}. {steps(operation, a, b)}"
    else:
        a, b = (rng.randint(0, 10), rng.randint(0, 10)) if operation == "x" else draw_pair(rng, operation)
        question = ask(rng, operation, a, b)
        said = answer(operation, a, b)
        thought = f"I have to work out {a} {operation} {b}. {steps(operation, a, b)}"
    if rng.random() < 0.15:
        question, said = talk.small_talk(rng, WORDS)
        thought = "This is not a sum. I just answer."
    return with_system(rng, think_messages(rng, question, thought, said)), None


def think_messages(rng, question, thought, said):
    mode = rng.random()
    if mode < 0.45:
        return [user(question), assistant(said, think=thought, prefix="<think>\n")]
    if mode < 0.85:
        return [user(rng.choice(THINK_REQUESTS).format(q=question)), assistant(said, think=thought)]
    return [user(question), assistant(said, prefix="<think>\n\n</think>\n\n")]


def explain(rng):
    """'How do I …' questions: the working is the answer."""
    operation = rng.choice("+-x")
    a, b = (rng.randint(0, 10), rng.randint(0, 10)) if operation == "x" else draw_pair(rng, operation)
    task = f"{a} {operation} {b}"
    question = rng.choice(("How do I work out {t}?", "Explain {t}.", "Show me how to do {t}.", "Explain {t} step by step.",
                           "Can you explain how to do {t}?", "How do you get {t}?")).format(t=task)
    return with_system(rng, [user(question), assistant(f"{steps(operation, a, b)} So {answer(operation, a, b)}.")]), None


def numbers(rng):
    question, said = talk.number_fact(rng)
    return with_system(rng, [user(question), assistant(said)]), None


def chatting(rng):
    """Greetings, who it is, thanks, what it cannot do; sometimes a sum in between."""
    persona = rng.random() < 0.35
    name = WORDS.name(rng)
    messages = []
    for _ in range(rng.choice((1, 1, 2, 2, 3))):
        if rng.random() < 0.2:
            question, said, _ = arithmetic_turn(rng, rng.choice("+-x"))
        elif persona and rng.random() < 0.7:
            question, said = talk.who_are_you(rng, name)
        else:
            question, said = talk.small_talk(rng, WORDS, name if persona else None)
        messages += [user(question), assistant(said)]
    if persona:
        return [{"role": "system", "content": talk.named_prompt(rng, name)}] + messages, None
    return (with_system(rng, messages, 0.3) if rng.random() < 0.5 else messages), None


def simple_turn(rng):
    """A question with a full and a short answer, for the rules of a system prompt to work on."""
    kind = rng.random()
    if kind < 0.5:
        operation = rng.choice("++--x")
        question, said, value = arithmetic_turn(rng, operation)
        return question, said, str(value)
    if kind < 0.75:
        return passages.one_question(rng, WORDS)
    question, said = talk.small_talk(rng, WORDS)
    return question, said, said


def obeying(rng):
    """A system prompt with one rule about every answer."""
    apply, rule = talk.answer_rule(rng, WORDS)
    messages = []
    for _ in range(rng.choice((1, 1, 2))):
        question, full, short = simple_turn(rng)
        messages += [user(question), assistant(apply(full, short))]
    opening = rng.choice(("", "", "You are a second-grade math teacher. ", "You are a helpful assistant. ",
                          f"You are {WORDS.name(rng)}. "))
    return [{"role": "system", "content": opening + rule}] + messages, None


def told(rng):
    """Facts given in the system prompt or earlier in the talk, asked for later."""
    return talk.told_fact(rng, WORDS), None


def repeating(rng):
    question, said = talk.copy_task(rng, WORDS)
    return with_system(rng, [user(question), assistant(said)], 0.2), None


def reading(rng):
    return passages.conversation(rng, WORDS), None


def calling(rng):
    return toolbox.conversation(rng, WORDS)


SKILLS = {
    "add": (lambda rng: arithmetic(rng, "+"), 14),
    "subtract": (lambda rng: arithmetic(rng, "-"), 16),
    "times": (lambda rng: arithmetic(rng, "x"), 5),
    "drill": (drill, 10),
    "compare": (lambda rng: arithmetic(rng, "?"), 6),
    "word_problem": (word_problem, 12),
    "thinking": (thinking, 7),
    "explain": (explain, 3),
    "numbers": (numbers, 3),
    "chatting": (chatting, 6),
    "obeying": (obeying, 7),
    "told": (told, 4),
    "repeating": (repeating, 4),
    "reading": (reading, 14),
    "calling": (calling, 9),
}


def parse_weights(text):
    """'add=20,calling=8' changes single weights of the mixture."""
    weights = {name: weight for name, (_, weight) in SKILLS.items()}
    for item in filter(None, text.split(",")):
        name, value = item.split("=")
        if name not in weights:
            raise SystemExit(f"unknown skill {name!r}; known: {', '.join(weights)}")
        weights[name] = float(value)
    return weights


def conversation(rng, weights):
    skill = rng.choices(list(weights), list(weights.values()))[0]
    return SKILLS[skill][0](rng)


def main():
    parser = argparse.ArgumentParser(description="Print examples of the training corpus.")
    parser.add_argument("--show", type=int, default=10, help="how many conversations")
    parser.add_argument("--skill", choices=sorted(SKILLS), help="only this skill")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    weights = parse_weights("")
    for _ in range(options.show):
        messages, tools = SKILLS[options.skill][0](rng) if options.skill else conversation(rng, weights)
        print("".join(text for text, _ in chat.segments(messages, tools)))


if __name__ == "__main__":
    main()
