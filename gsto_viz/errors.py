"""The one exception that means: what the user gave is wrong."""


class GstoVizError(ValueError):
    """Something given by the user is wrong.

    The message is one sentence of help: what is wrong, where, and what to do about it. The command
    line prints it on one line and leaves with exit status 2; everything else that escapes is a bug.
    """


class AgreedError(GstoVizError):
    """What stopped one process of a run, raised in its process 0 as all of them know."""


class SaidElsewhereError(GstoVizError):
    """What stopped another process of the same run, which says it; this one leaves in silence."""


class UnreadableImageError(GstoVizError):
    """An image file is missing, damaged or too large; the others of its data set may be fine."""
