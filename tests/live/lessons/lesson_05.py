"""What lesson 05 says about its outputs."""

from __future__ import annotations

from tests.live.lessons.shown import Shown


def claims(shown: Shown) -> None:
    # Two of the three are open on every address, and let the visitor in.
    shown.has("publishing-up", r"^fixed +.*0\.0\.0\.0:\d+->8000", r"^any-port +.*0\.0\.0\.0:\d+->8000")
    shown.has("publishing-up", r"^this-machine +127\.0\.0\.1:\d+->8000/tcp$", r"any-port 8000\n\S+:\d+\n\Z")
    shown.has("publishing-knock", r"^fixed +machine:\d+ connected", r"^any-port +machine:\d+ connected")
    shown.has("publishing-knock", r"^this-machine +machine:\d+ .*Connection refused")

    # expose opens nothing and is not needed; 127.0.0.1 is the container itself.
    shown.has("expose-inside", r"^exposed:8000 connected", r"^plain:8000 connected", r"^deaf:8000 .*Connection refused")
    shown.has("expose-inside", r"^127\.0\.0\.1:8000 connected", r"^published:8000 connected")
    shown.has("expose-outside", r"^published +127\.0\.0\.1:\d+->8000", r"^exposed +8000/tcp$", r"^deaf +.*->8000")
    shown.has("expose-outside", r"^published answers 200", r"^deaf gives no answer")
    shown.lacks("expose-outside", r"(?s)port exposed 8000\n\S*[1-9]\d*\n")

    shown.has("networks-up", r"^network frontend: api, proxy$", r"^network backend: api, database$")
    shown.has("networks-up", r"^network default: newcomer$")
    shown.has(
        "networks-matrix",
        r"^proxy +yes +yes +- +- *$",
        r"^api +yes +yes +yes +- *$",
        r"^database +- +yes +yes +- *$",
        r"^newcomer +- +- +- +yes *$",
        r"^database:8000 gaierror .*(not known|failure)",
    )
    shown.has("networks-address", r"^[\d.]+:8000 TimeoutError", r"^[\d.]+:8000 connected")
    shown.has("networks-inspect", r"(?si)network backend\n.*no such network|network backend not found")
    shown.has("networks-inspect", r"_default +bridge", r"_backend +bridge", r"_frontend +bridge")
    shown.has("networks-inspect", r"api-1 [\d.]+/\d+", r"database-1 [\d.]+/\d+")
    shown.lacks("networks-inspect", r"proxy-1 [\d.]+/\d+")

    shown.has(
        "names-ask", r"exec api getent hosts cache\n[\d.]+ +cache", r"exec api getent hosts memory\n[\d.]+ +memory"
    )
    shown.has(
        "names-ask", r"exec proxy getent hosts cache\n[\d.]+ +cache", r"proxy getent hosts memory\n\[exit status 2\]"
    )
    shown.has("names-ask", r"^nameserver 127\.0\.0\.11")
    shown.has("names-unknown", r"^socket\.gaierror: .*(not known|failure).*\n\[exit status 1\]")
    shown.has("names-unknown", r"(?s)ping -c 1 cache\n.*not found.*\[exit status \d+\]")

    shown.has("way-out-ask", r"^open +machine:\d+ connected", r"^both +machine:\d+ connected")
    shown.has("way-out-ask", r"^closed +machine:\d+ .*Network is unreachable", r"^both:8000 connected")
    shown.lacks("way-out-ask", r"^closed +\S*->")
    shown.has("exercise-grade", r"of \d+ points")
