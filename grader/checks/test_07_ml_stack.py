"""Exercise 07: the machine-learning stack, its cache and its log, and what is left of it when a part is gone.

The experiments are fixtures in one chain, each made after the one that it asks for; the checks judge what they saw.
Slow steps overlap: PostgreSQL and the model server come back while something else is tried.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from grader.budget import stretched
from grader.plugin import Blocked, Failure, check, running
from grader.probes import Answer, get, send, wait_until
from grader.rewrite import LABEL
from grader.stack import Stack

API_PORT = 8000
MAIN, SERVE = "api/main.py", "model-server/serve.py"
SERVICES = ("api", "model-server", "redis", "postgres")

# Seconds on an idle machine. Right answers come in a fraction of them; only those that are wrong are waited for.
ANSWER = 10.0
WITHOUT_REDIS = 20.0  # two questions to a Redis whose name nobody knows any more
WITHOUT_MODEL_SERVER = 15.0
ROWS = 10.0  # until the rows are there, PostgreSQL included that has just been started
NEW_VERSION = 8.0  # until the api has noticed; the exercise says five
MODEL_SERVER_BACK = 40.0
ENTRY = 3.0

AT_ONCE = 50

# Handwritten digits of scikit-learn that the model has not been trained on, and of which it is sure. 64 pixels each,
# one character for a pixel: 0 to 9, then a to g for 10 to 16.
DIGITS = (
    "002fd30000afbf0003g60a0004g8038008e3048003f1037000eb6e50004cf600",
    "001ca300007gg70000cgg30000egg20001fgg50000fgf20000bgg8000017ca00",
    "00bgf50008geg8000ba0g8000316g200001fa00000bf100000gecc8001fgge80",
    "003dg50006f9f7000006ga00007eg300009gge3000032fa00045cge0005de820",
    "0006g200002ff00000fg323007g73fb007geeg50017cga000007g400000af000",
    "00accf4000g8853004f8600006fce80000102g0000000e3000b48f3000agf500",
    "001c2000006d000000b8000001f1000002f2ed4002fga5e0009d49e0000adc30",
    "006f8ac200aeacg1009a1d7000448c100002f500000b8000003g0000007e0000",
    "006eg60006gg8f0007eece0000dag600004ga00000bdg20000f5f400008gf100",
    "004dc60004f5ag0004g1bg0001agdg2000040f3000000c4000660980005cfg70",
)
OTHER_DIGITS = (
    "002f500000bgg60003e37g30078008800580048004c0088000e98g20003ef600",
    "00bc000000dg000003fg40000dfg6000033fa000000bg000002ag630007gggg5",
    "003cgg3002ggbg4008e2ag100553g400000bc000003g5230003gcf60000fg800",
    "005fgf100agb8g500ca1af100008gb100001aga0000207g0008d5fc0005fge30",
    "0005f300002g4000008c02c003g10ba009d03g500dfggc0005ceg4000006f200",
    "0049cg8000ff882004gb410008ggge0000b98g0000007g000008gc00003d9100",
    "006d000000fc000000g6000003geb50005gcbg6006g92g9000de8g80004fgd20",
    "005abdc002e88da001604d000001f200000bf81002ff8700019c0000007b0000",
    "0007cd10008b1a8000c21b7000aae800017g900007g7e300007d5e000006fe20",
    "009fe80006g42g3005g55g40009ggg40000009800000088002a21c6001deeb10",
)

TRY = "curl -s -H 'Content-Type: application/json' -d @three.json http://localhost:8000/predict"
TRY_STATUS = TRY.replace("-s ", "-i ")
COUNT = 'docker compose exec postgres psql -U postgres predictions -c "SELECT count(*) FROM predictions"'
SHOW = (
    "docker compose exec postgres psql -U postgres predictions "
    '-c "SELECT id, digit, model_version, cached, latency_ms FROM predictions"'
)


def pixels(text: str) -> list[float]:
    return [int(character, 17) for character in text]


READ_FIRST = [pixels(text) for text in DIGITS]
# Inputs of one experiment only, so that its rows are told from all others; the place is the digit.
WHILE_POSTGRES_HANGS, WHILE_MODEL_SERVER_IS_GONE, AFTERWARDS, WHILE_REDIS_IS_GONE = 0, 2, 3, 4
WHILE_POSTGRES_IS_GONE = (1, 7)
UNSEEN = [pixels(text) for text in OTHER_DIGITS]


BURSTS = 3


def variations(burst: int) -> list[list[float]]:
    """Fifty inputs that nobody has asked before: a dot in a corner does not change a digit, the place modulo ten."""
    dots = range(1 + 5 * burst, 6 + 5 * burst)
    return [[float(dot), *digit[1:]] for dot in dots for digit in UNSEEN]


BAD_NUMBERS = {
    "63 numbers": UNSEEN[5][:63],
    "65 numbers": [*UNSEEN[5], 0],
    "no numbers": [],
    "a 17 among the numbers": [17, *UNSEEN[6][1:]],
    "a -1 among the numbers": [-1, *UNSEEN[6][1:]],
}
BAD_BODIES: dict[str, bytes] = {
    'the text "3" among the numbers': b'{"pixels": [' + b'"3", ' + b"0, " * 62 + b"0]}",
    "null among the numbers": b'{"pixels": [' + b"null, " + b"0, " * 62 + b"0]}",
    "NaN among the numbers": b'{"pixels": [' + b"NaN, " + b"0, " * 62 + b"0]}",
    "a text in place of the list": b'{"pixels": "three"}',
    "no pixels": b"{}",
    "no JSON": b"three",
}


# --- asking the api --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """One request to the api.

    Attributes:
        answer: None if there was none in time.
        seconds: how long the grader waited.
    """

    pixels: Sequence[float]
    answer: Answer | None
    seconds: float

    @property
    def status(self) -> int | None:
        return self.answer.status if self.answer else None

    @property
    def says(self) -> dict[str, Any]:
        """The answer's fields; none if it is no JSON object."""
        body = self.answer.json() if self.answer else None
        return body if isinstance(body, dict) else {}

    @property
    def served(self) -> bool:
        return self.status == 200

    def __str__(self) -> str:
        return f"status {self.status}" if self.answer else f"no answer within {self.seconds:.0f} s"


