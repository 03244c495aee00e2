"""What lesson 07 says about its outputs."""

from __future__ import annotations

from tests.live.lessons.shown import Shown


def claims(shown: Shown) -> None:
    # Without weights the model server ends with a message; with model-init before it, it starts.
    shown.has(
        "model-up", r"^api waits until model-server is healthy", r"^volume model-weights is /models in model-init"
    )
    shown.has("model-up", r"(?s)There are no weights at /models/model\.pt.*\[exit status 1\]\n\$ docker compose up")
    shown.has("model-up", r"localhost:6379\. Connection refused")
    run, model_server = "The whole stack", "model-server"
    started = shown.span("model-up", run, model_server, "starting")[0]
    assert started >= shown.span("model-up", run, "model-init", "running")[1]
    ready = shown.span("model-up", run, model_server, "healthy")[0]
    assert shown.span("model-up", run, "api", "starting")[0] >= ready
    # A whole model is refused, weights are read; the version is the beginning of their hash.
    shown.has("model-weights", r"UnpicklingError: Weights only load failed", r"^layers\.1\.weight layers\.1\.bias")
    shown.has("model-weights", r"^[0-9a-f]{12}$")

    shown.has("cache-ask", r"^3 cached: False", r"^3 cached: True", r"^prediction:[0-9a-f]{12}:[0-9a-f]{64}$")
    assert 0 < shown.number("cache-ask", r"(?s)redis-cli ttl.*?\n(\d+)\n") <= 3600
    shown.has("cache-ask", r'^\{"digit":3,"probabilities"')
    shown.lacks("cache-ask", 'latency_ms"')
    shown.has("cache-version", r"^before: (\w{12})  after: (?!\1)\w{12}  cached: False$")
    assert len(set(shown.text("cache-version").split("--scan\n")[1].split())) == 2
    groups = ("computed", "from the cache", "cache, a new client each")
    computed, cached, new = (shown.number("cache-measure", rf"^{name}: median ([\d.e+]+) ms") for name in groups)
    assert cached < computed
    assert cached < new

    # A row for each answer. On a very busy machine the api gives up some of the 50 after five seconds.
    answered = shown.number("log-rows", r"^(\d+) of 50 answers have status 200$")
    assert answered > 25
    shown.has("log-rows", r"^63 pixels: 422$", rf"^ +{answered:.0f}$", r"^\(3 rows\)$")
    assert shown.number("log-rows", r"^passes of the network: (\d+)$") < 50
    assert shown.number("log-paused", r"^the slowest of ten answers: (\d+) ms$") < 3000
    shown.has("log-paused", r"(?s)in the api: [1-9].*timeout expired.*unpause.*in the api: 0\n\Z")

    shown.has("gone-helpers", r"^predict: 200 cached: False\nhealth: 200 .*degraded.*\"redis\":\"down\"")
    shown.has("gone-helpers", r"^predict: 200 cached: .*\nhealth: 200 .*degraded.*\"postgres\":\"down\"")
    shown.has("gone-helpers", r"^rows that wait: [1-9]")
    shown.has("gone-model", r"^the three: 200 cached: True", r"^unseen: 503 .*Nothing was cached.*Retry-After: 1$")
    sizes = shown.text("gone-model").split("redis-cli dbsize\n")
    assert sizes[1].split()[0] == sizes[2].split()[0]
    shown.has("gone-model", r"^model-server +Exited \(137\)", r"^unseen, again: 200$")

    shown.has("refuse-ask", r"^200 .*\"mean\":", r"^422 .*\[3, 4\]", r"^422 .*\"5\.5\"", r"^422 .*99", r"^500 .*NaN")
    shown.has("refuse-ask", r"ValueError: Out of range float values are not JSON compliant")
    shown.has("many-run", r"^/loop gave 20 of 20")
    assert shown.number("many-run", r"^/thread gave (\d+) of 20") < 20
    quick, slow = (shown.number("many-run", rf"^{path}: median ([\d.e+]+) ms") for path in ("/thread", "/loop"))
    assert quick < slow
    shown.has("exercise-grade", r"of \d+ points")
