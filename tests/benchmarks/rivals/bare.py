"""An endpoint that takes and gives what the api does, and does nothing in between."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI
from pydantic import BaseModel, Field

app = FastAPI()


class Digit(BaseModel):
    pixels: Annotated[list[Annotated[float, Field(ge=0, le=16)]], Field(min_length=64, max_length=64)]


class Prediction(BaseModel):
    digit: int
    probabilities: list[float]
    cached: bool


@app.post("/predict")
async def predict(digit: Digit) -> Prediction:
    return Prediction(digit=0, probabilities=[0.1] * 10, cached=True)
