"""Short passages of made-up facts, questions on one of them, and how an answer is judged."""
from words import ANIMALS, COLORS, CONTAINERS, COUNTED, DAYS, FOODS, JOBS, MONTHS, OBJECTS, PLACES, SPORTS, SPOTS, plural

MISSING = "The passage does not say."


class Fact:
    """A sentence about a subject, questions on it, the short answer, and the full answer."""

    def __init__(self, relation, subject, sentence, questions, value, full):
        self.relation, self.subject, self.sentence = relation, subject, sentence
        self.questions, self.value, self.full = questions, str(value), full


def lives(rng, words):
    n, p = words.name(rng), words.place(rng)
    return Fact("lives", n, f"{n} lives in {p}.", f"Where does {n} live?|Which city does {n} live in?", p, f"{n} lives in {p}.")


def comes_from(rng, words):
    n, p = words.name(rng), words.place(rng)
    return Fact("from", n, f"{n} comes from {p}.", f"Where does {n} come from?|Where is {n} from?", p, f"{n} comes from {p}.")


def likes_color(rng, words):
    n, c = words.name(rng), words.pick(rng, COLORS)
    return Fact("color", n, f"{n}'s favorite color is {c}.", f"What is {n}'s favorite color?|Which color does {n} like best?", c, f"{n}'s favorite color is {c}.")


def eats(rng, words):
    n, f = words.name(rng), words.pick(rng, FOODS)
    return Fact("food", n, f"{n} likes to eat {f}.", f"What does {n} like to eat?|Which food does {n} like?", f, f"{n} likes to eat {f}.")


def plays(rng, words):
    n, s, d = words.name(rng), words.pick(rng, SPORTS), rng.choice(DAYS)
    if rng.random() < 0.5:
        return Fact("sport", n, f"On {d} {n} does {s}.", f"What does {n} do on {d}?", s, f"On {d} {n} does {s}.")
    return Fact("sport", n, f"On {d} {n} does {s}.", f"When does {n} do {s}?|On which day does {n} do {s}?", d, f"{n} does {s} on {d}.")


def works(rng, words):
    n, j = words.name(rng), words.pick(rng, JOBS)
    return Fact("job", n, f"{n} works as a {j}.", f"What is {n}'s job?|What does {n} work as?|What does {n} do for a living?", j, f"{n} works as a {j}.")


def owns_pet(rng, words):
    n, a, m = words.name(rng), words.pick(rng, ANIMALS), words.name(rng)
    if rng.random() < 0.5:
        return Fact("pet", n, f"{n} has a {a} named {m}.", f"What is the name of {n}'s {a}?|What is {n}'s {a} called?", m, f"{n}'s {a} is called {m}.")
    return Fact("pet", n, f"{n} has a {a} named {m}.", f"What animal does {n} have?|Which pet does {n} have?", a, f"{n} has a {a}.")


def has_things(rng, words):
    n, k, o = words.name(rng), rng.randint(2, 99), plural(words.pick(rng, COUNTED))
    return Fact("count", n, f"{n} has {k} {o}.", f"How many {o} does {n} have?", k, f"{n} has {k} {o}.")


def is_in(rng, words):
    c, o, s = words.pick(rng, COLORS), words.pick(rng, OBJECTS), words.pick(rng, SPOTS)
    return Fact("where", o, f"The {c} {o} is in the {s}.", f"Where is the {o}?|Where is the {c} {o}?|Where can I find the {o}?", s, f"The {o} is in the {s}.")


def has_color(rng, words):
    c, o, s = words.pick(rng, COLORS), words.pick(rng, OBJECTS), words.pick(rng, SPOTS)
    return Fact("where", o, f"The {c} {o} is in the {s}.", f"What color is the {o}?|Which color is the {o}?", c, f"The {o} is {c}.")


def capital(rng, words):
    country, p = words.invented(rng, 2).capitalize(), words.place(rng)
    return Fact("capital", country, f"The capital of {country} is {p}.", f"What is the capital of {country}?", p, f"The capital of {country} is {p}.")


