"""Archives that are up to no good: refused, before they fill memory or reach the disk."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import struct
import sys
import tarfile
import tracemalloc
import unicodedata
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from grader import catalog, unpack
from grader.catalog import NOT_PROVIDED
from grader.errors import SubmissionError
from grader.submission import private_copy

EXERCISE = catalog.find("04")
COMPOSE = (catalog.SOLUTIONS / EXERCISE.key / "compose.yml").read_bytes()
MIB = 2**20
NUL_BLOCKS = bytes(2 * tarfile.BLOCKSIZE)


def copied(source: Path, base: Path) -> dict[str, bytes]:
    """What the private copy of ``source`` holds; nothing but it is made in ``base``, and nothing stays."""
    before = sorted(base.iterdir())
    try:
        with private_copy(source, EXERCISE, base / "copy") as copy:
            assert sorted([*before, copy.folder]) == sorted(base.iterdir())
            inside = list(copy.folder.rglob("*"))
            assert not [path for path in inside if path.is_symlink() or not (path.is_file() or path.is_dir())]
            return {p.relative_to(copy.folder).as_posix(): p.read_bytes() for p in inside if p.is_file()}
    finally:
        assert sorted(base.iterdir()) == before


def refused(source: Path, base: Path) -> SubmissionError:
    with pytest.raises(SubmissionError) as error:
        copied(source, base)
    assert error.value.fix
    assert str(source) in error.value.what
    return error.value


def file(base: Path, content: bytes, name: str = "work.zip") -> Path:
    (base / name).write_bytes(content)
    return base / name


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED, mode: int = 0) -> bytes:
    target = io.BytesIO()
    # The library warns of names that are there twice.
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(target, "w", method) as archive:
        archive.writestr("compose.yml", COMPOSE)
        for name, content in members:
            member = zipfile.ZipInfo("x")
            member.filename, member.compress_type, member.external_attr = name, method, mode << 16
            archive.writestr(member, content)
    return target.getvalue()


def member(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, **fields: Any) -> bytes:
    """One member of a tar, with its extended headers."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(content)
    for key, value in fields.items():
        setattr(info, key, value)
    form = tarfile.GNU_FORMAT if info.size < 0 else tarfile.PAX_FORMAT
    return info.tobuf(form) + content + bytes(-len(content) % tarfile.BLOCKSIZE)


def tarred(*members: bytes) -> bytes:
    return b"".join([member("compose.yml", COMPOSE), *members, NUL_BLOCKS])


def pax(*records: tuple[str, str]) -> bytes:
    """An extended header that may say anything."""
    info = tarfile.TarInfo("x")
    return info._create_pax_generic_header(dict(records), tarfile.XHDTYPE, "utf-8")  # type: ignore[attr-defined]