@dataclass
class Api:
    """The api, as its users see it."""

    url: str

    def predict(self, digit: Sequence[float], patience: float = ANSWER) -> Asked:
        began = time.monotonic()
        answer = send("POST", self.url, json={"pixels": list(digit)}, timeout=stretched(patience))
        return Asked(digit, answer, time.monotonic() - began)

    def send(self, body: bytes) -> Asked:
        began = time.monotonic()
        headers = {"Content-Type": "application/json"}
        answer = send("POST", self.url, content=body, headers=headers, timeout=stretched(ANSWER))
        return Asked((), answer, time.monotonic() - began)


@pytest.fixture(scope="module")
def health(stack: Stack) -> Answer | None:
    """What GET /health answers, once something does: without a health check nobody has waited for it so far."""
    answer: Answer | None = None

    def answers() -> bool:
        nonlocal answer
        url = stack.url("api", API_PORT, "/health")
        answer = get(url, timeout=stretched(ANSWER)) if url else None
        return answer is not None

    if "api" in stack.running:
        wait_until(answers, stack.budget, stretched(ANSWER))
    return answer


@pytest.fixture(scope="module")
def api(stack: Stack, health: Answer | None) -> Api:
    url = stack.url("api", API_PORT, "/predict")
    if url is None or health is None:
        raise Blocked(f"nothing answers at port {API_PORT} of api")
    return Api(url)


# --- looking into Redis and PostgreSQL -----------------------------------------------------------

# Every key of every database: a fingerprint of its name, e if it expires by itself or f if it stays for ever, and how
# many entries it holds. Of the key whose fingerprint is given, the name's beginning instead.
KEYS = """
local sizes = {hash = 'hlen', set = 'scard', zset = 'zcard', list = 'llen', stream = 'xlen'}
local found = {}
for db = 0, 15 do
  redis.call('select', db)
  for _, key in ipairs(redis.call('keys', '*')) do
    local id = string.sub(redis.sha1hex(db .. key), 1, 6)
    if id == ARGV[1] then return string.gsub(string.sub(key, 1, 50), '[^%w%p]', '?') end
    local kind = redis.call('type', key)['ok']
    local size = sizes[kind] and redis.call(sizes[kind], key) or 1
    found[#found + 1] = id .. (redis.call('pttl', key) > 0 and 'e' or 'f') .. size
  end
end
return table.concat(found, ' ')
"""


@dataclass(frozen=True)
class Entry:
    """A key of Redis: how many entries it holds, and whether it goes by itself."""

    size: int
    expires: bool


def _ask_redis(stack: Stack, *arguments: str) -> str:
    done = stack.execute("redis", ["redis-cli", "-e", "eval", KEYS, "0", *arguments])
    if done.status != 0 or done.output.endswith("…"):
        raise Blocked(f"redis does not say what it keeps: {done.output[:200]}")
    return done.output


def entries(stack: Stack) -> dict[str, Entry]:
    """What Redis keeps: the fingerprint of each key, and what is known of it."""
    words = _ask_redis(stack).split()
    return {word[:6]: Entry(int(word[7:]), word[6] == "e") for word in words}


