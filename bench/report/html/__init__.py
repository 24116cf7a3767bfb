"""report.html: one file that shows a comparison, and every search tree in it, without a server."""

from bench.report.html.writer import write_html

__all__ = ["write_html"]
