"""`model sizes` and `model presets`."""

import json

import pytest

from workbench.cli.main import main
from workbench.estimate import count_parameters
from workbench.model_settings import ModelSettings


def test_sizes_are_told_with_a_table_for_the_profile(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "sizes", "30M", "--family", "qwen3", "--vocab-size", "6400"]) == 0
    told = capsys.readouterr().out
    assert "balanced" in told and '[model]\nfamily = "qwen3"\nhidden_size = ' in told


def test_sizes_as_json_are_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "sizes", "1.5b", "--family", "moe", "--experts", "16", "--untied", "--json"]) == 0
    for entry in json.loads(capsys.readouterr().out):
        settings = ModelSettings(**entry["model"])
        assert settings.num_experts == 16 and not settings.tie_word_embeddings
        counted = count_parameters(settings, entry["vocab_size"])
        assert (counted.total, counted.active) == (entry["parameters"], entry["active_parameters"])
        assert counted.active < counted.total


def test_presets_are_told_with_their_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "presets"]) == 0
    told = capsys.readouterr().out
    assert "596,049,920" in told and "huggingface.co/Qwen/Qwen3-0.6B" in told
    assert main(["model", "presets", "--json"]) == 0
    assert {entry["name"] for entry in json.loads(capsys.readouterr().out)} >= {"minimind-3", "minimind-3-moe"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["3"], "3 parameters: are too few"),
        (["30M", "--experts", "4"], "--experts 4: llama3 has none; add --family moe"),
        (["30M", "--family", "moe", "--experts", "1"], "--experts 1: a mixture has from 2 to 1024 of them"),
        (["many"], "'many' is no number of parameters"),
        (["-5M"], "arguments are required"),
        (["nanM"], "'nanM' is no number of parameters"),
    ],
)
def test_what_makes_no_model_is_refused(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(["model", "sizes", *words])
    except SystemExit as leaving:
        code = leaving.code
    assert code == 2
    assert message in capsys.readouterr().err