def name_of(stack: Stack, key: str) -> str:
    return _ask_redis(stack, key)


def added(before: dict[str, Entry], after: dict[str, Entry]) -> dict[str, Entry]:
    return {key: entry for key, entry in after.items() if key not in before or entry.size > before[key].size}


SHOWN = 16  # characters of a version


@dataclass(frozen=True)
class Row:
    """A row of the log, as text; its input as a fingerprint."""

    input: str
    digit: str
    model_version: str
    cached: str
    latency_ms: float


# What `fingerprint` makes of the same numbers.
INPUT = "left(md5(array_to_string(pixels, ',')), 10)"


def fingerprint(digit: Iterable[float]) -> str:
    return hashlib.md5(",".join(f"{pixel:g}" for pixel in digit).encode()).hexdigest()[:10]


def rows(stack: Stack, inputs: Iterable[Sequence[float]]) -> list[Row]:
    """The log's rows for these inputs."""
    wanted = ", ".join(f"'{fingerprint(digit)}'" for digit in inputs)
    columns = f"digit, left(model_version, {SHOWN}), cached::text, latency_ms::numeric(30, 4)"
    found = stack.sql(
        f"SELECT * FROM (SELECT {INPUT} AS input, {columns} FROM predictions) AS log"
        f" WHERE input IN ({wanted}) LIMIT 40"  # no more than the probe shows
    )
    return [Row(i, digit, version, cached, float(ms)) for i, digit, version, cached, ms in found]


def rows_each(stack: Stack, asked: Sequence[Asked], patience: float = ROWS) -> Counter[str]:
    """How many rows each input of these requests has, waited for as long as some are missing."""
    wanted = ", ".join(f"'{fingerprint(one.pixels)}'" for one in asked)
    query = (
        f"SELECT input, count(*) FROM (SELECT {INPUT} AS input FROM predictions) AS log"
        f" WHERE input IN ({wanted}) GROUP BY input"
    )
    found: Counter[str] = Counter()

    def complete() -> bool:
        nonlocal found
        found = Counter({digit: int(count) for digit, count in stack.sql(query)})
        return found.total() >= sum(one.served for one in asked)

    wait_until(complete, stack.budget, stretched(patience), interval=0.1)
    return found


# --- experiments ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class First:
    """Ten digits that nobody has asked before, and one of them again, while all is well.

    Attributes:
        fresh: the ten; the place is the digit.
        cached: whether one of them has added something to Redis.
        forever: what it has added that does not go by itself.
    """

    fresh: list[Asked]
    again: Asked
    cached: bool
    forever: str

    @property
    def problem(self) -> str:
        """Why nothing more can be tried; empty if all were read rightly."""
        for digit, asked in [*enumerate(self.fresh), (9, self.again)]:
            if not asked.served:
                return f"the api does not read digits yet ({asked})"
            if asked.says.get("digit") != digit:
                return "the api does not read digits rightly yet"
        return ""


@pytest.fixture(scope="module")
def first(stack: Stack, api: Api) -> First:
    """Begins with one digit: what has to be there only once is made for that one, counters for example."""
    fresh = [api.predict(READ_FIRST[0])]
    before = entries(stack)
    fresh.append(api.predict(READ_FIRST[1]))
    new: dict[str, Entry] = {}

    def cached() -> bool:
        nonlocal new
        new = added(before, entries(stack))
        return bool(new) and all(entry.expires for entry in new.values())

    if fresh[1].served:
        wait_until(cached, stack.budget, stretched(ENTRY))
    fresh += [api.predict(digit) for digit in READ_FIRST[2:]]
    forever = next((name_of(stack, key) for key, entry in new.items() if not entry.expires), "")
    return First(fresh, api.predict(READ_FIRST[9]), bool(new), forever)


def _need(first: First) -> None:
    """Everything beyond the first predictions needs these."""
    if first.problem:
        raise Blocked(first.problem)


@pytest.fixture(scope="module")
def refused(stack: Stack, api: Api, first: First) -> dict[str, Asked]:
    """What the api answers to input that is no digit."""
    found = {name: api.predict(numbers) for name, numbers in BAD_NUMBERS.items()}
    return found | {name: api.send(body) for name, body in BAD_BODIES.items()}


@pytest.fixture(scope="module")
def burst(api: Api, first: First, refused: dict[str, Asked]) -> list[Asked]:
    """Fifty requests at once; again, where some were not answered: on a busy machine a timeout may have run out."""
    _need(first)
    gate = threading.Barrier(AT_ONCE)

    def ask(digit: list[float]) -> Asked:
        gate.wait()
        return api.predict(digit, patience=2 * ANSWER)

    asked: list[Asked] = []
    for number in range(BURSTS):
        with ThreadPoolExecutor(AT_ONCE) as pool:
            asked = list(pool.map(ask, variations(number)))
        if all(one.served for one in asked):
            break
    return asked


