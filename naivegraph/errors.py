"""The errors a user can meet; all derive from `NaivegraphError`."""


class NaivegraphError(Exception):
    """Base of every error this package raises on purpose."""


class CaptureError(NaivegraphError):
    """The network could not be captured; the message says where and what to do instead."""


class EditError(NaivegraphError):
    """An edit was refused; the network is as it was."""


class InfeasibleError(EditError):
    """No network meets what was asked; names the requests in conflict and the nearest that can be done."""


class LoadError(NaivegraphError):
    """A file could not be loaded; the network it was to be loaded into is as it was."""
