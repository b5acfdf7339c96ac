"""Arithmetic within 100: the problems, their phrasings, and the split between training and evaluation.

One operand pair in ten, chosen by hash, is kept for evaluation: training asks it in no phrasing, no word problem,
no conversation and no request to explain. (The partial sums inside a worked example, such as 30 + 20, are not
filtered.) An addition and its mirror image (3 + 4, 4 + 3) share one hash.
"""
import hashlib

from words import COUNTED, CONTAINERS, WordSource, count_of, plural


def held_out(operation, a, b):
    if operation in ("+", "?"):
        a, b = min(a, b), max(a, b)
    digest = hashlib.sha256(f"{operation}:{a}:{b}".encode()).digest()
    return digest[0] % 10 == 0


def draw_pair(rng, operation, evaluation=False):
    """Operands in 0..100 with the result in 0..100, from the wanted side of the split."""
    while True:
        a, b = rng.randint(0, 100), rng.randint(0, 100)
        if operation == "+":
            b = rng.randint(0, 100 - a)
            if rng.random() < 0.5:
                a, b = b, a
        elif operation == "-":
            a, b = max(a, b), min(a, b)
        elif rng.random() < 0.25:
            b = min(100, max(0, a + rng.randint(-9, 9)))  # comparing neighbours is the hard part
        elif not evaluation and rng.random() < 0.05:
            b = a
        if held_out(operation, a, b) == evaluation:
            return a, b


def result_of(operation, a, b):
    return a + b if operation == "+" else a - b if operation == "-" else a * b


ADD_PHRASES = """What is {a} + {b}?|{a}+{b}=|{a} + {b} = ?|{a} + {b}|Add {a} and {b}.|How much is {a} plus {b}?|What is {a} plus {b}?
What's {a} + {b}?|Can you add {a} and {b}?|Calculate {a} + {b}.|Compute {a} + {b}|Please solve {a} + {b}.|What do you get when you add {a} and {b}?
What is the sum of {a} and {b}?|{a} plus {b}|How much is {a} + {b}?|What does {a} + {b} equal?|Find {a} + {b}.|what is {a}+{b}
What is {a}+{b}?|Solve: {a} + {b}|Tell me {a} + {b}.|Add {b} to {a}.|{a} + {b} =|Could you tell me what {a} + {b} is?|I need {a} plus {b}."""
SUB_PHRASES = """What is {a} - {b}?|{a}-{b}=|{a} - {b} = ?|{a} - {b}|Subtract {b} from {a}.|How much is {a} minus {b}?|What is {a} minus {b}?
What's {a} - {b}?|Take {b} away from {a}.|Calculate {a} - {b}.|Compute {a} - {b}|Please solve {a} - {b}.|What do you get when you take {b} from {a}?
What is the difference between {a} and {b}?|{a} minus {b}|How much is {a} - {b}?|What does {a} - {b} equal?|Find {a} - {b}.|what is {a}-{b}
What is {a}-{b}?|Solve: {a} - {b}|Tell me {a} - {b}.|What is {a} take away {b}?|{a} - {b} =|Could you tell me what {a} - {b} is?|What is {b} less than {a}?"""
MUL_PHRASES = """What is {a} x {b}?|{a}x{b}=|{a} x {b} = ?|{a} × {b}|Multiply {a} by {b}.|How much is {a} times {b}?|What is {a} times {b}?
What's {a} * {b}?|{a} * {b}|Calculate {a} x {b}.|Multiply {a} and {b}.|{a} times {b}|What is the product of {a} and {b}?|what is {a}*{b}
What is {a} × {b}?|What is {a} * {b}?|How much is {a} x {b}?|Solve: {a} x {b}|Tell me {a} times {b}.|{a} * {b} = ?"""
COMPARE_PHRASES = """Which is bigger, {a} or {b}?|Which number is larger: {a} or {b}?|Which is greater, {a} or {b}?|What is bigger: {a} or {b}?
Is {a} bigger than {b}?|Is {a} less than {b}?|Is {a} greater than {b}?|Is {a} smaller than {b}?|Which is smaller, {a} or {b}?|Which is less, {a} or {b}?
Which number is smaller: {a} or {b}?|Compare {a} and {b}.|{a} ? {b} Put in <, > or =.|Fill in <, > or =: {a} _ {b}|Compare {a} and {b} with <, > or =."""
PHRASES = {
    "+": ADD_PHRASES.replace("\n", "|").split("|"),
    "-": SUB_PHRASES.replace("\n", "|").split("|"),
    "x": MUL_PHRASES.replace("\n", "|").split("|"),
    "?": COMPARE_PHRASES.replace("\n", "|").split("|"),
}

