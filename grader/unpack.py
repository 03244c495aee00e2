"""What was handed in (a folder, a .zip, a .tar.gz or one compose file) becomes files in memory.

It may be hostile: nothing in it is believed, everything that is counted has a limit, and nothing is
written. Placing the files is ``grader.submission``'s job.
"""

from __future__ import annotations

import io
import os
import re
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from grader.errors import SubmissionError

MAX_FILES = 500  # an exercise has a dozen
MAX_BYTES = 20 * 2**20  # all files together: they are held in memory, and written
MAX_DEPTH = 12  # folders in each other
MAX_NAME = 200  # bytes; file systems end at 255, encrypted ones well before
MAX_PATH = 800  # bytes; some systems end at 1024, with the folder of the private copy in front
MAX_ENTRIES = 20_000  # what is ignored has to be looked at too: about what a forgotten node_modules holds
MAX_ARCHIVE = 32 * 2**20  # the archive as it was handed in, which is read whole
MAX_UNPACKED = 64 * 2**20  # a tar: what is ignored in it has to be unpacked to find what lies behind
MAX_HEADERS = 8 * 2**20  # of a tar, together, that hold what the fixed fields cannot: a few hundred bytes a member
MAX_RATIO = 200  # of a zip's members above 1 MiB: text shrinks to a tenth, bombs to a thousandth
XZ_MEMORY = 80 * 2**20  # xz -9 needs 65 MiB, and an archive may ask for 4 GiB

# What people's editors and systems leave in a folder, and what no exercise asks for.
IGNORED = frozenset({".git", ".venv", "__pycache__", "__MACOSX", ".DS_Store", "node_modules", ".ipynb_checkpoints"})
_IGNORED_PREFIX = "._"  # macOS's attributes of the file beside it

# Control characters, line ends, and the marks that turn the writing direction: with them a name reads as another.
_DECEIVING = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_UNDECODABLE = re.compile(r"[\ud800-\udfff]")  # what bytes that are no UTF-8 are decoded to
_WINDOWS_DISK = re.compile(r"[A-Za-z]:")

# What the standard library answers broken archives with; found by the property tests and in its source.
_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    EOFError,
    ImportError,  # a Python that was built without bz2 or lzma
    OverflowError,
    RuntimeError,
    ValueError,
)


@dataclass(frozen=True)
class File:
    """One file that was handed in, its path relative to the top of the submission."""

    path: PurePosixPath
    content: bytes
    executable: bool


def read(source: Path) -> list[File]:
    """Every file in ``source`` but the ignored ones, in the order of their paths.

    Args:
        source: a folder, an archive (known by its content, whatever its name) or a compose file (known by
            its suffix, and called ``compose.yml`` from here on).

    Raises:
        SubmissionError: it does not exist, cannot be read, is none of these, or is not safe to unpack.
    """
    try:
        with _opened(source) as opened:
            status = os.fstat(opened)
            if stat.S_ISDIR(status.st_mode):
                return _collect(source, _in_folder(Path(os.path.realpath(source)), opened, PurePosixPath()))
            if not stat.S_ISREG(status.st_mode):
                raise _no_submission(source)
            if status.st_size > MAX_ARCHIVE:
                raise _too_large(source, MAX_ARCHIVE)
            content = _content(opened, status.st_size)
    except OSError as error:
        raise _unreadable(source, error) from error
    try:
        return _collect(source, _in_file(source, content))
    except _BROKEN as error:
        # The library's messages may quote the archive at any length.
        reason = str(error)[:200] or "it is damaged"
        raise SubmissionError(
            f"{source} cannot be unpacked: {reason}.",
            "Make the archive anew, as a .zip or .tar.gz, and hand it in again.",
        ) from error


def read_loose(source: Path, named: Sequence[tuple[str, Path]]) -> list[File]:
    """Files that lie in one folder, read as one submission under other names.

    Args:
        source: what they are called together in messages.
        named: the name that each has in the submission, and where it lies.

    Raises:
        SubmissionError: one cannot be read, is no plain file, or is not safe to unpack.
    """
    try:
        with _opened(named[0][1].parent, os.O_DIRECTORY) as root:
            return _collect(source, [_loose(root, name, path.name) for name, path in named])
    except OSError as error:
        raise _unreadable(source, error) from error


# --- the rules, the same for every kind of source ------------------------------------------------


@dataclass(frozen=True)
class _Entry:
    """Something in a source.

    Attributes:
        name: as it is written there.
        is_folder: its files are entries of their own.
        refusal: why it cannot be handed in, if so.
        size: in bytes, as the source says; ``read`` gives at most that many.
        read: its content; to be called before the next entry is asked for.
    """

    name: str
    is_folder: bool
    refusal: str
    size: int
    executable: bool
    read: Callable[[], bytes]


