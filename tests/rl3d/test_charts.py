"""A picture of several charts is an SVG file that other readers draw."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from rl3d.charts import picture

SVG = "{http://www.w3.org/2000/svg}"


def test_a_picture_has_a_line_of_each_curve_in_each_panel():
    curves = {"flow": [(0.0, 0.1), (50.0, 0.9)], "tokens <1>": [(0.0, 0.3), (80.0, 0.5)]}
    root = ET.fromstring(picture({"colours": curves, "stable & connected": curves}, "minutes"))
    panels = root.findall(f"{SVG}g")
    assert [panel.findtext(f"{SVG}text") for panel in panels] == ["colours", "stable & connected"]
    for panel in panels:
        lines = [line.get("points") for line in panel.iter(f"{SVG}polyline")]
        places = [[tuple(map(float, point.split(","))) for point in (line or "").split()] for line in lines]
        (flow_start, flow_end), (_, tokens_end) = places
        assert flow_start[1] > flow_end[1], "higher values are higher up"
        assert flow_start[0] < flow_end[0] < tokens_end[0], "the x axis is shared"
        assert "80 minutes" in [text.text for text in panel.iter(f"{SVG}text")]
    assert [text.text for text in root.findall(f"{SVG}text")] == ["flow", "tokens <1>"]


def test_a_picture_has_bands_and_dashes_where_colours_begin_again():
    curves = {f"curve {i}": [(0.0, 0.1 * i), (0.5, 0.2 * i)] for i in range(9)}
    band = [(0.0, 0.3, 0.5), (0.5, 0.4, 2.0)]
    root = ET.fromstring(picture({"all": curves}, "minutes", bands={"all": {"curve 2": band}}))
    lines = list(root.iter(f"{SVG}polyline"))
    looks = [(line.get("stroke"), line.get("stroke-dasharray")) for line in lines]
    assert len(set(looks)) == 9 and looks[0][0] == looks[6][0]
    (polygon,) = root.iter(f"{SVG}polygon")
    assert polygon.get("fill") == looks[2][0]
    corners = [tuple(map(float, point.split(","))) for point in (polygon.get("points") or "").split()]
    (left, low), (right, _), (_, top), (_, high) = corners
    assert left < right and top < high < low, "the range holds the band"
    legend = root.findall(f"{SVG}text")
    assert [text.text for text in legend] == list(curves)
    assert len({(text.get("x"), text.get("y")) for text in legend}) == 9
