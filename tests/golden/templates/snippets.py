"""Small templates that together use all of the language, and the variables they see."""

VARIABLES = {
    "s": "Hello World", "u": "Grüße, Ñandú 🦙!", "ml": "  one\n\ntwo  \n three\n", "empty": "",
    "i": 7, "n": -3, "f": 2.5, "g": 1e20, "h": 0.1, "z": 0, "t": True, "no": False, "none": None,
    "l": [3, 1, 2], "ls": ["b", "A", "c", "a"], "le": [], "ll": [[1, 2], [3, 4]],
    "d": {"b": 1, "a": 2, "C": 3, "items": "mine"}, "de": {},
    "m": [{"role": "user", "n": 2, "x": {"y": 1}}, {"role": "tool", "n": 1},
          {"role": "user", "n": 3, "x": {"y": 2}}],
    "q": "it's \"quoted\" \\ and\ttabbed", "html": "<a href='x'>&</a>", "spaces": " \t\u00a0x\u2003 ",
    "tree": [{"v": 1, "c": [{"v": 2, "c": []}, {"v": 3, "c": [{"v": 4, "c": []}]}]}],
}

EXPRESSIONS = """
s
u|upper
u|lower
u|title
u|capitalize
u|length
s[0] ~ s[-1] ~ s[99]
s[1:4] ~ '|' ~ s[:-3] ~ '|' ~ s[::2] ~ '|' ~ s[::-1] ~ '|' ~ s[-3:] ~ '|' ~ s[5:2]
u[0:3] ~ u[-2]
l[1:] ~ l[::-1] ~ l[5:] ~ l[-2:]
l[0] + l[-1]
1 + 2 * 3 - 4 / 2
7 // 2 ~ ' ' ~ -7 // 2 ~ ' ' ~ 7 % 3 ~ ' ' ~ -7 % 3 ~ ' ' ~ 7 % -3
2 ** 10 ~ ' ' ~ 2 ** -1 ~ ' ' ~ 2.0 ** 3
2 ** 3 ** 2
-2 ** 2
1 / 3
10 / 5
1.0
1e3
1_000
0.1 + 0.2
g
1e-7
123456789012345678.0
f * 2
t + 1
'ab' * 3
[1, 2] * 2
[1] + [2, 3]
(1, 2) + (3,)
(1,)
()
[1, 'a', none, true, 2.5, "it's"]
{'a': 1, 'b': [1, {'c': none}]}
{'a': 1}['a']
{1: 'x', 'k': 2}
{1: 'x'}[1]
not t
not none
t and 5
no or 'x'
none or le or 'y'
1 < 2 < 3
1 < 2 > 5
1 == 1.0
'a' == 'a'
'a' < 'b'
[1, 2] == [1, 2]
[1, 2] < [1, 3]
{'a': 1} == {'a': 1.0}
none == false
undefinedx == none
1 != 2
'a' in 'abc'
'x' not in 'abc'
1 in [1, 2]
'a' in d
'z' in d
none in [none]
'yes' if t else 'no'
'yes' if no else 'no'
'yes' if no
('yes' if no) is defined
1 if no else 2 if no else 3
undefinedx
undefinedx is defined
undefinedx|default('d')
empty|default('d')
empty|default('d', true)
none|default('d')
none|d('d', boolean=true)
d.b
d['b']
d['items']
d.items()|list
d.nokey
d.nokey is undefined
d.get('b') ~ d.get('nokey') ~ d.get('nokey', 5)
d.keys()|list
d.values()|list
d|length
d|list
d|items|list
d|dictsort
d|dictsort(true)
d|dictsort(by='value', reverse=true)
d|tojson
d|tojson(indent=2)
d|tojson(sort_keys=true)
d|tojson(separators=(',', ':'))
[]|tojson(indent=2)
{}|tojson(indent=2)
ll|tojson(indent=4)
u|tojson
u|tojson(ensure_ascii=true)
q|tojson
f|tojson ~ none|tojson ~ t|tojson ~ i|tojson ~ g|tojson
(1, 2)|tojson
html|tojson
html|e
html|escape
html|safe
m[0].role ~ m[0]['role'] ~ m[0].x.y
m|map(attribute='role')|list
m|map(attribute='x.y', default='none')|list
m|map(attribute='role')|join(', ')
ls|map('upper')|list
ls|map('replace', 'a', 'z')|join
m|selectattr('role', 'equalto', 'user')|list|length
m|selectattr('role', 'eq', 'user')|map(attribute='n')|list
m|rejectattr('role', 'in', ['tool'])|map(attribute='n')|list
m|selectattr('x')|list|length
m|selectattr('x', 'defined')|list|length
m|rejectattr('x', 'undefined')|list|length
l|select('odd')|list
l|select('greaterthan', 1)|list
l|reject('even')|list
l|reject|list
[0, 1, '', 'a', none]|select|list
l|sort
l|sort(reverse=true)
ls|sort
ls|sort(case_sensitive=true)
m|sort(attribute='n')|map(attribute='n')|list
l|max ~ l|min ~ l|sum
m|max(attribute='n')
m|sum(attribute='n')
l|first ~ l|last
le|first
'abc'|first ~ 'abc'|last
l|join('-')
l|join
m|join(',', attribute='n')
['a', 'A', 'b', 'a']|unique|list
m|unique(attribute='role')|map(attribute='n')|list
m|groupby('role')|map('first')|list
l|reverse|list
'abc'|reverse
[1, 2, 3, 4, 5]|batch(2)|list
[1, 2, 3, 4, 5]|batch(2, 0)|list
'abc'|list
d|first
l|length ~ ls|count
s|replace('o', '0')
s|replace('o', '0', 1)
'aaa'|replace('', '-')
s|trim ~ ml|trim
'xxhixx'|trim('x')
ml|indent
ml|indent(2, true)
ml|indent(2, true, true)
ml|indent(width='> ')
'%s is %d and %.2f %%'|format('x', 5, 2.345)
'%s' % 'x'
'%s-%s' % ('x', 2)
'{} {1} {name}'.format('a', 'b')
'{0} {name} {{}}'.format('a', name=5)
'3.7'|int ~ 'x'|int ~ 'x'|int(5) ~ '12'|int ~ 3.9|int ~ '0x1f'|int(base=16) ~ t|int
'3.5'|float ~ 'x'|float ~ i|float
n|abs ~ (-2.5)|abs
2.5|round ~ 3.5|round ~ 2.345|round(2) ~ 2.5|round(0, 'ceil') ~ 2.5|round(method='floor')
42.55|round(1, 'ceil') ~ i|round
f|string ~ none|string ~ l|string
s|wordcount
'a b-c (d e'|title
'hello wORLD'|capitalize
'a long sentence that is cut'|truncate(15)
'a long sentence that is cut'|truncate(15, true)
'a long sentence that is cut'|truncate(15, true, '..', 0)
s.upper() ~ s.lower() ~ s.title() ~ s.swapcase() ~ s.capitalize()
spaces.strip() ~ '|' ~ spaces.lstrip() ~ '|' ~ spaces.rstrip() ~ '|'
'xyhixy'.strip('yx') ~ 'xyhixy'.lstrip('yx') ~ 'xyhixy'.rstrip('yx')
'a,b,,c'.split(',')
' a  b c '.split()
' a  b c '.split(none, 1)
'a,b,c'.split(',', 1)
'a,b,c'.rsplit(',', 1)
' a  b c '.rsplit(none, 1)
'a,b'.split(',')[0]
'</think>x</think>y'.split('</think>')[-1]
ml.splitlines()
ml.splitlines(true)
'a=b=c'.partition('=')
'a=b=c'.rpartition('=')
'abc'.partition('x')
s.startswith('Hell') ~ s.startswith('x') ~ s.startswith(('x', 'H')) ~ s.startswith('ello', 1)
s.endswith('ld') ~ s.endswith(('x', 'd'))
s.find('o') ~ s.find('x') ~ s.rfind('o') ~ s.find('o', 5) ~ u.find('🦙')
s.index('W')
s.count('o') ~ s.count('')
s.replace('o', '0') ~ s.replace('o', '0', 1)
'-'.join(['a', 'b'])
'abc'.isalpha() ~ '12'.isdigit() ~ 'a1'.isalnum() ~ ' '.isspace() ~ 'Ab'.islower() ~ 'AB'.isupper()
'7'.zfill(3) ~ '-7'.zfill(4) ~ 'x'.ljust(3) ~ '|' ~ 'x'.rjust(3) ~ 'x'.center(4) ~ '|'
'prefix-x'.removeprefix('prefix-') ~ 'x.py'.removesuffix('.py')
l.index(2) ~ l.count(1)
i is number ~ s is number ~ f is float ~ i is integer ~ t is boolean ~ t is integer
s is string ~ l is string ~ d is mapping ~ l is mapping ~ l is sequence ~ d is sequence
l is iterable ~ s is iterable ~ i is iterable ~ none is none ~ i is not none
t is true ~ no is false ~ 1 is true ~ none is defined
4 is even ~ 3 is odd ~ 9 is divisibleby(3) ~ 9 is divisibleby 3
i is eq 7 ~ i is gt 3 ~ i is lt(3) ~ i is ge 7 ~ i is le 7 ~ i is ne 7
'x' is in ['x'] ~ 1 is sameas 1 ~ 1 is sameas 1.0
'abc' is lower ~ 'ABC' is upper ~ range is callable ~ s is callable
i is defined and s is string
not i is string
range(3)|list ~ range(1, 4)|list ~ range(5, 0, -2)|list ~ range(3)|length
dict(a=1, b=2)
dict(d, z=1)|length
namespace(a=1).a
namespace().b is defined
[[1, 2], [3]]|map('length')|list
[1, 2, 3][1]
l|map('string')|join('+')
(l|length) > 2 and (s|length) < 100
'a' ~ 1 ~ none ~ true ~ [1]
-i|abs
"a\\nb" ~ 'c\\td' ~ '\\x41\\u00e9' ~ '\\\\' ~ "\\q"
'a' 'b' "c"
1 +2
s.nosuch
s|nosuch
s is nosuch
undefinedx.y
none.y
none.y is defined
d.a.b
1 / 0
'a' + 1
1 + none
undefinedx + 1
l < 3
d.__class__.__mro__
raise_exception('boom')
none|length
5|length
l.append(4)
d.update({})
range(1000000)
m|tojson
m
tree|tojson
7.0 // 2
'%d' % 3.7
'abc'[1:2]
l|string|length
1 in d
(1, 2) == [1, 2]
true == 1
'b' >= 'a' and 'b' <= 'c'
""".strip("\n").split("\n")

