#!/usr/bin/env python3
"""Train the default model on conversations generated on the fly, on CPU cores or one GPU. Stops and resumes at any step.

The data of a step depends only on --seed and the step's number. The learning rate warms up, stays, and falls
linearly to zero from --decay-from to --steps, so a run of unknown length can be ended well: stop it, then resume
with both set.
"""
import argparse
import csv
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import torch
from torch.nn import functional as F

import chat
import check_export
import corpus
import heldout
from model import Config, Model
from tokenizer import SPECIAL, Tokenizer


def encode(tokenizer, messages, tools):
    """Token ids and, for each, whether the model has to learn to say it."""
    ids, learnt = [], []
    for text, mine in chat.segments(messages, tools):
        piece = tokenizer.encode(text)
        ids += piece
        learnt += [mine] * len(piece)
    return ids, learnt


def echo(rng, tokenizer):
    """Random tokens to be said again: the quickest way to learn to copy, with every token of the vocabulary."""
    words = [rng.randrange(len(tokenizer.tokens) - len(SPECIAL)) for _ in range(rng.randint(4, 40))]
    start, end = tokenizer.ids["<|im_start|>"], tokenizer.ids["<|im_end|>"]
    head = [start, *tokenizer.encode("user\n"), *words, end, *tokenizer.encode("\n"), start, *tokenizer.encode("assistant\n")]
    return head + words + [end], [False] * len(head) + [True] * (len(words) + 1)


def step_examples(tokenizer, options, weights, step):
    rng = random.Random(f"{options.seed}:{step}")
    found = []
    while len(found) < options.batch:
        if rng.random() < options.echo_share:
            found.append(echo(rng, tokenizer))
            continue
        ids, learnt = encode(tokenizer, *corpus.conversation(rng, weights))
        if len(ids) <= options.length:
            learnt = [mine or rng.random() < options.prompt_share for mine in learnt]
            found.append((ids, learnt))
    return found


def micro_batches(examples, tokens_max):
    """Examples of like length together, so that little is padded."""
    batch = []
    for example in sorted(examples, key=lambda pair: len(pair[0])):
        if batch and (len(batch) + 1) * rounded(len(example[0]), 16) > tokens_max:
            yield batch
            batch = []
        batch.append(example)
    yield batch


def rounded(number, multiple):
    return (number + multiple - 1) // multiple * multiple


def padded(batch):
    """ids [batch, length], and mask of the positions whose next token is learnt. Padding is on the right.

    Sizes are rounded up for the sake of oneDNN, see Experts.sorted_slots.
    """
    length = rounded(max(len(ids) for ids, _ in batch), 16)
    ids = torch.zeros(rounded(len(batch), 4), length, dtype=torch.long)
    mask = torch.zeros_like(ids, dtype=torch.bool)
    for row, (tokens, learnt) in enumerate(batch):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        mask[row, : len(tokens) - 1] = torch.tensor(learnt[1:])
    return ids, mask


def packed(examples, length):
    """ids, mask and conversation numbers of [rows, length]: a GPU wastes least on rows of one length, filled up.

    Padding is a conversation of its own, -1.
    """
    rows = []
    for example in sorted(examples, key=lambda pair: -len(pair[0])):
        row = next((row for row in rows if row[0] + len(example[0]) <= length), None)
        if row is None:
            rows.append(row := [0, []])
        row[0] += len(example[0])
        row[1].append(example)
    ids = torch.zeros(rounded(len(rows), 4), length, dtype=torch.long)
    mask, numbers = torch.zeros_like(ids, dtype=torch.bool), torch.full_like(ids, -1)
    for row, (_, conversations) in enumerate(rows):
        start = 0
        for number, (tokens, learnt) in enumerate(conversations):
            end = start + len(tokens)
            ids[row, start:end] = torch.tensor(tokens)
            mask[row, start : end - 1] = torch.tensor(learnt[1:])
            numbers[row, start:end] = number
            start = end
    return ids, mask, numbers


class StepData:
    """What each step trains on, by the number of the step: a list of micro-batches, and how many tokens they hold."""

    def __init__(self, tokenizer, options):
        self.tokenizer, self.options = tokenizer, options
        self.weights = corpus.parse_weights(options.weights)

    def __getitem__(self, step):
        examples = step_examples(self.tokenizer, self.options, self.weights, step)
        tokens = sum(len(ids) for ids, _ in examples)
        if self.options.device != "cpu":
            return [packed(examples, self.options.length)], tokens
        return [padded(batch) for batch in micro_batches(examples, self.options.micro_tokens)], tokens

    def steps_from(self, first):
        return iter(torch.utils.data.DataLoader(self, batch_size=None, sampler=range(first, self.options.steps),
                                                num_workers=self.options.drawers, worker_init_fn=leave_stopping_to_others,
                                                pin_memory=self.options.device != "cpu"))


