"""Small tokenizers of every kind, ours and foreign ones, made once for all tests here."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers

from workbench.config import TokenizerSettings
from workbench.tokenizer.bpe import train_tokenizer
from workbench.tokenizer.characters import byte_tokenizer
from workbench.tokenizer.tokenizer import Tokenizer

TEXTS = [
    "The old fisherman lives by the sea. He mends his 12 nets at night.\n\nWhat does he sell? He sells 3456 fish!",
    "老渔夫住在海边。他早上修补渔网。\n\n他卖什么？他卖鱼！",
    'def weigh(fish):\n    return {"weight": fish.weight * 1.5}  # naïve café 😀\n',
] * 4

FOREIGN_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "[INST] {{ message['content'] }} [/INST]"
    "{% elif message['role'] == 'assistant' %} {{ message['content'] }}{{ eos_token }}"
    "{% else %}{{ raise_exception('only user and assistant') }}{% endif %}{% endfor %}"
)


def _train(**settings: object) -> Tokenizer:
    trained = train_tokenizer(
        TokenizerSettings.model_validate(settings), TEXTS, on_progress=lambda *_: None, should_stop=lambda: False
    )
    assert trained is not None
    return trained


def _sentencepiece_like() -> Tokenizer:
    """A foreign tokenizer: words begin with `▁`, unknown characters fall back to bytes, a text begins with a space."""
    letters = sorted(set("".join(TEXTS).replace(" ", "▁")) - {"😀", "鱼"})
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters, "▁f", "▁fi", "▁fish", "sh"]
    merges = [("▁", "f"), ("▁f", "i"), ("s", "h"), ("▁fi", "sh")]
    ids = {name: index for index, name in enumerate(names)}
    model = models.BPE(vocab=ids, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    backend = tokenizers.Tokenizer(model)
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.add_special_tokens([AddedToken(name, normalized=False) for name in ("<unk>", "<s>", "</s>")])
    return Tokenizer(backend, {"bos_token": "<s>", "eos_token": {"content": "</s>"}}, FOREIGN_TEMPLATE)


def _foreign_byte_level() -> Tokenizer:
    """A foreign tokenizer with two line breaks as an added token, and a template of its own."""
    description = json.loads(byte_tokenizer().to_str())
    rename = {"<|endoftext|>": "<eos>", "<|im_start|>": "<start_of_turn>", "<|im_end|>": "<end_of_turn>"}
    for token in description["added_tokens"]:
        token["content"] = rename.get(token["content"], token["content"])
    vocabulary = description["model"]["vocab"]
    description["model"]["vocab"] = {rename.get(name, name): index for name, index in vocabulary.items()}
    backend = tokenizers.Tokenizer.from_str(json.dumps(description))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.add_tokens([AddedToken("\n\n", normalized=False)])
    template = (
        "{%- for m in messages -%}<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
        "{{ m['content'] | trim }}<end_of_turn>\n{% endfor -%}"
        "{%- if add_generation_prompt -%}<start_of_turn>model\n{% endif -%}"
    )
    return Tokenizer(backend, {"eos_token": "<eos>"}, template)


MAKERS: dict[str, Callable[[], Tokenizer]] = {
    "gpt-2": lambda: _train(vocab_size=400, pre_tokenizer="gpt-2"),
    "smollm": lambda: _train(vocab_size=400, pre_tokenizer="smollm"),
    "qwen2": lambda: _train(vocab_size=400, pre_tokenizer="qwen2"),
    "llama-bpe": lambda: _train(vocab_size=400, pre_tokenizer="llama-bpe"),
    "characters": lambda: _train(kind="characters"),
    "bytes": lambda: _train(kind="bytes"),
    "sentencepiece-like": _sentencepiece_like,
    "foreign": _foreign_byte_level,
}
OWN = ("gpt-2", "smollm", "qwen2", "llama-bpe", "characters", "bytes")


@pytest.fixture(scope="session")
def make() -> Callable[[str], Tokenizer]:
    """A tokenizer by name; each is made once."""
    made: dict[str, Tokenizer] = {}

    def by_name(name: str) -> Tokenizer:
        if name not in made:
            made[name] = MAKERS[name]()
        return made[name]

    return by_name


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """What the trained tokenizers were trained on."""
    return TEXTS


@pytest.fixture(scope="session", params=OWN)
def own(request: pytest.FixtureRequest, make: Callable[[str], Tokenizer]) -> Tokenizer:
    """Each kind of tokenizer this project makes."""
    return make(request.param)


@pytest.fixture(scope="session", params=tuple(MAKERS))
def any_tokenizer(request: pytest.FixtureRequest, make: Callable[[str], Tokenizer]) -> Tokenizer:
    """Each kind of tokenizer, foreign ones included."""
    return make(request.param)


@pytest.fixture(scope="session")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Tokenizer], object]:
    """What transformers makes of a tokenizer's saved files."""
    from transformers import AutoTokenizer

    loaded: dict[int, object] = {}

    def of(tokenizer: Tokenizer) -> object:
        if id(tokenizer) not in loaded:
            directory = Path(tmp_path_factory.mktemp("saved"))
            tokenizer.save(directory)
            loaded[id(tokenizer)] = AutoTokenizer.from_pretrained(directory, local_files_only=True)
        return loaded[id(tokenizer)]

    return of
