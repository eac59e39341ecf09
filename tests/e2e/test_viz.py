"""Pictures: every format, their layout, hostile names, and the page in a real browser."""

import itertools
import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pygraphviz
import pytest
from chromium import Chromium, executable
from random_graphs import random_graph

import graphc as gx
from graphc import nn, optim
from graphc.ir.graph import Graph
from graphc.ir.tensor import name_scope
from graphc.viz import SUFFIXES, dot, placed
from graphc.viz.picture import BACKWARD, FORWARD, UPDATE

NASTY = 'a "quoted" <b>&amp; \\n \\ line\nbreak </script> \x07 ü 漢 {|} \\'
MAGIC = {".dot": b"digraph", ".svg": b"<svg", ".png": b"PNG", ".pdf": b"%PDF", ".html": b"<html"}


def model(layers=2, optimizer=None):
    x, y = gx.input("x", (None, 8)), gx.input("y", (None, 4))
    parts = []
    for _ in range(layers - 1):
        parts += [nn.Linear(8, 8), nn.Tanh()]
    out = nn.Sequential(*parts, nn.Linear(8, 4))(x)
    return gx.Model(
        inputs=x,
        outputs=out,
        targets=y,
        loss=nn.mse_loss(out, y),
        optimizer=optimizer or optim.SGD(0.1),
    )


def chain(length):
    x = gx.input("x", (None, 8))
    h = x
    for i in range(length):
        h = h * 0.9 if i % 2 else gx.sin(h)
    loss = gx.sum(h)
    return Graph([x], {"loss": loss, "dx": gx.grad(loss, x)})


def grid(n):
    inputs = [gx.input(f"x{i}", (None, 8)) for i in range(n)]
    row = inputs
    for _ in range(n):
        row = [a + b for a, b in zip(row, [*row[1:], row[0]], strict=True)]
    return Graph(inputs, {f"y{i}": t for i, t in enumerate(row)})


def second_order():
    a = gx.input("a", (), dtype="float64")
    c = gx.exp(a * a) + gx.sin(a) * (a * a)
    first = gx.grad(c, a)
    return Graph([a], {"c": c, "first": first, "second": gx.grad(first, a)})


def nested():
    x = gx.input("x", (None, 8))
    with name_scope("outer"):
        h = gx.exp(x)
        with name_scope("inner"):
            h = gx.sin(h) * 2.0
        h = gx.cos(h)
        with name_scope("inner"):  # called twice: two bands
            h = gx.sin(h)
    return Graph([x], {"loss": gx.sum(h), "dx": gx.grad(gx.sum(h), x)})


def loops():
    """A loop that captures ``w`` and has a loop and a branch in it, and its gradient."""
    x = gx.input("x", (5, 3))
    w = gx.parameter(np.ones((3, 3)), name="w", dtype="float32")

    def step(c, u):
        h = gx.tanh(c @ w + u)
        inner, _ = gx.scan(lambda a, b: (a * b, None), h, gx.stack([h, h]))
        return gx.cond(gx.sum(h) > 0, lambda: inner, lambda: inner * 2.0), h

    c, ys = gx.scan(step, gx.zeros((3,)), x)
    loss = gx.sum(c) + gx.sum(ys)
    return Graph([x], {"c": c, "ys": ys, "dw": gx.grad(loss, w)})


GRAPHS = {
    "loops": loops,
    "sgd": lambda: model().graph,
    "adam": lambda: model(3, optim.Adam(1e-3)).graph,
    "chain": lambda: chain(60),
    "grid": lambda: grid(8),
    "second order": second_order,
    "nested": nested,
    "one input": lambda: Graph([t := gx.input("x", (2,))], {"x": t}),
    "one number": lambda: Graph([], {"c": gx.constant(2.0)}),
    "empty": lambda: Graph([], {}),
} | {f"random {seed}": lambda seed=seed: random_graph(seed) for seed in range(12)}


# -- files -----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format(tmp_path, suffix):
    path = tmp_path / f"picture{suffix.upper()}"
    assert gx.visualize(model(), path) == path
    assert MAGIC[suffix] in path.read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_same_graph_same_bytes(tmp_path, suffix):
    pictures = []
    for number in range(2):
        path = tmp_path / f"{number}{suffix}"
        gx.visualize(model(3, optim.Adam(1e-3)), path)
        pictures.append(path.read_bytes())
    assert pictures[0] == pictures[1]
    assert suffix != ".pdf" or b"D:20000101" in pictures[0]