def zeros(gibibytes: int, head: bytes) -> bytes:
    """``head`` and so many zeros, with gzip: after a full flush the compressor says the same again and again."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    begin = compressor.compress(head) + compressor.flush(zlib.Z_FULL_FLUSH)
    return begin + (compressor.compress(bytes(MIB)) + compressor.flush(zlib.Z_FULL_FLUSH)) * 1024 * gibibytes


@contextmanager
def memory_below(limit: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


# --- tar ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("name", ["work.tar.gz", "Zoë Müller_4711_assignsubmission_file_work (1).TGZ", "work"])
def test_a_tar_is_known_by_its_content(tmp_path: Path, compress: Callable[[bytes], bytes], name: str) -> None:
    content = tarred(member("alice/api/health.py", b"# mine", mode=0o755), member("d" * 120 + "/f", b"x"))
    assert copied(file(tmp_path, compress(content), name), tmp_path)["d" * 120 + "/f"] == b"x"


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_of_a_gibibyte_fills_no_memory(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, 2**30
    content = zeros(1, member("compose.yml", COMPOSE) + info.tobuf(tarfile.GNU_FORMAT))
    assert len(content) < 2 * MIB
    source = file(tmp_path, content, "work.tar.gz")
    with memory_below(200 * MIB):
        assert "MiB" in refused(source, tmp_path).what


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_headers_together_have_a_limit_as_well(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    header = pax(("comment", "x" * MIB))
    content = tarred(member("a") + header * 7 + member("b"))
    assert "b" in copied(file(tmp_path, compress(content)), tmp_path)
    assert "headers" in refused(file(tmp_path, compress(tarred(header * 9))), tmp_path).what


def test_what_is_ignored_in_a_tar_counts_as_well(tmp_path: Path) -> None:
    content = gzip.compress(tarred(member("node_modules/x", bytes(unpack.MAX_UNPACKED))), 1)
    assert "64 MiB" in refused(file(tmp_path, content), tmp_path).what


def test_links_in_what_is_ignored_in_a_tar_do_no_harm(tmp_path: Path) -> None:
    link = member("node_modules/.bin/x", kind=tarfile.SYMTYPE, linkname="/etc/passwd")
    assert copied(file(tmp_path, tarred(link, member("a", b"x"))), tmp_path)["a"] == b"x"


def test_what_macs_put_beside_a_folder_is_ignored(tmp_path: Path) -> None:
    content = member("._alice", b"\0") + member("alice/._compose.yml", b"\0") + member("alice/compose.yml", COMPOSE)
    assert copied(file(tmp_path, content + NUL_BLOCKS), tmp_path)["compose.yml"] == COMPOSE


SPARSE = [
    member("a", b"x" * 512, tarfile.GNUTYPE_SPARSE),
    pax(("GNU.sparse.map", "0,1"), ("GNU.sparse.size", "1")) + member("a", b"x"),
    # tarfile waits forever for the rest of this one
    pax(("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "9")) + member("a", b"9\n"),
]


@pytest.mark.parametrize("sparse", SPARSE)
@pytest.mark.parametrize("before", [b"", member("node_modules/x")])
def test_sparse_files_are_refused(tmp_path: Path, sparse: bytes, before: bytes) -> None:
    assert "sparse" in refused(file(tmp_path, tarred(before, sparse)), tmp_path).what


def test_thousands_of_headers_before_one_file_are_read_in_no_time(tmp_path: Path) -> None:
    assert "a" in copied(file(tmp_path, tarred(pax(("comment", "x")) * 5000, member("a"))), tmp_path)


def test_a_header_that_a_pattern_would_search_for_hours(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    header = info._create_payload(b"1" * MIB)  # type: ignore[attr-defined]
    info.type, info.size = tarfile.XHDTYPE, MIB
    content = tarred(info.tobuf(tarfile.GNU_FORMAT) + header, member("a"))
    assert "cannot be unpacked" in refused(file(tmp_path, content), tmp_path).what


@pytest.mark.parametrize(
    "header", [member("a", size=-512), pax(("size", "-1024")) + member("a"), pax(("size", "9" * 20)) + member("a")]
)
def test_a_size_leads_neither_back_nor_beyond(tmp_path: Path, header: bytes) -> None:
    assert "larger than all of it" in refused(file(tmp_path, tarred(header)), tmp_path).what


@pytest.mark.parametrize("size", ["1" * 5000, "99999999999999999999", "many", "1500"])
def test_a_false_size_of_a_header_is_refused(tmp_path: Path, size: str) -> None:
    refused(file(tmp_path, tarred(pax(("size", size)), member("a", b"x"))), tmp_path)


def test_a_tar_has_only_so_many_entries(tmp_path: Path) -> None:
    folders = member("d/", kind=tarfile.DIRTYPE) * unpack.MAX_ENTRIES
    assert "20000 entries" in refused(file(tmp_path, gzip.compress(tarred(folders), 1)), tmp_path).what


def test_xz_may_not_ask_for_gigabytes(tmp_path: Path) -> None:
    content = bytearray(lzma.compress(tarred()))
    assert content[14:16] == b"\x21\x01"  # the block's only filter is LZMA2, and its property has one byte:
    content[16] = 40  # a dictionary of 4 GiB
    end = 12 + 4 * (content[12] + 1)
    content[end - 4 : end] = struct.pack("<I", zlib.crc32(content[12 : end - 4]))
    assert "Memory usage limit" in refused(file(tmp_path, bytes(content)), tmp_path).what


def test_a_python_without_xz_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lzma", None)
    assert "lzma" in refused(file(tmp_path, lzma.compress(tarred())), tmp_path).what


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_tar_that_ends_too_early_is_refused(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    content = compress(tarred())[:-6]
    assert "ends too early" in refused(file(tmp_path, content), tmp_path).what


def test_a_tar_that_ends_between_two_members_is_refused(tmp_path: Path) -> None:
    assert "ends too early" in refused(file(tmp_path, member("compose.yml", COMPOSE)), tmp_path).what


# --- zip ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_only_the_usual_methods_are_unpacked(tmp_path: Path, method: int) -> None:
    assert "unusual" in refused(file(tmp_path, zipped(("a", b"x"), method=method)), tmp_path).what


def test_a_zip_bomb_stops_at_the_limit(tmp_path: Path) -> None:
    content = zipped(("zeros", bytes(unpack.MAX_BYTES)))
    assert len(content) < 100_000
    with memory_below(10 * MIB):
        assert "20 MiB" in refused(file(tmp_path, content), tmp_path).what


def test_a_member_that_shrinks_too_well_is_refused(tmp_path: Path) -> None:
    assert "200th" in refused(file(tmp_path, zipped(("zeros", bytes(2 * MIB)))), tmp_path).what
    assert copied(file(tmp_path, zipped(("zeros", bytes(MIB)))), tmp_path)["zeros"] == bytes(MIB)


def test_behind_a_false_size_nothing_is_unpacked(tmp_path: Path) -> None:
    """All of it is there, 600 MiB, and the table of contents says 1 MiB."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    begin = compressor.compress(bytes(MIB)) + compressor.flush(zlib.Z_FULL_FLUSH)
    packed = begin + (compressor.compress(bytes(MIB)) + compressor.flush(zlib.Z_FULL_FLUSH)) * 600
    content = zipped(("zeros", packed), method=zipfile.ZIP_STORED)
    sizes = struct.pack("<II", len(packed), len(packed))
    assert content.count(sizes) == 2
    content = content.replace(sizes, struct.pack("<II", len(packed), MIB))
    where = content.rindex(b"PK\x01\x02") + 10
    content = content[:where] + struct.pack("<H", zipfile.ZIP_DEFLATED) + content[where + 2 :]
    with memory_below(50 * MIB):
        assert "CRC" in refused(file(tmp_path, content), tmp_path).what