def born(rng, words):
    n, y = words.name(rng), rng.randint(1900, 2020)
    return Fact("born", n, f"{n} was born in {y}.", f"When was {n} born?|In which year was {n} born?", y, f"{n} was born in {y}.")


def founded(rng, words):
    t, y, n = words.invented(rng, 2).capitalize(), rng.randint(1500, 2020), words.name(rng)
    kind = rng.choice(("school", "bakery", "library", "company", "club", "museum"))
    sentence = f"The {t} {kind} was founded in {y} by {n}."
    if rng.random() < 0.5:
        return Fact("founded", t, sentence, f"When was the {t} {kind} founded?|In which year was the {t} {kind} founded?", y, f"The {t} {kind} was founded in {y}.")
    return Fact("founded", t, sentence, f"Who founded the {t} {kind}?", n, f"{n} founded the {t} {kind}.")


def opens(rng, words):
    w, h = words.word(rng).capitalize(), rng.randint(6, 11)
    kind = rng.choice(("shop", "cafe", "pool", "zoo", "park", "office"))
    return Fact("opens", w, f"The {w} {kind} opens at {h} o'clock.", f"When does the {w} {kind} open?|What time does the {w} {kind} open?", h, f"The {w} {kind} opens at {h} o'clock.")


def costs(rng, words):
    o, k = words.pick(rng, OBJECTS), rng.randint(2, 99)
    return Fact("price", o, f"The {o} costs {k} dollars.", f"How much does the {o} cost?|What does the {o} cost?|What is the price of the {o}?", k, f"The {o} costs {k} dollars.")


def code(rng, words):
    o, w = words.pick(rng, SPOTS), words.word(rng) if rng.random() < 0.5 else rng.randint(100, 9999)
    return Fact("code", o, f"The code for the {o} is {w}.", f"What is the code for the {o}?", w, f"The code for the {o} is {w}.")


def river(rng, words):
    w, k = words.invented(rng, 2).capitalize(), rng.randint(10, 999)
    return Fact("river", w, f"The river {w} is {k} km long.", f"How long is the river {w}?", k, f"The river {w} is {k} km long.")


def happens(rng, words):
    w, m, p = words.word(rng), rng.choice(MONTHS), words.place(rng)
    event = rng.choice(("festival", "fair", "contest", "race", "party"))
    sentence = f"The {w} {event} is held in {p} in {m}."
    if rng.random() < 0.5:
        return Fact("event", w, sentence, f"Where is the {w} {event} held?|Where is the {w} {event}?", p, f"The {w} {event} is held in {p}.")
    return Fact("event", w, sentence, f"When is the {w} {event} held?|When is the {w} {event}?", m, f"The {w} {event} is held in {m}.")


def gave(rng, words):
    (n, m), o = words.names(rng, 2), words.pick(rng, OBJECTS)
    sentence = f"{n} gave {m} a {o}."
    kind = rng.randrange(3)
    if kind == 0:
        return Fact("gave", n, sentence, f"What did {n} give {m}?|What did {n} give to {m}?", o, f"{n} gave {m} a {o}.")
    if kind == 1:
        return Fact("gave", n, sentence, f"Who gave {m} a {o}?", n, f"{n} gave {m} a {o}.")
    return Fact("gave", n, sentence, f"Who got a {o} from {n}?|To whom did {n} give a {o}?", m, f"{m} got a {o} from {n}.")


MAKERS = (lives, comes_from, likes_color, eats, plays, works, owns_pet, has_things, is_in, has_color, capital, born, founded, opens,
          costs, code, river, happens, gave)


def facts(rng, words, count):
    """Facts whose subjects differ. Half of the time several share one relation, so the subject decides."""
    pool = rng.sample(MAKERS, rng.choice((1, 2, 2, 3, 4)))
    found, subjects, values = [], set(), set()
    while len(found) < count:
        fact = rng.choice(pool)(rng, words)
        if fact.subject in subjects or fact.value in values:
            if rng.random() < 0.1:
                pool = MAKERS
            continue
        subjects.add(fact.subject)
        values.add(fact.value)
        found.append(fact)
    return found


