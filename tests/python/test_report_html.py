"""The page in a real browser: it works, fits a phone, loads nothing, and its heat maps show what NumPy computes."""

import base64
import json
import shutil
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from conftest import FOLDERS, Case, cdi_prune
from safetensors.numpy import load_file, save_file

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]
WIDE, NARROW = {"width": 1400, "height": 900}, {"width": 360, "height": 740}

playwright = pytest.importorskip("playwright.sync_api")
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this system")


def report(case, **changes):
    """Writes a case's page and plots, threshold and decay told by the weights. Gives the page."""
    files = {"json": "report.json", "html": "report.html", "svg": "plots"}
    analyze = {"analyze__threshold": "auto", "analyze__decay": "auto", "analyze__report": files} | changes
    case.run("analyze", **analyze)
    return case.out / "report.html"


@pytest.fixture(scope="module", params=sorted(FOLDERS))
def page_case(request, tmp_path_factory):
    case = Case(request.param, tmp_path_factory.mktemp(request.param))
    report(case)
    return case


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=BROWSER, args=QUIET)
        yield browser
        browser.close()


class Visit:
    """A page in the browser, with what it said and asked for."""

    def __init__(self, browser, file, **context):
        self.context = browser.new_context(**context)
        self.page = self.context.new_page()
        self.said, self.asked = [], []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("dialog", lambda dialog: self.said.append(f"dialog: {dialog.message}"))
        self.url = file.as_uri()
        self.page.goto(self.url)

    def __enter__(self):
        return self

    def __exit__(self, error, *_):
        self.context.close()
        if error is None:
            assert self.said == []
            assert [url for url in self.asked if not url.startswith("data:")] == [self.url]

    def pixels(self, canvas):
        """The colours that a canvas shows once it has come into view, red, green, blue and opacity."""
        canvas.scroll_into_view_if_needed()
        script = """async canvas => {
            await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
            const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
            copy.drawImage(canvas, 0, 0);
            const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
            return btoa(Array.from(data, byte => String.fromCharCode(byte)).join(""));
        }"""
        return np.frombuffer(base64.b64decode(canvas.evaluate(script)), np.uint8).reshape(-1, 4)

    def column(self, head):
        """The table's cells below a heading, and the rows' names."""
        script = """head => {
            const heads = [...document.querySelectorAll("thead th")];
            const at = heads.findIndex(h => h.textContent === head);
            return [...document.querySelectorAll("tbody tr")].filter(row => !row.hidden)
                .map(row => [row.cells[0].textContent, Number(row.cells[at].dataset.v)]);
        }"""
        return self.page.evaluate(script, head)

    def sort(self, head):
        self.page.locator("thead button", has_text=head).click()


@needs_browser
@pytest.mark.parametrize("size, scheme", [(WIDE, "light"), (NARROW, "dark")], ids=["laptop", "phone"])
def test_it_fits_and_draws(page_case, browser, size, scheme):
    with Visit(browser, page_case.out / "report.html", viewport=size, color_scheme=scheme) as visit:
        across = visit.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert across[0] == across[1] == size["width"]
        for button in visit.page.locator("#unfold").all():
            button.click()
        canvases = visit.page.locator("canvas").all()
        names = {tensor["name"] for tensor in json.loads(page_case.report.read_text())["tensors"]}
        assert len(canvases) == len(names)
        for canvas in canvases:
            pixels = visit.pixels(canvas)
            assert (pixels[:, 3] == 255).all()
            # No tensor here changed everywhere alike, the smallest of 8 weights.
            assert len(np.unique(pixels, axis=0)) >= 4
        assert visit.page.evaluate("document.documentElement.scrollWidth") == size["width"]


@needs_browser
def test_a_click_sorts_and_another_turns_it_round(page_case, browser):
    with Visit(browser, page_case.out / "report.html", viewport=WIDE) as visit:
        before = visit.column("weights")
        tensors = {t["name"]: t for t in json.loads(page_case.report.read_text())["tensors"]}
        assert dict(map(tuple, before)) == {name: t["total_weights"] for name, t in tensors.items()}
        visit.sort("mean |Δ|")
        found = visit.column("mean |Δ|")
        expected = sorted(((name, t["mean_delta"]) for name, t in tensors.items()), key=lambda pair: -pair[1])
        assert [tuple(pair) for pair in found] == expected
        assert [name for name, _ in found] != [name for name, _ in before]
        assert visit.page.locator("th[aria-sort=descending]").inner_text().startswith("mean |Δ|")
        visit.sort("mean |Δ|")
        assert visit.column("mean |Δ|") == found[::-1]
        assert visit.page.locator("th[aria-sort=ascending]").count() == 1


