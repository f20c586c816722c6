"""A number of parameters becomes sizes that have about as many."""

import pytest
import tomli

from workbench.errors import UsageError
from workbench.estimate import count_parameters
from workbench.model_settings import MODEL_TYPES, ModelSettings
from workbench.size_search import SHAPES, sizes_for, toml_table


@pytest.mark.parametrize("family", MODEL_TYPES)
@pytest.mark.parametrize(("budget", "vocab_size"), [(8_000_000, 2048), (150_000_000, 49152), (2_000_000_000, 151936)])
def test_sizes_have_about_the_parameters_that_were_asked_for(family, budget: int, vocab_size: int) -> None:
    found = sizes_for(budget, family, vocab_size)
    assert [candidate.shape for candidate in found] == list(SHAPES)
    for candidate in found:
        assert count_parameters(candidate.settings, vocab_size) == candidate.parameters
        assert candidate.parameters.total == pytest.approx(budget, rel=0.1)


def test_shapes_go_from_deep_to_wide() -> None:
    found = [candidate.settings for candidate in sizes_for(100_000_000, "llama3", 6400)]
    widths = [settings.hidden_size for settings in found]
    layers = [settings.num_hidden_layers for settings in found]
    assert widths == sorted(widths) and layers == sorted(layers, reverse=True)


@pytest.mark.parametrize("family", MODEL_TYPES)
def test_the_table_for_a_profile_makes_that_model(family) -> None:
    for candidate in sizes_for(20_000_000, family, 6400, tie_word_embeddings=False):
        assert ModelSettings(**tomli.loads(toml_table(candidate))["model"]) == candidate.settings


def test_a_budget_that_the_vocabulary_eats_up_is_refused_with_what_it_takes() -> None:
    with pytest.raises(UsageError, match=r"too few for a vocabulary of 151,936: the smallest llama3 with it has 9,8"):
        sizes_for(5_000_000, "llama3", 151936)