@dataclass(frozen=True)
class Logged:
    """The rows of what was asked while all was well.

    Attributes:
        bad: rows of input that should have been refused.
    """

    first: list[Row]
    first_each: Counter[str]
    burst_each: Counter[str]
    bad: list[Row]


@pytest.fixture(scope="module")
def logged(stack: Stack, first: First, burst: list[Asked]) -> Logged:
    first_each = rows_each(stack, [*first.fresh, first.again])
    burst_each = rows_each(stack, burst)
    return Logged(rows(stack, READ_FIRST), first_each, burst_each, rows(stack, BAD_NUMBERS.values()))


@pytest.fixture(scope="module")
def rows_of_refused(request: pytest.FixtureRequest, first: First, refused: dict[str, Asked]) -> list[Row]:
    """The rows of what was refused; looked for once everything that was asked later has its row."""
    if first.problem:
        return []
    logged: Logged = request.getfixturevalue("logged")
    return logged.bad


# What a reader may do meanwhile, a writer may not; the wait has no timeout of its own, as connecting has.
LOCK = "BEGIN; LOCK TABLE predictions IN EXCLUSIVE MODE; SELECT pg_sleep(600)"
LOCKING = "FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)' AND pid <> pg_backend_pid()"


@pytest.fixture(scope="module")
def postgres_hangs(stack: Stack, api: Api, logged: Logged) -> Asked:
    """A request while nobody can write into the table."""
    container = stack.containers("postgres")[0]
    psql = 'psql -U "${POSTGRES_USER:-postgres}" -d "${POSTGRES_DB:-postgres}" -c "$1"'
    command = stack.client.api.exec_create(container, ["sh", "-c", psql, "sh", LOCK])["Id"]
    stack.client.api.exec_start(command, detach=True)

    def is_locked() -> bool:
        held = "SELECT 1 FROM pg_locks WHERE mode = 'ExclusiveLock' AND granted AND relation = 'predictions'::regclass"
        return bool(stack.sql(held))

    if not wait_until(is_locked, stack.budget, stretched(10)):
        raise Blocked("the table predictions could not be locked")
    try:
        return api.predict(UNSEEN[WHILE_POSTGRES_HANGS])
    finally:
        stack.sql(f"SELECT pg_terminate_backend(pid) {LOCKING}")


@dataclass
class Outage:
    """What was asked while a service was gone.

    Attributes:
        asked: digits that nobody has asked before.
        repeated: one that was read before.
        cached: what this has added to Redis.
        other_weights: the service, model-server, was given other weights meanwhile.
    """

    asked: list[Asked] = field(default_factory=list)
    repeated: Asked | None = None
    cached: str = ""
    other_weights: bool = False


@pytest.fixture(scope="module")
def postgres_gone(stack: Stack, api: Api, postgres_hangs: Asked) -> Outage:
    """Two digits without PostgreSQL, which is then started again; nobody waits for it here."""
    container = stack.containers("postgres")[0]
    stack.client.api.kill(container)  # an order: no restart policy brings it back
    try:
        return Outage([api.predict(UNSEEN[digit]) for digit in WHILE_POSTGRES_IS_GONE])
    finally:
        stack.client.api.start(container)


@pytest.fixture(scope="module")
def model_server_gone(stack: Stack, api: Api, first: First, postgres_gone: Outage) -> Outage:
    """A digit that was read before, and another one twice, without a model server.

    It comes back with other weights: nobody waits for it here.
    """
    containers = stack.containers("model-server")
    seen = Outage()
    before = entries(stack)
    for container in containers:
        stack.client.api.kill(container)
    try:
        seen.repeated = api.predict(READ_FIRST[1], WITHOUT_MODEL_SERVER)
        seen.asked = [api.predict(UNSEEN[WHILE_MODEL_SERVER_IS_GONE], WITHOUT_MODEL_SERVER) for _ in range(2)]
        seen.cached = next((name_of(stack, key) for key in added(before, entries(stack))), "")
        seen.other_weights = _change_weights(stack)
    finally:
        for container in containers:
            stack.client.api.start(container)
    return seen


# The version is made from the file's bytes: a comment at the end of the archive makes it another one.
CHANGE = """
import pathlib, zipfile
changed = 0
for path in pathlib.Path("/volumes").rglob("*"):
    if path.is_file() and zipfile.is_zipfile(path):
        half_done = path.with_name(".half-done")
        half_done.write_bytes(path.read_bytes())
        with zipfile.ZipFile(half_done, "a") as archive:
            archive.comment = b"another version"
        half_done.chmod(0o644)
        half_done.replace(path)
        changed += 1
print(changed)
"""


