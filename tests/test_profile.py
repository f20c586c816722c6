from pathlib import Path

import pytest

from workbench.errors import ProfileError, UsageError
from workbench.profile import find_profile, list_profiles, parse_profile, profile_schema, profile_text, read_profile

GOOD = """
[model]
hidden_size = 64
num_attention_heads = 4
[[stage]]
kind = "pretrain"
data = "text.txt"
steps = 10
[[stage]]
kind = "sft"
data = ["chat.jsonl"]
epochs = 2.0
"""


def problems_of(text: str, *overrides: str) -> str:
    with pytest.raises(ProfileError) as caught:
        parse_profile(text, "here.toml", overrides)
    return str(caught.value)


def test_sizes_that_follow_from_others_are_filled_in() -> None:
    model = parse_profile(GOOD, "here").model
    assert (model.head_dim, model.num_key_value_heads, model.intermediate_size) == (16, 4, 192)


def test_a_written_profile_reads_back_the_same() -> None:
    profile = parse_profile(GOOD, "here")
    assert parse_profile(profile_text(profile), "again") == profile


def test_a_stage_is_called_by_its_kind_when_it_has_no_name() -> None:
    assert [stage.name for stage in parse_profile(GOOD, "here").stage] == ["pretrain", "sft"]


def test_an_unknown_key_is_told_with_its_nearest() -> None:
    assert "unknown key model.hiden_size; did you mean hidden_size?" in problems_of(
        GOOD.replace("hidden_size", "hiden_size")
    )


def test_a_key_of_another_table_is_told_where_it_belongs() -> None:
    assert "it belongs to model.hidden_size" in problems_of(GOOD + "\nhidden_size = 5\n")


def test_all_problems_come_in_one_message(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text(
        '[run]\nprecisoin = "fp32"\n[model]\nhidden_size = 100\nnum_attention_heads = 3\n'
        '[[stage]]\nkind = "pretrain"\ndata = "missing.txt"\nsteps = 3\nlearning_rate = "fast"\n',
        encoding="utf-8",
    )
    with pytest.raises(ProfileError) as caught:
        read_profile(str(path))
    message = str(caught.value)
    assert str(path) in message
    for told in ("run.precisoin", "3 heads do not divide hidden_size 100", "'fast' is not allowed", "missing.txt"):
        assert told in message


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (('data = "text.txt"\n', ""), "stage.pretrain.data: is missing"),
        (("steps = 10\n", ""), "exactly one of steps, epochs and tokens"),
        (("steps = 10", "steps = 10\nepochs = 1.0"), "found steps and epochs"),
        (("steps = 10", "steps = 10\nwarmup = 10"), "warmup: 10 steps are no less"),
        (("steps = 10", "steps = 10\nsequence_length = 4096"), "longer than model.max_position_embeddings 512"),
        (('kind = "sft"', 'kind = "pretrain"'), "two stages have this name"),
        (('kind = "sft"', 'kind = "sft"\nfrom = "sft"'), "cannot start from itself"),
        (("num_attention_heads = 4", "num_attention_heads = 4\nnum_key_value_heads = 3"), "3 does not divide"),
        (("num_attention_heads = 4", "num_attention_heads = 4\nhead_dim = 5"), "head_dim: 5 is odd"),
        (("num_attention_heads = 4", 'family = "llama1"\nnum_key_value_heads = 2'), "llama1 shares no keys"),
        (("num_attention_heads = 4", 'path = "x"'), "has no effect beside path"),
        (("[model]", "[tokenizer]\nvocab_size = 9\n[model]"), "9 is too small"),
        (("[model]", '[evaluate]\nstages = ["dpo"]\n[model]'), "there is no stage 'dpo'"),
    ],
)
def test_what_cannot_work_is_refused_with_its_key(change: tuple[str, str], told: str) -> None:
    assert told in problems_of(GOOD.replace(*change, 1))


def test_broken_toml_is_told_with_its_line() -> None:
    assert "line 2" in problems_of("[model]\nhidden_size = = 3\n")


def test_overrides_reach_tables_and_stages_and_take_plain_text() -> None:
    overrides = ["run.seed=5", "stage.pretrain.learning_rate=3e-4", "stage.sft.data=a b.jsonl"]
    profile = parse_profile(GOOD, "here", overrides)
    assert (profile.run.seed, profile.stage[0].learning_rate, profile.stage[1].data) == (5, 3e-4, ["a b.jsonl"])


def test_an_overridden_length_takes_the_place_of_the_old_one() -> None:
    stage = parse_profile(GOOD, "here", ["stage.sft.steps=7"]).stage[1]
    assert (stage.steps, stage.epochs) == (7, None)


@pytest.mark.parametrize("override", ["stage.dpo.steps=3", "steps", "stage.steps=3", "run.seed.x=3"])
def test_an_override_that_reaches_nothing_is_refused(override: str) -> None:
    assert f"--set {override}" in problems_of(GOOD, override) or override.startswith("run.seed.x")