def _collect(source: Path, entries: Iterable[_Entry]) -> list[File]:
    """The files among ``entries``; no entry is read before it has passed all rules."""
    files: dict[PurePosixPath, File] = {}
    bytes_left = MAX_BYTES
    for count, entry in enumerate(entries, 1):
        if count > MAX_ENTRIES:
            raise _too_many(source)
        path = _path(source, entry.name)
        if any(part in IGNORED or part.startswith(_IGNORED_PREFIX) for part in path.parts):
            continue
        _check_name(source, path)
        if entry.is_folder:
            continue
        if entry.size > bytes_left:
            raise _too_large(source, MAX_BYTES)
        if entry.refusal:
            raise _refused(source, entry.name, entry.refusal)
        if not path.parts:
            raise _refused(source, entry.name, "is no name of a file")
        if path in files:
            raise _refused(source, entry.name, "is there twice, and only one of them could be graded")
        if len(files) == MAX_FILES:
            raise SubmissionError(
                f"{source} holds more than {MAX_FILES} files.", "Hand in only the files of the exercise."
            )
        bytes_left -= entry.size
        files[path] = File(path, entry.read(), entry.executable)
    return [files[path] for path in sorted(files)]


def _path(source: Path, name: str) -> PurePosixPath:
    """The path that ``name`` stands for on every system, which lies below the submission."""
    # Before anything else: to normalize a long run of accents takes time that grows with its square.
    if len(name.encode("utf-8", "surrogatepass")) > MAX_PATH:
        raise _refused(source, name, f"cannot be unpacked: its path is longer than {MAX_PATH} bytes")
    path = PurePosixPath(unicodedata.normalize("NFC", name.replace("\\", "/")))
    if path.is_absolute() or ".." in path.parts or _WINDOWS_DISK.match(str(path)):
        raise _refused(source, name, "would be unpacked outside the submission")
    return path


def _check_name(source: Path, path: PurePosixPath) -> None:
    name = str(path)
    if _DECEIVING.search(name):
        raise _refused(source, name, "has a control character in its name, or one that turns the writing direction")
    if _UNDECODABLE.search(name):
        raise _refused(source, name, "has a name that is not written in UTF-8")
    if any(len(part.encode()) > MAX_NAME for part in path.parts):
        raise _refused(source, name, f"cannot be unpacked: a part of its name is longer than {MAX_NAME} bytes")
    if len(path.parts) > MAX_DEPTH:
        raise _refused(source, name, f"lies more than {MAX_DEPTH} folders deep")


def _refused(source: Path, name: str, why: str) -> SubmissionError:
    # repr: what cannot be seen in a name, or turns what stands behind it, is written out.
    shown = repr(name if len(name) <= 100 else f"{name[:100]}…")
    return SubmissionError(
        f"{source}: {shown} {why}.", "Hand in plain files and folders only, with plain, short names."
    )


def _too_large(source: Path, limit: int) -> SubmissionError:
    return SubmissionError(
        f"{source} holds more than {limit // 2**20} MiB.",
        "Hand in only the files of the exercise: no data, no images, no .git, no node_modules.",
    )


def _too_many(source: Path) -> SubmissionError:
    return SubmissionError(
        f"{source} holds more than {MAX_ENTRIES} entries.",
        "Hand in only the files of the exercise: no .git, no node_modules.",
    )


def _unreadable(source: Path, error: OSError) -> SubmissionError:
    if not os.path.lexists(source):
        return SubmissionError(
            f"There is no submission at {source}.",
            "Give the folder, the .zip or .tar.gz, or the compose file that holds your work: --submission PATH",
        )
    where = f": {error.filename!r}" if error.filename else ""
    return SubmissionError(
        f"{source} cannot be read: {error.strerror}{where}.",
        "See that you may read everything in it, and that nothing changes it meanwhile.",
    )


def _no_submission(source: Path) -> SubmissionError:
    return SubmissionError(
        f"{source} is neither a folder, a .zip, a .tar.gz nor a compose file.",
        "Put the files you edited into a folder or a .zip and hand that in.",
    )


# --- folders -----------------------------------------------------------------------------------------


@contextmanager
def _opened(path: Path | str, flags: int = 0, folder: int | None = None) -> Iterator[int]:
    # Without O_NONBLOCK, to open a named pipe waits until somebody writes into it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | flags, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _opened_below(root: int, path: PurePosixPath, flags: int = 0) -> Iterator[int]:
    """``path`` below ``root``; if a part of it has become a link since it was looked at, an OSError."""
    with ExitStack() as stack:
        folder = root
        for part in path.parts[:-1]:
            folder = stack.enter_context(_opened(part, os.O_DIRECTORY | os.O_NOFOLLOW, folder))
        yield stack.enter_context(_opened(path.name or ".", flags | os.O_NOFOLLOW, folder))