def _change_weights(stack: Stack) -> bool:
    """Put the weights of another version into the model server's volume; they read digits as those before did."""
    mounts = (stack.inspect("model-server") or {}).get("Mounts", [])
    volumes = [mount["Name"] for mount in mounts if mount["Type"] == "volume"]
    if not volumes:
        return False
    changed = stack.client.containers.run(
        "python:3.11-slim",
        ["python", "-c", CHANGE],
        volumes={name: {"bind": f"/volumes/{number}", "mode": "rw"} for number, name in enumerate(volumes)},
        network_mode="none",
        remove=True,
        labels={LABEL: str(stack.owner)},
    )
    return int(changed) > 0


@pytest.fixture(scope="module")
def rows_after_outage(stack: Stack, postgres_gone: Outage, model_server_gone: Outage) -> Counter[str]:
    """The rows of what was asked without PostgreSQL; it and the model server come back meanwhile."""
    if why := stack.await_well("postgres"):
        raise Blocked(f"postgres did not come back: {why}")
    return rows_each(stack, postgres_gone.asked)


@dataclass(frozen=True)
class NewModel:
    """What the api says once the model server has other weights.

    Attributes:
        before: the answer of the model before.
        answer: the last answer to the same input.
        unseen: the answer to an input that nobody has asked before.
    """

    before: Asked
    answer: Asked
    unseen: Asked


@pytest.fixture(scope="module")
def new_model(
    stack: Stack, api: Api, first: First, model_server_gone: Outage, rows_after_outage: Counter[str]
) -> NewModel:
    if not model_server_gone.other_weights:
        raise Blocked("model-server has no volume with the weights in it")
    if why := stack.await_well("model-server", timeout=MODEL_SERVER_BACK):
        raise Blocked(f"the model server did not come back with other weights: {why}")
    before = first.fresh[2]
    answers: list[Asked] = []

    def noticed() -> bool:
        answers.append(api.predict(READ_FIRST[2]))
        return answers[-1].served and answers[-1].says.get("model_version") != before.says.get("model_version")

    wait_until(noticed, stack.budget, stretched(NEW_VERSION), interval=0.2)
    unseen: list[Asked] = []

    def back() -> bool:
        unseen.append(api.predict(UNSEEN[AFTERWARDS]))
        return unseen[-1].served

    wait_until(back, stack.budget, stretched(ANSWER), interval=0.2)
    return NewModel(before, answers[-1], unseen[-1])


@pytest.fixture(scope="module")
def redis_gone(stack: Stack, api: Api, new_model: NewModel) -> Outage:
    """A digit that was not read before, and one that was, without Redis. It stays gone: this comes last."""
    for container in stack.containers("redis"):
        stack.client.api.kill(container)
    digits = (UNSEEN[WHILE_REDIS_IS_GONE], READ_FIRST[3])
    return Outage([api.predict(digit, WITHOUT_REDIS) for digit in digits])


# --- the parts ------------------------------------------------------------------------------------


@check(
    points=1,
    section="The parts, and how they find each other",
    hint="`docker compose ps -a` and `docker compose logs SERVICE` say what is wrong.",
)
def test_stack_comes_up(stack: Stack, health: Answer | None) -> None:
    """All services come up, and GET /health answers 200"""
    for name in ("model-init", *SERVICES):
        if why := stack.not_well[name]:
            raise Failure(
                why,
                at=stack.model.at("services", name),
                reproduce="docker compose up -d --wait; docker compose ps -a",
            )
    if health is None or health.status != 200:
        raise Failure(
            "The api runs, and GET /health is not answered with 200",
            expected="status 200",
            actual=f"status {health.status}" if health else "no answer",
            at=MAIN,
            reproduce="curl -i http://localhost:8000/health",
        )


@check(
    points=3,
    needs=running(*SERVICES),
    section="The model server: load once, answer often",
    hint="Follow one request: api, then model-server, and back. Both print their errors into their logs.",
)
def test_digits_are_read(stack: Stack, first: First) -> None:
    """Ten handwritten digits are read correctly"""
    for digit, asked in enumerate(first.fresh):
        if not asked.served:
            raise Failure(
                f"POST /predict with a handwritten {digit} was not answered with 200",
                expected="status 200",
                actual=str(asked),
                at=MAIN,
                reproduce=f"{TRY_STATUS}; docker compose logs --tail 20 api model-server",
            )
        if problem := _not_an_answer(asked.says):
            raise Failure(f"The answer is not what the exercise asks for: {problem}", at=MAIN, reproduce=TRY)
    wrong = {digit: asked.says["digit"] for digit, asked in enumerate(first.fresh) if asked.says["digit"] != digit}
    if wrong:
        digit = next(iter(wrong))
        raise Failure(
            f"{len(wrong)} of ten digits were read wrongly, and the model is sure of all ten",
            expected=f"a handwritten {digit} is read as {digit}",
            actual=f"as {wrong[digit]}",
            at=SERVE,
            reproduce=TRY,
        )


