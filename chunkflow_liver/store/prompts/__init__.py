"""Prompts: what a person marks of an object so that it can be carried through the slices."""

from __future__ import annotations

from chunkflow_liver.store.prompts.files import read_prompts, write_prompts
from chunkflow_liver.store.prompts.prompt import Prompt
from chunkflow_liver.store.prompts.skeletons import prompts_from_skeletons

__all__ = ["Prompt", "prompts_from_skeletons", "read_prompts", "write_prompts"]