def test_every_bundled_profile_is_listed_with_its_description() -> None:
    entries = list_profiles()
    assert entries[0].name == "quickstart"
    assert all(entry.description and entry.measured for entry in entries)


def test_an_unknown_profile_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"did you mean quickstart\?"):
        find_profile("quikstart")


def test_data_beside_the_profile_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text.txt").write_text("text", encoding="utf-8")
    (tmp_path / "chat.jsonl").write_text("{}", encoding="utf-8")
    (tmp_path / "mine.toml").write_text(GOOD, encoding="utf-8")
    monkeypatch.chdir("/")
    profile = read_profile(str(tmp_path / "mine.toml"))
    assert profile.stage[0].data == [str((tmp_path / "text.txt").resolve())]
    assert profile.run.name == "mine"


def test_the_schema_describes_every_setting_of_a_stage() -> None:
    stage = profile_schema()["$defs"]["StageSettings"]["properties"]
    assert "from" in stage
    assert all("description" in value or "$ref" in value for value in stage.values())


def test_a_short_list_among_many_problems_is_one_of_them() -> None:
    told = problems_of(GOOD.replace("steps = 10", "steps = 10\noptimizer.betas = [0.9]\nwarm = 3"))
    assert "stage.pretrain.optimizer.betas.1: is missing" in told
    assert "unknown key stage.pretrain.warm" in told


def test_a_stage_that_contradicts_itself_is_not_judged_by_defaults_as_well() -> None:
    told = problems_of(
        GOOD.replace("steps = 10", "steps = 10\nwarmup = 20\nsequence_length = 32"), "model.max_position_embeddings=64"
    )
    assert "warmup" in told and "pretrain.sequence_length" not in told