@needs_browser
def test_the_filter_hides_rows_bars_and_cards(browser, tmp_path):
    case = Case("byte_lm_adamw", tmp_path)
    with Visit(browser, report(case), viewport=WIDE) as visit:
        for words, shown in [("qkv", 2), ("h1.", 10), ("H*.QKV.weight", 2), ("no such tensor", 0), ("", 25)]:
            visit.page.fill("#filter", words)
            assert len(visit.column("weights")) == shown
            assert visit.page.locator(".bars li:not([hidden])").count() == shown
            assert visit.page.locator(".tensor:not([hidden])").count() == shown
            assert visit.page.locator("#shown").inner_text() == (f"{shown} of 25 tensors" if words else "")


@needs_browser
def test_colours_follow_the_theme_and_the_chosen_scale(browser, tmp_path):
    case = Case("mlp_pad_sgd", tmp_path)
    with Visit(browser, report(case), viewport=WIDE, color_scheme="light") as visit:
        canvas = visit.page.locator("article[data-name='fc1.weight'] canvas")
        # The border of the images, which no gradient reached: the blue of what sleeps.
        assert list(visit.pixels(canvas)[0]) == [0x2C, 0x5A, 0xA0, 255]
        visit.page.emulate_media(color_scheme="dark")
        assert list(visit.pixels(canvas)[0]) == [0x4A, 0x8A, 0xF0, 255]
        shared = visit.pixels(canvas)
        visit.page.get_by_label("each map its own").check()
        assert canvas.locator("xpath=..").locator(".own").inner_text().startswith("colours from ")
        assert (visit.pixels(canvas) != shared).any()


@needs_browser
def test_the_tip_says_what_a_cell_is(browser, tmp_path):
    case = Case("mlp_pad_sgd", tmp_path)
    with Visit(browser, report(case), viewport=WIDE) as visit:
        canvas = visit.page.locator("article[data-name='fc1.weight'] canvas")
        canvas.hover(position={"x": 1, "y": 1})
        assert visit.page.locator("#tip").inner_text() == "row 0, columns 0 to 3\n|Δ| = 0\nevery weight asleep"
        visit.page.mouse.move(5, 5)
        assert visit.page.locator("#tip").is_hidden()


@needs_browser
def test_without_a_script_the_essentials_are_there(browser, tmp_path):
    case = Case("mlp_pad_sgd", tmp_path)
    with Visit(browser, report(case), viewport=NARROW, java_script_enabled=False) as visit:
        page = visit.page
        assert page.locator("h1").inner_text() == "22.7 % of the weights are sleeping."
        assert page.locator("tbody tr").count() == page.locator(".bars li").count() == 6
        assert page.locator(".bars svg").first.bounding_box()["width"] > 300
        assert page.locator(".histogram svg").first.is_visible()
        assert page.locator("noscript p").is_visible()
        # Nothing that only a script could make work is shown.
        for selector in ["#filter", "canvas", "input[name=scale]"]:
            assert page.locator(selector).first.is_hidden()


@needs_browser
def test_names_that_are_markup_do_nothing(browser, tmp_path):
    names = ["</script><script>alert(1)</script>", "\"'><img src=x onerror=alert(1)>", "a\u2028b\u202ec", "x" * 300]
    save_file({name: np.arange(12, dtype=np.float32).reshape(3, 4) for name in names}, tmp_path / "trained.safetensors")
    config = {"seed": 1, "rules": [{"match": "**", "init": "he"}], "trained": {"path": "trained.safetensors"},
              "analyze": {"report": {"html": "report.html"}}}
    (tmp_path / "<b onclick=alert(2)>.yaml").write_text(json.dumps(config))
    cdi_prune("analyze", tmp_path / "<b onclick=alert(2)>.yaml")
    with Visit(browser, tmp_path / "report.html", viewport=NARROW) as visit:
        assert visit.page.locator("body img, body b[onclick]").count() == 0
        assert visit.page.locator("script").count() == 1
        assert {cell.inner_text() for cell in visit.page.locator("tbody th").all()} == {
            names[0], names[1], "a\\u{2028}b\\u{202e}c", names[3]
        }
        assert visit.page.evaluate("document.documentElement.scrollWidth") == NARROW["width"]
        assert visit.page.locator("header").inner_text().startswith("cdi-prune report <b onclick=alert(2)>.yaml")


