"""GET / greets, GET /labels lists what people have seen, POST /labels/7 adds a seven."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Path

from app import greeting, labels

app = FastAPI()


@app.get("/")
def greet() -> dict[str, str]:
    """Also what the health check asks for."""
    return {"greeting": greeting.GREETING}


@app.get("/labels")
def list_labels() -> list[int]:
    """All of them."""
    return labels.everything()


@app.post("/labels/{digit}", status_code=201)
def add_label(digit: Annotated[int, Path(ge=0, le=9)]) -> dict[str, int]:
    """One more."""
    labels.add(digit)
    return {"digit": digit}
