import json
import math

from workbench.events import Emitter, Event, Paused, Validated, Warned, from_json, to_json


def test_an_event_survives_json_with_numbers_that_are_none() -> None:
    event = Validated(
        stage="pretrain",
        step=3,
        val_loss=math.inf,
        val_perplexity=math.nan,
        val_bits_per_byte=1.5,
        best=True,
        seconds=0.1,
    )
    record = json.loads(json.dumps(to_json(event), allow_nan=False))
    assert record["val_loss"] is None
    assert record["nonfinite"] == {"val_loss": "inf", "val_perplexity": "nan"}
    back = from_json(record)
    assert isinstance(back, Validated)
    assert back.val_loss == math.inf and math.isnan(back.val_perplexity) and back.at == event.at


def test_an_event_of_another_version_is_left_out() -> None:
    assert from_json({"event": "RunDanced", "at": 1.0}) is None
    assert from_json({"event": "Paused", "at": 1.0, "mood": "good"}) is None


def test_a_subscriber_that_raises_is_dropped_and_the_others_hear_of_it() -> None:
    heard: list[Event] = []
    emitter = Emitter()

    def broken(event: Event) -> None:
        raise RuntimeError("full disk")

    emitter.subscribe(broken)
    emitter.subscribe(heard.append)
    emitter.emit(Paused(stage="sft", step=1))
    emitter.emit(Paused(stage="sft", step=2))
    warnings = [event for event in heard if isinstance(event, Warned)]
    assert len(warnings) == 1 and "full disk" in warnings[0].message
    assert [event.step for event in heard if isinstance(event, Paused)] == [1, 2]
