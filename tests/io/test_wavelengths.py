"""Wavelengths of bands: detectors, their overlaps, and units."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geosoil.bands import Bands
from geosoil.errors import InputError
from geosoil.io.gaofen.bands import Calibration, bands_of
from geosoil.io.gaofen.names import families, join_of
from geosoil.io.wavelengths import OVERLAP, Spectral, detectors, mark_overlaps, numbers_of


def bands(*parts: list[float]) -> Bands:
    listed = tuple(one for part in parts for one in part)
    return Bands(tuple(f"B{place}" for place in range(len(listed))), wavelength_nm=listed)


def test_falling_wavelengths_are_detectors_too() -> None:
    vnir, swir = list(np.linspace(1000, 400, 7)), list(np.linspace(2500, 950, 9))
    assert detectors(vnir + swir) == [range(7), range(7, 16)]
    marked, _ = mark_overlaps(bands(vnir, swir))
    # 950 to 1000 nm overlap; joined at 975: the VNIR loses 1000, the SWIR loses 950.
    assert [one for one, good in zip(marked.wavelength_nm, marked.good, strict=True) if not good] == [1000, 950]


def test_the_longer_detector_may_come_first() -> None:
    swir, vnir = list(np.linspace(950, 2500, 9)), list(np.linspace(400, 1000, 7))
    marked, _ = mark_overlaps(bands(swir, vnir))
    assert [one for one, good in zip(marked.wavelength_nm, marked.good, strict=True) if not good] == [950, 1000]


@pytest.mark.parametrize("code", sorted(families()))
def test_a_cube_without_a_list_of_bad_bands_is_joined_where_its_product_is(code: str) -> None:
    family = families()[code]
    parts = {
        label: Calibration(
            gains=(1.0,) * one.bands,
            offsets=(0.0,) * one.bands,
            centres_nm=tuple(np.linspace(one.first_nm, one.last_nm, one.bands).tolist()),
            fwhm_nm=(one.fwhm_nm,) * one.bands,
        )
        for label, one in family.detectors.items()
    }
    product = bands_of(family, parts, family.join_nm)
    wanted = [name for name, why in zip(product.names, product.why, strict=True) if "detectors overlap" in why]
    assert wanted
    bare = Bands(product.names, wavelength_nm=product.wavelength_nm)
    marked, notes = mark_overlaps(bare, join_nm=join_of(family.name))
    assert [name for name, good in zip(marked.names, marked.good, strict=True) if not good] == wanted
    assert notes[0].endswith(f"joined at {family.join_nm:g} nm, where the sensor's meet")


def test_a_join_beside_the_overlap_is_passed_over() -> None:
    cube = bands([400, 500, 600, 700], [650, 750, 850])
    assert mark_overlaps(cube, join_nm=900) == mark_overlaps(cube)


def test_three_detectors_are_joined_pair_by_pair() -> None:
    marked, notes = mark_overlaps(bands([400, 500, 600, 700], [680, 780, 880, 980], [960, 1060, 1160]))
    assert len(notes) == 2
    assert [one for one, good in zip(marked.wavelength_nm, marked.good, strict=True) if not good] == [
        700,
        680,
        980,
        960,
    ]


def test_bands_in_no_order_are_left_alone_and_that_is_said() -> None:
    marked, notes = mark_overlaps(bands([660, 550, 480, 865, 1610, 705, 2200]))
    assert all(marked.good or (True,))
    assert "no order" in notes[0]


def test_a_detector_within_another_is_told_and_not_cut() -> None:
    marked, notes = mark_overlaps(bands([400, 700, 1000, 1300, 1600], [900, 950, 1000]))
    assert all(marked.good)
    assert "within" in notes[0]


def test_what_is_bad_already_keeps_its_reason() -> None:
    listed = Spectral.of([400, 500, 600, 700, 560, 660, 760], "nm", good=[True] * 3 + [False] + [True] * 3, where="c")
    marked, _ = mark_overlaps(listed.bands(list("abcdefg")))
    assert marked.why == ("", "", OVERLAP, "listed bad in the file", OVERLAP, "", "")


def test_an_overlap_that_the_file_has_cut_is_not_cut_again() -> None:
    listed = Spectral.of([400, 500, 600, 560, 660, 760], "nm", good=[True, True, False, True, True, True], where="c")
    marked, notes = mark_overlaps(listed.bands(list("abcdef")))
    assert marked.good == (True, True, False, True, True, True)
    assert not notes


def test_bands_without_a_wavelength_are_not_used_and_part_no_detector() -> None:
    listed = Spectral.of([0, 400, 500, 600, 0], "nm", where="c")
    marked, notes = mark_overlaps(listed.bands(list("abcde")))
    assert marked.good == (False, True, True, True, False)
    assert marked.why[0] == "no wavelength in the file"
    assert not notes


@given(
    st.integers(3, 40), st.integers(3, 40), st.floats(300, 900), st.floats(5, 12), st.floats(-200, 200), st.booleans()
)
def test_what_is_left_of_two_detectors_rises_strictly(
    one: int, other: int, start: float, step: float, gap: float, all_of_longer: bool
) -> None:
    first = [start + place * step for place in range(one)]
    second = [first[-1] + gap + place * step for place in range(other)]
    if gap > 0 or second[0] <= first[0] or second[-1] <= first[-1]:
        return
    marked, _ = mark_overlaps(bands(first, second), "longer" if all_of_longer else "middle")
    kept = [wave for wave, good in zip(marked.wavelength_nm, marked.good, strict=True) if good]
    assert (np.diff(kept) > 0).all()
    assert min(kept) == first[0]
    assert max(kept) == second[-1]
    assert marked.wavelength_nm == tuple(first + second)
    if all_of_longer:
        assert all(marked.good[one:])


@given(st.lists(st.floats(300, 3000), min_size=1, max_size=30, unique=True))
def test_nanometres_and_micrometres_are_the_same_wavelengths(listed: list[float]) -> None:
    micro = Spectral.of([one / 1000 for one in listed], "Micrometers", where="c").wavelength_nm
    np.testing.assert_allclose(micro, listed, rtol=1e-9)


@pytest.mark.parametrize("text", ["{1, 2, 3}", "1 2\n3", "{\n1,\n 2,3 }", "1;2;3", "1.0,2e0,3"])
def test_lists_are_read_however_they_are_spaced(text: str) -> None:
    assert numbers_of(text) == [1, 2, 3]


def test_widths_that_are_no_numbers_are_left_out_and_said() -> None:
    found = Spectral.of([400, 500], "nm", fwhm=[8, float("nan")], where="c")
    assert found.fwhm_nm == ()
    assert "left out" in found.notes[0]
    assert Spectral.of([400, 500], "nm", fwhm=[0, 0], where="c").fwhm_nm == ()


def test_a_list_of_nothing_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        Spectral.of([0, 0], "nm", where="c.hdr")
    assert caught.value.code == "GS-WAVELENGTH"