def _not_an_answer(says: dict[str, Any]) -> str:
    """What is wrong with the fields of an answer; empty if nothing is."""
    for name in ("digit", "probabilities", "model_version", "cached", "latency_ms"):
        if name not in says:
            return f"it has no {name}"
    probabilities = says["probabilities"]
    if not isinstance(probabilities, list) or len(probabilities) != 10:
        return "probabilities are not ten numbers"
    if not all(isinstance(p, int | float) for p in probabilities) or abs(sum(probabilities) - 1) > 0.01:
        return "the ten probabilities do not sum to 1"
    if not isinstance(says["digit"], int) or says["digit"] != probabilities.index(max(probabilities)):
        return "digit is not the place of the highest probability"
    if not isinstance(says["cached"], bool):
        return "cached is neither true nor false"
    if not isinstance(says["latency_ms"], int | float):
        return "latency_ms is no number"
    return ""


@check(
    points=2,
    needs=running(*SERVICES),
    section="Refuse what is no digit",
    hint="Describe each number and the list's length in the type of `pixels`; FastAPI then answers 422 by itself.",
)
def test_bad_input_is_refused(stack: Stack, refused: dict[str, Asked], rows_of_refused: list[Row]) -> None:
    """Input that is no digit is answered with 422, and not logged"""
    for name, asked in refused.items():
        if asked.status != 422:
            raise Failure(
                f"POST /predict with {name} was not refused",
                expected="status 422",
                actual=str(asked),
                at=MAIN,
                reproduce="curl -i -H 'Content-Type: application/json' -d '{\"pixels\": [17]}' "
                "http://localhost:8000/predict",
            )
    if rows_of_refused:
        raise Failure("Input that was refused is in the log", expected="no row", at=MAIN, reproduce=COUNT)


# --- the cache ------------------------------------------------------------------------------------


@check(
    points=3,
    needs=running(*SERVICES),
    section="A cache: key, version and time to live",
    hint="Is the key the same when the input is? Look into Redis: docker compose exec redis redis-cli --scan",
)
def test_repeated_request_is_answered_from_cache(stack: Stack, first: First, model_server_gone: Outage) -> None:
    """A repeated request does not need the model server"""
    _need(first)
    asked = model_server_gone.repeated
    assert asked is not None
    reproduce = f"{TRY}; docker compose kill model-server; {TRY_STATUS}; docker compose start model-server"
    if not asked.served:
        raise Failure(
            "A digit that had been read before was asked again while the model server was gone",
            expected="status 200, from the cache",
            actual=str(asked),
            at=MAIN,
            reproduce=reproduce,
        )
    if asked.says.get("digit") != 1 or asked.says.get("cached") is not True:
        raise Failure(
            "The answer from the cache is not the one that was given before",
            expected='"digit": 1, "cached": true',
            actual=f'"digit": {asked.says.get("digit")}, "cached": {str(asked.says.get("cached")).lower()}',
            at=MAIN,
            reproduce=reproduce,
        )


@check(
    points=1,
    needs=running(*SERVICES),
    section="A cache: key, version and time to live",
    hint="Redis forgets an entry by itself if you say when: look at the options of SET.",
)
def test_cache_entries_expire(stack: Stack, first: First, model_server_gone: Outage) -> None:
    """Every answer in Redis has a time to live"""
    _need(first)
    reproduce = "docker compose exec redis sh -c 'redis-cli ttl \"$(redis-cli randomkey)\"'      # -1: for ever"
    if not first.cached:
        if model_server_gone.repeated is None or not model_server_gone.repeated.served:
            raise Blocked("nothing is cached yet")
        raise Failure(
            "An answer is remembered, but not in Redis: other replicas of the api do not have it",
            expected="an entry in Redis",
            at=MAIN,
            reproduce="docker compose exec redis redis-cli dbsize",
        )
    if first.forever:
        raise Failure(
            f"An entry stays in Redis for ever: {first.forever}",
            expected="a time to live",
            actual="none",
            at=MAIN,
            reproduce=reproduce,
        )