ADD_STORIES = """{n} has {A}. {n} gets {b} more. How many {os} does {n} have now?|{n} has {A} and {m} has {B}. How many {os} do they have together?
There are {A} in a {c}. {n} puts in {b} more. How many {os} are in the {c} now?|{n} found {A} in the morning and {b} more in the evening. How many {os} did {n} find in all?
{n} bought {A}. Then {n} bought {b} more. How many {os} did {n} buy altogether?|{m} gave {n} {b} {os_b}. {n} already had {A}. How many {os} does {n} have in total?
One {c} holds {A} and another {c} holds {B}. How many {os} are there in all?|If {n} has {A} and buys {b} more, how many {os} does {n} have?"""
SUB_STORIES = """{n} has {A}. {n} gives {b} to {m}. How many {os} are left?|{n} had {A} and lost {b} of them. How many {os} does {n} have now?
There are {A} in a {c}. {n} takes out {b}. How many {os} are still in the {c}?|{n} has {A} and {m} has {B}. How many more {os} does {n} have than {m}?
{n} made {A} and sold {b}. How many {os} are left?|There were {A}. {n} used {b}. How many {os} remain?|{n} wants {A} but has only {b}. How many more {os} does {n} need?
If {n} has {A} and gives away {b}, how many {os} does {n} have left?"""
MUL_STORIES = """There are {ac} with {B} in each. How many {os} are there in all?|{n} has {ac}. Each {c} holds {B}. How many {os} does {n} have?
{n} buys {ac} with {B} each. How many {os} is that altogether?"""
STORIES = {
    "+": ADD_STORIES.replace("\n", "|").split("|"),
    "-": SUB_STORIES.replace("\n", "|").split("|"),
    "x": MUL_STORIES.replace("\n", "|").split("|"),
}


def ask(rng, operation, a, b):
    return rng.choice(PHRASES[operation]).format(a=a, b=b)


def sign_of(a, b):
    return "<" if a < b else ">" if a > b else "="


def compare_answer(question, a, b):
    """The answer to a comparison question; what is asked is read from the words of the question."""
    low, high = min(a, b), max(a, b)
    if "_" in question or "<" in question:
        return f"{a} {sign_of(a, b)} {b}"
    if question.startswith("Is "):
        wanted = ">" if "bigger" in question or "greater" in question else "<"
        said = "Yes" if sign_of(a, b) == wanted else "No"
        return f"{said}, {a} {sign_of(a, b)} {b}."
    if a == b:
        return f"They are equal: {a} = {b}."
    if question.startswith("Compare"):
        return f"{a} is {'bigger' if a > b else 'smaller'} than {b}."
    if "small" in question or "less" in question:
        return f"{low} is smaller than {high}."
    return f"{high} is bigger than {low}."


def story(rng, operation, a, b, words):
    """A one-step word problem. Returns the text and the counted things in the plural."""
    noun, container = words.pick(rng, COUNTED), words.pick(rng, CONTAINERS)
    while container == noun:
        noun = words.pick(rng, COUNTED)
    n, m = words.names(rng, 2)
    text = rng.choice(STORIES[operation]).format(
        a=a, b=b, n=n, m=m, c=container, os=plural(noun), os_b=noun if b == 1 else plural(noun),
        A=count_of(a, noun), B=count_of(b, noun), ac=count_of(a, container))
    return text, noun


def answer(operation, a, b):
    return f"{a} {operation} {b} = {result_of(operation, a, b)}"


def story_answer(operation, a, b, noun):
    return f"{answer(operation, a, b)}. The answer is {count_of(result_of(operation, a, b), noun)}."


class Problem:
    """One evaluation problem: what is asked, and how to judge an answer."""

    def __init__(self, skill, question, said, accept):
        self.skill, self.question, self.said, self.accept = skill, question, said, accept


def last_number_is(value):
    def judge(text):
        digits = "".join(ch if ch.isdigit() else " " for ch in text).split()
        return bool(digits) and digits[-1] == str(value)
    return judge


def arithmetic_problem(rng, skill):
    words = WordSource(evaluation=True)
    if skill == "compare":
        a, b = draw_pair(rng, "?", evaluation=True)
        question = ask(rng, "?", a, b)
        expected = compare_answer(question, a, b)
        return Problem(skill, question, expected, lambda text: text.strip().rstrip(".") == expected.rstrip("."))
    if skill == "times table":
        a, b = rng.randint(0, 10), rng.randint(0, 10)
        return Problem(skill, ask(rng, "x", a, b), answer("x", a, b), last_number_is(a * b))
    operation = {"add": "+", "subtract": "-"}.get(skill) or rng.choice("+-")
    a, b = draw_pair(rng, operation, evaluation=True)
    value = result_of(operation, a, b)
    if skill == "word problem":
        text, noun = story(rng, operation, a, b, words)
        return Problem(skill, text, story_answer(operation, a, b, noun), lambda said: judged_story(said, value))
    return Problem(skill, ask(rng, operation, a, b), answer(operation, a, b), last_number_is(value))


def judged_story(text, value):
    """Every number stated as a result must be right: '3 + 4 = 7. Tom has 7 apples.'"""
    tail = text.split("=")[-1]
    digits = "".join(ch if ch.isdigit() else " " for ch in tail).split()
    return bool(digits) and all(found == str(value) for found in digits)


ARITHMETIC_SHARES = (("add", 0.3), ("subtract", 0.3), ("compare", 0.2), ("word problem", 0.2))


def arithmetic_problems(rng, count):
    """Held-out problems without repetition, in fixed shares of skills."""
    found, seen = [], set()
    for skill, share in ARITHMETIC_SHARES:
        wanted = len(found) + round(count * share)
        while len(found) < wanted:
            problem = arithmetic_problem(rng, skill)
            if problem.question not in seen:
                seen.add(problem.question)
                found.append(problem)
    return found
