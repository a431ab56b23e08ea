"""Every message arrives unchanged through the channel, and nothing in it is executed."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from core.catalogue.user_rows import make_row
from core.render import LoraRequest, RenderRecord, RenderRequest, RenderTimings
from worker.engine import messages
from worker.engine.messages import Cancel, Channel, Heartbeat, Load, Message, Stop, Submit
from worker.engine.spec import EngineSpec

OWN_ROW = make_row({"id": "mine", "base": "sd15", "files": {"unet": "/w/a.safetensors"}}, Path("/"))
SPEC = EngineSpec("demo", "cpu", "auto", Path("/models"), 4, 1.5, 2.5, model_folders={"demo": Path("/x y")})
REQUEST = RenderRequest(
    id="j/1/0",
    prompt="一只猫 🐈 \x00 \ud83d",
    width=64,
    height=32,
    num_inference_steps=2,
    seed=7,
    loras=(LoraRequest(name="a", scale=0.5),),
)
INFO = messages.EngineInfo("demo", "z-image", "cpu", "cpu", "float32", "cpu", 4, 1, "native", 0.5, 1, {"a": 1.0}, {"b": "2"})
RECORD = RenderRecord(
    family="z-image",
    device="cpu",
    dtype="float32",
    memory_policy="cpu",
    attention_backend="native",
    versions={"torch": "2"},
    batch_sizes=[1, 2],
    batches={"64x64": 1, "2x 64x64": 1},
    pipeline_guidance_scale=0.5,
)
MESSAGES: list[Message] = [
    Load(SPEC),
    Load(replace(SPEC, model="mine", row=OWN_ROW)),
    Submit(REQUEST, b"\x89PNG\x00"),
    Submit(REQUEST, b"an image", b"a mask\x00"),
    Submit(REQUEST),
    Cancel("j/1/0"),
    Stop(),
    Heartbeat(),
    messages.Loading("reading", 0.5),
    messages.Loading("placing"),
    messages.Ready(INFO),
    messages.LoadFailed("model_unavailable", "no weights"),
    messages.Started("j/1/0"),
    messages.Step("j/1/0", 1, 2, 0.1, 0.1),
    messages.Preview("j/1/0", 1, b"\xff\xd8", 2, 1),
    messages.Rendered("j/1/0", 2, 1, bytes(range(6)), RECORD, RenderTimings(decode_seconds=0.5)),
    messages.Canceled("j/1/0"),
    messages.RequestFailed("j/1/0", "out_of_memory", "too big"),
]


@pytest.fixture
def channels() -> Iterator[tuple[Channel, Channel]]:
    ours, theirs = map(Channel.over, socket.socketpair())
    yield ours, theirs
    ours.close()
    theirs.close()


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_arrives_as_it_was_sent(channels: tuple[Channel, Channel], message: Message) -> None:
    sender, receiver = channels
    sender.send(message)
    assert receiver.receive() == message


def test_several_threads_may_send_at_once(channels: tuple[Channel, Channel]) -> None:
    sender, receiver = channels
    sent = [messages.Preview(f"j/1/{index}", index, bytes([index]) * 5000, 1, 1) for index in range(40)]
    threads = [threading.Thread(target=sender.send, args=[message]) for message in sent]
    for thread in threads:
        thread.start()
    received = [receiver.receive() for _ in sent]
    assert sorted(received, key=lambda message: message.step) == sent  # type: ignore[union-attr]


def test_receive_raises_when_the_other_side_is_closed(channels: tuple[Channel, Channel]) -> None:
    sender, receiver = channels
    sender.close()
    with pytest.raises(EOFError):
        receiver.receive()