@check(
    points=2,
    needs=running(*SERVICES),
    section="A cache: key, version and time to live",
    hint="The key needs the version in use now, version.current; and serve.py has to tell the version of its weights.",
)
def test_new_model_does_not_get_old_answers(stack: Stack, first: First, new_model: NewModel) -> None:
    """A new model never gets the old one's cached answers"""
    _need(first)
    old = new_model.before.says.get("model_version")
    if not new_model.answer.served:
        raise Blocked(f"the api does not serve the new model ({new_model.answer})")
    if new_model.answer.says.get("model_version") == old or new_model.answer.says.get("cached") is True:
        fixed = new_model.unseen.served and new_model.unseen.says.get("model_version") == old
        raise Failure(
            "The model server got other weights, and still tells the version of those before"
            if fixed
            else "The model server got other weights, and the api went on with the cached answer of those before",
            expected="within five seconds the same input is asked anew",
            actual=f"model_version {old}, cached: {str(new_model.answer.says.get('cached')).lower()}",
            at=SERVE if fixed else MAIN,
            reproduce=f"{TRY}; docker compose exec redis redis-cli --scan      # is model_version part of the key?",
        )


# --- the log --------------------------------------------------------------------------------------


@check(
    points=3,
    needs=running(*SERVICES),
    section="The log: nobody waits for it",
    hint="One row for each answer, also for those from the cache, with what that answer said.",
)
def test_every_answer_is_logged(stack: Stack, first: First, logged: Logged) -> None:
    """Every answer has one row, with what it said"""
    asked = [*first.fresh, first.again]
    _one_row_each(asked, logged.first_each)
    said = Counter(_as_row(one) for one in asked)
    wrote = Counter((row.input, row.digit, row.model_version, row.cached) for row in logged.first)
    if said != wrote:
        (_, *should), (_, *has) = next(iter(said - wrote)), next(iter(wrote - said))
        raise Failure(
            "A row does not say what the answer said",
            expected="digit {}, model_version {}, cached {}".format(*should),
            actual="digit {}, model_version {}, cached {}".format(*has),
            at=MAIN,
            reproduce=SHOW,
        )
    told = [(one.seconds, one.says.get("latency_ms")) for one in first.fresh]
    _is_in_milliseconds([(seconds, ms) for seconds, ms in told if isinstance(ms, int | float)], "the answer")
    # Without the tenth digit, which was asked twice.
    written = {row.input: row.latency_ms for row in logged.first}
    _is_in_milliseconds([(one.seconds, written[fingerprint(one.pixels)]) for one in first.fresh[:9]], "the row")


def _as_row(asked: Asked) -> tuple[str, str, str, str]:
    """What its row should say; what the answer lacks is another check's matter."""
    says = asked.says
    return (
        fingerprint(asked.pixels),
        str(says.get("digit")),
        str(says.get("model_version"))[:SHOWN],
        str(says.get("cached")).lower(),
    )


def _one_row_each(asked: Sequence[Asked], has: Counter[str]) -> None:
    should = Counter(fingerprint(one.pixels) for one in asked if one.served)
    if missing := (should - has).total():
        raise Failure(
            f"Of {should.total()} answers {missing} {'has' if missing == 1 else 'have'} no row in the log",
            expected=f"{should.total()} rows",
            actual=f"{has.total()} rows" + (", some of them twice" if has - should else ""),
            at=MAIN,
            reproduce=f"{TRY}; {COUNT}; docker compose logs --tail 20 api",
        )
    if has - should:
        raise Failure(
            "Some answers are in the log more than once",
            expected=f"{should.total()} rows",
            actual=f"{has.total()} rows",
            at=MAIN,
            reproduce=f"{TRY}; {COUNT}",
        )


def _is_in_milliseconds(timed: Sequence[tuple[float, float]], where: str) -> None:
    """Fails if every time is one in seconds, or some are longer than the request was; both whatever the load."""
    if timed and (all(ms <= seconds for seconds, ms in timed) or any(ms > seconds * 1000 + 1 for seconds, ms in timed)):
        seconds, ms = timed[-1]
        raise Failure(
            f"latency_ms of {where} is not the time that the request took, in milliseconds",
            expected=f"more than 0, and at most the {seconds * 1000:.1f} ms that the grader waited",
            actual=f"{ms:g}",
            at=MAIN,
            reproduce=SHOW,
        )


OFF_THE_PATH = "Hand the row to somebody else and answer; who writes it tries again when PostgreSQL does not take it."


@check(points=2, needs=running(*SERVICES), section="The log: nobody waits for it", hint=OFF_THE_PATH)
def test_answers_do_not_wait_for_postgres(stack: Stack, first: First, postgres_hangs: Asked) -> None:
    """Answers do not wait for PostgreSQL"""
    _need(first)
    if not postgres_hangs.served:
        raise Failure(
            "PostgreSQL held up everybody who writes into the table, and the user's answer was held up, too",
            expected="status 200, while the row waits",
            actual=str(postgres_hangs),
            at=MAIN,
            reproduce="docker compose exec -d postgres psql -U postgres predictions "
            f"-c 'BEGIN; LOCK TABLE predictions; SELECT pg_sleep(20)'; time {TRY}",
        )


