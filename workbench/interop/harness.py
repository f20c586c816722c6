"""Our models under lm-evaluation-harness, for its hundreds of tasks.

    import lm_eval
    from workbench.interop.harness import harness_model
    lm_eval.simple_evaluate(model=harness_model("runs/quickstart/sft/model"), tasks=["arc_easy"])

Source: github.com/EleutherAI/lm-evaluation-harness, docs/model_guide.md.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench.errors import UsageError
from workbench.inference.generate import generate, generate_greedy_batch
from workbench.inference.likelihood import continuation_likelihoods, rolling_windows
from workbench.inference.loading import load_both
from workbench.inference.sampling import SamplingSettings
from workbench.model.precision import resolve_device
from workbench.model.transformer import Transformer
from workbench.tokenizer.chat_template import Message
from workbench.tokenizer.tokenizer import Tokenizer

DEFAULT_NEW_TOKENS = 256  # the harness's own, where a task names no length


def harness_model(directory: str | Path, batch_size: int = 32, device: str = "auto") -> Any:
    """The model of a directory as a `lm_eval.api.model.LM`.

    Args:
        batch_size: texts computed at once.
        device: "auto", "cpu", "cuda" or "mps".
    Raises:
        UsageError: lm-evaluation-harness is not installed.
        ModelError, TokenizerError: the directory does not hold both.
    """
    try:
        from lm_eval.api.model import LM
    except ImportError as error:
        problem = "is not installed"
        raise UsageError("lm-evaluation-harness", problem, "pip install 'llm-workbench[lm-eval]'") from error

    class WorkbenchLM(HarnessRequests, LM):  # type: ignore[misc]
        """The three requests of the harness, answered by our own inference."""

        def __init__(self, model: Transformer, tokenizer: Tokenizer) -> None:
            LM.__init__(self)
            HarnessRequests.__init__(self, model, tokenizer, batch_size, name=str(directory))

    return WorkbenchLM(*load_both(Path(directory), resolve_device(device)))


class HarnessRequests:
    """What the harness asks of a model, without the harness.

    A request has `args`: (context, continuation), (text,), or (context, settings of generation).

    Args:
        name: of the model; the harness keeps answers of chat models by it.
    """

    def __init__(self, model: Transformer, tokenizer: Tokenizer, batch_size: int, name: str = "") -> None:
        self.model, self.tokenizer, self.batch_size, self.name = model, tokenizer, batch_size, name
        self._templated = False

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """For each (context, continuation) its log-probability in nats, and whether greedy decoding would give it."""
        found = continuation_likelihoods(
            self.model, [self._pair(*request.args) for request in requests], batch_size=self.batch_size
        )
        assert found is not None, "nobody stops it"
        return [(each.log_probability, each.greedy) for each in found]

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """The log-probability of each whole text, in windows of the model's context."""
        limit = self.model.config.max_position_embeddings
        windows = [
            rolling_windows(self.encode(request.args[0]), self.tokenizer.eos_token_id, limit) for request in requests
        ]
        found = continuation_likelihoods(
            self.model, [pair for each in windows for pair in each], batch_size=self.batch_size
        )
        assert found is not None, "nobody stops it"
        scores = iter(found)
        return [sum(next(scores).log_probability for _ in each) for each in windows]

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """For each (context, settings) what follows, up to the first of the texts under "until", which is left out."""
        texts = [""] * len(requests)
        greedy: defaultdict[int, list[int]] = defaultdict(list)
        for index, request in enumerate(requests):
            context, settings = request.args
            if _samples(settings):
                texts[index] = _cut(self._sampled(context, settings), settings)
            else:
                greedy[_new_tokens(settings)].append(index)
        for new_tokens, indices in greedy.items():
            prompts = [self._prompt(requests[index].args[0], new_tokens) for index in indices]
            found = generate_greedy_batch(
                self.model, prompts, new_tokens, self.tokenizer.stop_token_ids, batch_size=self.batch_size
            )
            assert found is not None, "nobody stops it"
            for index, ids in zip(indices, found, strict=True):
                text = self.tokenizer.decode(ids, skip_special_tokens=True)
                texts[index] = _cut(text, requests[index].args[1])
        return texts

    def apply_chat_template(self, chat_history: Sequence[Message], add_generation_prompt: bool = True) -> str:
        """A conversation as the text that the model reads.

        Raises:
            UsageError: its tokenizer has no chat template.
        """
        if self.tokenizer.chat is None:
            raise UsageError(self.name, "has no chat template", "run the harness without --apply_chat_template")
        self._templated = True  # from now on contexts hold control tokens
        return self.tokenizer.chat.render(chat_history, add_generation_prompt=add_generation_prompt)

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """What the harness keeps beside its results: the template's text."""
        return self.tokenizer.chat.source if chat_template and self.tokenizer.chat is not None else None

    @property
    def tokenizer_name(self) -> str:
        """By which the harness keeps prepared requests apart."""
        return f"{self.name} {self.tokenizer.fingerprint}"

    def encode(self, text: str) -> list[int]:
        """A text as ids; control tokens in it are text, but for what the chat template wrote."""
        return self.tokenizer.encode_with_specials(text) if self._templated else self.tokenizer.encode(text)

    def _pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Encoded together and parted where the context alone would end; its last spaces belong to what follows."""
        if not context:
            return [self.tokenizer.eos_token_id], self.encode(continuation)
        bare = context.rstrip()
        before, whole = self.encode(bare), self.encode(context + continuation)
        if not before:
            return [self.tokenizer.eos_token_id], whole
        return whole[: len(before)], whole[len(before) :]

    def _prompt(self, context: str, new_tokens: int) -> list[int]:
        """The context's last tokens, so that there is room for an answer."""
        room = max(1, self.model.config.max_position_embeddings - new_tokens)
        return (self.encode(context) or [self.tokenizer.eos_token_id])[-room:]

    def _sampled(self, context: str, settings: dict[str, Any]) -> str:
        new_tokens = _new_tokens(settings)
        chosen = SamplingSettings(
            temperature=float(settings.get("temperature") or 1.0),
            top_k=int(settings.get("top_k") or 0),
            top_p=float(settings.get("top_p") or 1.0),
            max_new_tokens=new_tokens,
            seed=settings.get("seed"),
        )
        ids = list(generate(self.model, self._prompt(context, new_tokens), chosen, self.tokenizer.stop_token_ids))
        return self.tokenizer.decode(ids, skip_special_tokens=True)


def _new_tokens(settings: dict[str, Any]) -> int:
    names = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
    return next((int(settings[name]) for name in names if settings.get(name)), DEFAULT_NEW_TOKENS)


def _samples(settings: dict[str, Any]) -> bool:
    """Whether a task asks for chance: it says so, or names a temperature."""
    temperature = settings.get("temperature")
    return bool(settings.get("do_sample", bool(temperature))) and temperature != 0


def _cut(text: str, settings: dict[str, Any]) -> str:
    until = settings.get("until") or []
    for stop in [until] if isinstance(until, str) else until:
        if stop:
            text = text.split(stop, 1)[0]
    return text
