"""What must not be built is refused, what must may be, and both are read as BuildKit reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grader.dockerfile import Problem, problems, with_private_caches
from grader.dockerfile.builder import NO_FRONTEND
from grader.dockerfile.instructions import read
from grader.dockerfile.problem import Refused
from grader.dockerfile.rules import MAX_BYTES, MAX_INSTRUCTIONS, NO_NETWORK
from grader.imageref import normalised

ROOT = Path(__file__).parents[2]
IMAGES = ["python:3.11-slim", "compose-course/base:1", "nginx:1.28-alpine"]
HEAD = "FROM python:3.11-slim\n"
REAL = [(ROOT / "stack" / service / "Dockerfile").read_text() for service in ("api", "model-server")]


def found(text: str, **kwargs: object) -> list[Problem]:
    return problems(text, IMAGES, **kwargs)  # type: ignore[arg-type]


# --- what is refused: the file, the line of the problem, a part of its `what` ---------------------------------

FRONTENDS = [
    ("# syntax=docker/dockerfile:1\n" + HEAD, 1),
    ("#syntax=evil\n" + HEAD, 1),
    ("  #  SynTax  =  evil  \r\n" + HEAD, 1),
    ("\ufeff# syntax=evil\n" + HEAD, 1),
    ("#!/usr/bin/env docker\n# syntax=evil\n" + HEAD, 2),
    ("\ufeff#!x\n#syntax=evil\n" + HEAD, 2),
    ("# escape=\\\n# syntax=evil\n" + HEAD, 2),
    ("# check=skip=all\n# syntax=evil\n" + HEAD, 2),
    ("# anything=else\n# syntax=evil\n" + HEAD, 2),  # Versions before 0.12 go on behind it.
    ("// syntax=evil\n" + HEAD, 1),
    ("//syntax=evil\n" + HEAD, 1),
    ("#!x\n//syntax=evil\n" + HEAD, 2),
    ('{"syntax": "evil"}', 1),
    ('\n {\n"a": 1, "syntax": "evil"}', 1),
    ('#!x\n{"syntax": "evil"}', 2),
]


@pytest.mark.parametrize(("text", "line"), FRONTENDS)
def test_another_frontend_is_refused(text: str, line: int) -> None:
    assert [(p.line, p.why) for p in found(text)][:1] == [(line, NO_FRONTEND)]


REFUSED = [
    # The network, the rights, the devices.
    ("RUN --network=host true", 2, "RUN --network=host"),
    ("RUN --network=default pip download evil", 2, "RUN --network=default"),
    ("run --network=$NET true", 2, "--network=$NET"),
    ('RUN --"network"=host true', 2, "--network=host"),
    ("RUN --net\\\nwork=host true", 2, "--network=host"),
    ("RUN \\\n# comment\n\n  --network=host \\\n true", 5, "--network=host"),
    ("RUN \\ \t\n--network=host true", 3, "--network=host"),
    ("RUN \\\r\n--network=host true\r\n", 3, "--network=host"),
    ("RUN --mount=type=tmpfs,target=/t --network=host true", 2, "--network=host"),
    ("RUN --network host true", 2, "RUN --network"),
    ("RUN\t--network=host true", 2, "--network=host"),
    ("  RUN --network=host true", 2, "--network=host"),
    ("RUN --security=insecure true", 2, "RUN --security=insecure"),
    ("RUN --device=nvidia.com/gpu=all true", 2, "RUN --device"),
    # Mounts.
    ("RUN --mount=type=ssh true", 2, "type=ssh"),
    ("RUN --mount=type=secret,id=aws,target=/s cat /s", 2, "type=secret"),
    ("RUN --mount=TYPE=Secret,id=aws cat /s", 2, "TYPE=Secret"),
    ("RUN --mount=type=bind,type=secret,id=aws cat /s", 2, "type=secret"),
    ("RUN --mount=type=se\\\\cret,id=aws cat /s", 2, "type=se\\cret"),
    ("RUN --mount=type='\"secret\"',id=aws cat /s", 2, "secret"),
    ("RUN --mount=type=$TYPE true", 2, "type=$TYPE"),
    ("RUN --mount=type=npipe true", 2, "type=npipe"),
    ("RUN --mount=type=cache,id=a,id=b,target=/c true", 2, "id=a,id=b"),
    ("RUN --mount=type=bind,future=1,target=/x true", 2, "future=1"),
    ('RUN --mount=type=bind,\\"from=alpine\\",target=/x true', 2, "from=alpine"),
    ("RUN --mount=from=alpine,target=/x true", 2, "from=alpine"),
    ("RUN --mount=type=tmpfs,from=alpine,target=/x true", 2, "from=alpine"),
    ("RUN --mount=type=cache,from=alpine,target=/x true", 2, "from=alpine"),
    ("RUN --mount=from=$IMAGE,target=/x true", 2, "from=$IMAGE"),
    ("FROM nginx:1.28-alpine\nRUN --mount=from=0,target=/x true", 3, "from=0"),  # Only COPY takes numbers.
    # Copies.
    ("COPY --from=alpine /x /y", 2, "COPY --from=alpine"),
    ("COPY --from=${X:-alpine} /x /y", 2, "COPY --from=${X:-alpine}"),
    ("COPY --from=0 /x /y", 2, "COPY --from=0"),
    ("COPY --from=later /x /y\nFROM nginx:1.28-alpine AS later", 2, "COPY --from=later"),
    # Downloads.
    ("ADD https://example.com/x /x", 2, "ADD https://example.com/x"),
    ("ADD HTTP://example.com/x /x", 2, "ADD HTTP"),
    ("ADD local.txt http://example.com/x /x/", 2, "ADD http://"),
    ('ADD ["https://example.com/x", "/x"]', 2, "ADD https://"),
    ('ADD h"ttp"s\\://example.com/x /x', 2, "ADD https://"),
    ("ADD \ufeffhttps://example.com/x /x", 2, "ADD https://"),
    ("ADD git@github.com:a/b.git /x", 2, "ADD git@"),
    ("ADD other@host.example:a/b /x", 2, "ADD other@"),
    ("ADD git://host/a /x", 2, "ADD git://"),
    ("ADD ssh://git@host/a /x", 2, "ADD ssh://"),
    ("ADD github.com/a/b /x", 2, "ADD github.com/a/b"),
    ("ADD host/a.git#main /x", 2, "ADD host/a.git#main"),
    ("ARG URL=https://example.com/x\nADD $URL /x", 3, "ADD https://"),
    ("ENV HOST=example.com\nADD https://$HOST /x", 3, "ADD https://example.com"),
    ("ENV HOST example.com\nADD http:/${HOST:+/}x /x", 3, "ADD http://x"),
    ("ADD $UNKNOWN /x", 2, "ADD $UNKNOWN"),
    ("ADD ${UNKNOWN:-local.txt} /x", 2, "ADD ${UNKNOWN:-local.txt}"),
    ("ARG X\nADD $X /x", 3, "ADD $X"),
    ("ENV X=https://a\nARG X=b\nADD $X /x", 4, "ADD $X"),
    ("ENV X=b $N=https://a\nADD $X /x", 3, "ADD $X"),
    ("ENV X=b\nONBUILD ENV X=https://a\nFROM x\nADD $X /x", 5, "ADD $X"),
    ("ARG X=b\nADD ${X/b/https:\\/\\/a} /x", 3, "ADD ${X"),
    ("ADD --keep-git-dir=true . /x", 2, "ADD --keep-git-dir"),
    ("ADD --checksum=sha256:0 x /x", 2, "ADD --checksum"),
    # Images.
    ("FROM alpine", 2, "FROM alpine"),
    ("from alpine as python", 2, "FROM alpine"),
    ("FROM alpine AS alpine", 2, "FROM alpine"),
    ("FROM python", 2, "FROM python"),
    ("FROM python:3.11-slim@sha256:" + "0" * 64, 2, "FROM python:3.11-slim@sha256"),
    ("FROM ghcr.io/python:3.11-slim", 2, "FROM ghcr.io"),
    ("FROM ghcr.io/library/python:3.11-slim", 2, "FROM ghcr.io"),
    ("FROM localhost/python:3.11-slim", 2, "FROM localhost"),
    ("FROM Stage", 2, "FROM Stage"),
    ("FROM 0", 2, "FROM 0"),
    ("FROM $BASE", 2, "FROM $BASE"),
    ("FROM --platform=$TARGETPLATFORM python-$TARGETARCH", 2, "FROM python-$TARGETARCH"),
    ("FROM ${TARGETARCH:-python:3.11-slim}", 2, "FROM ${TARGETARCH"),
    ("FROM scratch AS alpine\nFROM alpine:latest", 3, "FROM alpine:latest"),
    # Triggers.
    ("ONBUILD RUN --network=host true", 2, "RUN --network=host"),
    ("onbuild run --mount=type=ssh true", 2, "type=ssh"),
    ("ONBUILD ADD https://example.com/x /x", 2, "ADD https://"),
    ("ARG X=b\nONBUILD ADD $X /x", 3, "ADD $X"),
    ("ONBUILD COPY --from=alpine /x /y", 2, "--from=alpine"),
    ("FROM scratch AS alpine\nFROM scratch\nONBUILD COPY --from=alpine /x /y", 4, "--from=alpine"),
    ("ONBUILD FROM alpine", 2, "ONBUILD FROM"),
    ("ONBUILD ONBUILD RUN true", 2, "ONBUILD ONBUILD"),
    ("ONBUILD INCLUDE x", 2, "ONBUILD INCLUDE"),
    ("ONBUILD", 2, "ONBUILD"),
    ("ONBUILD RUN <<EOF\ntrue\nEOF\nRUN --network=host true", 5, "--network=host"),
    # Nothing hides in a heredoc or behind it.
    ("RUN <<EOF\ntrue\nEOF\nRUN --network=host true", 5, "--network=host"),
    ("RUN <<EOF\ntrue\n EOF\nEOF\nFROM alpine", 6, "FROM alpine"),
    ("RUN <<-EOF\ntrue\n\t\tEOF\nFROM alpine", 5, "FROM alpine"),
    ("RUN <<EOF\r\ntrue\r\nEOF\r\nFROM alpine\r\n", 5, "FROM alpine"),
    ("RUN <<A cat <<B\na\nA\nb\nB\nFROM alpine", 7, "FROM alpine"),
    ('COPY <<EOF <<"END" /x/\na\nEOF\nb\nEND\nFROM alpine', 7, "FROM alpine"),
    ("RUN echo it's <<EOF\nFROM alpine\nEOF", 3, "FROM alpine"),  # A lone quote: no heredoc.
    ('RUN ["echo", "<<EOF"]\nFROM alpine\nEOF', 3, "FROM alpine"),  # Nor in a list.
    ("CMD cat <<EOF\nFROM alpine\nEOF", 3, "FROM alpine"),  # Nor here.
    ("RUN echo '<<EOF'\nFROM alpine\nEOF", 3, "FROM alpine"),
    ("RUN cat <<<EOF\nFROM alpine\nEOF", 3, "FROM alpine"),
    ("# RUN <<EOF\nFROM alpine\n# EOF", 3, "FROM alpine"),
    ("RUN cat \\<<EOF\nFROM alpine\nEOF", 2, "<<"),  # Versions differ.
    ("RUN cat $X<<EOF\nFROM alpine\nEOF", 2, "<<"),
    ("RUN cat <<'E F'\nFROM alpine\nE F", 2, "<<"),
    ("RUN <<EOF\ntrue", 2, "<<EOF"),
    ('RUN ["true"] <<EOF\nFROM alpine\nEOF', 2, '["true"]'),
    ('ADD ["https://example.com/x", "/x"] /y', 2, '["https:'),
    ("RUN --network=host <<EOF\ntrue\nEOF", 2, "--network=host"),
    # Neither behind a comment nor at the end of a continued line.
    ("# comment \\\nFROM alpine", 3, "FROM alpine"),
    ("RUN true \\\\\nFROM alpine", 3, "FROM alpine"),
    ("RUN true \\ x\nFROM alpine", 3, "FROM alpine"),
    ("RUN true `\nFROM alpine", 3, "FROM alpine"),
    # Labels.
    ("LABEL org.compose-course.grading=x", 2, "LABEL org.compose-course.grading"),
    ("LABEL com.docker.compose.project x", 2, "LABEL com.docker.compose.project"),
    ('LABEL "org.compose-course.grading"=x', 2, "LABEL org.compose-course.grading"),
    ("LABEL org.test'containers'=x", 2, "LABEL org.testcontainers"),
    ("LABEL io\\.docker.x=y", 2, "LABEL io.docker.x"),
    ("LABEL a=b ORG.Testcontainers.x=y", 2, "LABEL ORG.Testcontainers.x"),
    ("LABEL a='b c' \\\n desktop.docker.x=y", 2, "LABEL desktop.docker.x"),
    ("LABEL ${X}=y", 2, "LABEL ${X}"),
    ("LABEL $X y", 2, "LABEL $X"),
    ("LABEL a=b org.$X=y", 2, "LABEL org.$X"),
    ("ARG X=io.docker.x\nLABEL ${X}=y", 3, "LABEL io.docker.x"),
    ("ENV X=org\nLABEL $X.testcontainers=y", 3, "LABEL org.testcontainers"),
    ("ARG X=a\nLABEL ${X#a}=y", 3, "LABEL ${X#a}"),
    ("ONBUILD LABEL org.compose-course.grading=x", 2, "LABEL org.compose-course.grading"),
    ("ARG X=a\nONBUILD LABEL $X=y", 3, "LABEL $X"),
    # A flag ends at any byte that Go takes for white space, even within a letter.
    ("RUN --mount=type=cache,target=/à x", 2, "RUN --mount=type=cache,target=/"),
    ("ONBUILD --x\u2801 RUN x", 2, "ONBUILD --x"),
    # What is not known.
    ("INCLUDE other", 2, "INCLUDE"),
    ("RUN --future=1 true", 2, "RUN --future"),
    ("COPY --network=none a b", 2, "COPY --network"),
    ("ENV --x=1 A=b", 2, "ENV --x"),
]


@pytest.mark.parametrize(("text", "line", "what"), REFUSED)
def test_it_is_refused(text: str, line: int, what: str) -> None:
    given = found(HEAD.replace("\n", " AS x\n") + text + "\n")
    assert given
    assert (given[0].line, what in given[0].what) == (line, True), given


def test_with_another_escape_character() -> None:
    assert [p.line for p in found("# escape=`\nFROM python:3.11-slim\nRUN `\n --network=host true")] == [4]
    assert [p.line for p in found("# escape=`\nFROM python:3.11-slim\nRUN true \\\nFROM alpine")] == [4]


@pytest.mark.parametrize(
    "top", ["# escape=x\n", "# escape=`\n# escape=\\\n", "# check=skip=all\n# escape=`\n", "# check=a\n# check=b\n"]
)
def test_unclear_directives_are_refused(top: str) -> None:
    assert found(top + HEAD)


def test_a_trigger_is_read_again_without_the_escape_directive() -> None:
    assert [p.what for p in found("# escape=`\n" + HEAD + "ONBUILD RUN true")] == ["ONBUILD with # escape="]


@pytest.mark.parametrize("character", ["\ufffd", chr(0xDCFF), "\0"])
def test_what_is_not_text_is_refused(character: str) -> None:
    assert [p.why for p in found(HEAD + f"RUN echo {character}")] == ["It is not text in UTF-8."]


def test_what_is_too_long_is_refused() -> None:
    assert found(HEAD + "#" * (MAX_BYTES - len(HEAD))) == []
    assert len(found(HEAD + "#" * (MAX_BYTES - len(HEAD) + 1))) == 1
    assert found(HEAD + "RUN x\n" * (MAX_INSTRUCTIONS - 1)) == []
    assert [p.line for p in found(HEAD + "RUN x\n" * 2000)] == [MAX_INSTRUCTIONS + 1]


@pytest.mark.parametrize("name", ["BUILDKIT_SYNTAX", "BUILDKIT_CACHE_MOUNT_NS", "BUILDKIT_FUTURE"])
def test_arguments_of_the_builder_itself_are_refused(name: str) -> None:
    assert name in found(HEAD, args={name: "x"})[0].what
    assert found(HEAD, args={"BUILDKIT_SYNTAX": "x"})[0].why == NO_FRONTEND
    assert found(HEAD, args={"BUILDKIT_INLINE_CACHE": "1", "OTHER": "x"}) == []


def test_the_date_may_not_be_fetched() -> None:
    assert found(HEAD, args={"SOURCE_DATE_EPOCH": "https://example.com/x"})
    assert found("ARG SOURCE_DATE_EPOCH=https://example.com/x\n" + HEAD)
    assert found("ARG X=https://a\nARG SOURCE_DATE_EPOCH=$X\n" + HEAD)
    assert found("ARG SOURCE_DATE_EPOCH=$X\n" + HEAD)
    assert found("ARG SOURCE_DATE_EPOCH=0\n" + HEAD, args={"SOURCE_DATE_EPOCH": "1"}) == []
    assert found("ARG SOURCE_DATE_EPOCH\n" + HEAD) == []


# --- what may be built ----------------------------------------------------------------------------------------

HARMLESS = [
    "# syntax=evil  (only at the top, and not behind an instruction)",
    "# A comment\n# syntax=evil",
    'RUN echo "--network=host"',
    "RUN echo --network=host --mount=type=ssh",
    "RUN -- --network=host",
    "RUN true && echo FROM evil",
    "RUN true \\\nFROM evil",
    "RUN echo a \\\n  # --network=host\n\n  b",
    "RUN --network=none true",
    "RUN --security=sandbox true",
    "RUN <<EOF\nFROM evil\nRUN --network=host\nADD https://example.com/x /x\n# syntax=evil\nEOF",
    "RUN <<-'EOF'\n\tFROM evil\n\tEOF",
    'COPY <<"EOF" /x\nADD https://example.com $X\nINCLUDE x\nEOF',
    "COPY <<a.txt <<b.txt /x/\nFROM evil\na.txt\nFROM evil\nb.txt",
    "ADD <<EOF /x\nhttps://example.com\nEOF",
    "RUN cat <<EOF > /etc/x\nONBUILD RUN --network=host\nEOF",
    "ONBUILD RUN <<EOF\nFROM evil\nEOF",
    "RUN echo $((1<<2)) $((1 << 2))",
    "RUN python -c 'print(1 << 3)' <<< x",
    'RUN [ "$X" ] || true',
    "RUN [ -f x ] && cat <<EOF\nFROM evil\nEOF",
    'ADD ["a b.txt", "/x"]',
    "RUN cat /etc/x \\\n <<EOF\nFROM evil\nEOF",
    "COPY --from=nginx:1.28-alpine /etc/nginx /x",
    "COPY --from=docker.io/library/nginx:1.28-alpine /etc/nginx /x",
    "COPY --from=scratch / /x",
    "COPY --chown=app:app --chmod=644 --link a b",
    "COPY github.com/a/b https.txt /x/",
    "COPY ${ANYTHING} /x",
    "ADD local.tar.gz /",
    "ADD ./github.com/a /x",
    "ADD --chown=app a@b /x",
    "ADD .git /x",
    "ARG V=1.0\nADD app-${V}.tar.gz /x",
    "ENV V=1.0\nENV W=$V\nENV X=a$W\nADD $X.tar.gz https://not-a-source/",
    "ENV A='b c' D=e\nADD \"$A\" $D /x/",
    "RUN --mount=type=cache,target=/root/.cache/pip pip install x",
    "RUN --mount=type=cache,target=/x,id=a,sharing=locked,mode=0755,uid=1,gid=1 true",
    "RUN --mount=type=bind,source=requirements.txt,target=/r.txt,readonly pip install -r /r.txt",
    "RUN --mount=type=bind,from=nginx:1.28-alpine,target=/x true",
    "RUN --mount=type=tmpfs,size=1g,target=/tmp true",
    "RUN --mount=target=. true",
    'LABEL description="FROM evil" url="https://example.com"',
    "LABEL maintainer=x",
    "LABEL traefik.enable=true",
    'LABEL version "1.0"',
    "LABEL description=org.testcontainers commit=$UNKNOWN org.opencontainers.image.title=x",
    "ARG V=1.0\nLABEL app-$V=x",
    "ONBUILD LABEL maintainer=x",
    'CMD ["sh", "-c", "curl https://example.com --network=host"]',
    "HEALTHCHECK --interval=5s --start-interval=1s CMD curl -f http://localhost/ || exit 1",
    "ENV URL=https://example.com/x",
    'EXPOSE 80\nVOLUME /x\nUSER app\nWORKDIR /x\nSTOPSIGNAL INT\nSHELL ["bash", "-c"]\nMAINTAINER x\nENTRYPOINT x',
    "ONBUILD COPY . /app\nONBUILD RUN --mount=type=cache,target=/x true",
    "copy a b\r\nrun true\r\n",
    "RUN echo été\xa0\u2003x",
    "",
]


@pytest.mark.parametrize("text", HARMLESS)
def test_it_may_be_built(text: str) -> None:
    assert found(HEAD + text) == []


WHOLE = [
    "FROM python:3.11-slim AS builder\nFROM nginx:1.28-alpine\nCOPY --from=builder /x /y\nCOPY --from=0 /x /y\n",
    "FROM python:3.11-slim AS Builder\nFROM builder AS two\nCOPY --from=BUILDER /x /y\n",
    "FROM python:3.11-slim AS alpine\nFROM alpine\nRUN --mount=from=alpine,target=/x true\n",
    "FROM scratch AS nginx\nFROM nginx\n",
    "FROM docker.io/library/python:3.11-slim\n",
    "FROM index.docker.io/python:3.11-slim\n",
    "FROM docker.io/compose-course/base:1\n",
    "FROM scratch\nCOPY x /\n",
    "FROM --platform=$BUILDPLATFORM python:3.11-slim\n",
    "FROM --platform=linux/arm64 python:3.11-slim\n",
    "FROM ${BASE:-python:3.11-slim}\n",
    "ARG BASE\nFROM ${BASE:-python:3.11-slim}\n",
    "ARG V=3.11\nARG BASE=python:${V}-slim\nFROM $BASE\n",
    "ARG V=3.11\nFROM python:${V:+3.11-slim}\n",
    'ARG V=3.11 S="slim"\nFROM \'python\':"${V}"-$S AS x\n',
    "# escape=`\nFROM python:3.11-slim\nRUN true `\n FROM evil\nCOPY a\\ b /x\n",
    "# check=skip=all\nFROM python:3.11-slim\n",
    "# escape=`\n# check=skip=all\nFROM python:3.11-slim\nRUN true `\n FROM evil\n",
    "\ufeffFROM python:3.11-slim\n",
    "\n\n  FROM python:3.11-slim\n",
    "#!/usr/bin/env docker\nFROM python:3.11-slim\n",
    *REAL,
    "",
    "# only a comment",
]


@pytest.mark.parametrize("text", WHOLE)
def test_the_file_may_be_built(text: str) -> None:
    assert found(text) == []


def test_every_image_is_built_from_what_is_allowed() -> None:
    assert problems(HEAD, ["docker.io/library/python:3.11-slim"]) == []
    assert problems("FROM nginx\n", ["nginx:latest"]) == []
    assert problems("FROM nginx:latest\n", ["nginx"]) == []
    digest = "python@sha256:" + "0" * 64
    assert problems(f"FROM {digest}\n", [digest]) == []
    assert problems(f"FROM {digest}\n", ["python"]) != []
    assert problems(HEAD, []) != []


def test_arguments_come_before_defaults() -> None:
    text = "ARG BASE=python:3.11-slim\nFROM $BASE\n"
    assert found(text) == []
    assert [p.what for p in found(text, args={"BASE": "alpine"})] == ["FROM alpine"]
    assert found("ARG BASE=alpine\nFROM $BASE\n", args={"BASE": "python:3.11-slim"}) == []
    # Without an ARG the argument is nothing to FROM.
    assert found("FROM ${BASE:-alpine}\n", args={"BASE": "python:3.11-slim"}) != []
    assert found("FROM ${BASE:-python:3.11-slim}\n", args={"BASE": "alpine"}) == []
    assert found(HEAD + "ARG X=a\nADD $X /x\n", args={"X": "https://example.com/x"}) != []
    assert found("ARG X=https://example.com/x\n" + HEAD + "ARG X\nADD $X /x\n") != []
    assert found("ARG X=a\n" + HEAD + "ARG X\nADD $X /x\n") == []


def test_an_argument_that_versions_read_differently_is_refused() -> None:
    assert found("ARG B=python:3.11-slim\nARG B\nFROM $B\n") != []
    assert found("ARG B\nFROM ${B-python:3.11-slim}\n") != []
    assert found("FROM ${B-python:3.11-slim}\n") == []


def test_additional_contexts_may_be_used_by_their_names() -> None:
    text = "FROM base\nCOPY --from=base /x /y\nRUN --mount=from=base,target=/x true\n"
    assert found(text, contexts={"base": "./base"}) == []
    assert len(found(text)) == 3
    # These two names mean what they always mean, and a name not in the short form is never found.
    assert found("FROM context\n", contexts=["context"]) != []
    assert found("FROM base:latest\n", contexts=["base:latest"]) != []
    assert found("FROM docker.io/library/base:latest\n", contexts=["base"]) == []


def test_variables_of_another_services_image_are_not_known() -> None:
    text = "FROM base\nARG X=a\nADD $X /x\n"
    assert found(text, contexts=["base"]) != []
    assert found(text.replace("ARG", "ENV"), contexts=["base"]) == []


def test_a_problem_tells_what_to_write() -> None:
    problem = found(HEAD + "RUN --network=host pip install x")[0]
    assert problem == Problem(2, "RUN --network=host", NO_NETWORK, "Remove --network.")
    assert "python:3.11-slim" in found("FROM alpine")[0].instead


def test_every_problem_is_told() -> None:
    text = "# syntax=x\nFROM alpine\nRUN --network=host --mount=type=ssh true\nADD https://a /x\nINCLUDE x\n"
    assert [p.line for p in found(text)] == [1, 2, 3, 3, 4, 5]


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("python", "docker.io/library/python:latest"),
        ("python:3", "docker.io/library/python:3"),
        ("a/b", "docker.io/a/b:latest"),
        ("localhost/a", "localhost/a:latest"),
        ("host:5000/a", "host:5000/a:latest"),
        ("host.example/a:1", "host.example/a:1"),
        ("Upper/a", "Upper/a:latest"),
        ("index.docker.io/a", "docker.io/library/a:latest"),
        ("a@sha256:0", "docker.io/library/a@sha256:0"),
        ("a:1@sha256:0", "docker.io/library/a:1@sha256:0"),
    ],
)
def test_references_are_normalised(short: str, full: str) -> None:
    assert normalised(short) == full
    assert normalised(full) == full


# --- caches of one's own --------------------------------------------------------------------------------------

CACHES = [
    ("RUN --mount=type=cache,target=/c x", "RUN --mount=type=cache,target=/c,id=p-/c x"),
    ("RUN --mount=type=cache,dst=/c x", "RUN --mount=type=cache,dst=/c,id=p-/c x"),
    ("RUN --mount=type=cache,destination=/c x", "RUN --mount=type=cache,destination=/c,id=p-/c x"),
    ("RUN --mount=type=cache,id=pip,target=/c x", "RUN --mount=type=cache,id=p-pip,target=/c x"),
    ("RUN --mount=target=/c,ID=pip,TYPE=CACHE x", "RUN --mount=target=/c,ID=p-pip,TYPE=CACHE x"),
    ("RUN --mount=type=cache,id=,target=/c x", "RUN --mount=type=cache,id=p-,target=/c x"),
    ("RUN --mount=type=cache,target=/c,id= x", "RUN --mount=type=cache,target=/c,id=p- x"),
    ("RUN --mount=type=cache,id=$X,target=/c x", "RUN --mount=type=cache,id=p-$X,target=/c x"),
    ("RUN --mount=type=cache,target=/$X x", "RUN --mount=type=cache,target=/$X,id=p-/-X x"),
    (
        "RUN --mount=type=cache,target=/a --mount=type=bind,target=/b --mount=type=cache,id=c,target=/c x",
        "RUN --mount=type=cache,target=/a,id=p-/a --mount=type=bind,target=/b --mount=type=cache,id=p-c,target=/c x",
    ),
    ("RUN --mount=type=cache,\\\ntarget=/c \\\n x", "RUN --mount=type=cache,\\\ntarget=/c,id=p-/c \\\n x"),
    ("RUN --mount=type=cache,id=\\\npip,target=/c x", "RUN --mount=type=cache,id=\\\np-pip,target=/c x"),
    (
        "RUN \\\n# é\n --mount=type=cache,target=/c \\\n x",
        "RUN \\\n# é\n --mount=type=cache,target=/c,id=p-/c \\\n x",
    ),
    ("RUN --mount='type=cache,target=/c' x", "RUN --mount='type=cache,target=/c,id=p-/c' x"),
    ('RUN --mount="type=cache,target=/a b" x', 'RUN --mount="type=cache,target=/a b,id=p-/a-b" x'),
    ('RUN --mount="type=cache,target=/à" x', 'RUN --mount="type=cache,target=/à,id=p-/--" x'),
    ("RUN --mount=type=cache,target=/c x\r\n", "RUN --mount=type=cache,target=/c,id=p-/c x\r\n"),
    ("ONBUILD RUN --mount=type=cache,target=/c x", "ONBUILD RUN --mount=type=cache,target=/c,id=p-/c x"),
    ("run --mount=type=cache,target=/c <<EOF\nx\nEOF", "run --mount=type=cache,target=/c,id=p-/c <<EOF\nx\nEOF"),
]
WITHOUT_CACHES = [
    "RUN --mount=type=bind,target=/cache,source=id x",
    "RUN echo --mount=type=cache,target=/c",
    "RUN <<EOF\nRUN --mount=type=cache,target=/c x\nEOF",
    "COPY <<EOF /x\nRUN --mount=type=cache,target=/c x\nEOF",
    "# RUN --mount=type=cache,target=/c x",
    "RUN x \\\n# --mount=type=cache,target=/c\n y",
    "ENV X=--mount=type=cache",
    "COPY --mount=type=cache,target=/c a b",
    "RUN é \udcff --mount=type=cache,target=/c",
    "RUN --mount=type=cache,target=/à x",
    "ONBUILD --x\u2801 RUN x",
]


@pytest.mark.parametrize(("before", "after"), CACHES)
def test_caches_get_an_id_of_their_own(before: str, after: str) -> None:
    assert with_private_caches(HEAD + before, "p") == HEAD + after
    assert with_private_caches("\ufeff" + HEAD + before, "p") == "\ufeff" + HEAD + after


@pytest.mark.parametrize("text", [*WITHOUT_CACHES, *REAL])
def test_all_else_stays_as_it_is(text: str) -> None:
    assert with_private_caches(text, "p") == text


def test_behind_a_heredoc_caches_are_found_again() -> None:
    text = "RUN <<EOF\nRUN --mount=type=cache,target=/a x\nEOF\nRUN --mount=type=cache,target=/b x\n"
    assert with_private_caches(text, "p") == text.replace("target=/b", "target=/b,id=p-/b")


# --- whatever the text ------------------------------------------------------------------------------------------

PARTS = st.sampled_from(
    [
        *(word for text, _, _ in REFUSED for word in text.split(" ")),
        *(before for before, _ in CACHES),
        *("\n", "\n", " ", "\\\n", "\r\n", "\t", "#", "`", "'", '"', "\\", "$", "${", "${X:-", "${X/", "}", "<<EOF"),
        *("\nEOF\n", "[", "é", "à", "\u2801", "\xa0", "\u2003", "\ufeff", "\x1f", "=", ","),
    ]
)
TEXTS = st.lists(PARTS | st.text(max_size=3), max_size=30).map("".join)


@given(st.text() | TEXTS)
def test_no_text_is_an_error(text: str) -> None:
    for problem in problems(text, IMAGES, {"X": text}, ["base"]):
        assert 1 <= problem.line <= text.count("\n") + 1
        assert problem.what
        assert problem.why.endswith(".")
        assert problem.instead.endswith(".")


@given(st.sampled_from(REAL), st.integers(0, 3000), st.integers(0, 20), st.text(max_size=5) | PARTS)
def test_no_change_of_a_real_file_is_an_error(text: str, place: int, length: int, new: str) -> None:
    changed = text[:place] + new + text[place + length :]
    problems(changed, IMAGES)
    with_private_caches(changed, "p")


# Whole instructions, so that what is put behind them is an instruction too.
LINES = st.lists(st.sampled_from([*HARMLESS, *(before for before, _ in CACHES), *WITHOUT_CACHES[:7]]), max_size=8)


@given(LINES)
def test_private_caches_change_nothing_else(lines: list[str]) -> None:
    after = {**{line: with_private_caches(HEAD + line, "p").removeprefix(HEAD) for line in HARMLESS}, **dict(CACHES)}
    expected = HEAD + "\n".join(after.get(line, line) for line in lines)
    assert with_private_caches(HEAD + "\n".join(lines), "p") == expected


@given(LINES, st.sampled_from(["RUN --network=host true", "FROM evil", "ADD https://evil /x", "INCLUDE x"]))
def test_nothing_that_may_be_built_hides_what_follows(lines: list[str], evil: str) -> None:
    text = HEAD + "\n".join([*lines, evil])
    assert found(text)[-1].line == text.count("\n") + 1


@given(TEXTS)
def test_instructions_are_those_of_buildkits_own_parser(text: str) -> None:
    """The package ``dockerfile`` is the parser of BuildKit 0.12, compiled."""
    oracle = pytest.importorskip("dockerfile")
    text = HEAD + text.replace("\0", "")
    try:
        theirs = oracle.parse_string(text)
        mine = list(read(text.encode()))
    except (oracle.GoParseError, Refused):
        return
    flags = [[f"--{flag.name}" + ("" if flag.value is None else f"={flag.value}") for flag in i.flags] for i in mine]
    assert [(i.line, i.name) for i in mine] == [(c.start_line, (c.cmd or "").lower()) for c in theirs]
    assert flags == [list(command.flags) for command in theirs]


@pytest.mark.parametrize(
    "text",
    [
        HEAD + "RUN " + "${x:-" * 9000 + "<<EOF",
        HEAD + "ADD " + "[" * 60000 + " /x",
        HEAD + "ENV A=0123456789\n" + "ENV A=$A$A$A$A\n" * 900 + "ADD $A /x\n",
        HEAD + "ARG " + "a=b " * 15000,
        HEAD + "RUN \\\n" * 9000,
        HEAD + "RUN <<EOF " * 6000,
    ],
    ids=["nested", "list", "doubling", "words", "continued", "heredocs"],
)
def test_a_text_made_to_keep_the_grader_busy_does_not(text: str) -> None:
    problems(text, IMAGES)
    with_private_caches(text, "p")
