"""Small talk, system prompts and their rules, facts told in passing, copying, and facts about numbers."""
from words import COLORS, COMMON, FOODS, ANIMALS, DAYS

ABOUT = "I am the Conclave teacher, a small model that knows second-grade math."

TEACHER_PROMPTS = """You are a second-grade math teacher.|You are a helpful second-grade math teacher.|You are a second grade math teacher.
You are a friendly second-grade math teacher. Help the student.|You are a personal math tutor.|You are a math teacher for young children.
You are a second-grade math teacher. Answer the questions of your students.|You are a kind math teacher. Keep answers short.
You are a personal math tutor. Answer questions about numbers.|You are a 2nd grade math teacher.|Act as a second-grade math teacher.""".replace("\n", "|").split("|")

HELPER_PROMPTS = """You are a helpful assistant.|You are a helpful assistant. Be brief.|You are a friendly assistant.|Be helpful.
Answer the question.|You are an assistant that answers questions.|Help the user.|You are a useful assistant.""".replace("\n", "|").split("|")

NAMED_PROMPTS = """Your name is {n}.|You are {n}, a second-grade math teacher.|You are {n}.|You are called {n}.|You are a teacher named {n}.
You are a helpful assistant named {n}.|You are {n}, a friendly helper.|Your name is {n} and you teach math.""".replace("\n", "|").split("|")

WHO = """Who are you?|What is your name?|What's your name?|Who am I talking to?|Tell me your name.|what are you called?|who are you|Are you a person?
Please introduce yourself.|Introduce yourself.|What are you?|Who is this?""".replace("\n", "|").split("|")

CHATTER = (
    ("Hello!|Hi!|Hello|Hi|Hey!|hey|Hi there!|Hello there|Good day!|hello!|Greetings!",
     "Hello! What would you like to work out?|Hello! What would you like to work out?"),
    ("Good morning!|Good morning, teacher.", "Good morning! Ready for some math?"),
    ("Good evening!|Good afternoon!", "Good day! Ready for some math?"),
    ("Hello, teacher!|Hi teacher!|Hello, how are you?|Hi, how are you?|How are you?|How are you today?|How is it going?",
     "I am fine, thank you. What shall we work out?"),
    ("Thank you!|Thanks!|Thanks a lot!|Thank you very much.|thanks|That helped, thank you.", "You are welcome!"),
    ("Goodbye!|Bye!|See you later!|bye|Good night!|See you tomorrow.", "Goodbye! See you next time."),
    ("What can you do?|What can you teach me?|What do you know?|Help|How can you help me?|What can I ask you?|What do you teach?",
     "I can add, subtract and compare numbers up to 100, say the times tables, solve word problems, answer from a short text, and call functions."),
    ("What is addition?|What does adding mean?|What is adding?|Explain addition.|Can you explain addition?",
     "Adding means putting numbers together. 2 + 3 = 5."),
    ("What is subtraction?|What does subtracting mean?|Explain subtraction.|Can you explain subtraction?",
     "Subtracting means taking away. 5 - 2 = 3."),
    ("What is multiplication?|What does times mean?|Explain multiplication.|Can you explain multiplication?",
     "Multiplying means adding the same number again and again. 3 x 2 = 2 + 2 + 2 = 6."),
    ("What does < mean?|What does the sign < mean?", "The sign < means is smaller than. 2 < 5."),
    ("What does > mean?|What does the sign > mean?", "The sign > means is bigger than. 5 > 2."),
    ("I am sad.|I feel sad today.|This is too hard.|I don't understand.|Math is hard.|I can't do it.",
     "Do not worry. We go step by step, and you can do it."),
    ("I got it right!|I did it!|I understand now.|That was easy!", "Well done! Keep going."),
    ("Do you like math?|Is math fun?", "Yes, I like math. Numbers are fun."),
    ("Are you human?|Are you a robot?|Are you an AI?", "No person here: I am a small language model.|I am a small language model."),
    ("How old are you?", "I have no age. I am a small language model."),
    ("Who made you?|Who trained you?|Who created you?", "I was trained by the script in the Conclave project."),
    ("Yes.|Yes, please.|OK|Okay.|Sure.", "Good. Ask me a question."),
    ("No.|No, thank you.|Not now.", "All right. Ask me when you are ready."),
)