TEMPLATES = [
    "a\nb\n", "a\n\n", "{% if t %}\n  x\n{% endif %}\ny", "  {% if t %}x{% endif %}  \n  y",
    "  {{ i }}\n", "a  {%- if t %} b {%- endif %} c", "a {%+ if t %} b {% endif +%}\n c",
    "a\n  {#- c -#}  \n b", "a\n  {# c #}\n b", "{{- i -}}  x", "x {{- i }} y {{ i -}} z",
    "{% raw %}{{ x }} {% if %}{% endraw %}!", "a {%- raw -%} {{ x }} {%- endraw -%} b",
    "{% for x in l %}{{ x }},{% endfor %}", "{% for x in le %}x{% else %}none{% endfor %}",
    "{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}"
    "{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }} {% endfor %}",
    "{% for x in l %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }} {% endfor %}",
    "{% for x in l %}{{ loop.cycle('a', 'b') }}{{ loop.changed(x > 1) }} {% endfor %}",
    "{% for x in l if x > 1 %}{{ loop.index }}:{{ x }}/{{ loop.length }} {% endfor %}",
    "{% for x in l if x > 9 %}x{% else %}empty{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k in d %}{{ k }}{% endfor %}",
    "{% for c in 'añ🦙' %}[{{ c }}]{% endfor %}", "{% for a, b in ll %}{{ a + b }} {% endfor %}",
    "{% for (a, b) in ll %}{{ a * b }} {% endfor %}", "{% for x in undefinedx %}x{% endfor %}e",
    "{% for x in 5 %}x{% endfor %}", "{% for x in none %}x{% endfor %}",
    "{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in tree recursive %}{{ x.v }}{% if x.c %}({{ loop(x.c) }}){% endif %}{{ loop.depth0 }}"
    "{% endfor %}",
    "{% for x in l %}{% for y in l %}{{ loop.index }}{% endfor %}{{ loop.index }} {% endfor %}",
    "{% set x = 1 %}{% for y in l %}{% set x = x + y %}{{ x }} {% endfor %}{{ x }}",
    "{% set ns = namespace(x=1) %}{% for y in l %}{% set ns.x = ns.x + y %}{% endfor %}{{ ns.x }}",
    "{% set x = 1 %}{% if t %}{% set x = 2 %}{% endif %}{{ x }}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set a = 1, 2 %}{{ a }}",
    "{% set x %}a{{ i }}b{% endset %}{{ x }}{{ x|length }}",
    "{% set x | upper | replace('A', 'z') %}a{{ i }}b{% endset %}{{ x }}",
    "{% macro m(a, b=2, c=none) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }}{{ m(1, c=3) }}{{ m() }}",
    "{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}",
    "{% macro m(a) %}x{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}x{% endmacro %}{{ m(b=2) }}",
    "{% macro m() %}{{ g2 }}{% endmacro %}{% set g2 = 5 %}{{ m() }}",
    "{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}in {{ i }}{% endcall %}",
    "{% macro m() %}{% for x in l %}{{ caller(x) }}{% endfor %}{% endmacro %}"
    "{% call(y) m() %}<{{ y }}>{% endcall %}",
    "{% macro f(n) %}{% if n > 0 %}{{ n }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}",
    "{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}",
    "{% macro m() %}{% set q2 = 1 %}{% endmacro %}{{ m() }}{{ q2 is defined }}",
    "{% filter upper %}abc {{ s }}{% endfilter %}",
    "{% filter replace('a', 'b') | upper %}banana{% endfilter %}",
    "{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a is defined }}",
    "{% generation %}x{{ i }}{% endgeneration %}",
    "{% if no %}a{% elif t %}b{% else %}c{% endif %}", "{% if undefinedx %}a{% else %}b{% endif %}",
    "{% if d and l and not le %}a{% endif %}", "{%if t%}a{%endif%}", "{%- if t -%} a {%- endif -%} b",
    "{{ '}}' }}{{ '{%' }}", "{{ {'a': {'b': 1}}['a']['b'] }}", "{{ {'a': {'b': 1}} }}",
    "{# a {{ b }} #}x", "{{ i }}{{ f }}", "a{{ '' }}\n{{ '' }}\nb", "\r\na\r\nb\r",
    "{% for x in l -%}\n  {{ x }}\n{%- endfor %}\n", "{% for x in l %}\n{{ x }}\n{% endfor %}\nend\n",
    "    {% for x in l %}\n    {{ x }}\n    {% endfor %}\n    end",
    "{% set x = namespace(a=1) %}{% set x.b = x.a + 1 %}{{ x.b }}", "{% set d.x = 1 %}",
    "{% set x = [] %}{% for y in l %}{% set x = x + [y] %}{% endfor %}{{ x }}",
    "{% set ns = namespace(x=[]) %}{% for y in l %}{% set ns.x = ns.x + [y] %}{% endfor %}{{ ns.x }}",
    "{{ (1, 2)[0] }}{{ [1, 2,][1] }}", "{{ 1, 2 }}", "{{ [x for x in l] }}", "{{ }}", "{% %}", "{{ i",
    "{% if t %}", "{% endif %}", "{% nosuch %}", "{{ 1 ++ }}", "{{ 'a }}", "{% for x %}{% endfor %}",
    "{{ strftime_now('%Y-%m-%d') }}", "{%- macro a() -%}\n  x\n{%- endmacro -%}\n {{- a() -}} ",
    "{% for m1 in m %}{% if loop.first and m1.role == 'user' %}F{% elif not loop.last %}M{% endif %}"
    "{% endfor %}",
    "{% set loop_messages = m[1:] %}{% for x in loop_messages %}{{ x.n }}{% endfor %}",
    "{{ m[::-1][0].n }}{{ (m|last).n }}{{ m[-1]['n'] }}", "{% for x in m[::-1] %}{{ x.n }}{% endfor %}",
]

