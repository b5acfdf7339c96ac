"""conclave-render against Jinja2 as transformers sets it up: chat templates over a matrix of
conversations, and random small templates from a seed.

The templates are those of tests/golden/templates/families, and of ../shared/fixtures/templates where
they are there. CONCLAVE_RANDOM_TEMPLATES random ones are tried (default 3000).
"""
import json
import os
import pathlib
import re
import resource
import subprocess
import sys

import pytest

REPO = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = REPO / "tests" / "golden" / "templates"
sys.path.insert(0, str(GOLDEN))
import compare  # noqa: E402
import random_templates  # noqa: E402
import reference  # noqa: E402

FIXTURES = REPO.parent / "shared" / "fixtures" / "templates"
TEMPLATES = sorted(GOLDEN.glob("families/*.jinja")) + sorted(FIXTURES.glob("*.jinja"))
COUNT = int(os.environ.get("CONCLAVE_RANDOM_TEMPLATES", "3000"))

# What Jinja2 renders and we refuse, always by line and reason.
REFUSED = ["integer out of range", "complex number", "a slice of a range", "a generator has no text",
           "marked safe is not known"]


@pytest.fixture(scope="module")
def build(request):
    return pathlib.Path(request.config.getoption("--build-dir"))


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_template_over_conversations(path, build):
    total, errors, wrong = compare.compare_matrix(build, path)
    assert total > 1000 and errors < total
    assert not wrong, "\n".join([f"{len(wrong)} of {total} differ"] + wrong[:3])