def test_what_can_be_drawn(tmp_path):
    x = gx.input("x", (3,))
    y = gx.sum(x * 2.0)
    f = gx.function([x], y)
    for thing in (y, f.graph, f, model()):
        gx.visualize(thing, tmp_path / "a.svg")


def test_parameters_of_a_network_are_counted(tmp_path):
    gx.visualize(model(), tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    assert "108 parameters" in text  # 8 * 8 + 8 + 8 * 4 + 4
    assert "float32(8, 8) · 64 parameters" in text
    assert "linear_0" in text
    assert "forward ↓" in text
    assert "backward ↑" in text
    assert "update →" in text


def test_unknown_suffix_names_the_known(tmp_path):
    with pytest.raises(ValueError, match=r"'a\.jpeg' must end in one of \.dot, \.svg"):
        gx.visualize(model(), tmp_path / "a.jpeg")
    assert not list(tmp_path.iterdir())


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no folder .*nowhere"):
        gx.visualize(model(), tmp_path / "nowhere" / "a.svg")


def test_wrong_thing_is_named(tmp_path):
    with pytest.raises(TypeError, match="Model, got ndarray"):
        gx.visualize(np.zeros(3), tmp_path / "a.svg")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.svg"
    path.write_text("old")

    def fail(self, target):
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        gx.visualize(model(), path)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.svg"]


# -- hostile names -----------------------------------------------------------------------------


def nasty_graph():
    x = gx.input(NASTY, (None, 3))
    w = gx.parameter(np.ones((3, 3)), name=NASTY + "w")
    with name_scope(NASTY):
        loss = gx.sum(x @ w)
    return Graph([x], {NASTY + "out": loss, "dw": gx.grad(loss, w)})


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_names_are_escaped(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    gx.visualize(nasty_graph(), path)
    if suffix == ".svg":
        text = "".join(ElementTree.parse(path).getroot().itertext())
        assert 'a "quoted" <b>&amp;' in text.replace("\xa0", " ")
    if suffix == ".dot":
        drawing = pygraphviz.AGraph(string=path.read_text())
        assert len([n for n in drawing.nodes() if re.fullmatch(r"n\d+", n)]) == 9
    if suffix == ".html":
        keys = {node["key"] for node in page_data(path)["nodes"]}
        assert any(key.startswith('a "quoted" <b>&amp; \\n \\ line\\nbreak </scr') for key in keys)
        assert path.read_text().count("</script>") == 2  # the data's and the code's


# -- layout -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GRAPHS)
def test_layout(name):
    picture = placed(GRAPHS[name]())
    shown = {item.tensor for item in picture.items}
    rows = {}
    for item in picture.items:
        assert 0 <= item.row < picture.rows
        rows.setdefault((item.lane, item.row), []).append(item)
    for items in rows.values():  # nothing lies on anything
        items.sort(key=lambda i: i.x)
        for a, b in itertools.pairwise(items):
            assert a.x + a.width / 2 < b.x - b.width / 2
    for line in picture.lines:
        if line.kind == "flow" and line.source.lane == FORWARD:
            assert line.source.row < line.target.row
        if line.kind == "flow" and line.source.lane == BACKWARD:
            assert line.source.row > line.target.row
        if line.kind == "flow" and line.source.lane == UPDATE:
            assert line.source.x < line.target.x
    for lane, (left, right) in picture.lane_spans.items():
        for item in picture.items:
            if item.lane == lane:
                assert left <= item.x - item.width / 2 + 0.1
                assert item.x + item.width / 2 <= right + 0.1
    for band in picture.bands:
        for other in picture.bands:  # bands are nested or apart
            if band is other or other.parent is band or band.parent is other:
                continue
            assert band.bottom <= other.top or other.bottom <= band.top or band.depth != other.depth
    for item in picture.items:
        if item.band is not None and item.lane != UPDATE:
            assert item.band.top <= item.row < item.band.bottom
    edges = {(x, n) for n in shown for x in n.inputs if x in shown}
    drawn = [n for n in picture.lines if n.kind != "adjoint"]
    assert len(drawn) == len(edges)


@pytest.mark.parametrize("name", ["sgd", "adam", "chain", "nested"])
def test_an_adjoint_shares_the_row_of_its_primal(name):
    picture = placed(GRAPHS[name]())
    ties = [line for line in picture.lines if line.kind == "adjoint"]
    assert len(ties) >= 5
    assert all(tie.source.row == tie.target.row for tie in ties)


def test_layers_are_bands_through_all_lanes():
    picture = placed(model(3, optim.Adam(1e-3)).graph)
    labels = [band.label for band in picture.bands]
    assert labels[:5] == ["linear_0", "tanh_0", "linear_1", "tanh_1", "linear_2"]
    first = picture.bands[0]
    assert {i.lane for i in picture.items if i.layer is first} == {FORWARD, BACKWARD, UPDATE}


def test_nested_scopes_are_nested_bands():
    bands = placed(nested()).bands
    assert [(b.label, b.depth) for b in bands] == [("outer", 0), ("inner", 1), ("inner", 1)]
    outer, *inner = bands
    assert all(outer.top <= b.top < b.bottom <= outer.bottom for b in inner)


def test_numbers_are_written_into_their_users():
    x = gx.input("x", (3,))
    picture = placed(Graph([x], {"y": gx.sin(x * 2.5)}))
    assert [item.kind for item in picture.items] == ["input", "forward", "forward"]
    assert picture.items[1].title == "multiply_0(·, 2.5)"


@pytest.mark.parametrize("make", [lambda: chain(670), lambda: grid(44)], ids=["chain", "grid"])
def test_two_thousand_nodes_take_seconds(tmp_path, make):
    graph = make()
    assert len(graph) >= 1980
    start = time.perf_counter()
    for suffix in (".svg", ".html"):
        gx.visualize(graph, tmp_path / f"a{suffix}")
    assert time.perf_counter() - start < 10


def test_a_tall_picture_is_cut_into_panels():
    picture = placed(chain(670))
    geometry = dot.Geometry(picture)
    assert len(picture.cuts) > 4
    assert 0.3 < geometry.height / geometry.width < 3


# -- loops ---------------------------------------------------------------------------------------


def everything(picture):
    return [item for part in picture.everything() for item in part.items]


def box_of(picture, key):
    return next(item for item in everything(picture) if item.key == key)


def in_a_loop(f):
    x = gx.input("x", (4,))
    return placed(Graph([x], {"y": f(x)}))


BOXES = {
    "scan": lambda x: gx.scan(lambda c, u: (gx.sin(c) + u, None), x[0], x)[0],
    "while_loop": lambda x: gx.while_loop(lambda c: gx.sum(c) < 9, lambda c: gx.sin(c) + 1.0, x),
    "cond": lambda x: gx.cond(gx.sum(x) > 0, lambda a: gx.sin(a), lambda a: a * 2.0, x),
    "switch": lambda x: gx.switch(gx.argmax(x), [gx.sin, gx.cos, gx.exp, gx.tanh], x),
    "checkpoint": lambda x: gx.checkpoint(lambda a: gx.sin(a) * a, x),
}


@pytest.mark.parametrize("name", BOXES)
def test_what_is_done_in_a_step_stands_in_a_box(name):
    picture = in_a_loop(BOXES[name])
    assert any(item.inside for item in picture.items)
    inner = [item for part in list(picture.everything())[1:] for item in part.items]
    assert "sin" in {item.tensor.op.name for item in inner}
    assert "in boxes" in picture.subtitle


def test_boxes_say_where_values_come_from_and_go():
    picture = placed(loops())
    box = box_of(picture, "scan_0")
    operands = {line.source.title for line in picture.lines if line.target is box}
    assert {"x", "w"} <= operands
    users = {line.target.title for line in picture.lines if line.source is box}
    assert {"c = result_0", "ys = result_1"} <= users
    assert "from w" in box_of(picture, "scan_0/step/w").lines
    assert "from x" in box_of(picture, "scan_0/step/x").lines
    assert any(line.startswith("to ys") for line in box_of(picture, "scan_0/step/tanh_0").lines)
    assert "next 0" in box_of(picture, "scan_0/step/scan_0/step/multiply_0").lines
    keys = [item.key for item in everything(picture)]
    assert len(set(keys)) == len(keys)


def lies(picture, origin=(0.0, 0.0)):
    """Yield the items with their rectangles, each with that of the box around it."""
    geometry = dot.Geometry(picture, origin)
    for item in picture.items:
        (x, y), w, h = geometry.centre(item), item.width / 2, item.height / 2
        own = (x - w, y - h, x + w, y + h)
        yield item, own
        for part in item.inside:
            for inner, place in lies(part.picture, (own[0] + part.x, own[1] + part.y)):
                assert own[0] < place[0] < place[2] < own[2], inner.key
                assert own[1] < place[1] < place[3] < own[3], inner.key
                yield inner, place


@pytest.mark.parametrize("make", [loops, lambda: in_layers().graph], ids=["loops", "layers"])
def test_what_stands_in_a_box_lies_in_it(make):
    placed_items = list(lies(placed(make())))
    assert len(placed_items) > 50
    for part in placed(make()).everything():  # and on nothing else
        flat = [(i, r) for i, r in lies(part) if i in part.items]
        for (_, a), (_, b) in itertools.combinations(flat, 2):
            assert a[2] < b[0] or b[2] < a[0] or a[3] < b[1] or b[3] < a[1]


def in_layers():
    x, y = gx.input("x", (None, 6, 3)), gx.input("y", (None, 6, 4))
    out, _ = nn.GRU(3, 4, num_layers=2)(x)
    return gx.Model(inputs=x, outputs=out, targets=y, loss=nn.mse_loss(out, y),
                    optimizer=optim.Adam(0.1))  # fmt: skip


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("make", [loops, in_layers], ids=["loops", "layers"])
def test_every_format_shows_the_step_of_a_loop(tmp_path, suffix, make):
    path = tmp_path / f"a{suffix}"
    gx.visualize(make(), path)
    picture = placed(make().graph if make is in_layers else make())
    items = everything(picture)
    if suffix == ".dot":
        drawing = pygraphviz.AGraph(string=path.read_text())
        names = [n for n in drawing.nodes() if re.fullmatch(r"n\d+(_\d+_\d+)*", n)]
        assert len(names) == len(items)
    if suffix == ".svg":
        text = "".join(ElementTree.parse(path).getroot().itertext())
        assert text.count("step") >= 2
        assert "you feed it, or its box does" in text.replace("\xa0", " ")
        assert text.count("tanh_0") >= 1
    if suffix == ".html":
        nodes = page_data(path)["nodes"]
        assert sorted(n["key"] for n in nodes) == sorted(item.key for item in items)


def test_a_very_large_step_is_not_drawn_and_says_so(tmp_path):
    def step(c, u):
        for _ in range(400):
            c = gx.sin(c) * u
        return c, None

    picture = in_a_loop(lambda x: gx.scan(step, x[0], x)[0])
    (box,) = (item for item in picture.items if item.tensor.op.name == "scan")
    assert not box.inside
    assert "step: 802 nodes, too many to draw" in box.lines


# -- the page, without a browser -------------------------------------------------------------------


def page_data(path):
    text = path.read_text()
    return json.loads(re.search(r'type="application/json">(.*?)</script>', text, re.S)[1])


def test_the_page_needs_nothing_else(tmp_path):
    gx.visualize(model(), tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text()
    assert "default-src 'none'" in text
    code = re.sub(r'<script id="data".*?</script>', "", text, flags=re.S)
    links = re.findall(r"https?://[^\s\"'<>]+", code)
    assert set(links) <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"\b(src|href)=|@import|fetch\(|XMLHttpRequest|innerHTML", code)


@dataclass
class Compiled:
    """Stands for a compiled Function: a graph, and the text of the kernels of its nodes."""

    graph: gx.Graph
    kernel_texts: dict[str, str]


def test_the_page_shows_the_code_that_computes_a_node(tmp_path):
    x = gx.input("x", (None, 3))
    gx.visualize(gx.function([x], gx.tanh(x) * 2), tmp_path / "a.html")
    nodes = {n["key"]: n for n in page_data(tmp_path / "a.html")["nodes"]}
    assert "vmath.tanh" in nodes["tanh_0"]["code"]
    assert nodes["tanh_0"]["code"] == nodes["multiply_0"]["code"]  # one kernel does both


def test_the_page_holds_every_node(tmp_path):
    built = model()
    graph = built.graph
    product = next(n for n in graph if n.op.name == "matmul")
    code = {graph.keys[product]: "def kernel():\n    pass </script>"}
    gx.visualize(Compiled(graph, code), tmp_path / "a.html")
    data = page_data(tmp_path / "a.html")
    assert {n["key"] for n in data["nodes"]} <= set(graph.dag)
    node = next(n for n in data["nodes"] if n["key"] == graph.keys[product])
    assert node["code"] == code[graph.keys[product]]
    assert node["type"] == "float32(None, 8)"
    assert node["flops"] == "128*batch"
    assert node["writes"] == "32*batch"
    assert Path(__file__).name in node["loc"]
    assert "Sequential" in node["text"]
    weight = next(n for n in data["nodes"] if n["key"] == "linear_0.weight")
    assert node["inputs"][1] == data["nodes"].index(weight)


def test_the_page_leads_from_a_loop_to_its_operands(tmp_path):
    gx.visualize(loops(), tmp_path / "a.html")
    nodes = page_data(tmp_path / "a.html")["nodes"]
    at = {node["key"]: number for number, node in enumerate(nodes)}
    assert nodes[at["scan_0/step/w"]]["inputs"] == [at["w"]]
    assert nodes[at["scan_0/step/w"]]["box"] == at["scan_0"]
    assert nodes[at["scan_0/step/scan_0/step/multiply_0"]]["box"] == at["scan_0/step/scan_0"]
    assert nodes[at["scan_0"]]["type"].endswith("results")


# -- the page in a browser -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    if executable() is None:
        pytest.skip("no Chromium is installed")
    chromium = Chromium()
    yield chromium
    chromium.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "model.html"
    built = model(3, optim.Adam(1e-3))
    key = next(built.graph.keys[n] for n in built.graph if n.op.name == "matmul")
    gx.visualize(Compiled(built.graph, {key: "for i in range(n): ..."}), path)
    return path.as_uri()


@pytest.fixture(autouse=True)
def _quiet(request):
    """After every test in a browser: no complaint on its console, nothing from the network."""
    yield
    if "browser" in request.fixturenames:
        chromium = request.getfixturevalue("browser")
        assert chromium.complaints() == []
        assert chromium.requests() == []


def boxes(browser):
    return browser.js("document.querySelectorAll('.node').length")


def test_browser_draws_all_nodes(browser, page):
    browser.open(page)
    assert boxes(browser) == browser.js("nodes.length") > 100
    assert browser.js("document.querySelectorAll('.band').length") == browser.js("bands.length")


def test_browser_search(browser, page):
    browser.open(page)
    browser.press("/")
    assert browser.js("document.activeElement.id") == "search"
    for letter in "matmul":
        browser.press(letter, letter)
    found = browser.js("[...document.querySelectorAll('.node.match')].map(e => e.dataset.key)")
    assert found
    assert all("matmul" in key for key in found)
    assert f"{len(found)} matches" in browser.js("document.getElementById('details').textContent")
    browser.press("Enter", "\r")
    assert browser.js("document.querySelector('.selected').dataset.key") in found
    browser.open(page + "#search=(8,%208)")  # a shape
    assert browser.js("document.querySelectorAll('.node.match').length") > 5


def test_browser_click_shows_details(browser, page):
    browser.open(page)
    browser.click('[data-key="tanh_0"]')
    assert "∂ tanh_0" in browser.js("document.getElementById('details').innerText")
    browser.click('[data-key="matmul_0"]')
    text = browser.js("document.getElementById('details').innerText")
    for part in ("matmul_0", "float32(None, 8)", "128*batch FLOPs", "linear_0.weight",
                 "test_viz.py:", "for i in range(n): ..."):  # fmt: skip
        assert part in text, part
    assert browser.js("document.querySelectorAll('.line.hot').length") >= 3
    browser.js("[...document.querySelectorAll('.link')]"
               ".find(e => e.textContent.startsWith('linear_0.weight')).click()")  # fmt: skip
    assert browser.js("document.querySelector('.selected').dataset.key") == "linear_0.weight"
    browser.press("Escape")
    assert browser.js("document.querySelector('.selected')") is None


def test_browser_keys_walk_the_graph(browser, page):
    browser.open(page + "#node=matmul_0")
    selected = "document.querySelector('.selected').dataset.key"
    browser.press("ArrowUp")
    assert browser.js(selected) == "x"
    browser.press("ArrowDown")
    assert browser.js(selected) == "matmul_0"
    browser.press("ArrowDown")
    browser.press("ArrowDown")
    assert browser.js(selected) == "tanh_0"
    browser.press("ArrowRight")
    assert browser.js("nodes[state.selected].title") == "∂ tanh_0"
    browser.press("ArrowLeft")
    assert browser.js(selected) == "tanh_0"


def test_browser_collapse(browser, page):
    browser.open(page)
    before, height = boxes(browser), browser.js("extent.height")
    browser.click(".band .toggle")
    groups = "[...document.querySelectorAll('.group')].map(e => e.dataset.group)"
    assert browser.js(groups) == ["linear_0"] * 3  # one box a lane
    assert boxes(browser) < before
    assert browser.js("extent.height") < height
    browser.press("c")  # everything open again
    assert boxes(browser) == before
    browser.press("c")
    assert set(browser.js(groups)) == {"linear_0", "tanh_0", "linear_1", "tanh_1", "linear_2"}
    browser.click(".group")
    assert set(browser.js(groups)) == {"tanh_0", "linear_1", "tanh_1", "linear_2"}
    browser.open(page + "#collapse=all&node=matmul_0")  # a link opens what it leads to
    assert browser.js("document.querySelector('.selected').dataset.key") == "matmul_0"


def test_browser_phases(browser, page):
    browser.open(page)
    browser.click(".phase:nth-child(3)")
    assert browser.js("document.querySelectorAll('.node.update').length") == 0
    browser.open(page + "#hide=backward")
    assert browser.js("document.querySelectorAll('.node.backward').length") == 0
    assert browser.js("document.querySelectorAll('.phase input')[1].checked") is False


def test_browser_zoom(browser, page):
    browser.open(page)
    scale = browser.js("view.k")
    browser.press("+", "+")
    assert browser.js("view.k") == pytest.approx(scale * 1.25)
    browser.send("Input.dispatchMouseEvent", type="mouseWheel", x=300, y=300, deltaX=0, deltaY=200)
    deadline = time.monotonic() + 10
    while browser.js("view.k") > scale and time.monotonic() < deadline:
        time.sleep(0.02)
    assert browser.js("view.k") < scale * 1.25
    browser.press("0", "0")
    assert browser.js("document.getElementById('world').getBoundingClientRect().width") <= 1400


def test_browser_opens_big_graphs_and_hostile_names(browser, tmp_path):
    gx.visualize(chain(670), tmp_path / "big.html")
    browser.open((tmp_path / "big.html").as_uri())
    assert boxes(browser) > 1600
    gx.visualize(nasty_graph(), tmp_path / "nasty.html")
    browser.open((tmp_path / "nasty.html").as_uri())
    assert browser.js("document.querySelectorAll('.node b').length") == 0
    assert boxes(browser) == 9
    gx.visualize(Graph([], {}), tmp_path / "empty.html")
    browser.open((tmp_path / "empty.html").as_uri())
    assert boxes(browser) == 0


def test_browser_opens_and_closes_loops(browser, tmp_path):
    gx.visualize(loops(), tmp_path / "loops.html")
    page = (tmp_path / "loops.html").as_uri()
    browser.open(page)
    whole, height = boxes(browser), browser.js("extent.height")
    assert whole == browser.js("nodes.length")
    browser.click('[data-key="scan_0"] > .toggle')
    inner = "document.querySelectorAll('[data-key^=\"scan_0/\"]').length"
    assert browser.js(inner) == 0
    assert boxes(browser) < whole
    browser.js("foldAll(true)")
    assert browser.js("extent.height") < height / 2
    browser.open(page + "#search=square_")  # of what is closed, the box is marked
    browser.js("foldAll(true)")
    found = browser.js("[...document.querySelectorAll('.node.match')].map(e => e.dataset.key)")
    assert len(found) == 1
    assert found[0].startswith("scan_")
    browser.open(page + "#collapse=all&node=scan_0/step/scan_0/step/multiply_0")
    assert browser.js("document.querySelector('.selected').dataset.key").endswith("multiply_0")
    assert browser.js(inner) > 10
    browser.press("ArrowUp")
    assert browser.js("document.querySelector('.selected').dataset.key").startswith("scan_0/")
    browser.press("c")
    assert boxes(browser) == whole
