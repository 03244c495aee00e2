"""Exits with 0 if the server in this container says 200, else with 1 and the reason."""

import http.client
import sys

try:
    connection = http.client.HTTPConnection("127.0.0.1", 8000, timeout=3)
    connection.request("GET", "/health")
    answer = connection.getresponse()
except OSError as error:
    sys.exit(f"no answer: {error}")
if answer.status != 200:
    sys.exit(f"status {answer.status}: {answer.read().decode()}")
