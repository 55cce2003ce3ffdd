"""The one exception that means: what the user gave is wrong, and the hint that it often gives."""

from collections.abc import Iterable


class GstoVizError(ValueError):
    """Something given by the user is wrong.

    The message is one sentence of help: what is wrong, where, and what to do about it. The command
    line prints it on one line and leaves with exit status 2; everything else that escapes is a bug.
    """


class AgreedError(GstoVizError):
    """One process of a run failed: raised in process 0 once all processes know of it."""


class SaidElsewhereError(GstoVizError):
    """Another process of the same run failed and reports it; this one ends without a message."""


class UnreadableImageError(GstoVizError):
    """An image file is missing, damaged or too large; the others of its data set may be fine."""


class RefusedImageError(GstoVizError):
    """A network does not take an image of this size; it may take the others of its data set."""


class NumberingError(GstoVizError):
    """Label maps hold numbers of another convention: no map of their data set can be trusted."""


def did_you_mean(
    word: str,
    known: Iterable[str],
    *,
    count: int = 3,
    cutoff: float = 0.4,
    quoted: bool = False,
    then: str = "",
    otherwise: str = "",
) -> str:
    """Return ``did you mean a, b, c?`` for a word that is not known, to stand in an error.

    Args:
        word: What was given.
        known: What would have been understood.
        count: At most so many of the known words; one or two are joined by "or".
        cutoff: Similarity (the ratio of ``difflib``, 0..1) from which a word is named.
        quoted: Put each word in quotation marks.
        then: Follows the question, and stands alone without it.
        otherwise: Stands in place of the question when no known word is similar.
    """
    import difflib  # Here: every start of the command line imports this module.

    near = difflib.get_close_matches(word, list(known), count, cutoff)
    words = (" or " if count <= 2 else ", ").join(f"'{one}'" if quoted else one for one in near)
    return " ".join(filter(None, (f"did you mean {words}?" if near else otherwise, then)))