def join(rng, found):
    """The sentences as one text; sometimes a second sentence about the same person says 'also'."""
    return " ".join(fact.sentence for fact in found)


PROMPTS = (
    "{p}\n\n{q}", "{p} {q}", "{p}\n{q}", "Read this passage: {p}\n\nQuestion: {q}", "Passage: {p}\nQuestion: {q}",
    "Passage: {p}\n\nQuestion: {q}", "Context: {p}\n\nQuestion: {q}", "Read the text and answer the question.\n\n{p}\n\n{q}",
    "Use the passage to answer.\n\nPassage: {p}\n\nQuestion: {q}", "{q}\n\nPassage: {p}", "Text: {p}\n\n{q}",
    "Here is a short story. {p} {q}", "Answer from the passage.\n{p}\n{q}", "Context:\n{p}\n\nQuestion: {q}\nAnswer:",
    "Read: {p}\n{q}", "Given this passage: \"{p}\" {q}",
)

SYSTEMS = (
    "Answer from this text: {p}", "Use this context to answer the user.\n\n{p}", "Context: {p}", "Context:\n{p}",
    "Answer the questions using the passage.\n\nPassage: {p}", "You are a helpful assistant. Use this information: {p}",
    "You know the following: {p}", "{p}", "You are a second-grade math teacher. {p}",
)


def numbered(found):
    return "\n".join(f"[{index}] {fact.sentence}" for index, fact in enumerate(found, 1))


def question_of(rng, fact):
    return rng.choice(fact.questions.split("|"))


def missing_question(rng, words, found):
    """A question on a subject that the passage does not name."""
    while True:
        fact = rng.choice(MAKERS)(rng, words)
        if all(fact.subject != other.subject and fact.subject not in other.sentence for other in found):
            return question_of(rng, fact)


def turns(rng, words, found):
    """(question, answer) pairs on the facts, mostly one."""
    pairs = []
    for fact in rng.sample(found, min(len(found), rng.choice((1, 1, 1, 2, 2, 3)))):
        pairs.append((question_of(rng, fact), fact.full))
    if rng.random() < 0.1:
        pairs[-1] = (missing_question(rng, words, found), MISSING)
    return pairs


def conversation(rng, words):
    found = facts(rng, words, rng.randint(1, 5))
    text = numbered(found) if rng.random() < 0.12 else join(rng, found)
    pairs = turns(rng, words, found)
    messages = []
    if rng.random() < 0.2:
        messages.append({"role": "system", "content": rng.choice(SYSTEMS).format(p=text)})
        messages.append({"role": "user", "content": pairs[0][0]})
    else:
        if rng.random() < 0.3:
            messages.append({"role": "system", "content": rng.choice(("You are a helpful assistant.", "You are a second-grade math teacher.",
                                                                      "Answer the question from the passage.", "You are a second-grade teacher."))})
        messages.append({"role": "user", "content": rng.choice(PROMPTS).format(p=text, q=pairs[0][0])})
    messages.append({"role": "assistant", "content": pairs[0][1]})
    for question, said in pairs[1:]:
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": said}]
    return messages


def one_question(rng, words):
    """(prompt, full answer, short answer) for skills that need any small question."""
    found = facts(rng, words, rng.randint(1, 3))
    fact = rng.choice(found)
    return rng.choice(PROMPTS).format(p=join(rng, found), q=question_of(rng, fact)), fact.full, fact.value


def evaluation_case(rng, words):
    """(prompt, wanted value, values that must not be said): names and made-up words are of the kept share."""
    found = facts(rng, words, rng.randint(2, 5))
    fact = rng.choice(found)
    question = question_of(rng, fact)
    prompt = rng.choice(PROMPTS).format(p=join(rng, found), q=question)
    others = [other.value for other in found if other is not fact and other.value.lower() not in question.lower()]
    return prompt, fact.value, others
