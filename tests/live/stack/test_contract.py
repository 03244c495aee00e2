"""What the stack promises when all is well: answers, cache, log, batches, metrics, and no more rights than it needs."""

from __future__ import annotations

import contextlib
import http.client
import json
import time

import pytest

from tests.live.stack.conftest import BATCH_SIZE, ONE_SHOT, ROOT, Stack, docker, eventually

pytestmark = pytest.mark.live


def test_every_service_is_healthy_and_model_init_has_ended(stack: Stack) -> None:
    assert {"api", "model-server", "redis", "postgres", "nginx", "prometheus"} <= set(stack.services())
    for service in stack.services():
        assert stack.inspect(service)["State"]["Health"]["Status"] == "healthy", service
    state = stack.inspect(ONE_SHOT)["State"]
    assert (state["Status"], state["ExitCode"]) == ("exited", 0)


def test_all_is_well_and_the_api_says_so(stack: Stack) -> None:
    states = {"redis": "up", "postgres": "up", "model-server": "up"}
    assert stack.health() == (200, {"status": "ok", "dependencies": states})


def test_the_second_identical_request_never_reaches_the_model_server(stack: Stack) -> None:
    pixels = stack.fresh_pixels()
    before = stack.metrics("model-server", "model_server_requests_total")
    first = stack.predict(pixels)
    second = stack.predict(pixels)
    assert stack.metrics("model-server", "model_server_requests_total") == before + 1
    assert (first.json()["cached"], second.json()["cached"]) == (False, True)
    for same in ("digit", "probabilities", "model_version", "served_by"):
        assert first.json()[same] == second.json()[same]
    eventually(lambda: stack.logged()[second.headers["X-Request-ID"]] == 1, what="both rows are in the log")
    assert stack.logged()[first.headers["X-Request-ID"]] == 1
    hits = "sum(api_cache_lookups_total{result='hit'})"
    served = "sum(api_requests_total{path='/predict', status='200'})"
    eventually(
        lambda: stack.prometheus_value(hits) >= 1 and stack.prometheus_value(served) >= 2,
        what="Prometheus shows the hit and both requests",
    )


def test_the_api_keeps_an_idle_connection_for_longer_than_its_clients_do(stack: Stack) -> None:
    """httpx gives connections up after 5 s: a server that closed them after 5 s, too, would break some requests."""
    connection = http.client.HTTPConnection("127.0.0.1", int(stack.environment["API_PORT"]), timeout=15)
    with contextlib.closing(connection):
        for idle_s in (0, 6):
            time.sleep(idle_s)
            connection.request("GET", "/version")
            answer = connection.getresponse()
            assert (answer.status, answer.will_close) == (200, False)
            answer.read()


