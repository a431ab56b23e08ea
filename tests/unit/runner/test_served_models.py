"""What a worker remembers of its models."""

from __future__ import annotations

from worker.runner.attempts import ClaimGate
from worker.runner.served_models import FIRST_PAUSE_SECONDS, ServedModels


def test_load_seconds_follow_where_the_weights_are() -> None:
    served = ServedModels({"a": 7.0, "b": 9.0})
    assert served.load_seconds("b") == 9.0
    for model, seconds, kept in (("a", 20.0, []), ("b", 30.0, ["a"]), ("a", 2.0, ["b"])):
        served.note_loading(model)
        served.note_loaded(model, seconds, kept)
    for model, seconds, kept in (("b", 3.0, ["a"]), ("a", 2.0, ["b"])):
        served.note_loading(model)
        served.note_loaded(model, seconds, kept)
    served.note_loading("b")
    served.note_not_loading()
    assert served.load_seconds("b") == 3.0
    served.note_unloaded()
    assert (served.load_seconds("a"), served.load_seconds("b")) == (20.0, 30.0)


def test_a_failed_model_is_tried_again_after_a_pause() -> None:
    now = [0.0]
    served = ServedModels({"a": 1.0, "b": 1.0}, lambda: now[0])
    served.set_aside("b", "Its file is damaged.")
    assert not served.is_available("b") and served.is_available("a")
    report = served.changes()["b"]
    assert report.state == "unavailable" and report.message is not None and "Its file is damaged." in report.message
    now[0] = FIRST_PAUSE_SECONDS
    assert served.is_available("b")
    served.set_aside("b", "Again.")
    now[0] += FIRST_PAUSE_SECONDS
    assert not served.is_available("b"), "the second pause is longer"
    served.retry("b")
    assert served.is_available("b")


def test_a_load_that_is_called_off_leaves_the_state_as_it_was() -> None:
    served = ServedModels({"a": 1.0, "b": 1.0})
    served.note_loading("a")
    served.note_loaded("a", 1.0, ["b"])
    served.note_loading("b")
    assert served.reports()["b"].state == "loading"
    served.note_not_loading()
    assert {model: report.state for model, report in served.reports().items()} == {"a": "loaded", "b": "host_memory"}


def test_the_gate_lets_only_jobs_of_its_model_in_and_waits_for_them() -> None:
    gate = ClaimGate("a")
    with gate.entering("b") as entered:
        assert not entered
    with gate.entering("a") as entered:
        gate.close()
        assert entered and not gate.wait_empty(0.0)
        with gate.entering("a") as late:
            assert not late
    assert gate.wait_empty(0.0) and gate.model is None
