"""What a page of HTML holds, without a browser."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from html.parser import HTMLParser


class Outline(HTMLParser):
    """Tags with their attributes, and the text outside of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._in: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._in and self._in.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not self._in or self._in[-1] not in ("script", "style"):
            self.text += data

    def sounds(self) -> Iterator[bytes]:
        for tag, attrs in self.tags:
            if tag == "audio":
                head, _, data = str(attrs["src"]).partition(",")
                assert head == "data:audio/flac;base64"
                yield base64.b64decode(data)
