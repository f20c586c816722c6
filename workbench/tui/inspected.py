"""What the Inspect screen knows of one model and one text: computed view by view, on a thread, when it is looked at.

The values are plain numbers and strings; whatever computes them is imported on the thread that asks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import UsageError
from workbench.runs.store import RunDirectory, StageDirectory

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workbench.inspection.kernel_lab import OperationFigures
    from workbench.inspection.lens import Choice, Place
    from workbench.inspection.norms import LayerActivations, ParameterFigures
    from workbench.inspection.routing import LayerRouting
    from workbench.model.transformer import Transformer
    from workbench.tokenizer.merging import MergeTable, Word
    from workbench.tokenizer.tokenizer import Tokenizer

OF_THE_MODEL = frozenset({"weights", "kernels"})  # views for which the text does not matter
MOST_TOKENS = 256  # of a text: maps and lenses of a longer one could not be read


@dataclass(frozen=True)
class TokenView:
    """The tokens of the text, by the tokenizer alone.

    Args:
        labels: each token for the eye; pieces: its bytes.
        words: what is merged by itself; word_of: the number of each token's word.
        embedding_share: of the model's parameters, in input and output embeddings; parameters: all of them.
    """

    labels: list[str]
    pieces: list[bytes]
    text_bytes: int
    words: "list[Word]"
    word_of: list[int]
    merges: int
    vocab_size: int
    embedding_share: float
    parameters: int

    def share_at(self, vocab_size: int) -> float:
        """The embeddings' share if the same layers had another vocabulary."""
        embeddings = self.embedding_share * self.parameters
        others, scaled = self.parameters - embeddings, embeddings * vocab_size / max(self.vocab_size, 1)
        return scaled / max(others + scaled, 1)


@dataclass(frozen=True)
class NormView:
    """Activations and gradients by layer; the loss is in nats."""

    activations: "list[LayerActivations]"
    loss: float
    gradients: dict[int, float]


@dataclass(frozen=True)
class WeightView:
    """Every parameter, and the memory of the KV cache.

    Args:
        since: the earlier model that changes are told from, for people; empty where there is none.
        cache_rows: (tokens, bytes in float32, bytes in bfloat16).
        formula: how these come about, with this model's numbers.
    """

    parameters: "list[ParameterFigures]"
    since: str
    cache_rows: list[tuple[int, int, int]]
    formula: str


@dataclass(frozen=True)
class KernelView:
    """What computes the model's operations on its device, and what their kernels became for GPUs.

    Args:
        tolerances: by precision, how large an error may be.
    """

    device: str
    operations: "list[OperationFigures]"
    architectures: list[str]
    tolerances: dict[str, float]


