"""The JSON documents of zarr groups, read with care."""

from __future__ import annotations

import json
from typing import Any

from chunkflow_liver.errors import InputError
from chunkflow_liver.store.location import join, read_key
from chunkflow_liver.store.ngff.versions import ZarrFormat

MAX_METADATA_BYTES = 4 << 20


def load_json(url: str, key: str) -> dict[str, Any] | None:
    """The JSON object stored under `key`, or None; broken or absurd JSON is an InputError."""
    raw = read_key(url, key)
    where = join(url, key)
    if raw is None:
        return None
    if len(raw) > MAX_METADATA_BYTES:
        raise InputError(f"{where} has {len(raw)} bytes; metadata above {MAX_METADATA_BYTES} is refused")
    try:
        found = json.loads(raw)
    except RecursionError as err:
        raise InputError(f"{where} is nested too deeply to be metadata") from err
    except ValueError as err:
        raise InputError(f"{where} is not valid JSON: {err}") from err
    if not isinstance(found, dict):
        raise InputError(f"{where} holds {type(found).__name__}, expected a JSON object")
    return found


def group_attributes(url: str) -> tuple[dict[str, Any], ZarrFormat]:
    """Attributes and zarr format of the group at `url`; an InputError where there is none."""
    node = load_json(url, "zarr.json")
    if node is not None:
        if node.get("node_type") == "array":
            raise InputError(
                f"{url} is a bare zarr array without OME metadata; "
                "run 'chunkflow-liver convert' on it with --voxel-nm"
            )
        attributes = node.get("attributes", {})
        return (attributes if isinstance(attributes, dict) else {}), 3
    if load_json(url, ".zgroup") is not None:
        return load_json(url, ".zattrs") or {}, 2
    if load_json(url, ".zarray") is not None:
        raise InputError(
            f"{url} is a bare zarr array without OME metadata; "
            "run 'chunkflow-liver convert' on it with --voxel-nm"
        )
    raise InputError(f"{url} is not a zarr group: it has neither zarr.json nor .zgroup")