def random_batch(seed, build):
    """(template, reference's answer, ours) of each."""
    texts = random_templates.templates(seed, COUNT // 3)
    cases = [dict(random_templates.VARIABLES, template=text) for text in texts]
    wanted = [reference.render(text, case) for text, case in zip(texts, cases)]
    return list(zip(texts, wanted, compare.ours(build, "-", cases)))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_templates(seed, build):
    batch = random_batch(seed, build)
    rendered = [row for row in batch if not isinstance(row[1], Exception)]
    assert len(rendered) > len(batch) // 2
    wrong = []
    for text, want, got in batch:
        if isinstance(want, str) and re.search(r" at 0x[0-9a-f]+>", want):
            continue  # the address of a Python object
        if isinstance(got, Exception):
            same = isinstance(want, Exception) or any(why in str(got) for why in REFUSED)
            same = same and re.match(r"template: line \d+: .", str(got))
        else:
            same = got == want
        if not same:
            wrong.append(f"{text!r}\nwant: {want!r}\ngot:  {got!r}")
    assert not wrong, "\n".join([f"{len(wrong)} of {len(batch)} differ"] + wrong[:3])


def run(build, arguments, stdin=b""):
    return subprocess.run([build / "bin" / "conclave-render", *arguments], input=stdin,
                          capture_output=True)


@pytest.mark.parametrize("stdin, complaint", [
    (b"", "variables: "), (b"[]", "variables: must be a JSON object"), (b"{", "variables: "),
    (b'{"a": 1} x', "variables: "), (b'{"a": "\xff"}', "variables: "), (b"\xef\xbb\xbf", "variables: "),
    (b'{"messages": [{"role": 1e999}]}', "variables: "), (b'{"a": 1, "a": 2}', "variables: "),
    (b'{"a":' + b"[" * 100_000, "variables: "),
])
def test_odd_variables_are_refused_by_name(stdin, complaint, build, tmp_path):
    path = tmp_path / "t.jinja"
    path.write_text("{{ messages }}")
    done = run(build, [path], stdin)
    assert done.returncode == 1 and done.stdout == b""
    assert done.stderr.decode().startswith(complaint)


def test_tool_says_line_and_reason(build, tmp_path):
    path = tmp_path / "t.jinja"
    path.write_text("a\nb\n{{ messages.x.y }}\n")
    done = run(build, [path], b"{}")
    assert done.returncode == 1 and done.stdout == b""
    assert done.stderr.decode() == "template: line 3: 'messages' is undefined\n"
    path.write_bytes(b"a\xff{{ 1 }}")
    assert run(build, [path], b"{}").stderr.startswith(b"template: line 1: not UTF-8")
    assert run(build, [tmp_path / "none.jinja"], b"{}").returncode == 1
    assert run(build, [tmp_path], b"{}").returncode == 1
    assert run(build, []).returncode == 2
    assert run(build, [path, path]).returncode == 2
    assert run(build, [path, "--nonsense"]).returncode == 2


def test_tool_writes_the_text_as_it_is(build, tmp_path):
    path = tmp_path / "t.jinja"
    path.write_bytes(b"{{ s }}\r\n\n")
    big = "é🦙\u0000\r\n" * 200_000
    done = run(build, [path], json.dumps({"s": big}).encode() + b"\n \n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode() == big + "\n"
    path.write_bytes(b"")
    assert run(build, [path], b"{}").stdout == b""


# --- M15 of the loader's hostility list: a template is stopped soon, whatever it does

HOSTILE = {
    "endless recursion": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "branching recursion": "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
    "a recursive loop": "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    "a caller of itself": "{% macro m() %}{% call m() %}{% endcall %}{% endmacro %}{{ m() }}",
    "a range of 10^9": "{{ range(1000000000) }}",
    "a range from -10^18": "{{ range(-1000000000000000000, 1000000000000000000) }}",
    "loops in loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "loops over filters": "{% for i in range(9999) %}{{ range(9999)|map('string')|join }}{% endfor %}",
    "a string of 10^9": "{{ 'x' * 1000000000 }}",
    "a string of 10^18": "{{ 'xy' * 1000000000000000000 }}",
    "a list of 10^9": "{{ [0] * 1000000000 }}",
    "doubling": "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}"
                "{% endfor %}{{ ns.x }}",
    "doubling by format": "{% set ns = namespace(x='ab') %}{% for i in range(99) %}"
                          "{% set ns.x = '%s%s' % (ns.x, ns.x) %}{% endfor %}{{ ns.x }}",
    "doubling by replace": "{% set ns = namespace(x='ab') %}{% for i in range(99) %}"
                           "{% set ns.x = ns.x|replace('a', ns.x) %}{% endfor %}{{ ns.x }}",
    "doubling lists": "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}"
                      "{% endfor %}{{ ns.x }}",
    "lists of lists": "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}"
                      "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x|tojson }}",
    "a long join": "{{ range(99999)|join('x' * 9999) }}",
    "a wide indent": "{{ ('a\n' * 9999)|indent('x' * 9999) }}",
    "a wide format": "{{ '%999999999d' % 1 }}", "a wide brace": "{{ '{:999999999}'.format(1) }}",
    "a wide precision": "{{ '%.999999999f' % 1.5 }}",
    "a wide center": "{{ 'x'.center(1000000000) }}", "wide zeros": "{{ 'x'.zfill(1000000000) }}",
    "wide tabs": "{{ ('\\t' * 9999).expandtabs(1000) * 999 }}",
    "a deep indent of JSON": "{{ [[[[1]]]]|tojson(indent=1000000000) }}",
    "a power": "{{ 10 ** 1000000000 }}", "a power of powers": "{{ 9 ** 9 ** 9 ** 9 }}",
    "many pieces": "{{ ('a,' * 4000000).split(',')|length }}",
    "replacing nothing": "{{ ('a' * 1000000)|replace('', 'b' * 1000) }}",
    "quadratic searching": "{% set s = 'a' * 1000000 %}{% for i in range(99999) %}{{ s.find('b') }}{% endfor %}",
    "quadratic characters": "{% set s = 'ab' * 1000000 %}{% for i in range(99999) %}{{ s[-1] }}{% endfor %}",
    "quadratic counting": "{% set s = 'a' * 1000000 %}{% for i in range(99999) %}{{ s.count('b') }}{% endfor %}",
    "quadratic splitting": "{% set s = 'a' * 1000000 %}{% for i in range(99999) %}{{ s.split('b') }}{% endfor %}",
    "quadratic stripping": "{% set s = ' ' * 1000000 %}{% for i in range(99999) %}{{ s.strip() }}{% endfor %}",
    "quadratic comparing": "{% set s = 'a' * 1000000 %}{% for i in range(99999) %}{{ s < s ~ 'a' }}{% endfor %}",
    "quadratic equality": "{% set a = 'a' * 9000000 %}{% set b = 'a' * 9000000 %}{% for i in range(99999) %}"
                          "{{ a == b }}{% endfor %}",
    "quadratic looking up": "{% set s = 'a' * 9000000 %}{% set d = {s: 1} %}{% for i in range(99999) %}"
                            "{{ d[s] }}{% endfor %}",
    "quadratic affixes": "{% set s = 'a' * 9000000 %}{% for i in range(99999) %}{{ s.startswith(s) }}{% endfor %}",
    "quadratic uniqueness": "{{ range(99999)|list|unique|list|length }}",
    "keys of numbers": "{% for i in range(9999) %}{{ dict(range(9999)|map('float')|batch(2)|list) }}{% endfor %}",
    "sorting": "{% for i in range(9999) %}{{ range(99999)|sort(reverse=true)|first }}{% endfor %}",
    "brackets": "{{ " + "(" * 100_000, "lists in lists": "{{ " + "[" * 100_000,
    "dicts in dicts": "{{ " + "{1:" * 100_000, "signs": "{{ " + "-" * 100_000 + "1 }}",
    "ifs in ifs": "{% if 1 %}" * 50_000, "calls in calls": "{{ " + "a(" * 100_000,
    "a long chain": "{{ 1" + "+1" * 100_000 + " }}", "a chain of filters": "{{ x" + "|e" * 100_000 + " }}",
    "a chain of conditions": "{{ " + "1 if 1 else " * 50_000 + "1 }}",
    "targets in targets": "{% for " + "(" * 100_000, "attributes": "{{ ''.__class__.__mro__ }}",
    "attributes by filter": "{{ ''|attr('__class__') }}",
    "attributes by format": "{{ '{0.__class__}'.format(1) }}",
    "attributes by map": "{{ [1]|map(attribute='__class__')|list }}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_m15_hostile_template(name, build, tmp_path):
    """Refused with line and reason within 100 ms, in 600 MiB of address space."""
    path = tmp_path / "t.jinja"
    path.write_text(HOSTILE[name])

    def lower():
        resource.setrlimit(resource.RLIMIT_AS, (600 << 20, 600 << 20))
        resource.setrlimit(resource.RLIMIT_CPU, (5, 5))

    took = []
    for _ in range(3):  # the best of three: other programs run here, too
        begin = os.times()
        done = subprocess.run([build / "bin" / "conclave-render", path], input=b'{"messages": []}',
                              capture_output=True, preexec_fn=lower)
        end = os.times()
        took.append(end.children_user - begin.children_user + end.children_system
                    - begin.children_system)
    assert done.returncode == 1 and done.stdout == b"", (done.returncode, done.stdout[:80])
    assert re.match(rb"template: (line \d+: .|longer than)", done.stderr), done.stderr[:200]
    assert len(done.stderr) < 500
    assert min(took) <= 0.1, took
