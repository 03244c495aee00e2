"""From a bare checkout to a machine that can grade:

    python3 grader/setup/bootstrap.py [--dev] [--packages-only]

Run by whatever Python the system has, so this file is written for very old ones; `packages.py` does the work.
"""

import os
import subprocess
import sys

NEWER = ("python3.14", "python3.13", "python3.12", "python3.11")
ADVICE = """\
The workbook needs Python 3.11 or newer; this one, %s, is %d.%d.
Install a newer one beside it and run the same command again, for example:
    sudo apt-get install python3.11 python3.11-venv      # Ubuntu 22.04
    sudo dnf install python3.11                          # Red Hat and its relatives
    brew install python@3.12                             # macOS"""


def is_new_enough(python):
    # type: (str) -> bool
    """This command runs a Python that will do; a version manager's placeholder may be there and not run."""
    check = "import sys; sys.exit(sys.version_info < (3, 11))"
    try:
        with open(os.devnull, "w") as nothing:
            return subprocess.call([python, "-c", check], stdout=nothing, stderr=nothing) == 0
    except OSError:
        return False


if __name__ == "__main__":
    if os.name != "posix":
        sys.exit("The workbook runs on Linux and macOS; on Windows inside WSL 2:\n    wsl --install -d Debian")
    if tuple(sys.version_info) < (3, 11):
        for name in NEWER:
            if is_new_enough(name):
                os.execvp(name, [name, *sys.argv])
        sys.stderr.write(ADVICE % (sys.executable, sys.version_info[0], sys.version_info[1]) + "\n")
        sys.exit(3)
    # In place of this file's folder: its secrets.py would hide the standard library's.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    from grader.setup.packages import main

    sys.exit(main(sys.argv[1:]))
