"""A report in a real browser: Debian's chromium, driven through selenium without its downloads."""

import base64
import json
import shutil
import tarfile
from pathlib import Path

import pytest
from report_runs import make_runs

from graphlth.cli import main as cli

pytestmark = pytest.mark.slow
webdriver = pytest.importorskip("selenium.webdriver")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
if not (CHROMIUM and DRIVER):
    pytest.skip("chromium and chromium-driver are not installed", allow_module_level=True)
RECORDS = Path(__file__).parents[1] / "benchmarks" / "records"
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def unpack_records(place):
    """The run folders of figure 3 of UGS on Cora: six runs of thirty seeds and twenty rounds."""
    with tarfile.open(RECORDS / "ugs_cora_gcn.tar.xz") as archive:
        archive.extractall(place / "runs", filter="data")
    return place / "runs"


@pytest.fixture(scope="module", params=[make_runs, unpack_records])
def opened(request, browser, tmp_path_factory):
    """The browser with the page of small runs, or of recorded ones, open."""
    place = tmp_path_factory.mktemp("place")
    runs = request.param(place)
    assert cli.main(["report", str(runs), f"--out={place / 'page.html'}"]) == 0
    assert (place / "page.html").stat().st_size < 8_000_000
    browser.get_log("performance")
    browser.get(f"file://{place / 'page.html'}")
    return browser


def events(browser):
    return [json.loads(line["message"])["message"] for line in browser.get_log("performance")]


def show_as(browser, width, scheme="light", media=""):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})


def move_to(browser, number, panel=0):
    """Move the pointer onto a point of a panel of the first figure."""
    place = browser.execute_script(
        """
        const figure = document.querySelectorAll(".drawing figure")[arguments[0]];
        const svg = figure.querySelector("svg");
        svg.scrollIntoView({block: "center", behavior: "instant"});
        const [x, y] = JSON.parse(figure.querySelector("script").textContent)[arguments[1]];
        const place = new DOMPoint(x, y).matrixTransform(svg.getScreenCTM());
        return [place.x, place.y];
        """,
        panel, number,
    )  # fmt: skip
    about = {"type": "mouseMoved", "x": place[0], "y": place[1]}
    browser.execute_cdp_cmd("Input.dispatchMouseEvent", about)
    return browser.execute_script(
        "const tip = document.getElementById('tip'); return tip.hidden ? '' : tip.innerText;"
    )


def test_no_request_leaves_and_the_console_is_silent(opened):
    show_as(opened, 1200)
    move_to(opened, 0)
    asked = [e["params"]["request"]["url"] for e in events(opened)
             if e["method"] == "Network.requestWillBeSent"]  # fmt: skip
    assert [url.partition(":")[0] for url in asked[:1]] == ["file"]
    assert {url.partition(":")[0] for url in asked[1:]} <= {"data"}
    assert opened.get_log("browser") == []


def test_a_point_tells_its_round(opened):
    show_as(opened, 1200)
    told = move_to(opened, 0)
    assert "dense (round 0)" in told and "test accuracy:" in told
    rounds = opened.execute_script(
        "return JSON.parse(document.querySelector('.drawing figure script').textContent)"
        ".map((point) => point[3][0]);"
    )
    number = next(i for i, text in enumerate(rounds) if text.endswith(", round 1"))
    assert rounds[number] in move_to(opened, number)


def test_a_series_is_switched_off_and_on(opened):
    show_as(opened, 1200)
    shown = """
        const drawing = document.querySelector(".drawing");
        const parts = [...drawing.querySelectorAll(`[data-series="${arguments[0]}"]`)];
        return [parts.length, parts.filter((p) => getComputedStyle(p).display !== "none").length];
        """
    box = opened.find_element("css selector", ".drawing .legend input")
    series = box.get_attribute("data-of")
    many, before = opened.execute_script(shown, series)
    assert many == before > 1
    box.click()
    assert opened.execute_script(shown, series) == [many, 0]
    told = opened.execute_script(
        "return JSON.parse(document.querySelector('.drawing figure script').textContent)"
        ".findIndex((point) => point[2] === Number(arguments[0]));", series,
    )  # fmt: skip
    name = box.find_element("xpath", "..").text.strip()
    assert not move_to(opened, told).startswith(f"{name},")
    box.click()
    assert opened.execute_script(shown, series) == [many, many]


def test_the_keyboard_reads_a_curve(opened):
    show_as(opened, 1200)
    svg = "document.querySelector('.drawing figure svg')"
    opened.execute_script(f"{svg}.focus()")
    told = []
    for _ in range(2):
        for kind in ("keyDown", "keyUp"):
            key = {"type": kind, "key": "ArrowRight", "code": "ArrowRight",
                   "windowsVirtualKeyCode": 39}  # fmt: skip
            opened.execute_cdp_cmd("Input.dispatchKeyEvent", key)
        told.append(opened.find_element("id", "tip").text)
    assert all(told) and told[0] != told[1]


@pytest.mark.parametrize("width", [390, 768, 1200])
def test_the_page_does_not_scroll_sideways(opened, width):
    show_as(opened, width)
    assert opened.execute_script("return document.documentElement.scrollWidth") <= width
    wide = opened.execute_script(
        "return [...document.querySelectorAll('.scroll')]"
        ".some((table) => table.scrollWidth > table.clientWidth);"
    )
    assert wide or width > 390  # a wide table scrolls by itself


@pytest.mark.parametrize(("scheme", "paper"), [("light", 255), ("dark", 23)])
def test_the_scheme_of_the_system_is_followed(opened, scheme, paper):
    show_as(opened, 1200, scheme)
    background = "return getComputedStyle(document.body).backgroundColor"
    assert opened.execute_script(background) == f"rgb({paper}, {paper}, {paper})"
    opened.execute_script("document.getElementById('scheme').click()")
    other = 255 + 23 - paper
    assert opened.execute_script(background) == f"rgb({other}, {other}, {other})"
    opened.execute_script("document.getElementById('scheme').click()")
    opened.execute_script("document.documentElement.style.colorScheme = ''")


def test_print_is_light_and_whole(opened):
    show_as(opened, 1200, "dark", "print")
    background = "return getComputedStyle(document.body).backgroundColor"
    assert opened.execute_script(background) == "rgb(255, 255, 255)"
    show_as(opened, 1200)
    file = base64.b64decode(opened.print_page())
    assert file.startswith(b"%PDF") and len(file) > 20_000
