"""The interface of solvers and the solvers behind it, one file each."""

from naivegraph.solvers.backend.interface import Answer, Backend, Limits, Session, backends, register_backend

__all__ = ["Answer", "Backend", "Limits", "Session", "backends", "register_backend"]
