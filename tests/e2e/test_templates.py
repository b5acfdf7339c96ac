"""conclave-render against Jinja2 as transformers sets it up: chat templates over a matrix of
conversations, and random small templates from a seed.

The templates are those of tests/golden/templates/families, and of ../shared/fixtures/templates where
they are there. CONCLAVE_RANDOM_TEMPLATES random ones are tried (default 3000).
"""
import json
import os
import pathlib
import re
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
