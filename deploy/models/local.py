"""Greedy answers from a GGUF file in PyTorch, for evaluate.py where no server runs."""
import json
import re

import torch

import chat
from check_export import config_of, our_model, read
from tokenizer import Tokenizer

CALL = re.compile(r"<tool_call>\n(.*?)\n</tool_call>", re.DOTALL)


def prompt_of(case):
    """The prompt, and the part of the answer that the request already settles."""
    messages = []
    for message in case["messages"]:
        message = dict(message)
        if message.get("tool_calls"):
            calls = [call["function"] for call in message["tool_calls"]]
            message["tool_calls"] = [{"name": call["name"], "arguments": json.loads(call["arguments"])} for call in calls]
        messages.append(message)
    prompt = "".join(text for text, _ in chat.segments(messages, case.get("tools"))) + "<|im_start|>assistant\n"
    if case.get("thinking"):
        return prompt, "<think>\n"
    if case.get("tool_choice"):
        name = case["tool_choice"]["function"]["name"]
        return prompt, f'<tool_call>\n{{"name": "{name}", "arguments": '
    return prompt, ""


def reply_of(text):
    reply = {}
    if "</think>" in text:
        thought, text = text.split("</think>", 1)
        reply["reasoning_content"] = thought.replace("<think>", "").strip()
    calls = []
    for body in CALL.findall(text):
        try:
            call = json.loads(body)
            calls.append({"function": {"name": call["name"], "arguments": call["arguments"]}})
        except (ValueError, KeyError, TypeError):
            pass
    if calls:
        reply["tool_calls"] = calls
    reply["content"] = CALL.sub("", text).strip()
    return reply


class LocalBackend:
    def __init__(self, path, batch=40):
        fields, tensors = read(path)
        self.tokenizer = Tokenizer([merge.split(" ") for merge in fields["tokenizer.ggml.merges"]])
        self.model = our_model(config_of(fields), tensors)
        self.end = self.tokenizer.ids["<|im_end|>"]
        self.batch = batch

    @torch.no_grad()
    def continue_all(self, rows, tokens_max):
        """Appends to every row of ids, greedily, until its end token."""
        active = list(range(len(rows)))
        for _ in range(tokens_max):
            length = max(len(rows[index]) for index in active)
            ids = torch.tensor([rows[index] + [0] * (length - len(rows[index])) for index in active])
            last = torch.tensor([len(rows[index]) - 1 for index in active])
            states, _ = self.model.hidden_states(ids)
            chosen = self.model.logits(states[torch.arange(len(active)), last]).argmax(-1).tolist()
            for index, token in zip(active, chosen):
                rows[index].append(token)
            active = [index for index in active if rows[index][-1] != self.end]
            if not active:
                return

    def answers(self, cases):
        replies = [None] * len(cases)
        encoded = []
        for index, case in enumerate(cases):
            prompt, settled = prompt_of(case)
            start = self.tokenizer.encode(prompt)
            encoded.append((index, len(start), start + self.tokenizer.encode(settled)))
        encoded.sort(key=lambda item: len(item[2]))
        for first in range(0, len(encoded), self.batch):
            part = encoded[first:first + self.batch]
            self.continue_all([ids for _, _, ids in part], max(cases[index].get("max_tokens", 160) for index, _, _ in part))
            for index, start, ids in part:
                answer = ids[start:]
                if answer[-1] == self.end:
                    answer = answer[:-1]
                replies[index] = reply_of(self.tokenizer.decode(answer))
        return replies
