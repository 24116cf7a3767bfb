"""Files of a checkpoint, in a local folder or on the Hugging Face hub.

A local folder is read without importing transformers, so that a bad request is refused at once.
"""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from search.errors import UsageError

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
"""What a name on the Hugging Face hub looks like: NAME or OWNER/NAME."""
CONNECT_S = 5.0
"""How long to wait for the hub before it counts as unreachable."""


def check_on_hub(name: str) -> None:
    """Raise UsageError, at once, if `name` cannot be found on the hub or in the hub's cache.

    A name that no repository can have is never looked up. Without a network, the hub's client would retry
    for half a minute; here, one attempt to connect decides.
    """
    if Path(name).is_file():
        raise UsageError(f"{name}: must be a folder, this is a file")
    parts = Path(name).parts
    if not HUB_ID.fullmatch(name) or (len(parts) > 1 and Path(parts[0]).is_dir()):
        raise UsageError(f"{name}: there is no such folder")
    from huggingface_hub import constants

    if (Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}").is_dir():
        return
    if constants.HF_HUB_OFFLINE:
        raise UsageError(f"{name}: there is no such folder, and HF_HUB_OFFLINE forbids looking on the hub")
    if not _reachable(constants.ENDPOINT):
        raise UsageError(f"{name}: there is no such folder, and {constants.ENDPOINT} cannot be reached")


def read_config(model: str) -> dict[str, Any]:
    """The fields of a checkpoint's config.json, as they are stored. model: a folder or hub id.

    Raises UsageError if there is none, or if it is not a JSON object.
    """
    path = checkpoint_file(model, "config.json")
    if path is None:
        raise UsageError(f"{model} holds no config.json")
    return read_json(path, f"{model}/config.json")


def text_config(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a configuration that describes the language model; of a text-only model, all of it."""
    part = fields.get("text_config")
    return part if isinstance(part, Mapping) else fields


def read_json(path: Path, where: str) -> dict[str, Any]:
    """The fields of a JSON object. Raises UsageError beginning with `where`."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{where}: cannot be read: {error.strerror}") from error
    except ValueError as error:  # not JSON, or not UTF-8
        raise UsageError(f"{where}: not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise UsageError(f"{where}: not a JSON object")
    return fields


def checkpoint_file(model: str, name: str) -> Path | None:
    """A file of a checkpoint, downloaded if it is on the hub; None if the checkpoint has no such file.

    model: a folder or hub id. Raises UsageError if there is neither.
    """
    folder = Path(model)
    if folder.is_dir():
        return folder / name if (folder / name).is_file() else None
    check_on_hub(model)
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(model, name))
    except LocalEntryNotFoundError as error:  # nor is it in the cache
        raise UsageError(f"{model}: the hub cannot be reached, and {name} is not in its cache") from error
    except EntryNotFoundError:
        return None
    except (OSError, ValueError) as error:  # no such repository, or no access to it
        raise UsageError(f"{model}: {str(error).strip().splitlines()[0]}") from error


def commit_of(model: str) -> str | None:
    """The commit of a hub id that the local cache holds; None if it holds none."""
    from huggingface_hub import try_to_load_from_cache

    if not HUB_ID.fullmatch(model):
        return None
    path = try_to_load_from_cache(model, "config.json")
    return Path(path).parent.name if isinstance(path, str) else None


def _reachable(endpoint: str) -> bool:
    """Whether a connection to the hub can be opened; behind a proxy, the proxy decides."""
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    url = urlsplit(endpoint)
    port = url.port or (80 if url.scheme == "http" else 443)
    try:
        with socket.create_connection((url.hostname or "", port), CONNECT_S):
            return True
    except OSError:
        return False
