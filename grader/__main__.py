"""``python -m grader exercise-04``."""

from grader.cli import main

if __name__ == "__main__":
    main()
