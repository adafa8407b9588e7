"""A caller that decides what is said, so that other frameworks' pipelines can run over the simulated engine."""

import json

from agents.ports import Message
from bench.simulator.content import Dictated, answer
from bench.simulator.openai_wire import read_body, request_of


def test_a_dictated_answer_is_said_word_for_word() -> None:
    said = answer(Dictated((Message("user", "hi"),), max_tokens=50, say="Order KW-1009 arrives on Monday."), seed=1)
    assert said.text == "Order KW-1009 arrives on Monday."
    assert said.complete


def test_the_metadata_of_a_request_dictate_and_its_limit_still_cuts() -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2, "metadata": {"say": "one two three four five"}}
    request = request_of(read_body(json.dumps(body).encode()), "chat")
    assert isinstance(request, Dictated)
    assert len(answer(request, seed=1).tokens) == 2
