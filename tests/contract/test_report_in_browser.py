"""The report in a real browser: under the policy of Jenkins, which allows neither scripts nor
inline styles, and as one file.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from servers import chromium
from unit.test_misclassified import claim
from unit.test_reporting import BUILDERS, accepted

from mlops_lib import reporting

POLICY = "sandbox allow-same-origin; default-src 'none'; img-src 'self'; style-src 'self';"
"""What Jenkins sends with every file of an artifact."""
CARD = "section.verdict"

pytestmark = pytest.mark.skipif(shutil.which(chromium.COMMAND) is None, reason="needs chromium")


class Artifacts(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/favicon.ico":  # the browser's own idea; Jenkins has one
            self.send_response(204)
            self.end_headers()
        else:
            super().do_GET()

    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", POLICY)
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Browser]:
    with chromium.browser(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run in every state; the accepted one has pictures of mistakes."""
    folder = tmp_path_factory.mktemp("runs")
    for build in BUILDERS:
        run_dir = build(folder / build.__name__)
        if build is accepted:
            (run_dir / "inside" / "mistakes.json").write_text(
                json.dumps({"mistakes": [claim(), claim(index=2)]})
            )
        assert reporting.report(run_dir).stat().st_size < 2_000_000
        reporting.report(run_dir, folder=run_dir / "artifacts")
    return folder


@pytest.fixture(scope="module")
def site(runs: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Artifacts, directory=str(runs))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", [build.__name__ for build in BUILDERS])
def test_jenkins_shows_the_folder_with_its_styles_and_pictures(
    name: str, browser: chromium.Browser, site: str
) -> None:
    seen = browser.look(f"{site}/{name}/artifacts/index.html", CARD)
    assert seen.complaints == []
    pictures = {"01.png": 200, "02.png": 200} if name == "accepted" else {}
    assert seen.loaded == {"index.html": 200, "style.css": 200, **pictures}
    assert seen.styles[CARD]["background-color"] == "rgb(255, 255, 255)"
    assert seen.styles[CARD]["display"] == "grid"


def test_the_policy_is_the_one_that_refuses_inline_styles(
    browser: chromium.Browser, runs: Path, site: str
) -> None:
    shutil.copy(runs / "accepted" / "report.html", runs / "one-file.html")
    seen = browser.look(f"{site}/one-file.html", CARD)
    assert [line for line in seen.complaints if "Content Security Policy" in line]
    assert seen.styles[CARD]["display"] == "block"


@pytest.mark.parametrize("name", [build.__name__ for build in BUILDERS])
@pytest.mark.parametrize(("width", "dark"), [(1200, False), (1200, True), (390, False)])
def test_the_one_file_needs_nothing_else_and_fits_every_screen(
    name: str, width: int, dark: bool, browser: chromium.Browser, runs: Path
) -> None:
    seen = browser.look(
        (runs / name / "report.html").as_uri(), CARD, "body", width=width, dark=dark
    )
    assert (seen.complaints, seen.loaded) == ([], {"report.html": 200})
    assert seen.width <= width, "it has to be scrolled sideways"
    assert seen.styles[CARD]["display"] == "grid"
    ground, ink = seen.styles["body"]["background-color"], seen.styles["body"]["color"]
    assert (_light(ground), _light(ink)) == (not dark, dark)


def _light(colour: str) -> bool:
    return sum(map(int, colour.removeprefix("rgb(").rstrip(")").split(","))) > 3 * 128