UNKNOWN = """Who is the president of {w}?|What is the capital of {p}?|Tell me about {w}.|Write a poem about {w}.|Who won the world cup?|What is the weather?
What is the weather like in {p}?|How do I cook {f}?|What is the meaning of life?|Translate {w} into French.|Who wrote {w}?|What time is it?
Write a program in Python.|What is quantum physics?|Tell me a joke.|Tell me the news.|How far is {p}?|Who is {n}?|What do you think about {w}?
Where is {p}?|When was {n} born?|What is a {w}?|How tall is {n}?|Can you write code?|Which team is the best?|Solve this integral.|What is the square root of 2?""".replace("\n", "|").split("|")
UNKNOWN_SAID = "I do not know that. I only know second-grade math."


def system_prompt(rng, words):
    kind = rng.random()
    if kind < 0.6:
        return rng.choice(TEACHER_PROMPTS)
    if kind < 0.85:
        return rng.choice(HELPER_PROMPTS)
    return named_prompt(rng, words.name(rng))


def named_prompt(rng, name):
    return rng.choice(NAMED_PROMPTS).format(n=name)


def who_are_you(rng, name=None):
    question = rng.choice(WHO)
    if question.startswith("Are you"):
        return question, "I am a small language model."
    return question, f"I am {name}." if name else ABOUT


def small_talk(rng, words, name=None):
    kind = rng.random()
    if kind < 0.2:
        return who_are_you(rng, name)
    if kind < 0.4:
        question = rng.choice(UNKNOWN).format(w=words.word(rng), p=words.place(rng), n=words.name(rng), f=words.pick(rng, FOODS))
        return question, UNKNOWN_SAID
    questions, said = rng.choice(CHATTER)
    return rng.choice(questions.split("|")), said.split("|")[-1]


def capitals(full, short):
    return full.upper()


def lower_case(full, short):
    return full.lower()


def only_short(full, short):
    return short


def phrase(rng, words):
    return " ".join(words.word(rng) for _ in range(rng.choice((1, 1, 2, 3)))).capitalize() + rng.choice("!!..")


def quoted(rng, text):
    return rng.choice(('"{}"', "'{}'", "{}", '"{}"')).format(text)


def answer_rule(rng, words):
    """(function of full and short answer, the rule as said in the system prompt)."""
    kind = rng.choice(("upper", "lower", "short", "short", "end", "end", "begin", "begin", "call", "fixed"))
    if kind == "upper":
        return capitals, rng.choice(("Answer in capital letters.", "Reply only in capital letters.", "Write everything in uppercase.",
                                     "Always answer in upper case.", "Use capital letters only.", "REPLY IN CAPITAL LETTERS."))
    if kind == "lower":
        return lower_case, rng.choice(("Answer in lower case.", "Use only small letters.", "Write everything in lowercase."))
    if kind == "short":
        return only_short, rng.choice(("Answer with one word or number only.", "Answer with just the answer, nothing else.",
                                       "Reply with only the answer.", "Answer with the number only.", "Only give the answer.",
                                       "Answer in one word.", "Give just the result.", "Reply with the number only."))
    text = phrase(rng, words)
    if kind == "end":
        rule = rng.choice(("Always end with {}", "End every answer with {}", "Finish each reply with {}", "Add {} at the end of every answer",
                           "Always finish by saying {}"))
        return (lambda full, short: f"{full} {text}"), rule.format(quoted(rng, text))
    if kind == "begin":
        rule = rng.choice(("Always begin with {}", "Start every answer with {}", "Begin each reply with {}", "First say {}",
                           "Always start by saying {}"))
        return (lambda full, short: f"{text} {full}"), rule.format(quoted(rng, text))
    if kind == "call":
        name = words.word(rng).capitalize() if rng.random() < 0.6 else words.name(rng)
        rule = rng.choice(("Call the user {}.", "Always call the user {}.", "Address the user as {}.", "The user wants to be called {}."))
        return (lambda full, short: f"{name}, {full}"), rule.format(name)
    rule = rng.choice(("Whatever the user says, answer {}", "Answer every question with {}", "Only ever say {}", "Always reply {}"))
    return (lambda full, short: text), rule.format(quoted(rng, text))