def _in_folder(top: Path, root: int, folder: PurePosixPath) -> Iterator[_Entry]:
    """What lies in ``folder`` and below; ``root`` is ``top``, opened, and ``top`` has no links in it."""
    with _opened_below(root, folder, os.O_DIRECTORY) as opened:
        with os.scandir(opened) as found:
            names = sorted(child.name for child in islice(found, MAX_ENTRIES + 1))
        for name in names:
            path = folder / name
            status = os.stat(name, dir_fd=opened, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                yield _linked(top, root, path)
                continue
            is_folder = stat.S_ISDIR(status.st_mode)
            plain = is_folder or stat.S_ISREG(status.st_mode)
            yield _on_disk(root, path, path, status, "" if plain else "is neither a file nor a folder")
            if is_folder and name not in IGNORED:
                yield from _in_folder(top, root, path)


def _loose(root: int, name: str, on_disk: str) -> _Entry:
    status = os.stat(on_disk, dir_fd=root, follow_symlinks=False)
    refusal = "" if stat.S_ISREG(status.st_mode) else "is not a file"
    return _on_disk(root, PurePosixPath(name), PurePosixPath(on_disk), status, refusal)


def _linked(top: Path, root: int, path: PurePosixPath) -> _Entry:
    """A link that stays inside is followed: editors and Windows checkouts make them."""
    target, refusal = Path(os.path.realpath(top / path)), ""
    if not target.is_relative_to(top):
        refusal = "is a link that leads out of the submission"
    elif not target.is_file():
        refusal = "is a link to something that is not a file"
    if refusal:
        return _Entry(str(path), False, refusal, 0, False, lambda: b"")
    return _on_disk(root, path, PurePosixPath(target.relative_to(top)), target.stat(), "")


def _on_disk(root: int, path: PurePosixPath, real: PurePosixPath, status: os.stat_result, refusal: str) -> _Entry:
    def content() -> bytes:
        with _opened_below(root, real) as opened:
            return _content(opened, status.st_size)

    mode = status.st_mode
    return _Entry(str(path), stat.S_ISDIR(mode), refusal, status.st_size, bool(mode & stat.S_IXUSR), content)


def _content(opened: int, size: int) -> bytes:
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        raise OSError(0, "a file has become something else while it was read")
    with os.fdopen(os.dup(opened), "rb") as stream:
        return stream.read(size)


# --- archives ----------------------------------------------------------------------------------------


def _in_file(source: Path, content: bytes) -> Iterator[_Entry]:
    if source.suffix.lower() in (".yml", ".yaml"):
        return iter([_Entry("compose.yml", False, "", len(content), False, lambda: content)])
    if zipfile.is_zipfile(io.BytesIO(content)):
        return _in_zip(source, content)
    tar = _decompressed(source, content)
    if not _is_tar(tar):
        raise _no_submission(source)
    return _in_tar(tar)


def _in_zip(source: Path, content: bytes) -> Iterator[_Entry]:
    # The library makes an object of each before it can be asked how many there are, and the number written
    # at the end is whatever somebody has written.
    if content.count(b"PK\x01\x02") > MAX_ENTRIES:
        raise _too_many(source)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for member in archive.infolist():
            name = _name_in_zip(member)
            yield _Entry(
                name,
                not member.file_size and name.endswith(("/", "\\")),
                _refusal_in_zip(member),
                member.file_size,
                bool(member.external_attr >> 16 & stat.S_IXUSR),
                partial(_content_in_zip, archive, member),
            )


def _name_in_zip(member: zipfile.ZipInfo) -> str:
    name = member.orig_filename  # ``filename`` ends at the first NUL
    if not member.flag_bits & 0x800:  # Macs write UTF-8 and do not say so
        with suppress(UnicodeError):
            return name.encode("cp437").decode("utf-8")
    return name


def _refusal_in_zip(member: zipfile.ZipInfo) -> str:
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
        return "is a link or a device, not a file"
    if member.flag_bits & 1:
        return "is encrypted; hand in an archive without a password"
    # Others cost memory or time that no limit here sees: a dictionary of LZMA may have gigabytes.
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "cannot be unpacked: it is packed in an unusual way; make the .zip with the usual settings"
    if member.file_size > max(2**20, MAX_RATIO * member.compress_size):
        return f"is packed to less than a {MAX_RATIO}th of its size, as nothing written by hand is"
    return ""


def _content_in_zip(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    with archive.open(member) as stream:
        # Without a number, everything behind a false size is unpacked before it is cut off; one more than
        # there is, or the checksum of an empty file is not looked at.
        return stream.read(member.file_size + 1)


def _decompressed(source: Path, content: bytes) -> bytes:
    """``content`` itself if it is not compressed."""
    decompressor = _decompressor(content)
    if decompressor is None:
        return content
    # One stream only, as tar writes it: millions of empty ones may stand behind each other.
    try:
        unpacked: bytes = decompressor.decompress(content, MAX_UNPACKED + 1)
    except Exception as error:  # each of them has a class of its own
        raise ValueError(str(error)) from error
    if len(unpacked) > MAX_UNPACKED:
        raise _too_large(source, MAX_UNPACKED)
    if not decompressor.eof:
        raise EOFError("it ends too early")
    return unpacked


def _decompressor(content: bytes) -> Any:
    if content.startswith(b"\x1f\x8b"):
        return zlib.decompressobj(16 + zlib.MAX_WBITS)
    if content.startswith(b"BZh"):
        import bz2

        return bz2.BZ2Decompressor()
    if content.startswith(b"\xfd7zXZ\0"):
        import lzma

        return lzma.LZMADecompressor(lzma.FORMAT_XZ, XZ_MEMORY)
    return None


# Headers that say something about the member behind them, or about all.
_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.XGLTYPE)
_EXTENDED = (*_PAX, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_LENGTH = re.compile(rb"(\d{1,9}) ")
_SPARSE = "it holds a sparse file, of which only parts are stored"


def _is_tar(content: bytes) -> bool:
    try:
        _header(content[: tarfile.BLOCKSIZE])
    except tarfile.TarError:
        return False
    return True


def _header(block: bytes) -> tarfile.TarInfo:
    return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")


def _in_tar(content: bytes) -> Iterator[_Entry]:
    """The members of a tar.

    ``tarfile`` understands each header, but is not asked to go from one to the next: it reads an extended
    header whatever its size, searches it in time that grows with the square of that, calls itself for
    each that stands behind another, and never ends with a sparse file that is cut off.
    """
    stream = io.BytesIO(content)
    headers_left = MAX_HEADERS
    extended: dict[bytes, bytes] = {}
    while any(block := _exactly(stream, tarfile.BLOCKSIZE)):
        member = _header(block)
        if member.type in _EXTENDED:
            if not 0 <= member.size <= headers_left:
                raise ValueError(f"its headers hold more than {MAX_HEADERS // 2**20} MiB")
            headers_left -= member.size
            extended |= _extended(member.type, _exactly(stream, _padded(member.size))[: member.size])
            continue
        if member.type == tarfile.GNUTYPE_SPARSE:
            raise ValueError(_SPARSE)
        name = extended[b"path"].decode("utf-8", "surrogateescape") if b"path" in extended else member.name
        size = int(extended.get(b"size", member.size))
        # A negative size would lead back to where this header stands.
        if not 0 <= size <= len(content):
            raise ValueError("it holds a file that is larger than all of it")
        begin = stream.tell()
        yield _Entry(
            name,
            member.isdir(),
            "" if member.isreg() else "is a link or a device, not a file",
            size,
            bool(member.mode & stat.S_IXUSR),
            partial(_exactly, stream, size),
        )
        has_content = not (member.isdir() or member.issym() or member.islnk() or member.isdev())
        stream.seek(begin + (_padded(size) if has_content else 0))
        extended = {}


def _extended(kind: bytes, body: bytes) -> dict[bytes, bytes]:
    """The ``path`` and ``size`` that an extended header gives to the member behind it."""
    if kind == tarfile.GNUTYPE_LONGNAME:
        return {b"path": body.partition(b"\0")[0]}
    if kind == tarfile.GNUTYPE_LONGLINK:
        return {}
    found = {}
    for key, value in _pax_records(body):
        if key.startswith(b"GNU.sparse."):
            raise ValueError(_SPARSE)
        # What a header gives to all members behind it is a comment; git writes one.
        if key in (b"path", b"size") and kind != tarfile.XGLTYPE:
            found[key] = value
    return found


def _pax_records(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """``12 path=abcd\\n`` again and again, the number being the length of all of it."""
    begin = 0
    while begin < len(body):
        length = _LENGTH.match(body, begin)
        end = begin + int(length[1]) if length else 0
        if not length or not length.end() < end <= len(body):
            raise ValueError("it holds a header that contradicts itself")
        key, _, value = body[length.end() : end - 1].partition(b"=")
        yield key, value
        begin = end


def _exactly(stream: io.BytesIO, size: int) -> bytes:
    content = stream.read(size)
    if len(content) < size:
        raise EOFError("it ends too early")
    return content


def _padded(size: int) -> int:
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