def test_a_zip_has_only_so_many_entries(tmp_path: Path) -> None:
    """They are counted before there is an object of each, whatever number is written at the end."""
    entries = (b"PK\x01\x02" + bytes(42)) * 400_000
    content = entries + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(entries), 0, 0)
    source = file(tmp_path, content)
    with memory_below(3 * len(content)):
        assert "20000 entries" in refused(source, tmp_path).what


def test_an_archive_has_a_size(tmp_path: Path) -> None:
    with (tmp_path / "work.zip").open("wb") as archive:
        archive.truncate(2**40)
    assert "32 MiB" in refused(tmp_path / "work.zip", tmp_path).what


def test_broken_deflate_is_refused(tmp_path: Path) -> None:
    content = zipped(("a", bytes(range(256)))).replace(zlib.compress(bytes(range(256)), 6, -15)[:40], b"\xff" * 40)
    assert "cannot be unpacked" in refused(file(tmp_path, content), tmp_path).what


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    content = bytearray(zipped(("a", b"x")))
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    assert "hand in an archive without a password" in refused(file(tmp_path, bytes(content)), tmp_path).what


def test_a_member_that_lies_beyond_all_numbers_is_refused(tmp_path: Path) -> None:
    content = zipped()
    table = content.index(b"PK\x01\x02")
    entry = bytearray(content[table : table + 46])
    extra = struct.pack("<HHQ", 1, 8, 2**64 - 1)
    entry[30:32], entry[42:46] = struct.pack("<H", len(extra)), b"\xff" * 4
    body = content[:table] + entry + b"compose.yml" + extra
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(body) - table, table, 0)
    assert "cannot be unpacked" in refused(file(tmp_path, body + end), tmp_path).what


