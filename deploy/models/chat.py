"""A conversation as text, exactly as chat_template.jinja writes it (test_pipeline.py holds the two together)."""
import json

END = "<|im_end|>"
TOOLS_HEAD = "# Tools\n<tools>"
TOOLS_TAIL = "</tools>\nTo call a function, answer with <tool_call>\n{\"name\": ..., \"arguments\": {...}}\n</tool_call>"


def to_json(value):
    return json.dumps(value, ensure_ascii=False)


def system_text(content, tools):
    if not tools:
        return content
    lines = [TOOLS_HEAD] + [to_json(tool) for tool in tools] + [TOOLS_TAIL]
    block = "\n".join(lines)
    return f"{content}\n\n{block}" if content else block


def call_text(call):
    return f'<tool_call>\n{{"name": "{call["name"]}", "arguments": {to_json(call["arguments"])}}}\n</tool_call>'


def assistant_text(message):
    calls = [call_text(call) for call in message.get("tool_calls", [])]
    return "\n".join(([message["content"]] if message["content"] else []) + calls)


def segments(messages, tools=None):
    """Pieces of (text, learnt): learnt pieces are what the model itself has to say.

    An assistant message may carry 'think' (its reasoning, kept only in the last turn) and 'prefix' (text that the
    generation prompt writes for it: '<think>\\n' when thinking is switched on), or 'parts', pieces of its own.
    """
    pieces = []
    system = messages[0]["content"] if messages[0]["role"] == "system" else ""
    rest = messages[1:] if messages[0]["role"] == "system" else messages
    if system or tools:
        pieces.append((f"<|im_start|>system\n{system_text(system, tools)}{END}\n", False))
    for message in rest:
        if message["role"] == "assistant":
            prefix = message.get("prefix", "")
            body = assistant_text(message)
            if "think" in message:
                body = f"<think>\n{message['think']}\n</think>\n\n{body}"
            pieces.append((f"<|im_start|>assistant\n{prefix}", False))
            pieces += message.get("parts", [])
            pieces.append((body[len(prefix):] + END if body.startswith(prefix) else body + END, True))
            pieces.append(("\n", False))
        elif message["role"] == "tool":
            content = f"<tool_response>\n{message['content']}\n</tool_response>"
            pieces.append((f"<|im_start|>user\n{content}{END}\n", False))
        else:
            pieces.append((f"<|im_start|>user\n{message['content']}{END}\n", False))
    return pieces
