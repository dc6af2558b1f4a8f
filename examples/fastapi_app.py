"""A FastAPI application: typed routes, start-up state through lifespan, and interactive documentation at /docs.

Run it:  pip install fastapi && tricorn examples.fastapi_app:app --workers 2
Try it:  curl http://127.0.0.1:8000/notes/1 ; curl -d '{"text": "tea"}' -H 'Content-Type: application/json' \
             http://127.0.0.1:8000/echo
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel


class Note(BaseModel):
    text: str


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, dict[int, Note]]]:
    """Set up what a worker needs before its first request. Every request gets what is yielded as its state."""
    yield {"notes": {1: Note(text="milk"), 2: Note(text="bread")}}


app = FastAPI(title="Notes", lifespan=lifespan)


@app.get("/")
async def index() -> dict[str, str | int]:
    return {"see": "/docs", "worker": os.getpid()}


@app.get("/notes/{number}")
async def read(number: int, request: Request) -> Note:
    notes: dict[int, Note] = request.state.notes
    if number not in notes:
        raise HTTPException(404, f"there is no note {number}")
    return notes[number]


@app.post("/echo")
async def echo(note: Note) -> Note:
    return note
