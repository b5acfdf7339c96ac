"""A chat model that is a program: says the last message back, word by word."""

import json
import sys

for line in sys.stdin:
    message = json.loads(line)
    if "cancel" in message:
        continue
    say = lambda **fields: print(json.dumps({"id": message["id"], **fields}), flush=True)
    words = message["request"]["messages"][-1]["content"].split()
    print(f"asked for {len(words)} words", file=sys.stderr, flush=True)
    if words == ["crash"]:
        sys.exit(3)
    for word in words:
        say(delta={"content": word + " "})
    say(finish_reason="stop", usage={"prompt_tokens": len(words), "completion_tokens": len(words)})
