"""Random small templates from a seed: expressions and statements of chat templates' language, most of
them sensible. Both sides must render the same text, or both must fail."""
import random

STRINGS = ["'a'", "''", "'Hello World'", "\"it's\"", "'naïve 🦙'", "' x y '", "'a,b,,c'", "'12'", "'3.5'",
           "'<b>&'", "'l1\\nl2\\n\\n  l3'", "'ÀÉÎ ß ﬁ'", "'\\u00a0\\u200b\\x00'", "'%s-%d'", "'{}'", "'x' 'y'",
           "'e\\u0301'", "'-7'", "'tab\\tx'", "'{\"k\": [1]}'"]
INTS = ["0", "1", "2", "-3", "7", "10", "255", "1000000", "true", "9007199254740993"]
FLOATS = ["0.5", "-1.25", "2.0", "1e20", "1e-7", "3.14159", "100.0", "0.1"]
LISTS = ["[]", "[3, 1, 2]", "['b', 'A', 'c', 'a']", "[1, 'x', none]", "[[1, 2], [3, 4]]", "(1, 2)", "()", "(5,)",
         "l", "ls", "m", "[0.5, 1, true]", "[none, '', 0, 'z']", "range(4)", "['é', \"q'\"]"]
DICTS = ["{}", "{'a': 1, 'b': [2]}", "d", "m[0]", "{'x': {'y': none}}", "{1: 'i', 'k': 2.5}", "dict(a=1, z='q')"]
NAMES = {"s": "str", "u": "str", "i": "int", "f": "float", "t": "int", "l": "list", "ls": "list", "d": "dict",
         "m": "list", "none": "none", "missing": "none"}

VARIABLES = {
    "s": "Hello World", "u": "Grüße, Ñandú 🦙!", "i": 7, "f": 2.5, "t": True, "l": [3, 1, 2],
    "ls": ["b", "A", "c", "a"], "d": {"b": 1, "a": 2, "C": 3, "items": "mine"},
    "m": [{"role": "user", "n": 2, "x": {"y": 1}}, {"role": "tool", "n": 1},
          {"role": "user", "n": 3, "x": {"y": 2}, "content": None}]}

STRING_METHODS = ["upper()", "lower()", "strip()", "lstrip()", "rstrip()", "title()", "capitalize()", "swapcase()",
                  "strip('aH ')", "lstrip('x')", "rstrip('d!')", "replace('l', 'L')", "replace('', '-')",
                  "replace('o', '', 1)", "zfill(6)", "center(9)", "center(8, '*')", "ljust(7)", "rjust(7, '.')",
                  "removeprefix('H')", "removesuffix('d')", "expandtabs(4)", "format(1)",
                  "format(i, k=s)", "join(['a', 'b'])", "join('xyz')"]
STRING_TO_LIST = ["split()", "split(',')", "split('l', 1)", "rsplit(' ', 1)", "splitlines()", "splitlines(true)",
                  "partition(' ')", "rpartition('l')", "split(none, 1)", "rsplit()"]
STRING_TO_INT = ["find('l')", "find('z')", "rfind('l')", "count('l')", "index('H')", "count('')", "startswith('H')",
                 "endswith(('d', 'a'))", "isalpha()", "isdigit()", "isalnum()", "isspace()", "isupper()", "islower()",
                 "isnumeric()", "isdecimal()", "istitle()", "isascii()", "find('l', 3)",
                 "count('l', 4)", "startswith('l', 2)", "endswith('l', 0, 3)"]
STRING_FILTERS = ["upper", "lower", "trim", "title", "capitalize", "replace('l', 'L')", "replace('a', 'b', 1)",
                  "indent", "indent(2)", "indent(2, true)", "indent(width='> ', first=true, blank=true)", "e", "escape",
                  "string", "reverse", "truncate(8)", "truncate(6, true)", "truncate(9, false, '~', 0)", "center(20)",
                  "urlencode", "trim('H ')", "format('q', 3)", "safe", "forceescape"]
