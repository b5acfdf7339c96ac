"""Conversations for the check during training: arithmetic and words of the share that training never draws."""
import random

import corpus
import passages
import problems
import toolbox
from words import WordSource


def arithmetic_case(rng, skill):
    problem = problems.arithmetic_problem(rng, skill)
    return [corpus.user(problem.question), corpus.assistant(problem.said)], None


def cases(count, seed=7):
    """(skill, messages, tools), `count` of each skill; the same ones for the same arguments."""
    rng, words = random.Random(f"heldout:{seed}"), WordSource(evaluation=True)
    makers = {skill: (lambda rng, skill=skill: arithmetic_case(rng, skill))
              for skill in ("add", "subtract", "compare", "word problem", "times table")}
    makers["reading"] = lambda rng: (passages.conversation(rng, words), None)
    makers["calling"] = lambda rng: toolbox.conversation(rng, words)
    makers.update({name: corpus.SKILLS[name][0] for name in ("thinking", "obeying", "told", "repeating", "chatting")})
    return [(skill, *make(rng)) for skill, make in makers.items() for _ in range(count)]
