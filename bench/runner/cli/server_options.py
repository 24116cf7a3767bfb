"""The options of every server: where it listens, and what it takes."""

from __future__ import annotations

import argparse

from prm.scoring.served import API_KEY


def add_listening_options(parser: argparse.ArgumentParser, *, port: int, requests: int) -> None:
    """Add them. port, requests: the defaults of --port and --max-requests."""
    add = parser.add_argument
    add("--host", metavar="HOST", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--port", metavar="PORT", type=_port, default=port, help="0: any that is free (default: %(default)s)")
    add("--api-key", metavar="KEY",
        help=f"take only requests with this bearer token; better: the variable {API_KEY}, which no list of "
        "processes shows")  # fmt: skip
    add("--max-requests", metavar="N", type=positive, default=requests,
        help="requests accepted at a time, waiting ones included; more are refused with 429 "
        "(default: %(default)s)")  # fmt: skip
    add("--max-body", metavar="BYTES", type=positive, default=1 << 20,
        help="largest body of a request (default: %(default)s)")  # fmt: skip
    add("--drain", metavar="SECONDS", type=positive, default=30,
        help="what requests have to end after SIGTERM or Ctrl-C (default: %(default)s)")  # fmt: skip


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"takes a number from 0 to 65535, not {text!r}")
    return int(text)


def positive(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"takes a whole number of at least 1, not {text!r}")
    return int(text)
