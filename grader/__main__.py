"""``python -m grader exercise-04``."""

import sys

from grader.errors import missing_package


def main() -> None:
    """Run the command line; a Python without its packages is told apart from a fault."""
    try:
        from grader import cli
    except ModuleNotFoundError as error:
        explained = missing_package(error)
        sys.stderr.write(f"{explained.whole}\n")
        sys.exit(explained.exit_status)
    cli.main()


if __name__ == "__main__":
    main()