def test_a_missing_file_is_told_beside_tables_that_contradict_each_other(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(GOOD.replace("steps = 10", "steps = 10\nsequence_length = 4096"))
    with pytest.raises(ProfileError) as caught:
        read_profile(str(tmp_path / "mine.toml"))
    assert "longer than model.max_position_embeddings 512" in str(caught.value)
    assert "chat.jsonl: no such file" in str(caught.value)


def test_a_profile_saved_on_windows_is_read(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("text", encoding="utf-8")
    text = '[[stage]]\r\nkind = "pretrain"\r\ndata = "text.txt"\r\nsteps = 10\r\n'
    (tmp_path / "mine.toml").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_profile(str(tmp_path / "mine.toml")).stage[0].steps == 10


def test_a_folder_is_told_to_be_no_profile(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        find_profile(str(tmp_path))


@pytest.mark.parametrize("name", ["tokenizer", "state.json", "events.jsonl", "Lock"])
def test_a_stage_is_not_called_what_a_file_of_the_run_is(name: str) -> None:
    assert f"name: '{name}'" in problems_of(GOOD.replace('kind = "sft"', f'kind = "sft"\nname = "{name}"'))


@pytest.mark.parametrize("setting", ["epochs = inf", "epochs = 1.0\nlearning_rate = nan", "epochs = 1.0\nclip = inf"])
def test_only_finite_numbers_are_settings(setting: str) -> None:
    assert "it should be a finite number" in problems_of(GOOD.replace("epochs = 2.0", setting))


def test_a_stage_that_is_no_list_is_told_how_to_write_it() -> None:
    assert "begun with [[stage]]" in problems_of('[stage]\nkind = "pretrain"\ndata = "text.txt"\nsteps = 3\n')


def test_sizes_beside_a_path_are_one_problem() -> None:
    told = problems_of(GOOD.replace("num_attention_heads = 4", 'num_attention_heads = 2\npath = "x"'))
    assert "has no effect beside path" in told
    assert "does not divide" not in told


def test_the_schema_takes_one_file_as_well_as_a_list() -> None:
    schema = profile_schema()
    assert schema["title"] == "llm-workbench profile"
    data = schema["$defs"]["StageSettings"]["properties"]["data"]
    assert {"type": "string"} in data["anyOf"]
    assert any(branch.get("type") == "array" for branch in data["anyOf"])


@pytest.mark.parametrize(
    ("setting", "wanted"),
    [
        ("model.num_hidden_layers = true", "it should be a whole number"),
        ("stage.warmup = true", "it should be a whole number"),
        ('stage.steps = "7"', "it should be a whole number"),
        ('run.seed = "7"', "it should be a whole number"),
        ("run.seed = 7.5", "it should be a whole number"),
        ("stage.learning_rate = true", "it should be a number"),
        ('run.compile = "yes"', "it should be true or false"),
        ("run.compile = 1", "it should be true or false"),
        ('model.tie_word_embeddings = "no"', "it should be true or false"),
        ("stage.optimizer.betas = [0.9, true]", "it should be a number"),
        ("run.name = 7", "it should be a text in quotes"),
    ],
)
def test_a_value_of_another_type_is_refused(setting: str, wanted: str) -> None:
    stage = '[[stage]]\nkind = "pretrain"\ndata = "t"\n'
    steps = "" if "steps" in setting else "steps = 10\n"
    if setting.startswith("stage."):
        text = stage + steps + setting.removeprefix("stage.")
    else:
        table, _, rest = setting.partition(".")
        text = f"[{table}]\n{rest}\n{stage}{steps}"
    assert wanted in problems_of(text)


def test_whole_numbers_serve_where_fractions_are_allowed_and_floats_where_they_are_whole() -> None:
    text = GOOD.replace("epochs = 2.0", "tokens = 1e6\nlearning_rate = 1\nclip = 2\noptimizer.betas = [0, 0.5]")
    stage = parse_profile(text, "here").stage[1]
    assert (stage.tokens, stage.learning_rate, stage.clip, stage.optimizer.betas) == (1_000_000, 1.0, 2.0, (0.0, 0.5))
    model = parse_profile(GOOD.replace("hidden_size = 64", "hidden_size = 128.0"), "here").model
    assert (model.hidden_size, model.head_dim, model.intermediate_size) == (128, 32, 352)


def test_overrides_are_typed_as_toml_is() -> None:
    profile = parse_profile(GOOD, "here", ["stage.pretrain.steps=7", "model.tie_word_embeddings=false"])
    assert (profile.stage[0].steps, profile.model.tie_word_embeddings) == (7, False)
    assert "it should be a whole number" in problems_of(GOOD, 'stage.pretrain.steps="7"')


def test_the_schema_asks_for_data_and_one_length() -> None:
    stage = profile_schema()["$defs"]["StageSettings"]
    assert stage["if"] == {"properties": {"kind": {"const": "generate"}}}  # which has no length
    assert stage["else"]["oneOf"] == [{"required": ["steps"]}, {"required": ["epochs"]}, {"required": ["tokens"]}]
    as_list = next(each for each in stage["properties"]["data"]["anyOf"] if each.get("type") == "array")
    assert as_list["minItems"] == 1


@pytest.mark.parametrize("token", ["", " ", "x", " x "])
def test_a_special_token_that_ordinary_text_holds_is_refused(token: str) -> None:
    text = f'[tokenizer]\nspecial_tokens = ["<|tool|>", "{token}"]\n' + GOOD
    assert f"tokenizer.special_tokens: {token!r} would be met in ordinary text" in problems_of(text)


MIXED = GOOD.replace(
    'data = "text.txt"', 'data = [{path = "a.txt", weight = 3}, {path = ["b.txt", "c.txt"], weight = 1}]'
)


def test_several_data_sets_have_weights_and_are_written_back() -> None:
    profile = parse_profile(MIXED, "here")
    assert profile.stage[0].data_files == ["a.txt", "b.txt", "c.txt"]
    assert [source.weight for source in profile.stage[0].data_sources] == [3.0, 1.0]
    assert parse_profile(profile_text(profile), "again") == profile
    assert parse_profile(GOOD, "here").stage[0].data_sources == []


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ('{path = "a.txt", wieght = 3}', "unknown key stage.pretrain.data.0.wieght; did you mean weight?"),
        ('{path = "a.txt", weight = 0}', "stage.pretrain.data.0.weight: 0 is not allowed"),
        ('"a.txt"', "give every data set a weight"),
        ("7", "stage.pretrain.data.0: 7 is not allowed"),
    ],
)
def test_what_is_wrong_with_a_data_set_is_told_once(wrong: str, told: str) -> None:
    problems = problems_of(MIXED.replace('{path = "a.txt", weight = 3}', wrong))
    assert told in problems and "Source" not in problems


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("patience = 2\nevaluate_every = 0", "stage.pretrain.patience: 2 needs validations along the way"),
        ('result = "best"\nvalidation_fraction = 0', "stage.pretrain.result: 'best' needs validations"),
        ("decay_fraction = 0.5", "stage.pretrain.decay_fraction: has no effect"),
        ("ema = 1.0", "stage.pretrain.ema: 1.0 is not allowed"),
    ],
)
def test_a_strategy_that_cannot_work_is_refused(setting: str, told: str) -> None:
    assert told in problems_of(GOOD.replace("steps = 10", f"steps = 10\n{setting}"))


@pytest.mark.parametrize("number", ["1" + 400 * "0", "-" + 30 * "9", "1e300", str(2**63)])
@pytest.mark.parametrize("key", ["model.hidden_size", "stage.sft.learning_rate", "run.seed"])
def test_numbers_beyond_64_bits_are_refused_by_their_key(key: str, number: str) -> None:
    told = problems_of(GOOD, f"{key}={number}")
    assert told.startswith(f"here.toml: {key}: ") and "must fit into 64 bits" in told and len(told) < 150


@pytest.mark.parametrize("value", ["1" + 5000 * "0", 9000 * "[" + 9000 * "]"])
def test_what_python_refuses_to_read_is_no_valid_toml(value: str) -> None:
    assert "is not valid TOML" in problems_of(f"[model]\nhidden_size = {value}")