def leave_stopping_to_others(_):
    """A SIGTERM to the whole process group ends the run between two steps, not in a drawer."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def next_tokens(model, bf16, ids, mask, numbers=None):
    """Logits at the masked positions, the tokens wanted there, and the balance loss."""
    with torch.autocast(ids.device.type, dtype=torch.bfloat16, enabled=bf16):
        states, balance = model.hidden_states(ids, numbers)
        at = mask.flatten().nonzero().flatten()
        room = F.pad(at, (0, rounded(len(at), 256) - len(at)))
        logits = model.logits(states.flatten(0, 1).index_select(0, room))[: len(at)]
    wanted = ids.roll(-1, dims=1)[mask]
    return logits.float(), wanted, balance


def train_step(model, batches, options, next_index):
    """Gradients and loss of those micro-batches of the step that this process gets hold of."""
    total = sum(int(mask.sum()) for _, mask, *_ in batches)
    loss_sum, balance_sum, index = 0.0, 0.0, next_index()
    while index < len(batches):
        batch = [tensor.to(options.device, non_blocking=True) for tensor in batches[-1 - index]]
        logits, wanted, balance = next_tokens(model, options.bf16, *batch)
        loss = F.cross_entropy(logits, wanted, reduction="sum") / total
        share = len(wanted) / total
        (loss + options.balance * share * balance).backward()
        loss_sum += loss.item()
        balance_sum += share * balance.item()
        index = next_index()
    return loss_sum, balance_sum


def orthogonalized(matrices):
    """Newton-Schulz iteration of Muon for a stack of matrices [n, rows, cols] with rows <= cols."""
    x = matrices.bfloat16()
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    for _ in range(5):
        gram = x @ x.transpose(1, 2)
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.float()


class Muon:
    """Momentum whose update is orthogonalised, for every matrix inside the blocks but the router.

    Fused tensors are cut into the matrices they hold; matrices of one shape are treated as one stack.
    """

    def __init__(self, model, momentum=0.95):
        self.momentum = momentum
        self.parameters = [p for name, p in model.named_parameters() if is_hidden_matrix(name)]
        self.buffers = [torch.zeros_like(p).share_memory_() for p in self.parameters]
        self.config = model.config

    def pieces(self, tensor):
        """Views of the single matrices of a parameter."""
        size = self.config.head_dim * self.config.heads
        if tensor.dim() == 3:
            experts = tensor.unbind(0)
            halves = 2 if tensor.shape[1] == 2 * self.config.expert_ffn else 1
            return [part for expert in experts for part in expert.chunk(halves)]
        if tensor.shape[0] > size:
            return [tensor[:size]] + list(tensor[size:].chunk(2))
        return [tensor]

    @torch.no_grad()
    def step(self, rate, decay, first, stride):
        """Update every stride-th parameter, so that several processes can share the work."""
        stacks = {}
        for parameter, buffer in list(zip(self.parameters, self.buffers))[first::stride]:
            buffer.lerp_(parameter.grad, 1 - self.momentum)
            update = parameter.grad.lerp(buffer, self.momentum)
            parameter.mul_(1 - rate * decay)
            for target, part in zip(self.pieces(parameter), self.pieces(update)):
                stacks.setdefault(part.shape, []).append((target, part))
        for stack in stacks.values():
            updates = orthogonalized(torch.stack([part for _, part in stack]))
            for (target, _), update in zip(stack, updates):
                target.add_(update, alpha=-rate)

    def state(self):
        return self.buffers

    def load(self, buffers):
        for mine, loaded in zip(self.buffers, buffers):
            mine.copy_(loaded)


def is_hidden_matrix(name):
    return name.endswith(("qkv_proj.weight", "o_proj.weight", "gate_up", "down"))


def is_sharpness(name):
    """The norms of q and k bound how sharp attention can be; they start too small for exact copying."""
    return name.endswith(("q_norm.weight", "k_norm.weight"))


def rate_scale(step, seconds, options):
    if step < options.warmup:
        return (step + 1) / options.warmup
    left = (options.steps - step) / max(1, options.steps - options.decay_from)
    if options.seconds:
        left = min(left, (options.seconds - seconds) / max(1, options.seconds - options.decay_from_second))
    return min(1.0, max(0.0, left))


class Team:
    """Processes that share one model: parameters and gradients lie in shared memory.

    One thread in each of two processes that meet twice a step wastes less than two threads that meet in every
    matrix product, the more so on a machine that others use too. A team of one, on a GPU say, shares nothing.
    """

    def __init__(self, model, workers):
        self.workers = workers
        context = multiprocessing.get_context("fork")
        self.barrier = context.Barrier(workers)
        self.counter = context.Value("l", 0)
        self.running = context.Value("b", 1)
        self.sums = [torch.zeros(2).share_memory_() for _ in range(workers)]
        self.gradients = [[torch.zeros_like(p).share_memory_() for p in model.parameters()] for _ in range(workers)]

    def goes_on(self, rank, wanted=True):
        if rank == 0:
            self.running.value = int(wanted)
            self.counter.value = 0
        self.barrier.wait()
        return bool(self.running.value)

    def next_index(self):
        with self.counter.get_lock():
            self.counter.value += 1
            return self.counter.value - 1

    def sum_up(self, rank, model, loss, balance):
        """Every process ends with the gradients of all, and the sums of what was measured."""
        if self.workers == 1:
            return loss, balance
        for parameter, shared in zip(model.parameters(), self.gradients[rank]):
            if parameter.grad is None:
                shared.zero_()
            else:
                shared.copy_(parameter.grad)
        self.sums[rank].copy_(torch.tensor([loss, balance]))
        self.barrier.wait()
        for index, parameter in enumerate(model.parameters()):
            parameter.grad = sum(gradients[index] for gradients in self.gradients)
        return sum(self.sums).tolist()

    def finish_step(self, rank, model):
        for parameter in model.parameters():
            parameter.grad = None
        self.barrier.wait()


def fresh_config(options, tokenizer):
    return Config(vocab_size=len(tokenizer.tokens), hidden=options.hidden, layers=options.layers, heads=options.hidden // 32,
                  kv_heads=options.hidden // 64, experts=options.experts, expert_ffn=options.expert_ffn)


class Trainer:
    def __init__(self, options):
        self.options = options
        self.out = Path(options.out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.tokenizer = Tokenizer.load(options.tokenizer)
        self.data = StepData(self.tokenizer, options)
        torch.manual_seed(options.seed)
        self.step, self.tokens, self.seconds = 0, 0, 0.0
        path = self.out / "checkpoint.pt"
        saved = torch.load(path, map_location="cpu") if path.exists() else None
        if saved or not options.init:
            self.model = Model(Config(**saved["config"]) if saved else fresh_config(options, self.tokenizer))
        else:
            fields, tensors = check_export.read(options.init)
            self.model = check_export.our_model(check_export.config_of(fields), tensors).train()
        self.model.to(options.device).share_memory()
        self.muon = Muon(self.model)
        rest = [(name, p) for name, p in self.model.named_parameters() if not is_hidden_matrix(name)]
        groups = [{"params": [p for name, p in rest if not is_sharpness(name)], "scale": 1.0},
                  {"params": [p for name, p in rest if is_sharpness(name)], "scale": options.sharpness_scale}]
        self.adam = torch.optim.AdamW(groups, lr=options.adam_rate, betas=(0.9, 0.98), weight_decay=0.0)
        if saved:
            self.restore(saved)
        self.team = Team(self.model, options.workers)

    def restore(self, saved):
        self.model.load_state_dict(saved["model"])
        self.muon.load(saved["muon"])
        self.adam.load_state_dict(saved["adam"])
        self.step, self.tokens, self.seconds = saved["step"], saved["tokens"], saved["seconds"]
        print(f"resumed at step {self.step}", flush=True)

    def save(self):
        state = {"config": self.model.config.to_dict(), "model": self.model.state_dict(), "muon": self.muon.state(),
                 "adam": self.adam.state_dict(), "step": self.step, "tokens": self.tokens, "seconds": self.seconds}
        torch.save(state, self.out / "checkpoint.tmp")
        (self.out / "checkpoint.tmp").replace(self.out / "checkpoint.pt")

    def run_step(self, steps, rank=0):
        scale = rate_scale(self.step, self.seconds, self.options)
        started = time.time()
        batches, tokens = next(steps)
        loss, balance = train_step(self.model, batches, self.options, self.team.next_index)
        loss, balance = self.team.sum_up(rank, self.model, loss, balance)
        self.muon.step(self.options.rate * scale, self.options.decay, rank, self.options.workers)
        if rank == 0:
            for group in self.adam.param_groups:
                torch.nn.utils.clip_grad_norm_(group["params"], 1.0)
                group["lr"] = self.options.adam_rate * scale * group["scale"]
            self.adam.step()
        self.team.finish_step(rank, self.model)
        self.step += 1
        self.tokens += tokens
        self.seconds += time.time() - started
        return loss, balance, scale

    def work(self, rank):
        """What every process but the first does: its share of each step, until the first says stop."""
        steps = self.data.steps_from(self.step)
        while self.team.goes_on(rank):
            self.run_step(steps, rank)

    @torch.no_grad()
    def exact(self, count):
        """Share of held-out conversations whose every learnt token is the greedy choice, per skill."""
        right, asked = {}, {}
        encoded = [(skill, encode(self.tokenizer, messages, tools)) for skill, messages, tools in heldout.cases(count)]
        for start in range(0, len(encoded), 50):
            part = encoded[start:start + 50]
            ids, mask = (tensor.to(self.options.device) for tensor in padded([pair for _, pair in part]))
            logits, wanted, _ = next_tokens(self.model, self.options.bf16, ids, mask)
            wrong = torch.zeros_like(mask, dtype=torch.long)
            wrong[mask] = (logits.argmax(-1) != wanted).long()
            for (skill, _), misses in zip(part, wrong.sum(1).tolist()):
                right[skill] = right.get(skill, 0) + (misses == 0)
                asked[skill] = asked.get(skill, 0) + 1
        return {skill: right[skill] / asked[skill] for skill in asked}

    def log(self, name, row):
        path = self.out / name
        fresh = not path.exists()
        with open(path, "a", newline="") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(row.keys())
            writer.writerow(row.values())

    def over(self):
        return self.step >= self.options.steps or 0 < self.options.seconds <= self.seconds

    def run(self):
        stopped = []
        signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
        saved_at = time.time()
        steps = self.data.steps_from(self.step)
        while self.team.goes_on(0, not self.over() and not stopped):
            loss, balance, scale = self.run_step(steps)
            if self.step % 10 == 0:
                self.log("training_log.csv", {"step": self.step, "tokens": self.tokens, "seconds": round(self.seconds, 1), "loss": round(loss, 4),
                                              "balance": round(balance, 3), "rate": round(self.options.rate * scale, 5)})
                print(f"{self.step} loss {loss:.4f} balance {balance:.2f} {self.tokens / self.seconds:.0f} tokens/s", flush=True)
            if self.step % self.options.check_every == 0:
                shares = self.exact(self.options.check_count)
                self.log("heldout_log.csv", {"step": self.step, **{skill: round(share, 3) for skill, share in shares.items()}})
                print(f"{self.step} exact " + " ".join(f"{skill} {share:.2f}" for skill, share in shares.items()), flush=True)
            if time.time() - saved_at > self.options.save_every:
                self.save()
                saved_at = time.time()
        self.save()
        print(f"stopped at step {self.step}", flush=True)


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("--out", default="run", help="folder of checkpoint and logs")
    add("--init", help="exported GGUF to start from when the folder holds no checkpoint")
    add("--tokenizer", default="merges.json")
    add("--seed", type=int, default=1)
    add("--device", default="cpu", help="cpu or cuda")
    add("--workers", type=int, default=2, help="processes of one thread each that share the work of a step; on a GPU one")
    add("--drawers", type=int, default=0, help="processes that draw conversations ahead; 0: each worker draws its own")
    add("--steps", type=int, default=10**9)
    add("--decay-from", type=int, default=10**9, help="step at which the rate starts to fall to zero")
    add("--seconds", type=float, default=0, help="end after so many seconds of training, whatever the steps; 0: no such end")
    add("--decay-from-second", type=float, default=0, help="with --seconds: second at which the rate starts to fall to zero")
    add("--warmup", type=int, default=60)
    add("--batch", type=int, default=96, help="conversations in a step")
    add("--length", type=int, default=512, help="longer conversations are not drawn")
    add("--micro-tokens", type=int, default=2048)
    add("--rate", type=float, default=0.02, help="of Muon, for the matrices")
    add("--adam-rate", type=float, default=0.004, help="of AdamW, for the rest")
    add("--sharpness-scale", type=float, default=5.0, help="factor on the rate of the norms of q and k")
    add("--decay", type=float, default=0.05, help="weight decay of the matrices")
    add("--balance", type=float, default=0.01, help="weight of the load-balancing loss")
    add("--prompt-share", type=float, default=0.1, help="share of prompt tokens that are learnt too")
    add("--echo-share", type=float, default=0.1, help="share of conversations that are random tokens to repeat")
    add("--weights", default="", help="changes to the mixture of skills, as skill=weight,…")
    add("--hidden", type=int, default=192)
    add("--layers", type=int, default=4)
    add("--experts", type=int, default=8)
    add("--expert-ffn", type=int, default=192)
    add("--check-every", type=int, default=200)
    add("--check-count", type=int, default=80, help="held-out conversations per skill in a check")
    add("--save-every", type=float, default=180, help="seconds between checkpoints")
    add("--fp32", dest="bf16", action="store_false", help="no bfloat16 in the matrix products")
    return parser.parse_args()


def main():
    options = parse_options()
    if options.device != "cpu":
        options.workers = 1
    torch.set_num_threads(1)
    trainer = Trainer(options)
    for rank in range(1, options.workers):
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            trainer.work(rank)
            os._exit(0)
    trainer.run()


if __name__ == "__main__":
    main()
