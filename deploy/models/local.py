"""Greedy answers from a GGUF file in PyTorch, for evaluate.py where no server runs."""
import json
import re

import torch

import chat
from check_export import config_of, our_model, read
from model import turn
from tokenizer import Tokenizer

CALL = re.compile(r"<tool_call>\n(.*?)\n</tool_call>", re.DOTALL)


def prompt_of(case):
    """The prompt, and the part of the answer that the request already settles.

    A settled part must not end in a space: the space belongs to the next token.
    """
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
        return prompt, f'<tool_call>\n{{"name": "{name}", "arguments":'
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


class Decoder:
    """Greedy decoding of a batch of prompts with a key-value cache; prompts are padded on the right."""

    def __init__(self, model, rows, tokens_max):
        self.model, self.config = model, model.config
        self.lengths = torch.tensor([len(row) for row in rows])
        size = int(self.lengths.max())
        ids = torch.tensor([row + [0] * (size - len(row)) for row in rows])
        shape = (self.config.layers, len(rows), self.config.kv_heads, size + tokens_max, self.config.head_dim)
        self.keys, self.values = torch.zeros(shape), torch.zeros(shape)
        positions = torch.arange(size).expand(len(rows), size)
        self.states = self.forward(ids, positions)[torch.arange(len(rows)), self.lengths - 1]

    def attend(self, layer, attention, x, positions):
        c, (batch, length, _) = self.config, x.shape
        q, k, v = attention.qkv_proj(x).split((attention.q_size, attention.kv_size, attention.kv_size), dim=-1)
        cos, sin = self.model.cos[positions][:, :, None], self.model.sin[positions][:, :, None]
        q = turn(attention.q_norm(q.reshape(batch, length, c.heads, c.head_dim)), cos, sin)
        k = turn(attention.k_norm(k.reshape(batch, length, c.kv_heads, c.head_dim)), cos, sin)
        rows = torch.arange(batch)[:, None].expand_as(positions)
        self.keys[layer].transpose(1, 2)[rows, positions] = k
        self.values[layer].transpose(1, 2)[rows, positions] = v.reshape(k.shape)
        reach = int(positions.max()) + 1
        q = q.view(batch, length, c.kv_heads, -1, c.head_dim).permute(0, 2, 3, 1, 4)
        scores = q @ self.keys[layer][:, :, None, :reach].transpose(-1, -2) / c.head_dim**0.5
        later = torch.arange(reach) > positions[:, :, None]
        weights = scores.masked_fill(later[:, None, None], float("-inf")).softmax(-1)
        out = weights @ self.values[layer][:, :, None, :reach]
        return attention.o_proj(out.permute(0, 3, 1, 2, 4).reshape(batch, length, -1))

    def forward(self, ids, positions):
        x = self.model.embed(ids)
        for layer, block in enumerate(self.model.blocks):
            x = x + self.attend(layer, block.attn, block.attn_norm(x), positions)
            x = x + block.ffn(block.ffn_norm(x))[0]
        return self.model.norm(x)

    def next(self):
        """The greedy token of every row, which then becomes part of the row."""
        tokens = self.model.logits(self.states).argmax(-1)
        self.states = self.forward(tokens[:, None], self.lengths[:, None])[:, 0]
        self.lengths = self.lengths + 1
        return tokens.tolist()


class LocalBackend:
    def __init__(self, path, batch=50):
        fields, tensors = read(path)
        self.tokenizer = Tokenizer([merge.split(" ") for merge in fields["tokenizer.ggml.merges"]])
        self.model = our_model(config_of(fields), tensors)
        self.end = self.tokenizer.ids["<|im_end|>"]
        self.batch = batch

    @torch.no_grad()
    def continue_all(self, rows, tokens_max):
        """Appends to every row of ids, greedily, until its end token."""
        decoder = Decoder(self.model, rows, tokens_max)
        for _ in range(tokens_max):
            for row, token in zip(rows, decoder.next()):
                if row[-1] != self.end:
                    row.append(token)
            if all(row[-1] == self.end for row in rows):
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
