"""Edited networks of transformers that `AutoModel...from_pretrained` opens, as `naivegraph.hf`."""

from naivegraph.hf.auto_classes import register
from naivegraph.hf.save_folder import save_pretrained

__all__ = ["save_pretrained"]

register()