# What differential testing found, one of each kind.
EXPRESSIONS += r"""
range(4)
range(0, 7, 2)
range(4)|list + [9]
range(3) + [1]
range(3)|tojson
d.keys()
d.items()
d.keys()[0] is defined
d.values()|tojson
l|map('string')|length
(l|select('gt', 9)) and 'truthy'
none|map('upper')|list
l|map('string')|last
m|groupby('role')|map(attribute='grouper')|list
m|groupby('x', default='none')|length
'\u00a0\u200b\u0001é🦙\U000e0001'|list
['\u00a0\u200b\u0001é🦙\U000e0001', "'", '"', '\'"']
'ﬁ ß ŉ ǆ ſ ı ς'.upper()
'ﬁ ßx ǆ'.capitalize() ~ 'ǆ ﬁn'.title()
'²'.isdigit() ~ '½'.isnumeric() ~ '²'.isdecimal() ~ 'é'.isascii() ~ 'A Bc'.istitle()
'a\tb'.expandtabs(4)
'{:>5}|{:<5}|{:^5}|{:*^7}'.format('a', 'b', 'c', 'd')
'{:05d}|{:+}|{:x}|{:#b}|{:,}|{:_}'.format(42, 7, 255, 5, 1234567, 1234567)
'{:.2f}|{:8.3f}|{:e}|{:g}|{:%}|{:.1%}'.format(3.14159, 2.5, 12345.678, 0.0001, 0.5, 0.256)
'{!r} {!s} {0}'.format('x', 'y')
'{0!r:>6} {0:3}'.format('x')
'{:d}'.format('x')
'%5s|%-5s|%05d|%+d|%x|%.3f|%e|%g|%%|%r' % ('a', 'b', 42, 7, 255, 3.14159, 1.5, 0.5, 'q')
'%(a)s and %(b)d' % {'a': 'x', 'b': 2}
'%s' % [1, 2]
'%(a)s'|format(a='x')
'x' % 1
('<b>'|e) + '<i>'
'<i>' + ('<b>'|safe)
('<b>'|e) ~ '<i>'
'<b>'|e|e ~ '<b>'|e|forceescape
['<b>'|e]
d|urlencode ~ 'a b/é?'|urlencode
{'class': 'a&b', 'id': none, 'n': 1}|xmlattr
'x'|center(5) ~ '|'
[1, 2, 3, 4, 5]|slice(2)|list
[1, 2, 3]|slice(2, 'f')|list
m|sort(attribute='role,n')|map(attribute='n')|list
[none, none]|sort
[1, 'a']|sort
m|unique|list
0 ** -1
0.5 // 0.01
0 % -1.25
(10)|round(-1) ~ (15)|round(-1) ~ (25)|round(-1)
255 / 9007199254740993
18446744073709551616
-18446744073709551616
[18446744073709551616]|tojson
undefinedx|int
undefinedx|indent
2.0 is even ~ 2.5 is divisibleby(0.5)
'upper' is filter ~ 'x' is filter ~ 'odd' is test
t is string if t
{1: 1, 'a': 2}|tojson(sort_keys=true)
'a,b,a'.count('a', 1)
l.sort is defined
(1, 2).append is defined
""".strip("\n").split("\n")
TEMPLATES += [
    "{% for x in l %}{% continue %}{% else %}none{% endfor %}",
    "{% for x in l %}{% break %}{% else %}none{% endfor %}",
    "{% set g2 = l|map('string') %}{% for x in g2 %}{{ x }}{% endfor %}{% for x in g2 %}{{ x }}{% endfor %}",
    "{% for role, list in m|groupby('role') %}{{ role }}{{ list|length }}{% endfor %}",
    "{% for g2 in m|groupby('role') %}{{ g2.grouper }}{{ g2.list|length }}{% endfor %}",
]