def test_a_zip_that_claims_to_span_disks_is_refused(tmp_path: Path) -> None:
    content = zipped()
    end = content.rindex(b"PK\x05\x06")
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 1, 0, 2)
    assert "cannot be unpacked" in refused(file(tmp_path, content[:end] + locator + content[end:]), tmp_path).what


def test_a_name_in_utf_8_that_is_not_said_to_be_is_understood(tmp_path: Path) -> None:
    """As macOS makes them."""
    content = zipped(("NNbung/a.txt", b"x")).replace(b"NNbung", "Übung".encode())
    assert copied(file(tmp_path, content), tmp_path)["Übung/a.txt"] == b"x"


# --- names -------------------------------------------------------------------------------------------

Archiver = Callable[[str, bytes], bytes]
BOTH = pytest.mark.parametrize(
    "archive",
    [lambda name, data: zipped((name, data)), lambda name, data: tarred(member(name, data))],
    ids=["zip", "tar"],
)


@BOTH
@pytest.mark.parametrize("sign", ["\x1b[2J", "\n", "\x7f", "\x9b", "\u202e", "\u2066", "\u200f", "\u2028"])
def test_names_that_deceive_are_refused_and_shown_safely(tmp_path: Path, archive: Archiver, sign: str) -> None:
    error = refused(file(tmp_path, archive(f"a{sign}lmy.txt", b"")), tmp_path)
    assert sign not in error.what
    assert repr(f"a{sign}lmy.txt") in error.what


@pytest.mark.parametrize("content", [zipped(("a\0.yml", b"")), tarred(pax(("path", "a\0.yml")), member("b"))])
def test_a_name_does_not_end_at_a_nul(tmp_path: Path, content: bytes) -> None:
    assert r"'a\x00.yml'" in refused(file(tmp_path, content), tmp_path).what


@BOTH
@pytest.mark.parametrize(
    "name",
    ["Übung 4/größe (1).txt", "中文/文 件.txt", "👩\u200d🔬 🇨🇭.txt", "עברית.txt", "...", "... /x", "ends in a space ",
     "12:30.txt", "n" * 200, "-rf", "~", "$HOME", "%2e%2e/x"],
)  # fmt: skip
def test_unusual_names_of_honest_people_work(tmp_path: Path, archive: Archiver, name: str) -> None:
    assert copied(file(tmp_path, archive(name, b"x")), tmp_path)[unicodedata.normalize("NFC", name)] == b"x"


@BOTH
@pytest.mark.parametrize("name", ["n" * 201, "ü" * 101, "/".join(["n" * 150] * 6), "e" + "\u0301\u0323" * 15_000])
def test_names_that_are_too_long_are_refused(tmp_path: Path, archive: Archiver, name: str) -> None:
    error = refused(file(tmp_path, archive(name, b"")), tmp_path)
    assert "longer than" in error.what
    assert len(error.what) < 1000


@BOTH
@pytest.mark.parametrize("name", ["", ".", "./."])
def test_a_file_needs_a_name(tmp_path: Path, archive: Archiver, name: str) -> None:
    assert "no name" in refused(file(tmp_path, archive(name, b"x")), tmp_path).what


@pytest.mark.parametrize("second", ["é.txt", "e\u0301.txt", "./é.txt", ".//é.txt"])
@pytest.mark.parametrize("pack", [lambda *m: zipped(*m), lambda *m: tarred(*(member(*each) for each in m))])
def test_a_file_may_not_be_there_twice(tmp_path: Path, second: str, pack: Callable[..., bytes]) -> None:
    assert "twice" in refused(file(tmp_path, pack(("é.txt", b"1"), (second, b"2"))), tmp_path).what