@check(points=3, needs=running(*SERVICES), section="The log: nobody waits for it", hint=OFF_THE_PATH)
def test_rows_wait_for_postgres(
    stack: Stack, first: First, postgres_gone: Outage, rows_after_outage: Counter[str]
) -> None:
    """Without PostgreSQL digits are read; the rows are written later"""
    _need(first)
    reproduce = f"docker compose kill postgres; {TRY_STATUS}; docker compose start postgres; sleep 10; {COUNT}"
    for asked in postgres_gone.asked:
        if not asked.served:
            raise Failure(
                "PostgreSQL was gone, and the api did not read a digit",
                expected="status 200",
                actual=str(asked),
                at=MAIN,
                reproduce=reproduce,
            )
    if any(count > 1 for count in rows_after_outage.values()) or rows_after_outage.total() < len(postgres_gone.asked):
        raise Failure(
            "PostgreSQL was gone and came back; of what was answered meanwhile, "
            + ("rows are missing" if rows_after_outage.total() < len(postgres_gone.asked) else "rows are there twice"),
            expected=f"{len(postgres_gone.asked)} rows",
            actual=f"{rows_after_outage.total()} rows",
            at=MAIN,
            reproduce=reproduce,
        )


# --- without the others, and many at once -----------------------------------------------------------


@check(
    points=2,
    needs=running(*SERVICES),
    section="When a part is gone",
    hint="Every call to Redis can raise redis.RedisError, the one that stores, too.",
)
def test_digits_are_read_without_redis(stack: Stack, first: First, redis_gone: Outage) -> None:
    """Without Redis digits are still read"""
    _need(first)
    for digit, asked in zip((WHILE_REDIS_IS_GONE, 3), redis_gone.asked, strict=True):
        if not asked.served or asked.says.get("digit") != digit:
            raise Failure(
                f"Redis was gone, and the api did not read a {digit}",
                expected=f'status 200, "digit": {digit}',
                actual=f'status 200, "digit": {asked.says.get("digit")}' if asked.served else str(asked),
                at=MAIN,
                reproduce=f"docker compose kill redis; {TRY_STATUS}; docker compose start redis",
            )


@check(
    points=2,
    needs=running(*SERVICES),
    section="When a part is gone",
    hint="httpx.HTTPError becomes HTTPException(503), before anything is cached or logged.",
)
def test_503_without_model_server(stack: Stack, first: First, model_server_gone: Outage) -> None:
    """Without the model server: 503, and nothing is cached"""
    _need(first)
    reproduce = f"docker compose kill model-server; {TRY_STATUS}; docker compose start model-server"
    for asked, which in zip(model_server_gone.asked, ("first", "second"), strict=True):
        if asked.status != 503:
            raise Failure(
                f"The model server was gone, and a digit was asked that is not in the cache, for the {which} time",
                expected="status 503",
                actual=str(asked),
                at=MAIN,
                reproduce=reproduce,
            )
    if model_server_gone.cached:
        raise Failure(
            "The model server was gone, and yet something was put into the cache for a digit that it had not read",
            expected="no new entry in Redis",
            actual=model_server_gone.cached,
            at=MAIN,
            reproduce=f"{reproduce}; docker compose exec redis redis-cli --scan",
        )


@check(
    points=2,
    needs=running(*SERVICES),
    section="Many requests at once",
    hint="What several requests change at the same time has to be made for it: a queue.Queue is, a variable not.",
)
def test_fifty_requests_at_once(stack: Stack, first: First, burst: list[Asked], logged: Logged) -> None:
    """50 requests at once: 50 right answers, 50 rows"""
    _need(first)
    reproduce = f"for n in $(seq 50); do {TRY} & done; wait; {COUNT}"
    if bad := [asked for asked in burst if not asked.served]:
        raise Failure(
            f"Of {AT_ONCE} requests at once {len(bad)} got no answer",
            expected=f"{AT_ONCE} times status 200",
            actual=str(bad[0]),
            at=MAIN,
            reproduce=reproduce,
        )
    if wrong := sum(asked.says.get("digit") != place % 10 for place, asked in enumerate(burst)):
        raise Failure(
            f"Of {AT_ONCE} requests at once {wrong} got a wrong digit",
            expected="each gets the answer to its own input",
            at=MAIN,
            reproduce=reproduce,
        )
    _one_row_each(burst, logged.burst_each)
