"""What a Dockerfile would do while it is built, before BuildKit builds it.

Pure. A Dockerfile is read here exactly as BuildKit reads it, since what the two read differently could hide something;
each module names the files of github.com/moby/buildkit/frontend/dockerfile that it follows. Where BuildKit's versions
disagree with each other, and for all that is not known here, the file is refused. No package reads flags, heredocs and
variables as BuildKit does.
"""

from grader.dockerfile.mounts import with_private_caches
from grader.dockerfile.problem import Problem
from grader.dockerfile.rules import problems

__all__ = ["problems", "with_private_caches", "Problem"]
