"""Asks the app once, and gives up if it is not ready. Then it works."""

import time
import urllib.request

print("app says:", urllib.request.urlopen("http://app:8000/", timeout=3).read().decode(), flush=True)
while True:
    time.sleep(1)
