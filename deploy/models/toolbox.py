"""Functions to call: their descriptions, requests that need one of them, the results, and the answer after it."""
import json

import passages
import problems
import talk
from words import OBJECTS, SPOTS


class Need:
    """A request in words, the function it needs with its arguments, a result, and what to say then."""

    def __init__(self, name, about, parameters, request, arguments, result, said):
        self.name, self.about, self.parameters = name, about, parameters
        self.request, self.arguments, self.result, self.said = request, arguments, result, said

    def with_single(self, value):
        """The only parameter gets this value."""
        self.arguments = {next(iter(self.parameters)): value}
        return self


def pick(rng, text):
    return rng.choice(text.split("|"))


def weather(rng, words):
    place, degrees, sky = words.place(rng), rng.randint(-9, 39), pick(rng, "sunny|cloudy|rainy|windy|snowy|clear|foggy")
    key = pick(rng, "city|location|place|town")
    unit = rng.choice(("", "", "celsius", "fahrenheit"))
    parameters, arguments = {key: "string"}, {key: place}
    tail = ""
    if unit:
        parameters["unit"], arguments["unit"] = ("celsius", "fahrenheit"), unit
        tail = f" in {unit}"
    request = pick(rng, "What is the weather in {p}{t}?|What's the weather like in {p}{t}?|How is the weather in {p}{t}?|Tell me the weather in {p}{t}."
                   "|Weather in {p}{t}?|What is the weather like in {p} today{t}?|Is it warm in {p}{t}?|What is the temperature in {p}{t}?"
                   "|What's the weather in {p} right now{t}?").format(p=place, t=tail)
    result = rng.choice((json.dumps({"temperature": degrees, "condition": sky}), json.dumps({key: place, "temperature": degrees, "conditions": sky}),
                         f"{degrees} degrees, {sky}", f"{sky}, {degrees} degrees", json.dumps({"temp": degrees, "sky": sky}), f"{degrees} C and {sky}"))
    return Need(pick(rng, "get_weather|weather|get_current_weather|weather_now|lookup_weather|fetch_weather"),
                pick(rng, "Get the weather of a place|Get the current weather|Weather for a city|Current weather in a given location"),
                parameters, request, arguments, result, f"It is {degrees} degrees and {sky} in {place}.")


def sums(rng, words):
    operation = rng.choice("+-x")
    if operation == "x":
        a, b = rng.randint(2, 99), rng.randint(2, 99)
    else:
        a, b = rng.randint(0, 999), rng.randint(0, 999)
        if rng.random() < 0.6:
            a, b = problems.draw_pair(rng, operation)
        if problems.held_out(operation, a, b):
            return sums(rng, words)
    name, about = {"+": ("add|sum|add_numbers|plus|calc_add|addition", "Add two numbers|Adds two integers|Returns the sum"),
                   "-": ("subtract|minus|difference|subtract_numbers", "Subtract two numbers|Subtracts b from a"),
                   "x": ("multiply|times|product|multiply_numbers", "Multiply two numbers|Returns the product")}[operation]
    keys = rng.choice((("a", "b"), ("x", "y"), ("first", "second"), ("num1", "num2"), ("left", "right")))
    value = problems.result_of(operation, a, b)
    result = rng.choice((str(value), json.dumps({"result": value}), json.dumps({"value": value}), json.dumps({"answer": value})))
    return Need(pick(rng, name), pick(rng, about), {key: rng.choice(("integer", "number")) for key in keys},
                problems.ask(rng, operation, a, b), dict(zip(keys, (a, b))), result, f"{a} {operation} {b} = {value}")


def calculate(rng, words):
    operation = rng.choice("+-*")
    a, b = rng.randint(0, 999), rng.randint(0, 999)
    if problems.held_out(operation, a, b):
        return calculate(rng, words)
    expression, value = f"{a} {operation} {b}", problems.result_of(operation, a, b)
    request = pick(rng, "What is {e}?|Calculate {e}.|Compute {e}|Use the calculator: {e}|How much is {e}?|Work out {e}.").format(e=expression)
    result = rng.choice((str(value), json.dumps({"result": value})))
    return Need(pick(rng, "calculate|calculator|evaluate|compute|math"), pick(rng, "Evaluate an expression|A calculator|Computes a math expression"),
                {pick(rng, "expression|formula|input"): "string"}, request, None, result, f"{expression} = {value}").with_single(expression)


def clock(rng, words):
    place, hour = words.place(rng), f"{rng.randint(0, 23):02d}:{rng.randint(0, 59):02d}"
    request = pick(rng, "What time is it in {p}?|Tell me the time in {p}.|What's the time in {p}?|Current time in {p}?").format(p=place)
    result = rng.choice((hour, json.dumps({"time": hour}), f"It is {hour}"))
    return Need(pick(rng, "get_time|current_time|time_in|clock"), pick(rng, "Get the time in a city|Current time of a place"),
                {pick(rng, "city|location|timezone|place"): "string"}, request, None, result, f"It is {hour} in {place}.").with_single(place)