LIST_FILTERS = ["list", "sort", "sort(reverse=true)", "sort(case_sensitive=true)", "unique|list", "reverse|list",
                "map('string')|list", "map('upper')|list", "select|list", "reject('none')|list", "batch(2)|list",
                "batch(2, 'x')|list", "slice(2)|list", "slice(2, 'f')|list", "select('string')|list",
                "reject('number')|list", "select('gt', 1)|list", "map('int')|list", "map('default', 'd')|list",
                "map(attribute='role')|list", "map(attribute='x.y', default=0)|list", "selectattr('x')|list",
                "selectattr('n', 'gt', 1)|list", "rejectattr('role', 'eq', 'user')|list", "sort(attribute='n')",
                "sort(attribute='role,n')", "groupby('role')|list", "unique(attribute='role')|list",
                "selectattr('x', 'defined')|list", "map('list')|list", "map('first')|list", "map(attribute=0)|list"]
LIST_TO_ANY = ["first", "last", "length", "count", "sum", "max", "min", "join", "join(', ')", "tojson", "string",
               "join('-', attribute='role')", "sum(attribute='n')", "max(attribute='n')", "sum(start=10)", 
               "tojson(indent=2)", "map('upper')|join", "sum(start=[])", "tojson(ensure_ascii=true)"]
DICT_TO_ANY = ["items|list", "dictsort", "dictsort(reverse=true)", "dictsort(by='value')", "list", "length", "tojson",
               "tojson(sort_keys=true)", "tojson(indent=4)", "string", "first", "tojson(separators=(',', ':'))",
               "dictsort(true)", "xmlattr", "tojson(indent=1, ensure_ascii=true)", "urlencode"]
NUMBER_FILTERS = ["abs", "round", "round(1)", "round(2, 'floor')", "round(method='ceil')", "int", "float", "string",
                  "tojson", "round(-1)", "default(5)"]
TESTS = ["defined", "undefined", "none", "string", "number", "integer", "float", "boolean", "mapping", "sequence",
         "iterable", "callable", "true", "false", "odd", "even", "divisibleby 3", "divisibleby(2)", "eq 7", "ne 'a'",
         "gt 1", "lt 5", "ge 2", "le 2", "in [1, 'a', 7]", "sameas none", "sameas true", "lower", "upper", "escaped",
         "equalto('a')", "not none", "not string", "== 2", "filter", "test"]