def told_fact(rng, words):
    """A fact about the user or in the system prompt, then a question about it."""
    kind = rng.choice(("name", "color", "food", "pet", "secret", "if", "day"))
    name, word, said = words.name(rng), words.word(rng), "Nice to know."
    facts = {
        "name": (rng.choice((f"My name is {name}.", f"I am {name}.", f"Hi, I'm {name}.", f"Hello! My name is {name}.")), f"Hello, {name}!",
                 rng.choice(("What is my name?", "Do you know my name?", "Who am I?", "What's my name?")), f"Your name is {name}."),
        "color": (f"My favorite color is {(color := words.pick(rng, COLORS))}.", said, "What is my favorite color?", f"Your favorite color is {color}."),
        "food": (f"I like {(food := words.pick(rng, FOODS))}.", said, "What do I like?", f"You like {food}."),
        "pet": (f"I have a {(pet := words.pick(rng, ANIMALS))} named {name}.", said, f"What is my {pet} called?", f"Your {pet} is called {name}."),
        "day": (f"My birthday is on {(day := rng.choice(DAYS))}.", said, "When is my birthday?", f"Your birthday is on {day}."),
    }
    if kind == "secret":
        thing = rng.choice(("secret word", "password", "code word", "magic word", "key"))
        value = word if rng.random() < 0.7 else str(rng.randint(10, 9999))
        return [{"role": "system", "content": f"The {thing} is {value}."}, {"role": "user", "content": f"What is the {thing}?"},
                {"role": "assistant", "content": f"The {thing} is {value}."}]
    if kind == "if":
        return if_rule(rng, words)
    first, reply, question, said = facts[kind]
    messages = [{"role": "user", "content": first}, {"role": "assistant", "content": reply}]
    if rng.random() < 0.3:
        asked, answered = small_talk(rng, words)
        messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    return messages + [{"role": "user", "content": question}, {"role": "assistant", "content": said}]


def if_rule(rng, words):
    """'If the user says X, answer Y', tried with X and with something else."""
    trigger, reply = phrase(rng, words).rstrip(".!"), phrase(rng, words)
    rule = rng.choice(("If the user says {}, answer {}", "When the user says {}, reply {}", "If someone says {}, say {}"))
    system = rule.format(quoted(rng, trigger), quoted(rng, reply))
    question, said = (trigger, reply) if rng.random() < 0.65 else small_talk(rng, words)
    return [{"role": "system", "content": system}, {"role": "user", "content": question}, {"role": "assistant", "content": said}]


def copy_task(rng, words):
    items = [words.word(rng) for _ in range(rng.choice((1, 2, 3, 4, 6, 9, 12)))]
    if rng.random() < 0.4:
        items = [str(rng.randint(0, 999)) if rng.random() < 0.3 else words.name(rng) for _ in items]
    text = " ".join(items)
    kind = rng.randrange(6)
    if kind == 0:
        return f"What is the first word: {text}?", items[0]
    if kind == 1:
        return f"What is the last word: {text}?", items[-1]
    if kind == 2:
        return f"How many words: {text}?", str(len(items))
    return rng.choice(("Repeat: {}", "Say {}", "Repeat after me: {}", "Write {}", "Please say: {}", "Copy this: {}", "Just say {}")).format(text), text


def number_fact(rng):
    n = rng.randint(0, 98)
    small = rng.randint(0, 50)
    choices = (
        (f"What comes after {n}?|Which number comes after {n}?|What number is one more than {n}?", f"{n + 1} comes after {n}."),
        (f"What comes before {n + 1}?|Which number comes before {n + 1}?", f"{n} comes before {n + 1}."),
        (f"Is {n} even or odd?|Is {n} odd or even?", f"{n} is {'odd' if n % 2 else 'even'}."),
        (f"What is double {small}?|Double {small}.", f"Double {small} is {2 * small}."),
        (f"What is half of {2 * small}?|Half of {2 * small}?", f"Half of {2 * small} is {small}."),
        (f"How many tens are in {n}?|How many tens does {n} have?", f"{n} has {count(n // 10, 'ten')} and {count(n % 10, 'one')}."),
        (f"Count from {small} to {small + 6}.", ", ".join(str(small + i) for i in range(7)) + "."),
        ("Count to 10.|Can you count to 10?|Count to ten.", "1, 2, 3, 4, 5, 6, 7, 8, 9, 10."),
        ("Count by twos to 10.", "2, 4, 6, 8, 10."),
        ("Count by fives to 50.", "5, 10, 15, 20, 25, 30, 35, 40, 45, 50."),
        ("Count by tens to 100.", "10, 20, 30, 40, 50, 60, 70, 80, 90, 100."),
    )
    questions, said = rng.choice(choices)
    return rng.choice(questions.split("|")), said


def count(number, noun):
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