def timer(rng, words):
    minutes = rng.randint(1, 99)
    request = pick(rng, "Set a timer for {m} minutes.|Start a timer of {m} minutes.|Please set a {m} minute timer.|Timer for {m} minutes").format(m=minutes)
    result = rng.choice(("ok", json.dumps({"status": "ok"}), "started", json.dumps({"ok": True}), "done"))
    return Need(pick(rng, "set_timer|start_timer|timer"), pick(rng, "Set a timer|Starts a countdown"),
                {pick(rng, "minutes|duration|time"): "integer"}, request, None, result, f"The timer is set for {minutes} minutes.").with_single(minutes)


def message(rng, words):
    name, text = words.name(rng), " ".join(words.word(rng) for _ in range(rng.randint(1, 4)))
    keys = rng.choice((("to", "text"), ("name", "message"), ("recipient", "body"), ("person", "content")))
    request = pick(rng, "Send {n} the message: {t}|Write to {n}: {t}|Tell {n}: {t}|Send a message to {n} saying {t}|Message {n}: {t}").format(n=name, t=text)
    result = rng.choice(("sent", json.dumps({"status": "sent"}), "ok", json.dumps({"ok": True})))
    return Need(pick(rng, "send_message|send_text|message|send_mail"), pick(rng, "Send a message to a person|Sends a text"),
                dict.fromkeys(keys, "string"), request, dict(zip(keys, (name, text))), result, f"The message to {name} is sent.")


def lookup(rng, words):
    topic, found = " ".join(words.word(rng) for _ in range(rng.randint(1, 3))), passages.facts(rng, words, 1)[0]
    request = pick(rng, "Search for {t}.|Look up {t}.|Find {t}|Please search for {t}.|What does the web say about {t}?|Search {t}").format(t=topic)
    result = rng.choice((found.sentence, json.dumps({"result": found.sentence}), json.dumps({"text": found.sentence}, ensure_ascii=False)))
    return Need(pick(rng, "search|lookup|web_search|find|search_web"), pick(rng, "Search the web|Look up a topic|Search for information"),
                {pick(rng, "query|q|topic|text|term"): "string"}, request, None, result, found.sentence).with_single(topic)


def ask_documents(rng, words):
    """A question as the query; the answer is in the passage that comes back."""
    found = passages.facts(rng, words, rng.randint(1, 3))
    fact = rng.choice(found)
    question = passages.question_of(rng, fact)
    text = passages.join(rng, found)
    result = rng.choice((text, json.dumps({"text": text}, ensure_ascii=False)))
    return Need(pick(rng, "search_documents|file_search|ask|retrieve|search"), pick(rng, "Search the documents|Find passages for a question"),
                {pick(rng, "query|question|q"): "string"}, question, None, result, fact.full).with_single(question)


def price(rng, words):
    thing, value = words.pick(rng, OBJECTS), rng.randint(1, 99)
    request = pick(rng, "How much does the {t} cost?|What is the price of the {t}?|Price of the {t}?|What does a {t} cost?").format(t=thing)
    result = rng.choice((str(value), json.dumps({"price": value}), f"{value} dollars"))
    return Need(pick(rng, "get_price|price|price_of|lookup_price"), pick(rng, "Price of an item|Get the price of a product"),
                {pick(rng, "item|product|thing"): "string"}, request, None, result, f"The {thing} costs {value} dollars.").with_single(thing)


def switch(rng, words):
    spot, state = words.pick(rng, SPOTS), pick(rng, "on|off")
    keys = rng.choice((("room", "state"), ("place", "mode"), ("where", "value")))
    request = pick(rng, "Turn {s} the light in the {p}.|Switch the light in the {p} {s}.|Light {s} in the {p}, please.|Turn the {p} light {s}.").format(s=state, p=spot)
    result = rng.choice(("ok", json.dumps({"status": "ok"}), "done"))
    return Need(pick(rng, "set_light|light|switch_light"), pick(rng, "Turn a light on or off|Switches a light"),
                {keys[0]: "string", keys[1]: ("on", "off")}, request, dict(zip(keys, (spot, state))), result, f"The light in the {spot} is {state}.")


def invented(rng, words):
    """A function nobody has seen: the name, the parameter and the value are all made up."""
    verb = words.invented(rng) if rng.random() < 0.6 else words.word(rng)
    noun = words.word(rng)
    key = words.invented(rng, 1) if rng.random() < 0.4 else pick(rng, "name|id|item|value|key|code|number|size|level|user|title")
    numeric = rng.random() < 0.4
    value = rng.randint(0, 999) if numeric else words.word(rng)
    name = rng.choice((f"{verb}_{noun}", f"{verb}", f"{noun}_{verb}", f"get_{verb}"))
    request = rng.choice((f"Please {verb} the {noun} {value}.", f"Call {name} with {value}.", f"Use {name} for {value}.", f"{verb} {noun} {value}",
                          f"Run {name} with {key} {value}.", f"What is the {verb} of {value}?", f"Get the {verb} {noun} for {value}."))
    outcome = rng.choice((words.word(rng), str(rng.randint(0, 999))))
    result = rng.choice((outcome, json.dumps({"result": int(outcome) if outcome.isdigit() else outcome}), json.dumps({verb: outcome})))
    return Need(name, rng.choice((f"{verb} the {noun}", f"Gives the {verb} of a {noun}", f"{verb} {noun}")), {key: "integer" if numeric else "string"},
                request, {key: value}, result, f"The result is {outcome}.")


