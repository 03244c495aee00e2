"""What may be built from beside the stages of the file: known images and additional build contexts."""

from __future__ import annotations

from collections.abc import Iterable

from grader.imageref import normalised


class Images:
    """Looked up as BuildKit does it; ``in`` says whether a reference is one of them, so that nothing is pulled."""

    def __init__(self, images: Iterable[str], contexts: Iterable[str]) -> None:
        self._images = {normalised(image): image for image in images}
        # "scratch" and "context" are never looked up among the contexts: namedContextFunc of dockerfile2llb.
        self._contexts = {name for name in contexts if name.lower() not in ("scratch", "context")}

    def __contains__(self, reference: str) -> bool:
        return reference == "scratch" or normalised(reference) in self._images or self.is_context(reference)

    def is_context(self, reference: str) -> bool:
        """Whether it names an additional context: NamedContext of dockerui/namedcontext.go."""
        # A name that is not in this form is never found.
        full = normalised(reference).removeprefix("docker.io/").removeprefix("library/")
        return full.removesuffix(":latest") in self._contexts

    @property
    def choice(self) -> str:
        """A sentence that says which there are."""
        return f"Use one of: {', '.join(sorted(self._images.values()))}."