@dataclass
class Inspected:
    """A model in memory, a text, and what was computed of them so far.

    Args:
        name: of the model, for people; directory: where it lies, None for one in training.
    """

    name: str
    model: "Transformer"
    tokenizer: "Tokenizer"
    directory: Path | None = None
    text: str = ""
    ids: list[int] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    _merge_table: "MergeTable | None" = None
    _found: dict[str, Any] = field(default_factory=dict)

    @property
    def layers(self) -> int:
        """How many the model has."""
        return self.model.config.num_hidden_layers

    @property
    def heads(self) -> int:
        """Attention heads of a layer."""
        return self.model.config.num_attention_heads

    def label(self, token_id: int) -> str:
        """A token for the eye."""
        return self.tokenizer.token_label(token_id)

    def take(self, text: str) -> None:
        """Look at another text; what was computed of the former is forgotten."""
        limit = min(MOST_TOKENS, self.model.config.max_position_embeddings)
        self.text, self.ids = text, self.tokenizer.encode(text)[:limit]
        self.labels = [self.label(token_id) for token_id in self.ids]
        self._found = {name: value for name, value in self._found.items() if name in OF_THE_MODEL}

    def known(self, view: str) -> Any:
        """What was computed for a view, or None."""
        return self._found.get(view)

    def compute(self, view: str) -> Any:
        """What a view shows; computed once for each text.

        Raises:
            UsageError: the text is empty.
        """
        if view not in self._found:
            if not self.ids and view not in OF_THE_MODEL:
                raise UsageError("text", "it has no tokens", "write some text to look at (e)")
            computed: Callable[[], Any] = getattr(self, f"_{view}")
            self._found[view] = computed()
        return self._found[view]

    def _tokens(self) -> TokenView:
        from workbench.tokenizer.merging import MergeTable

        if self._merge_table is None:
            self._merge_table = MergeTable(self.tokenizer)
        words = self._merge_table.words(self.text)
        places = [index for index, word in enumerate(words) for _ in word.ids]
        numbers = {name: value.numel() for name, value in self.model.named_parameters()}
        embeddings = sum(count for name, count in numbers.items() if "embed_tokens" in name or "lm_head" in name)
        return TokenView(
            labels=self.labels,
            pieces=[self.tokenizer.token_bytes(token_id) for token_id in self.ids],
            text_bytes=len(self.text.encode("utf-8", "replace")),
            words=words,
            word_of=places[: len(self.ids)],
            merges=len(self._merge_table),
            vocab_size=self.tokenizer.vocab_size,
            embedding_share=embeddings / max(sum(numbers.values()), 1),
            parameters=sum(numbers.values()),
        )

    def _next(self) -> "list[Place]":
        from workbench.inspection.lens import read_text

        return read_text(self.model, self.ids)

    def _attention(self) -> "NDArray[Any]":
        from workbench.inspection.attention_maps import attention_maps

        return attention_maps(self.model, self.ids)

    def _experts(self) -> "list[LayerRouting]":
        from workbench.inspection.routing import read_routing

        return read_routing(self.model, self.ids)

    def _lens(self) -> "list[list[tuple[Choice, ...]]]":
        from workbench.inspection.lens import logit_lens

        return logit_lens(self.model, self.ids)

    def _norms(self) -> NormView:
        from workbench.inspection.norms import activation_norms, by_layer, gradient_norms

        loss, figures = gradient_norms(self.model, self.ids)
        return NormView(activation_norms(self.model, self.ids), loss, by_layer(figures))

    def _weights(self) -> WeightView:
        from workbench.inspection.norms import kv_cache_bytes, weight_figures
        from workbench.model.weights import load_model

        config, earlier = self.model.config, earlier_model(self.directory) if self.directory is not None else None
        before = load_model(earlier[1]) if earlier is not None else None
        since = earlier[0] if earlier is not None else ""
        lengths = sorted({min(length, config.max_position_embeddings) for length in (128, 1024, 8192, 10**9)})
        rows = [(each, kv_cache_bytes(config, each, 4), kv_cache_bytes(config, each, 2)) for each in lengths]
        formula = (
            f"2 (keys, values) x {config.num_hidden_layers} layers x {config.num_key_value_heads} key-value heads x "
            f"{config.head_dim} numbers a head x tokens x bytes a number"
        )
        return WeightView(weight_figures(self.model, before), since, rows, formula)

    def _kernels(self) -> KernelView:
        from workbench.inspection.kernel_lab import PRECISIONS, architectures, operation_figures, tolerance

        device = self.model.device
        limits = {precision: tolerance(precision) for precision in PRECISIONS}
        return KernelView(str(device), operation_figures(device), architectures(), limits)


def open_model(directory: Path, name: str) -> Inspected:
    """The model of a directory, on the CPU.

    Raises:
        ModelError, TokenizerError: it holds none.
    """
    from workbench.inference.loading import load_both

    model, tokenizer = load_both(directory)
    return Inspected(name, model, tokenizer, directory)


def earlier_model(directory: Path) -> tuple[str, Path] | None:
    """What a run's model came from, with a name: the oldest kept checkpoint of its stage, or the stage before."""
    step = checkpoint_step(directory)
    stage_path = directory.parent if step is None else directory.parent.parent
    if not (stage_path.parent / "profile.toml").is_file():
        return None
    run = RunDirectory(stage_path.parent)
    stages = run.stages()
    places = [index for index, stage in enumerate(stages) if stage.path == stage_path]
    if not places:
        return None
    kept = stages[places[0]].checkpoints()
    # the newest is what the stage's result was made from
    older = kept[:-1] if step is None else [each for each in kept if each.step < step]
    if older:
        return f"step {older[0].step:,}", older[0].path
    model = stages[places[0] - 1].newest_model() if places[0] > 0 else None
    return (stages[places[0] - 1].name, model) if model is not None else None


def checkpoint_step(directory: Path) -> int | None:
    """The step of a checkpoint's directory; None for any other."""
    stage = StageDirectory(directory.parent.parent)
    return next((each.step for each in stage.checkpoints() if each.path == directory), None)


def shade(value: float) -> str:
    """A weight between 0 and 1 as a character: what is brighter counts more, without any colour."""
    return SHADES[min(len(SHADES) - 1, int(max(0.0, value) ** 0.5 * len(SHADES)))]


def shade_style(value: float) -> str:
    """The colour that goes with `shade`, for those who see colours: from cold to warm."""
    return SHADE_COLOURS[min(len(SHADES) - 1, int(max(0.0, value) ** 0.5 * len(SHADES)))]


SHADES: Sequence[str] = " ·░▒▓█"
SHADE_COLOURS: Sequence[str] = ("", "bright_black", "blue", "cyan", "green", "yellow")  # of every terminal and theme
