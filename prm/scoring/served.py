"""Reward models on servers: which model it is, and how its steps are read, before a step is scored."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

import httpx

from prm.reading.fingerprint import prm_fingerprint
from prm.reading.layout import Layout, layout_fields, layout_from
from prm.reading.zoo import find
from search.errors import UsageError
from search.policies.http import base_url

API_KEY = "PRM_SEARCH_API_KEY"
"""The variable with the bearer token of `prm.serve`; without it, OPENAI_API_KEY is sent."""
LOOK_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedPRM:
    """A reward model on one or more servers that all serve the same.

    urls: without a final slash or "/v1". kind: `python -m prm.serve`, or vLLM's own server.
    name: as the server's user named it; of vLLM, as this one's did. fingerprint: `prm_fingerprint`.
    layout: how steps are read and what scores mean; an ensemble's has no members.
    run_as: engine and precision; of vLLM, the checkpoint that it says it has loaded.
    model: what vLLM calls it, "" on `prm.serve`.
    context: tokens that question and steps may take; None if that is not known.
    parameters: of the model; None if that is not known. made_for: the task that a bundled model is made for.
    """

    urls: tuple[str, ...]
    kind: Literal["prm.serve", "vllm"]
    name: str
    fingerprint: str
    layout: Layout
    run_as: str
    model: str = ""
    context: int | None = None
    parameters: int | None = None
    made_for: str | None = None

    def card(self) -> dict[str, Any]:
        """What `GET /model` answers."""
        layout = self.layout
        return {
            "name": self.name, "fingerprint": self.fingerprint, "outcome": layout.is_outcome,
            "aggregate": layout.solution_aggregate, "domain": layout.domain, "context": self.context,
            "parameters": self.parameters, "made_for": self.made_for, "run_as": self.run_as,
            "layout": layout_fields(replace(layout, members=())),
        }  # fmt: skip


def find_served(urls: Sequence[str], name: str | None = None) -> ServedPRM:
    """The reward model that the servers have. Nothing is scored. Raises UsageError.

    Of several servers, some may be down. They are used once they are up, if they have the same model.

    urls: of `python -m prm.serve`, or of vLLM's server.
    name: as `prm.reading.zoo.find` takes it. vLLM's server needs it: it does not know how steps are read.
        `python -m prm.serve` must serve this model.
    """
    urls = tuple(dict.fromkeys(base_url(url, "").removesuffix("/v1") for url in urls))
    found: list[ServedPRM] = []
    down: list[str] = []
    with httpx.Client(headers=key_header(), timeout=LOOK_S) as client:
        for url in urls:
            try:
                found.append(_look(client, url, name))
            except httpx.RequestError as error:
                down.append(f"{url}: {type(error).__name__}: {error}")
    if not found:
        raise UsageError(f"no reward-model server can be reached: {'; '.join(down)}")
    first = found[0]
    for other in found[1:]:
        if replace(other, urls=()) != replace(first, urls=()):
            raise UsageError(
                f"{first.urls[0]} serves {first.name} ({first.fingerprint}, {first.run_as}), {other.urls[0]} "
                f"{other.name} ({other.fingerprint}, {other.run_as}): all servers must serve the same"
            )
    return replace(first, urls=urls)


def key_header() -> dict[str, str]:
    """The header with the key in the environment, if there is one."""
    key = os.environ.get(API_KEY) or os.environ.get("OPENAI_API_KEY")
    return {"Authorization": f"Bearer {key}"} if key else {}


def _look(client: httpx.Client, url: str, name: str | None) -> ServedPRM:
    card = _get(client, f"{url}/model")
    if card is not None and "fingerprint" in card:
        served = _from_card(url, card)
        if name is not None:
            _check_is(name, served)
        return served
    listing = _get(client, f"{url}/v1/models")
    models = listing.get("data") if listing else None
    if not isinstance(models, list) or not all(_is_vllms(model) for model in models):
        raise UsageError(f"{url} is no server of a reward model: neither `python -m prm.serve` nor vLLM's")
    return _on_vllm(url, models, name)


def _get(client: httpx.Client, url: str) -> dict[str, Any] | None:
    """The JSON object there, None if there is none. Raises UsageError without the right key."""
    reply = client.get(url)
    if reply.status_code in (401, 403):
        raise UsageError(f"{url} answered {reply.status_code}: set {API_KEY} to the server's key")
    with suppress(ValueError):
        content = reply.json()
        if reply.status_code == 200 and isinstance(content, dict):
            return content
    return None


def _from_card(url: str, card: Mapping[str, Any]) -> ServedPRM:
    try:
        return ServedPRM(
            urls=(url,), kind="prm.serve", layout=layout_from(card["layout"], f"{url}/model"),
            **{field: card[field] for field in (
                "name", "fingerprint", "run_as", "context", "parameters", "made_for"
            )},
        )  # fmt: skip
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{url}/model does not describe a reward model: {error!r}") from error


def _check_is(name: str, served: ServedPRM) -> None:
    """Raise UsageError if the server has another model than the one of this name."""
    if name == served.name:
        return
    with suppress(UsageError):  # it need not be there
        if prm_fingerprint(name) == served.fingerprint:
            return
    raise UsageError(f"--prm {name}: {served.urls[0]} serves another reward model, {served.name}")


def _is_vllms(model: Any) -> bool:
    return isinstance(model, dict) and model.get("owned_by") == "vllm" and isinstance(model.get("id"), str)


def _on_vllm(url: str, models: Sequence[Mapping[str, Any]], name: str | None) -> ServedPRM:
    if name is None:
        raise UsageError(
            f"{url} is a vLLM server, which does not say how its reward model reads steps: name the model, "
            "e.g. --prm qwen-prm-7b, or NAME=PATH with its tokenizer at PATH"
        )
    entry = find(name)
    if entry.members:
        raise UsageError(f"--prm {name} is an ensemble: serve it with `python -m prm.serve`, not with vLLM")
    ours = [m for m in models if entry.model in (m["id"], m.get("root"))]
    if len(models) != 1 and len(ours) != 1:
        served = ", ".join(model["id"] for model in models)
        raise UsageError(f"--prm {name}: {url} serves {served}, none of which is {entry.model}")
    [model] = ours if len(ours) == 1 else models
    return ServedPRM(
        urls=(url,), kind="vllm", name=name, fingerprint=prm_fingerprint(name), layout=entry.layout,
        run_as=str(model.get("root") or model["id"]), model=model["id"], context=model.get("max_model_len"),
    )  # fmt: skip