@needs_browser
def test_every_map_comes_to_paper(browser, tmp_path):
    case = Case("mlp_bf16_sgd", tmp_path)
    with Visit(browser, report(case), viewport=WIDE) as visit:
        assert visit.page.pdf().startswith(b"%PDF")
        for canvas in visit.page.locator("canvas").all():
            assert (visit.pixels(canvas)[:, 3] == 255).all()


def decoded(canvas_attributes, name):
    return np.frombuffer(base64.b64decode(canvas_attributes[name]), np.uint8).astype(int)


def test_heat_maps_are_what_numpy_computes(page_case):
    """At threshold 0 and a given decay, from the trained file and the program's own initial one, which test_init.py pins."""
    decay = {"mlp_pad_sgdm_wd": 0.5, "byte_lm_adamw": 0.786634}.get(page_case.name, 1.0)
    case = Case(page_case.name, page_case.out / "fixed")
    case.out.mkdir(exist_ok=True)
    page = report(case, analyze__threshold=0, analyze__decay=decay).read_text()
    trained, initial = case.trained(), case.initial_values()
    cards = page.split("<article")[1:]
    assert len(cards) == len(trained)
    for card in cards:
        name = card.split('data-name="')[1].split('"')[0]
        canvas = dict(part.split('="') for part in card.split("<canvas ")[1].split('" role')[0].split('" '))
        matrix = lambda tensors: np.atleast_2d(tensors[name].astype(np.float64))  # noqa: E731, B023
        delta = np.abs(matrix(trained) - decay * matrix(initial))
        delta = delta.reshape(len(delta), -1)
        rows, columns = min(96, len(delta)), min(256, delta.shape[1])
        assert (int(canvas["width"]), int(canvas["height"])) == (columns, rows)
        middle = [(2 * n + 1) * len(delta) // (2 * rows) for n in range(rows)]
        edges = [n * delta.shape[1] // columns for n in range(columns + 1)]
        cells = [delta[row, start:end] for row in middle for start, end in zip(edges, edges[1:])]
        means = np.array([cell.mean() for cell in cells])
        asleep = np.array([(cell == 0).mean() for cell in cells])
        expected = 20 * np.log10(np.where(means > 0, means, 1)) + 200
        levels = decoded(canvas, "data-levels")
        assert (np.abs(levels - np.clip(expected, 1, 254))[means > 0] < 0.5 + 1e-9).all()
        assert (levels[means == 0] == 0).all()
        shares = decoded(canvas, "data-asleep") if "data-asleep" in canvas else np.zeros(len(cells), int)
        assert (np.abs(shares - 15 * asleep) < 1 - 1e-9).all()
        assert ((shares == 0) == (asleep == 0)).all() and ((shares == 15) == (asleep == 1)).all()


def test_plots_are_well_formed(page_case):
    plots = sorted((page_case.out / "plots").iterdir())
    names = set(page_case.facts["shapes"])
    assert {plot.name for plot in plots} == {"layers.svg", "delta_histograms.svg", "evidence.svg"} | {
        f"heatmap_{name}.svg" for name in names
    }
    for plot in plots:
        root = ElementTree.parse(plot).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert float(root.get("width")) > 0 and float(root.get("height")) > 0


@needs_browser
def test_plots_show_their_picture(browser, tmp_path):
    case = Case("mlp_pad_sgd", tmp_path)
    report(case)
    with Visit(browser, tmp_path / "plots/heatmap_fc1.weight.svg", viewport=WIDE) as visit:
        found = visit.page.evaluate("""async () => {
            const picture = new Image();
            picture.src = document.querySelector("image").getAttribute("href");
            await picture.decode();
            return [picture.naturalWidth, picture.naturalHeight];
        }""")
        assert found == [256, 64]