class Maker:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def pick(self, items):
        return self.random.choice(list(items))

    def named(self, kind):
        names = [n for n, k in NAMES.items() if k == kind]
        return self.pick(names) if names else "none"

    def string(self, depth):
        r = self.random.random()
        if depth <= 0 or r < 0.25:
            return self.pick(STRINGS) if self.random.random() < 0.6 else self.named("str")
        if r < 0.40:
            return f"({self.string(depth - 1)}).{self.pick(STRING_METHODS)}"
        if r < 0.58:
            return f"{self.string(depth - 1)}|{self.pick(STRING_FILTERS)}"
        if r < 0.66:
            return f"({self.string(depth - 1)} ~ {self.any(depth - 1)})"
        if r < 0.72:
            return f"({self.string(depth - 1)} + {self.string(depth - 1)})"
        if r < 0.76:
            return f"({self.string(depth - 1)} * {self.pick(['0', '2', '3', '-1'])})"
        if r < 0.88:
            return f"({self.string(depth - 1)})[{self.subscript()}]"
        if r < 0.92:
            return f"({self.string(depth - 1)} % ({self.any(depth - 1)},))"
        return f"({self.string(depth - 1)} if {self.condition(depth - 1)} else {self.string(depth - 1)})"

    def subscript(self):
        numbers = ["0", "1", "-1", "2", "-3", "5", "99", ""]
        r = self.random.random()
        if r < 0.4:
            return self.pick(numbers[:-1])
        if r < 0.75:
            return f"{self.pick(numbers)}:{self.pick(numbers)}"
        return f"{self.pick(numbers)}:{self.pick(numbers)}:{self.pick(['1', '2', '-1', '-2', ''])}"

    def integer(self, depth):
        r = self.random.random()
        if depth <= 0 or r < 0.3:
            return self.pick(INTS)
        if r < 0.5:
            return f"({self.string(depth - 1)}).{self.pick(STRING_TO_INT)}"
        if r < 0.53:
            return f"({self.number(0)} ** {self.pick(['0', '2', '3', '-1', '0.5'])})"
        if r < 0.75:
            return f"({self.number(depth - 1)} {self.pick(['+', '-', '*', '//', '%', '/'])} {self.number(depth - 1)})"
        if r < 0.9:
            return f"({self.any(depth - 1)})|length"
        return f"({self.any(depth - 1)})|int"

    def number(self, depth):
        r = self.random.random()
        if r < 0.6:
            return self.integer(depth)
        if r < 0.8 or depth <= 0:
            return self.pick(FLOATS)
        return f"({self.number(depth - 1)})|{self.pick(NUMBER_FILTERS)}"

    def list(self, depth):
        r = self.random.random()
        if depth <= 0 or r < 0.3:
            return self.pick(LISTS)
        if r < 0.6:
            return f"({self.list(depth - 1)})|{self.pick(LIST_FILTERS)}"
        if r < 0.7:
            return f"({self.string(depth - 1)}).{self.pick(STRING_TO_LIST)}"
        if r < 0.8:
            return f"({self.list(depth - 1)})[{self.subscript()}]"
        if r < 0.88:
            return f"[{', '.join(self.any(depth - 1) for _ in range(self.random.randint(0, 3)))}]"
        if r < 0.94:
            return f"({self.list(depth - 1)} + {self.list(depth - 1)})"
        return f"{self.dict(depth - 1)}.{self.pick(['items()', 'keys()', 'values()'])}|list"

    def dict(self, depth):
        if depth <= 0 or self.random.random() < 0.6:
            return self.pick(DICTS)
        return f"{{'k': {self.any(depth - 1)}, {self.pick(STRINGS)}: {self.any(depth - 1)}}}"

    def condition(self, depth):
        r = self.random.random()
        if r < 0.4:
            return f"({self.any(depth)}) is {self.pick(TESTS)}"
        if r < 0.6:
            return f"({self.number(depth)} {self.pick(['<', '<=', '>', '>=', '==', '!='])} {self.number(depth)})"
        if r < 0.7:
            return f"({self.any(depth)} {self.pick(['==', '!='])} {self.any(depth)})"
        if r < 0.8:
            return f"({self.string(depth)} {self.pick(['in', 'not in'])} {self.pick([self.string(depth), self.list(depth), self.dict(depth)])})"
        if r < 0.9:
            return f"(not {self.any(depth)})"
        return f"({self.any(depth)} {self.pick(['and', 'or'])} {self.any(depth)})"

    def any(self, depth):
        r = self.random.random()
        if r < 0.3:
            return self.string(depth)
        if r < 0.5:
            return self.number(depth)
        if r < 0.65:
            return self.list(depth)
        if r < 0.72:
            return self.dict(depth)
        if r < 0.8:
            return f"({self.list(depth)})|{self.pick(LIST_TO_ANY)}"
        if r < 0.87:
            return f"({self.dict(depth)})|{self.pick(DICT_TO_ANY)}"
        if r < 0.92:
            return self.condition(depth)
        if r < 0.96:
            return f"({self.any(depth - 1)} if {self.condition(depth - 1)})" if depth > 0 else "none"
        return self.pick(["none", "missing", "missing|default('z')", "d.nosuch", "m[0].role", "d['a']", "m[-1]['x']['y']",
                          "m[5]", "d.get('q', 1)", "u|tojson"])

    def space(self):
        return self.pick(["", "", "", " ", "\n", "  \n", "\n  ", " x ", "text\n"])

    def tag(self, text):
        left, right = self.pick(["", "", "-", "+"]), self.pick(["", "", "-", "+"])
        return f"{{%{left} {text} {right}%}}"

    def output(self, depth):
        left, right = self.pick(["", "", "-"]), self.pick(["", "", "-"])
        return f"{{{{{left} {self.any(depth)} {right}}}}}"

    def block(self, depth):
        return self.space().join(self.statement(depth) for _ in range(self.random.randint(1, 2)))

    def statement(self, depth):
        r = self.random.random()
        if depth <= 0 or r < 0.3:
            return self.space() + self.output(2)
        space, inner = self.space, lambda: self.block(depth - 1)
        if r < 0.4:
            otherwise = self.tag("else") + space() + inner() if self.random.random() < 0.5 else ""
            return (self.tag(f"if {self.condition(1)}") + space() + inner() + space() + otherwise + self.tag("endif"))
        if r < 0.58:
            target, over = self.pick([("x", self.list(1)), ("x", self.string(1)), ("k, v", f"{self.dict(1)}.items()"),
                                      ("x", self.dict(1)), ("a, b", "[(1, 2), [3, 4]]"), ("k, v", "d|dictsort")])
            extra = self.pick(["", "", f" if {target[0]} is {self.pick(TESTS)}", f" if loop is undefined", " recursive"])
            inside = self.pick(["{{ loop.index }}", "{{ loop.first }}{{ loop.last }}", "{{ loop.length }}{{ loop.revindex0 }}",
                                "{{ loop.previtem }}/{{ loop.nextitem }}", "{{ loop.cycle(1, 'b') }}", "{% break %}",
                                "{{ loop.changed(loop.index // 2) }}", "{% continue %}", "{{ loop.depth }}{{ loop.depth0 }}",
                                "{% set w = loop.index %}{{ w }}", "{% set ns.v = loop.index %}", ""])
            shown = "{{ " + target[0].replace(",", " ~ '=' ~ ") + " }}"
            otherwise = self.tag("else") + inner() if self.random.random() < 0.3 else ""
            return (self.tag(f"for {target} in {over}{extra}") + space() + shown + inside + inner() + space()
                    + otherwise + self.tag("endfor"))
        if r < 0.68:
            name = self.pick(["w", "y", "z"])
            return self.tag(f"set {name} = {self.any(2)}") + space() + f"{{{{ {name} }}}}"
        if r < 0.74:
            name = self.pick(["y", "z"])
            through = self.pick(["", " | upper", " | trim | length"])
            return self.tag(f"set {name}{through}") + inner() + self.tag("endset") + f"[{{{{ {name} }}}}]"
        if r < 0.82:
            parameters = self.pick(["", "a", "a, b=2", "a=i, b=a"])
            call = self.pick(["", "1", "1, 2", "b=3", "a='q'", "1, 2, 3", "*[1]", "**{'a': 5}"])
            extra = self.pick(["", "{{ varargs }}", "{{ kwargs }}", "{{ a }}", "{{ y }}", "{{ caller is defined }}"])
            return self.tag(f"macro f({parameters})") + space() + inner() + extra + self.tag("endmacro") + f"{{{{ f({call}) }}}}"
        if r < 0.87:
            return self.tag(f"with y = {self.any(1)}, z = i") + inner() + "{{ y }}{{ z }}" + self.tag("endwith") + "{{ y }}"
        if r < 0.91:
            return self.tag(f"filter {self.pick(STRING_FILTERS)}") + inner() + self.tag("endfilter")
        if r < 0.95:
            return ("{% macro g() %}<{{ caller(1) }}>{% endmacro %}" + self.tag(f"call({self.pick(['q', 'q, r=2'])}) g()")
                    + inner() + "{{ q }}" + self.tag("endcall"))
        return self.tag("set ns = namespace(v=1)") + self.tag(f"set ns.v = {self.any(1)}") + "{{ ns.v }}" + inner()

    def template(self):
        if self.random.random() < 0.6:
            return f"{{{{ {self.any(3)} }}}}"
        return self.space() + self.block(3) + self.space()


def templates(seed, count):
    maker = Maker(seed)
    return [maker.template() for _ in range(count)]
