"""Units, depth intervals and the table of properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geosoil.errors import InputError, UsageError
from geosoil.soil import (
    STANDARD_DEPTHS,
    Depth,
    Property,
    Target,
    convert_unit,
    parse_depths,
    properties,
    property_of,
    unit_of,
)

FRACTIONS = ["%", "g/kg", "dg/kg", "mg/kg", "ug/kg"]


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("%", "%"), ("percent", "%"), ("wt%", "%"), ("wt %", "%"), ("g/100g", "%"), ("g / 100 g", "%"),
        ("g/kg", "g/kg"), ("G/KG", "g/kg"), ("g kg-1", "g/kg"), ("g kg⁻¹", "g/kg"), ("g·kg−1", "g/kg"),
        ("g per kg", "g/kg"), ("mg/g", "g/kg"), ("‰", "g/kg"),
        ("dg/kg", "dg/kg"),
        ("mg/kg", "mg/kg"), ("ppm", "mg/kg"), ("µg/g", "mg/kg"), ("ug/g", "mg/kg"), ("mg.kg-1", "mg/kg"),
        ("ppb", "ug/kg"), ("ng/g", "ug/kg"),
        ("-", "1"), ("pH", "1"),
    ],
)  # fmt: skip
def test_units_are_read_in_the_ways_laboratories_write_them(text: str, unit: str) -> None:
    assert unit_of(text) == unit


@pytest.mark.parametrize(
    ("unit", "to", "factor"),
    [
        ("%", "g/kg", 10.0), ("dg/kg", "g/kg", 0.1), ("g/kg", "%", 0.1), ("ppm", "mg/kg", 1.0),
        ("%", "mg/kg", 10_000.0), ("ug/g", "mg/kg", 1.0), ("ppb", "mg/kg", 0.001), ("-", "1", 1.0),
    ],
)  # fmt: skip
def test_conversion_factors_are_exact(unit: str, to: str, factor: float) -> None:
    assert convert_unit(unit, to) == factor


@given(st.sampled_from(FRACTIONS), st.sampled_from(FRACTIONS), st.sampled_from(FRACTIONS))
def test_conversions_chain_and_invert(first: str, second: str, third: str) -> None:
    assert convert_unit(first, second) * convert_unit(second, third) == pytest.approx(convert_unit(first, third))


@pytest.mark.parametrize("text", ["kg/m3", "cmol/kg", "mg/l", "t/ha", "g"])
def test_unknown_unit_is_named(text: str) -> None:
    with pytest.raises(InputError, match=text) as caught:
        unit_of(text)
    assert caught.value.code == "GS-UNIT-UNKNOWN"


def test_units_of_different_kind_do_not_convert() -> None:
    with pytest.raises(InputError, match="does not turn") as caught:
        convert_unit("%", "1")
    assert caught.value.code == "GS-UNIT-MISMATCH"


def test_depths_are_read_and_sorted() -> None:
    expected = (Depth(0, 5), Depth(5, 15), Depth(15, 30))
    assert parse_depths(["15-30 cm", "0\u20135", (5, 15)]) == expected
    assert parse_depths("0-5, 5_15,15-30cm") == expected
    assert parse_depths(expected) == expected
    assert parse_depths([depth.label for depth in STANDARD_DEPTHS]) == STANDARD_DEPTHS


@pytest.mark.parametrize(
    "items",
    [
        [], "", ["topsoil"], ["5"], ["5-5"], ["15-5"], ["-5-5"], ["0-2.5"], [(0, 2.5)], [(0, float("nan"))],
        [(0, float("inf"))], [(0,)], [(0, 5, 15)], ["0-10", "5-15"],
    ],
)  # fmt: skip
def test_what_is_no_depth_is_refused(items: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        parse_depths(items)
    assert caught.value.code == "GS-DEPTH"


def test_overlapping_depths_are_named() -> None:
    with pytest.raises(UsageError, match="0-10 cm and 5-15 cm"):
        parse_depths(["5-15", "0-10"])


def test_declared_properties_are_the_ones_promised() -> None:
    known = properties()
    assert {"soc", "som", "clay", "ph", "pb", "as", "cu"} <= set(known)
    for one in known.values():
        low, high = one.usual
        assert one.lowest <= low < high <= one.highest
        assert len(set(one.colours)) == 7
        assert unit_of(one.unit) == one.unit
    units = {code: known[code].unit for code in ("soc", "clay", "ph", "pb")}
    assert units == {"soc": "g/kg", "clay": "%", "ph": "1", "pb": "mg/kg"}


def test_property_is_found_in_any_case_and_an_unknown_one_is_named() -> None:
    assert property_of("SOC").code == "soc"
    with pytest.raises(UsageError, match="'zn'") as caught:
        property_of("zn")
    assert caught.value.code == "GS-PROPERTY-UNKNOWN"
    assert "soc" in caught.value.render()


@pytest.mark.parametrize("code", ["", "Pb", "soc/1", "../x", "a b", "1x"])
def test_property_code_is_safe_in_a_file_name(code: str) -> None:
    with pytest.raises(UsageError) as caught:
        Property(code, "x", "1", 0, 1, (0, 1))
    assert caught.value.code == "GS-PROPERTY-CODE"


def test_target_names_its_file_and_title() -> None:
    target = Target(property_of("soc"), Depth(0, 5))
    assert target.stem() == "soc_0-5cm_mean"
    assert target.title == "Soil organic carbon 0-5 cm [g/kg]"
    assert Target(property_of("ph"), Depth(0, 5)).title == "Soil pH 0-5 cm"