def test_nor_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    for name in ("compose.yml", "é.txt", "e\u0301.txt"):
        (tmp_path / "work" / name).write_bytes(COMPOSE)
    assert "twice" in refused(tmp_path / "work", tmp_path).what


# --- whatever it is ----------------------------------------------------------------------------------

GOOD = st.sampled_from(
    ["a", "b", "A", "...", "compose.yml", "api", "health.py", "postgres", "init.sql", ".git", "node_modules",
     "exercise.toml", "é", "e\u0301", "中 文", "👩\u200d🔬", "._x", ".", "a\\b"]
)  # fmt: skip
BAD = st.sampled_from(["..", "", "C:", "..\\..", "\u202e", "n" * 201]) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6
)
NAME = st.lists(GOOD, min_size=1, max_size=4).map("/".join) | st.lists(GOOD | BAD, min_size=1, max_size=4).map("/".join)
MEMBERS = st.lists(st.tuples(NAME, st.binary(max_size=40)), max_size=5)
KINDS = st.sampled_from(
    [tarfile.REGTYPE] * 9 + [tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, b"Z"]
)
MODES = st.sampled_from([0] * 6 + [stat.S_IFREG | 0o755, stat.S_IFLNK | 0o777, stat.S_IFDIR, stat.S_IFIFO])


def expected(members: list[tuple[str, bytes]]) -> dict[str, bytes]:
    """What has to be in the private copy, unless all of it is refused."""
    wanted = {}
    for name, content in members:
        path = PurePosixPath(unicodedata.normalize("NFC", name.replace("\\", "/")))
        ignored = any(part in unpack.IGNORED or part.startswith("._") for part in path.parts)
        if not (ignored or str(path) in NOT_PROVIDED or stands_in_the_way(str(path).casefold())):
            wanted[str(path)] = content
    return wanted


def stands_in_the_way(path: str) -> bool:
    provided = [str(name) for name in EXERCISE.provided_files]
    return any(f"{name}/".startswith(f"{path}/") or f"{path}/".startswith(f"{name}/") for name in provided)


def check(source: Path, base: Path, members: list[tuple[str, bytes]]) -> None:
    try:
        files = copied(source, base)
    except SubmissionError:
        return
    wanted = expected([("compose.yml", COMPOSE), *members])
    exercise = [*EXERCISE.student_files, *map(str, EXERCISE.provided_files)]
    wanted = {**{name: (EXERCISE.folder / name).read_bytes() for name in exercise}, **wanted}
    assert files == wanted


@settings(max_examples=300, deadline=None)
@given(members=MEMBERS, method=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]), mode=MODES)
def test_a_zip_is_refused_or_all_of_it_lies_in_the_copy(
    tmp_path_factory: pytest.TempPathFactory, members: list[tuple[str, bytes]], method: int, mode: int
) -> None:
    base = tmp_path_factory.mktemp("zip")
    # A name that ends so, with nothing in it, is a folder.
    files = [each for each in members if each[1] or not each[0].endswith(("/", "\\"))]
    check(file(base, zipped(*members, method=method, mode=mode)), base, files)


@settings(max_examples=300, deadline=None)
@given(members=st.lists(st.tuples(NAME, st.binary(max_size=40), KINDS), max_size=5))
def test_a_tar_is_refused_or_all_of_it_lies_in_the_copy(
    tmp_path_factory: pytest.TempPathFactory, members: list[tuple[str, bytes, bytes]]
) -> None:
    base = tmp_path_factory.mktemp("tar")
    parts = [
        member(name, content if kind == tarfile.REGTYPE else b"", kind, linkname="../../a")
        for name, content, kind in members
    ]
    files = [(name, content) for name, content, kind in members if kind == tarfile.REGTYPE]
    check(file(base, tarred(*parts)), base, files)


