#!/usr/bin/env python3
"""Renders templates with Jinja2, set up as transformers does, and with conclave-render, and compares.

    compare.py BUILD_DIR TEMPLATE.jinja…      compares over a matrix of conversations
    compare.py --regenerate                   rewrites snippets.json from snippets.py with Jinja2 alone

Needs jinja2 3.1.6. Errors count as equal when both sides fail.
"""
import json
import pathlib
import subprocess
import sys

import conversations
import reference
import snippets

FOLDER = pathlib.Path(__file__).parent


def ours(build, template, cases):
    """What conclave-render makes of the template with each of the variables: text, or an exception."""
    done = subprocess.run(
        [pathlib.Path(build) / "bin" / "conclave-render", str(template), "--json-lines", "--now",
         str(reference.NOW)],
        input="".join(json.dumps(case) + "\n" for case in cases).encode(), capture_output=True,
        check=True)
    answers = [json.loads(line) for line in done.stdout.decode().split("\n")[:-1]]
    assert len(answers) == len(cases)
    return [answer["text"] if "text" in answer else ValueError(answer["error"])
            for answer in answers]


def differences(names, cases, wanted, found):
    """A description of each rendering that differs; errors are equal when both sides fail."""
    for name, case, want, got in zip(names, cases, wanted, found):
        same = isinstance(got, Exception) if isinstance(want, Exception) else got == want
        if not same:
            at = 0
            if isinstance(want, str) and isinstance(got, str):
                pairs = enumerate(zip(want, got))
                at = next((i for i, (a, b) in pairs if a != b), min(len(want), len(got)))
                want, got = want[max(at - 40, 0):at + 80], got[max(at - 40, 0):at + 80]
            yield (f"{name}\n{json.dumps(case, ensure_ascii=False)[:400]}\n"
                   f"want: {want!r}\ngot:  {got!r} at {at}")


def compare_matrix(build, path):
    """(renderings, errors among them, differences) of one template file."""
    names, cases = zip(*conversations.matrix())
    template = reference.environment().from_string(pathlib.Path(path).read_text())
    wanted = [reference.render(template, case) for case in cases]
    errors = sum(isinstance(want, Exception) for want in wanted)
    return len(cases), errors, list(differences(names, cases, wanted, ours(build, path, cases)))


def compare(build, paths):
    failures = 0
    for path in paths:
        total, errors, wrong = compare_matrix(build, path)
        failures += len(wrong)
        print(f"{path}: {total} renderings ({errors} of them errors), {len(wrong)} differ")
        for text in wrong[:5]:
            print("---", text)
    return 1 if failures else 0


def regenerate():
    variables = snippets.VARIABLES
    texts = ["{{ " + e + " }}" for e in snippets.EXPRESSIONS] + snippets.TEMPLATES
    rows = []
    for text in texts:
        rendered = reference.render(text, variables)
        failed = isinstance(rendered, Exception)
        row = {"template": text, **({"fails": True} if failed else {"text": rendered})}
        rows.append(json.dumps(row, ensure_ascii=False))
    (FOLDER / "snippets.json").write_text(
        json.dumps({"now": reference.NOW, "variables": variables}, ensure_ascii=False)[:-1]
        + ',\n"cases": [\n' + ",\n".join(rows) + "\n]}\n")


if __name__ == "__main__":
    if sys.argv[1:] == ["--regenerate"]:
        regenerate()
    else:
        sys.exit(compare(sys.argv[1], sys.argv[2:]))
