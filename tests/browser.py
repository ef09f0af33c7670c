"""A real browser without a window, for what users meet there, and the complaints that it has about a page."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

from tests.loads import WATCHDOG_S

#: Nothing but what is asked for, and nothing of its own over the network.
_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
              "--disable-component-update", "--disable-sync"]


def require_chromium() -> str:
    """The path of Chromium; without it a test is skipped on a laptop and fails in CI."""
    path = shutil.which("chromium") or shutil.which("chromium", path="/usr/bin:/usr/local/bin:/opt/homebrew/bin")
    if path is None:
        message = "chromium is not installed (apt-get install chromium)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser; one serves many visits."""
    path = require_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visit(browser: Browser, url: str, may_lose_connection: bool = False, **options: Any) -> Iterator[Page]:
    """A page, opened; at the end it must have asked nobody but its own host, and have nothing to complain about.

    Args:
        browser: the browser.
        url: of the page.
        may_lose_connection: whether failed requests to its host, and those that another run refuses, are no complaint.
        options: of the context: ``viewport``, ``color_scheme``.
    """
    host = urlsplit(url).netloc
    complaints: list[str] = []

    def said(message: ConsoleMessage) -> None:
        lost = may_lose_connection and ("net::ERR_" in message.text or "401" in message.text)
        if message.type in ("error", "warning") and not lost:
            complaints.append(f"console: {message.text}")

    def asked(request: Request) -> None:
        if urlsplit(request.url).netloc != host:
            complaints.append(f"asked for {request.url}")

    context = browser.new_context(**options)
    try:
        context.set_default_timeout(1000 * WATCHDOG_S)
        page = context.new_page()
        page.on("console", said)
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("request", asked)
        page.goto(url)
        yield page
    finally:
        context.close()
    assert complaints == []