@settings(max_examples=300, deadline=None)
@given(
    content=st.binary(max_size=700),
    magic=st.sampled_from([b"", b"PK\x05\x06", b"\x1f\x8b\x08\0", b"BZh9", b"\xfd7zXZ\0"]),
)
@example(b"", b"")
def test_no_bytes_crash_the_unpacking(tmp_path_factory: pytest.TempPathFactory, content: bytes, magic: bytes) -> None:
    base = tmp_path_factory.mktemp("bytes")
    for name in ("a.zip", "compose.yml"):
        try_to_copy(file(base, magic + content, name), base)


def try_to_copy(source: Path, base: Path) -> None:
    with suppress(SubmissionError):
        copied(source, base)


LONG = "d" * 120 + "/ü"
PLAIN_TAR = tarred(pax(("comment", "x")), member(LONG, b"y"), member("d/", kind=tarfile.DIRTYPE))
HEADERS = [n for n in range(0, len(PLAIN_TAR), 512) if PLAIN_TAR[n + 257 : n + 262] == b"ustar"]
VALID = [
    PLAIN_TAR,
    gzip.compress(PLAIN_TAR, mtime=0),
    bz2.compress(PLAIN_TAR),
    lzma.compress(PLAIN_TAR),
    zipped((LONG, b"y" * 99), ("d/", b"")),
    zipped((LONG, b"y" * 99), ("d/", b""), method=zipfile.ZIP_STORED),
]
BYTE = st.sampled_from([0, 1, 0x20, 0x2F, 0x30, 0x37, 0x7F, 0x80, 0xFF]) | st.integers(0, 255)
POSITION = st.floats(0, 1, exclude_max=True)
CHANGES = st.lists(st.tuples(POSITION, BYTE), max_size=6)


def changed(content: bytes, changes: list[tuple[float, int]]) -> bytes:
    result = bytearray(content)
    for position, byte in changes:
        result[int(position * len(content))] = byte
    return bytes(result)


@settings(max_examples=600, deadline=None)
@given(valid=st.sampled_from(VALID), changes=CHANGES, end=st.just(1.0) | st.just(1.0) | POSITION)
def test_no_damage_crashes_the_unpacking(
    tmp_path_factory: pytest.TempPathFactory, valid: bytes, changes: list[tuple[float, int]], end: float
) -> None:
    base = tmp_path_factory.mktemp("damage")
    content = changed(valid, changes)
    try_to_copy(file(base, content[: int(end * len(content))]), base)


@settings(max_examples=300, deadline=None)
@given(header=st.sampled_from(HEADERS), changes=CHANGES, kind=st.sampled_from(b"\x000123456789xgXLKSDMVNZ"))
def test_no_header_of_a_tar_crashes_the_unpacking(
    tmp_path_factory: pytest.TempPathFactory, header: int, changes: list[tuple[float, int]], kind: int
) -> None:
    """Damage with a checksum that fits."""
    base = tmp_path_factory.mktemp("header")
    block = bytearray(changed(PLAIN_TAR[header : header + 512], changes))
    block[156] = kind
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    try_to_copy(file(base, PLAIN_TAR[:header] + block + PLAIN_TAR[header + 512 :]), base)


@settings(max_examples=300, deadline=None)
@given(changes=CHANGES, from_end=st.integers(1, 400), number=st.integers(0, 2**64 - 1))
def test_no_table_of_contents_crashes_the_unpacking(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[float, int]], from_end: int, number: int
) -> None:
    """Damage where a zip says what is in it, not in the contents."""
    base = tmp_path_factory.mktemp("table")
    valid = VALID[4]
    table = valid.index(b"PK\x01\x02")
    content = bytearray(valid[:table] + changed(valid[table:], changes))
    content[-from_end : len(content) - from_end + 8] = struct.pack("<Q", number)
    try_to_copy(file(base, bytes(content)), base)
