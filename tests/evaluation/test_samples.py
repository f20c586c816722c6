"""Samples of fixed prompts: the same seed tells the same, and looking changes nothing."""

import torch

from workbench.evaluation.samples import answer_prompt, continue_prompt
from workbench.inference.chat import ChatSession
from workbench.inference.sampling import SamplingSettings
from workbench.model.transformer import Transformer
from workbench.tokenizer.tokenizer import Tokenizer


def test_the_same_seed_gives_the_same_sample_and_another_seed_another(model: Transformer, tokenizer: Tokenizer) -> None:
    for make in (continue_prompt, answer_prompt):
        first = make(model, tokenizer, "Once", 1, 20)
        assert make(model, tokenizer, "Once", 1, 20) == first
        assert make(model, tokenizer, "Once", 2, 20) != first


def test_an_answer_is_what_a_chat_would_say(model: Transformer, tokenizer: Tokenizer) -> None:
    session = ChatSession(model, tokenizer, SamplingSettings(seed=5, max_new_tokens=20))
    told = "".join(session.send("Who are you?"))
    assert answer_prompt(model, tokenizer, "Who are you?", 5, 20).rstrip("\ufffd") == told.rstrip("\ufffd")


def test_a_continuation_is_what_a_completion_would_say(model: Transformer, plain_tokenizer: Tokenizer) -> None:
    session = ChatSession(model, plain_tokenizer, SamplingSettings(seed=5, max_new_tokens=20))
    for prompt in ("Once", ""):
        session.reset()
        told = "".join(session.send(prompt))
        assert continue_prompt(model, plain_tokenizer, prompt, 5, 20).rstrip("\ufffd") == told.rstrip("\ufffd")


def test_sampling_leaves_the_model_and_random_numbers_as_they_were(model: Transformer, tokenizer: Tokenizer) -> None:
    model.train()
    before = torch.get_rng_state()
    answer_prompt(model, tokenizer, "Hi", 0, 5)
    assert model.training and torch.equal(before, torch.get_rng_state())