def test_the_cache_forgets_in_time(stack: Stack) -> None:
    stack.predict(stack.fresh_pixels())
    keys = stack.compose("exec", "-T", "redis", "redis-cli", "--scan").split()
    assert keys
    for key in keys:
        assert 0 < int(stack.compose("exec", "-T", "redis", "redis-cli", "ttl", key)) <= 3600
        assert key.startswith(f"prediction:{stack.client.get('/version').json()['model_version']}:")


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[1, 2]", b'{"pixels": [NaN]}', b"\xff", json.dumps({"pixels": [17] * 64}).encode()]
    + [json.dumps({"pixels": [1] * count}).encode() for count in (63, 65)],
)
def test_anything_else_than_64_numbers_is_refused(stack: Stack, body: bytes) -> None:
    before = stack.metrics("model-server", "model_server_requests_total")
    response = stack.client.post("/predict", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 422
    assert response.json()["detail"]
    assert stack.metrics("model-server", "model_server_requests_total") == before


def test_a_burst_of_real_digits_is_read_batched_and_logged_to_the_last_row(stack: Stack) -> None:
    """The digits that the training kept aside, all at once, and each of the first fifty twice."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    _, unseen, _, expected = train_test_split(images, labels, test_size=0.25, random_state=5, stratify=labels)
    logged_before = stack.logged()
    answers = stack.predict_all([*unseen.tolist(), *unseen[:50].tolist()], at_once=48)

    assert {answer.status_code for answer in answers} == {200}
    bodies = [answer.json() for answer in answers]
    right = sum(body["digit"] == label for body, label in zip(bodies, [*expected, *expected[:50]], strict=True))
    assert right / len(bodies) >= 0.97
    for first, again in zip(bodies[:50], bodies[-50:], strict=True):
        assert again["probabilities"] == pytest.approx(first["probabilities"], abs=1e-5)

    asked = {answer.headers["X-Request-ID"] for answer in answers}
    assert len(asked) == len(unseen) + 50
    eventually(lambda: len(stack.logged() - logged_before) >= len(asked), what="all rows are in the log")
    new = stack.logged() - logged_before
    assert set(new) == asked
    assert set(new.values()) == {1}

    batches = stack.metrics("model-server", "model_server_batch_size_count")
    requests = stack.metrics("model-server", "model_server_batch_size_sum")
    assert requests > batches, "nothing was gathered into a batch"


def test_a_row_that_is_sent_twice_counts_once(stack: Stack) -> None:
    """As it happens when the connection breaks before PostgreSQL could say that the row was written."""
    code = (
        "import datetime, os, uuid\n"
        "from database import Writer, connector\n"
        "from prediction_log import Row\n"
        "from settings import Settings\n"
        "settings = Settings.read(os.environ)\n"
        "now = datetime.datetime.now(datetime.UTC)\n"
        "row = Row(str(uuid.uuid4()), now, 'hash', 7, [0.5, 0.5], 'twice', False, 1.5, 'nobody')\n"
        "for _ in range(2): Writer(connector(settings.database_url, settings.database_password))([row])\n"
        "print(row.id)"
    )
    sent = stack.compose("exec", "-T", "api", "python", "-c", code).strip()
    assert stack.logged()[sent] == 1


def test_no_batch_is_larger_than_batch_size(stack: Stack) -> None:
    stack.predict_all([stack.fresh_pixels() for _ in range(100)], at_once=50)
    [container] = stack.containers("model-server")
    get = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8000/metrics').read().decode())"
    lines = dict(
        line.rsplit(" ", 1) for line in docker("exec", container, "python", "-c", get).splitlines() if " " in line
    )
    assert lines[f'model_server_batch_size_bucket{{le="{BATCH_SIZE}.0"}}'] == lines["model_server_batch_size_count"]


def test_the_weights_in_the_volume_are_those_of_the_image(stack: Stack) -> None:
    [container] = stack.containers("model-server")
    found, trained = docker("exec", container, "sha256sum", "/models/model.pt", "/opt/model/model.pt").splitlines()
    assert found.split()[0] == trained.split()[0]
    assert stack.client.get("/version").json()["model_version"] == found[:12]


def test_without_weights_the_model_server_ends_and_says_why(stack: Stack) -> None:
    image = stack.inspect("model-server")["Config"]["Image"]
    container = docker("create", image).strip()
    try:
        docker("start", container)
        assert docker("wait", container).strip() == "1"
        assert "There are no weights at /models/model.pt" in docker("logs", container) + _errors(container)
    finally:
        docker("rm", "-f", container)


def _errors(container: str) -> str:
    import subprocess

    return subprocess.run(["docker", "logs", container], capture_output=True, text=True, check=True).stderr


def test_nothing_runs_as_root_or_with_rights_it_does_not_need(stack: Stack) -> None:
    for service in stack.services():
        [container] = stack.containers(service)
        status = dict(
            line.split(":\t", 1)
            for line in docker("exec", container, "cat", "/proc/1/status").splitlines()
            if ":\t" in line
        )
        assert status["Uid"].split()[0] != "0", service
        assert int(status["CapEff"], 16) == 0, service
        assert status["NoNewPrivs"] == "1", service


def test_only_this_machine_reaches_the_stack_and_only_where_it_is_meant_to(stack: Stack) -> None:
    published = {
        service: [
            binding["HostIp"]
            for bindings in stack.inspect(service)["NetworkSettings"]["Ports"].values()
            for binding in bindings or []
        ]
        for service in stack.services()
    }
    assert published.pop("api") == ["127.0.0.1"]
    assert published.pop("prometheus") == ["127.0.0.1"]
    assert published.pop("grafana", ["127.0.0.1"]) == ["127.0.0.1"]
    assert not any(published.values()), published


def test_passwords_are_secret_and_checked(stack: Stack) -> None:
    password = (ROOT / "stack/secrets/postgres_password.txt").read_text().strip()
    assert len(password) >= 16
    for service in stack.services():
        [container] = stack.containers(service)
        assert password not in docker("inspect", container), f"{service} shows the password to `docker inspect`"
    for guess in ("postgres", "mlpassword", "predictions", ""):
        code = (
            "import psycopg2, sys\n"
            "try: psycopg2.connect('postgresql://predictions@postgres/predictions', password=sys.argv[1])\n"
            "except psycopg2.OperationalError as error: print(error)\n"
            "else: print('let in')"
        )
        said = stack.compose("exec", "-T", "api", "python", "-c", code, guess)
        assert "password" in said, f"PostgreSQL takes the password {guess!r}: {said}"


def test_prometheus_takes_its_configuration_and_rules(stack: Stack) -> None:
    said = stack.compose("exec", "-T", "prometheus", "promtool", "check", "config", "/etc/prometheus/prometheus.yml")
    assert "rules found" in said
