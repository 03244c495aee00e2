"""Folders that containers have written to: as large, deep and odd as a submission likes."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path


def remove(folder: Path) -> None:
    """Remove ``folder`` as far as this user may; links in it are removed, not followed."""
    # Up to Python 3.12, rmtree calls itself for each folder in a folder.
    with contextlib.suppress(RecursionError):
        shutil.rmtree(folder, ignore_errors=True)
    if folder.exists() and (rm := shutil.which("rm")):
        subprocess.run([rm, "-rf", "--", folder], stderr=subprocess.DEVNULL, check=False)


def size_of(folder: Path) -> int:
    """Bytes of disk that ``folder`` takes; what cannot be looked at counts nothing."""
    total, waiting = 0, [str(folder)]
    while waiting:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                total += entry.stat(follow_symlinks=False).st_blocks * 512
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
    return total
