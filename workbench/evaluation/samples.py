"""What a model makes of a fixed prompt, the same with the same seed."""

from workbench.inference.context import text_ids
from workbench.inference.generate import generate
from workbench.inference.sampling import SamplingSettings
from workbench.model.transformer import Transformer
from workbench.tokenizer.chat_template import encode_prompt
from workbench.tokenizer.tokenizer import TextStream, Tokenizer


def continue_prompt(model: Transformer, tokenizer: Tokenizer, prompt: str, seed: int, max_new_tokens: int) -> str:
    """The text that `model` puts after `prompt`, or begins anew for an empty one, sampled with the default settings."""
    return _sampled(model, tokenizer, text_ids(tokenizer, prompt), seed, max_new_tokens)


def answer_prompt(model: Transformer, tokenizer: Tokenizer, prompt: str, seed: int, max_new_tokens: int) -> str:
    """What `model` answers when a user says `prompt` in a new chat, sampled likewise."""
    ids = encode_prompt(tokenizer, [{"role": "user", "content": prompt}])
    return _sampled(model, tokenizer, ids, seed, max_new_tokens)


def _sampled(model: Transformer, tokenizer: Tokenizer, ids: list[int], seed: int, max_new_tokens: int) -> str:
    settings = SamplingSettings(seed=seed, max_new_tokens=max_new_tokens)
    text = TextStream(tokenizer, skip_special_tokens=True)
    pieces = [text.push(token_id) for token_id in generate(model, ids, settings, tokenizer.stop_token_ids)]
    return "".join([*pieces, text.finish()])
