"""Small Go templates from a seed, and what they are executed with."""
import random

DATA = {
    "Name": "Ada", "Empty": "", "Text": "a <b> & \"c\" 'd'\n\tüñ 🦙 \u2028", "Count": 3, "Zero": 0,
    "Real": 2.5, "Big": 1234567.0, "Tiny": 0.00000012, "Huge": 1e21, "Minus": -7, "Yes": True,
    "No": False, "Null": None,
    "List": ["x", "y", "z"], "Mixed": [1, "two", None, True, [1.5, "in"], {"k": "v"}], "None": [],
    "Map": {"b": 1, "a": "one", "c": {"deep": {"er": [1, 2, 3]}}, "n": None}, "NoMap": {},
    "People": [{"Name": "Bob", "Age": 41, "Tags": ["p", "q"]}, {"Name": "Eve", "Age": 7, "Tags": []}],
}
FIELDS = ["Name", "Empty", "Text", "Count", "Zero", "Real", "Big", "Tiny", "Huge", "Minus", "Yes", "No",
          "Null", "List", "Mixed", "None", "Map", "NoMap", "People", "Missing", "Map.a", "Map.c.deep",
          "Map.c.deep.er", "Map.zz", "Map.n", "Missing.x", "Name.x"]
LITERALS = ["0", "1", "2", "-3", "3.0", "1e3", "0x1F", "'a'", "1_000", "\"s\"", "\"a\\tb\\\"\"", "`raw\\n`", "true",
            "false", "nil", "\"\"", "2.5", "07", "0b101", "-0.5", "\"é\""]
FORMATS = ["%v", "%s", "%d", "%q", "%5d|", "%-6s|", "%05d", "%x", "%X", "%t", "%.2f", "%8.3f|", "%e", "%g", "%c",
           "%U", "%+d", "%%", "%6v|", "%+v", "%.1s", "%*d", "%b", "%o", "%#x", "% x", "%T", "%z", "%+q", "%.3q",
           "%#q", "%08.3f", "%-8v|", "%#o", "%O"]
TEXTS = ["", " ", "\n", "text", " a b ", "}} ", "<|x|>", "\t{ ", "é", "%", "\n\n  "]