def no_arguments(rng, words):
    kind, outcome = rng.choice((("date", f"{rng.randint(2000, 2040)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"),
                                ("time", f"{rng.randint(0, 23):02d}:{rng.randint(0, 59):02d}"), ("random number", str(rng.randint(0, 100)))))
    request = {"date": "What is the date today?|What day is it?|Tell me the date.", "time": "What time is it?|What is the time now?|Tell me the time.",
               "random number": "Give me a random number.|Pick a random number.|Roll a random number."}[kind]
    key = kind.split()[-1]
    return Need(f"get_{kind.replace(' ', '_')}", f"Get the {kind}", {}, pick(rng, request), {},
                rng.choice((outcome, json.dumps({key: outcome}))), {"date": f"Today is {outcome}.", "time": f"It is {outcome}.",
                                                                    "random number": f"The number is {outcome}."}[kind])


MAKERS = (weather, weather, weather, sums, sums, calculate, clock, timer, message, lookup, ask_documents, price, switch, invented, invented,
          invented, no_arguments)


def schema(rng, parameters, described):
    properties = {}
    for key, kind in parameters.items():
        entry = {"type": "string", "enum": list(kind)} if isinstance(kind, tuple) else {"type": kind}
        if described and rng.random() < 0.5:
            entry["description"] = pick(rng, "The {k}|{k} to use|a {k}|The {k} value|the {k} of it|{k}").format(k=key)
        properties[key] = entry
    whole = {"type": "object", "properties": properties}
    if rng.random() < 0.8:
        whole["required"] = list(parameters)
    if rng.random() < 0.1:
        whole["additionalProperties"] = False
    return whole


def description(rng, need):
    """The function as a client would write it; the order of keys and what is left out vary."""
    inner = {"name": need.name}
    if rng.random() < 0.85:
        inner["description"] = need.about + rng.choice(("", ".", ""))
    inner["parameters"] = schema(rng, need.parameters, rng.random() < 0.5)
    if rng.random() < 0.15:
        items = list(inner.items())
        rng.shuffle(items)
        inner = dict(items)
    outer = {"type": "function", "function": inner}
    if rng.random() < 0.1:
        outer = {"function": inner, "type": "function"}
    return outer


def others(rng, words, need, count):
    """Functions beside the needed one, of other names and other use."""
    found, names = [], {need.name} if need else set()
    about = {need.about} if need else set()
    while len(found) < count:
        other = rng.choice(MAKERS)(rng, words)
        if other.name not in names and other.about not in about and (need is None or other.parameters.keys() != need.parameters.keys()):
            names.add(other.name)
            found.append(other)
    return found


def conversation(rng, words):
    need = rng.choice(MAKERS)(rng, words)
    beside = others(rng, words, need, rng.choice((0, 0, 1, 1, 2)))
    tools = [description(rng, item) for item in [need] + beside]
    rng.shuffle(tools)
    messages = []
    if rng.random() < 0.4:
        messages.append({"role": "system", "content": talk.system_prompt(rng, words)})
    if rng.random() < 0.15:
        return messages + plain_turn(rng, words), tools
    messages += called(rng, need)
    if beside and rng.random() < 0.15:
        messages += called(rng, rng.choice(beside))
    elif rng.random() < 0.1:
        messages += plain_turn(rng, words)
    return messages, tools


def called(rng, need):
    messages = [{"role": "user", "content": need.request},
                {"role": "assistant", "content": "", "tool_calls": [{"name": need.name, "arguments": need.arguments}]}]
    if rng.random() < 0.85:
        messages += [{"role": "tool", "content": need.result}, {"role": "assistant", "content": need.said}]
        return messages
    return messages


def plain_turn(rng, words):
    """Greetings and the like need no function even when one is there."""
    questions, said = rng.choice(talk.CHATTER)
    if rng.random() < 0.3:
        question, said = talk.who_are_you(rng)
    else:
        question, said = rng.choice(questions.split("|")), said.split("|")[-1]
    return [{"role": "user", "content": question}, {"role": "assistant", "content": said}]


def evaluation_case(rng, words):
    """(tools, request, wanted call, result, a value the final answer must hold)."""
    need = rng.choice(MAKERS)(rng, words)
    tools = [description(rng, item) for item in [need] + others(rng, words, need, rng.choice((0, 1, 2)))]
    rng.shuffle(tools)
    return tools, need
