"""The api's skeleton filled in the straightforward way: all that a request needs is made for that request."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import httpx
import psycopg2
import redis
from fastapi import FastAPI

app = FastAPI()
MODEL_URL = os.environ["MODEL_SERVER_URL"]
DATABASE_URL = os.environ["DATABASE_URL"]
PASSWORD = Path("/run/secrets/postgres_password").read_text().strip()
redis_client = redis.from_url(os.environ["REDIS_URL"])

with psycopg2.connect(DATABASE_URL, password=PASSWORD) as made, made.cursor() as maker:
    maker.execute("CREATE TABLE IF NOT EXISTS naive (id serial, input text, result text, cached boolean)")


@app.post("/predict")
async def predict(data: dict[str, Any]) -> dict[str, Any]:
    key = json.dumps(data["pixels"])
    answer = redis_client.get(key)
    cached = answer is not None
    if answer is None:
        async with httpx.AsyncClient() as client:
            response = await client.post(f"{MODEL_URL}/predict", json=data)
        answer = response.content
        redis_client.set(key, answer, ex=3600)
    connection = psycopg2.connect(DATABASE_URL, password=PASSWORD)
    with connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO naive (input, result, cached) VALUES (%s, %s, %s)", (key, answer.decode(), cached))
    connection.close()
    return {**json.loads(answer), "cached": cached}
