"""Where a request waits: through asynchronous generators, and in tasks that a framework starts for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from tricorn.worker.places import place_of, place_of_handler


async def numbers() -> AsyncIterator[int]:
    await asyncio.Event().wait()
    yield 1


async def stream(send: Any) -> None:
    async for number in numbers():
        await send(number)


async def respond(scope: Any, send: Any) -> None:
    """As Starlette's StreamingResponse: the stream is another task, which has no scope."""
    streaming = asyncio.create_task(stream(send))
    try:
        await asyncio.Event().wait()
    finally:
        streaming.cancel()


async def where(coroutine: Any, scope: Any = None) -> str:
    """Where the task of ``coroutine`` waits, when it and its tasks wait."""
    task = asyncio.create_task(coroutine)
    for _ in range(5):
        await asyncio.sleep(0)
    place = place_of(task) if scope is None else place_of_handler(task, scope)
    task.cancel()
    return place


async def take(item: Any) -> None:
    """Takes what a response sends."""


def test_the_generator_behind_async_for_is_named() -> None:
    assert asyncio.run(where(stream(take))).endswith("test_places.py:13 numbers")


def test_a_stream_in_a_task_of_its_own_is_named() -> None:
    scope = {"type": "http"}
    assert asyncio.run(where(respond(scope, take), scope)).endswith("test_places.py:13 numbers")
