"""How text is cut into words before merging: the four ways that llama.cpp knows by name."""

from tokenizers import Regex, pre_tokenizers
from tokenizers.pre_tokenizers import PreTokenizer

from workbench.errors import TokenizerError

# The expressions of the published Qwen2 and Llama 3 tokenizers; they differ in how many digits make a word.
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}"
    r"| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _WORDS.format(digits=r"\p{N}")
_LLAMA3 = _WORDS.format(digits=r"\p{N}{1,3}")


def pre_tokenizer_name(name: str, split_digits: bool) -> str:
    """The pre-tokenizer that cuts like `name`, with every digit on its own where `split_digits` asks for it.

    Raises:
        TokenizerError: llama.cpp knows no such combination.
    """
    if not split_digits or name in ("smollm", "qwen2"):
        return name
    if name == "gpt-2":
        return "smollm"
    raise TokenizerError(
        "tokenizer.split_digits",
        f"llama.cpp knows no digit-splitting form of {name!r}",
        "choose pre_tokenizer = 'smollm' or 'qwen2', or leave split_digits out",
    )


def build_pre_tokenizer(name: str) -> PreTokenizer:
    """The pre-tokenizer called `name`; all four end in bytes, so that no text is unknown."""
    if name == "gpt-2":
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    if name == "smollm":
        return pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    words = {"qwen2": _QWEN2, "llama-bpe": _LLAMA3}[name]
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