class Maker:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.variables = []
        self.loops = 0

    def pick(self, items):
        return self.random.choice(items)

    def chance(self, share):
        return self.random.random() < share

    def operand(self, depth):
        roll = self.random.random()
        if roll < 0.4:
            return "." + self.pick(FIELDS)
        if roll < 0.55:
            return self.pick(LITERALS)
        if roll < 0.65 and self.variables:
            name = self.pick(self.variables)
            return name + (self.pick([".Name", ".Age", ".x"]) if self.chance(0.2) else "")
        if roll < 0.7:
            return "$." + self.pick(FIELDS)
        if roll < 0.78:
            return "."
        if roll < 0.8:
            return "$"
        if depth <= 0:
            return "." + self.pick(FIELDS)
        inner = f"({self.pipe(depth - 1)})"
        return inner + (self.pick([".Name", ".a", ".deep"]) if self.chance(0.15) else "")

    def call(self, depth):
        name = self.pick(["and", "or", "not", "eq", "eq", "ne", "lt", "le", "gt", "ge", "len", "index", "slice",
                          "print", "println", "printf", "printf", "html", "js", "urlquery", "json", "json",
                          "toTypeScriptType", "currentDate"])
        count = {"not": 1, "len": 1, "json": 1, "toTypeScriptType": 1}.get(name)
        if count is None:
            count = 2 if name in ("ne", "lt", "le", "gt", "ge") else self.random.randint(1, 3)
        if self.chance(0.03):
            count += 1
        arguments = [self.operand(depth - 1) for _ in range(count)]
        if name == "printf" and self.chance(0.95):
            arguments[0] = '"' + " ".join(self.pick(FORMATS) for _ in range(self.random.randint(1, 2))) + '"'
        if name == "index" and self.chance(0.7):
            arguments = [self.pick([".List", ".Mixed", ".Map", ".People", ".Name", "(index .People 0)"]),
                         self.pick(["0", "1", "2", '"a"', '"zz"', '"Name"', "5"])]
        if name == "slice" and self.chance(0.7):
            arguments = [self.pick([".List", ".Name", ".Text", ".Mixed"]), self.pick(["0", "1", "2"])]
            if self.chance(0.5):
                arguments.append(self.pick(["2", "3", "1"]))
        if name in ("eq", "lt", "ne", "le", "gt", "ge") and self.chance(0.5):
            arguments = [self.pick([".Name", ".Map.a", '"x"']), self.pick([".Name", '"Ada"', '"one"'])] \
                if self.chance(0.5) else [self.pick(["1", "(len .List)", "2"]), self.pick(["3", "1", "(len .Name)"])]
        if name == "currentDate":
            arguments = []
        return " ".join([name, *arguments])

    def pipe(self, depth):
        first = self.call(depth) if depth > 0 and self.chance(0.5) else self.operand(depth)
        stages = [first]
        while self.chance(0.15):
            stages.append(self.pick(["len", "json", "print", "printf \"%v\"", "printf \"%q\"", "not", "html",
                                     "eq 3", "index .List", "and .Yes", "or .No", "js", "println", "urlquery"]))
        return " | ".join(stages)

    def action(self, inside):
        left = "{{- " if self.chance(0.2) else self.pick(["{{", "{{ "])
        right = " -}}" if self.chance(0.2) else self.pick(["}}", " }}"])
        return left + inside + right

    def name(self):
        return "$" + self.pick(["a", "b", "c", "v"])

    def nodes(self, depth):
        mark = len(self.variables)
        text = "".join(self.node(depth) for _ in range(self.random.randint(1, 3)))
        del self.variables[mark:]
        return text

    def branch(self, word, depth):
        mark = len(self.variables)
        head = self.pipe(2)
        if word == "range" and self.chance(0.8):
            head = self.pick([".List", ".Mixed", ".Map", ".People", ".None", ".Null", ".Missing", ".Map.c", "$.People"])
        if self.chance(0.4):
            names = [self.name()]
            if word == "range" and self.chance(0.6):
                names.append(self.name())
            head = ", ".join(names) + " := " + head
            self.variables += names
        self.loops += word == "range"
        text = self.action(f"{word} {head}") + self.nodes(depth - 1)
        self.loops -= word == "range"
        if word == "if" and self.chance(0.2):
            text += self.action(f"else if {self.pipe(1)}") + self.nodes(depth - 1)
        if self.chance(0.3):
            text += self.action("else") + self.nodes(depth - 1)
        del self.variables[mark:]
        return text + self.action("end")

    def node(self, depth):
        roll = self.random.random()
        if roll < 0.3:
            return self.pick(TEXTS)
        if roll < 0.65 or depth <= 0:
            return self.action(self.pipe(2))
        if roll < 0.72:
            name = self.name()
            text = self.action(f"{name} := {self.pipe(1)}")
            self.variables.append(name)
            return text
        if roll < 0.76 and self.variables:
            return self.action(f"{self.pick(self.variables)} = {self.pipe(1)}")
        if roll < 0.79:
            return self.pick(["{{/* note */}}", "{{- /* note */ -}}"])
        if roll < 0.82 and self.loops:
            return self.action("if " + self.pipe(1)) + self.action(self.pick(["break", "continue"])) + self.action("end")
        if roll < 0.85:
            return self.action(f'template "t" {self.pipe(1)}')
        return self.branch(self.pick(["if", "if", "with", "range", "range"]), depth)

    def template(self):
        text = self.nodes(3)
        if 'template "t"' in text:
            inner = self.node(0)
            text += self.action('define "t"') + "[" + inner.replace('template "t"', "print") + "]" + self.action("end")
        if self.chance(0.04):  # something is missing
            at = self.random.randrange(len(text) + 1)
            text = text[:at] + text[at + self.random.randint(1, 3):]
        return text


def templates(seed, count):
    maker = Maker(seed)
    made = []
    for _ in range(count):
        maker.variables, maker.loops = [], 0
        made.append(maker.template())
    return made
