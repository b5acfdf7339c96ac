#!/usr/bin/env python3
"""Rewrites cases.json with what Go itself makes of them: regenerate.py (needs go)."""
import json
import pathlib
import random
import subprocess

import conversations
import random_templates
import snippets

FOLDER = pathlib.Path(__file__).parent
NOW = 1_790_000_000  # 2026-09-21, as reference.go has it


def answers(cases):
    done = subprocess.run(["go", "run", FOLDER / "reference.go"], capture_output=True, check=True,
                          input="".join(json.dumps(case) + "\n" for case in cases).encode())
    return [json.loads(line) for line in done.stdout.decode().split("\n")[:-1]]



def main():
    texts = snippets.SNIPPETS + random_templates.templates(1, 150)
    data = random_templates.DATA
    given = answers([{"template": text, "data": data} for text in texts])
    small = ",\n".join(json.dumps({"template": text, **({"fails": True} if "error" in answer else answer)},
                                  ensure_ascii=False) for text, answer in zip(texts, given))
    rng = random.Random(7)
    families = [path.read_text() for path in sorted(FOLDER.glob("families/*.gotmpl"))]
    whole = []
    for text in families:  # gaps only for those that have a place for them
        fitting = [case for case in conversations.cases(text) if "suffix" not in case or ".Suffix" in text]
        whole += rng.sample(fitting, 24)
    chosen = [dict(case, template=families.index(case["template"])) for case in whole]
    told = ",\n".join(json.dumps({**short, **answer}, ensure_ascii=False)
                      for short, answer in zip(chosen, answers(whole)))
    (FOLDER / "cases.json").write_text(
        json.dumps({"now": NOW, "data": data}, ensure_ascii=False)[:-1]
        + ',\n"snippets": [\n' + small + '\n],\n"families": '
        + json.dumps(sorted(path.name for path in FOLDER.glob("families/*.gotmpl")))
        + ',\n"conversations": [\n' + told + "\n]}\n")


if __name__ == "__main__":
    main()
