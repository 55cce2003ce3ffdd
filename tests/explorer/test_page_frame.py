"""What an address means: a link that was followed, or one of ours that comes late."""

from gsto_viz.explorer import page_frame
from gsto_viz.explorer.page_frame import LATE_IMAGE_S, LATE_S, WrittenLink


def test_an_address_that_comes_late_is_ours_for_a_while(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(page_frame.time, "monotonic", lambda: now[0])
    written = WrittenLink({"x": "0"})
    assert written.wrote({"x": "0"})
    assert not written.wrote({})
    written = written.replaced_by({"x": "1"})
    now[0] += 1
    written = written.replaced_by({"x": "2"})
    now[0] += LATE_S - 1.5
    assert all(written.wrote({"x": x}) for x in "012")
    assert not written.wrote({"x": "3"})
    now[0] += 1
    assert [written.wrote({"x": x}) for x in "012"] == [False, True, True]
    now[0] += 60
    written = written.replaced_by({"x": "3"})
    assert [written.wrote({"x": x}) for x in "0123"] == [False, False, True, True]
    assert len(written.before) == 1


def test_the_way_back_to_another_image_is_soon_meant(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(page_frame.time, "monotonic", lambda: now[0])
    written = WrittenLink({"scene": "0", "x": "1"}).replaced_by({"scene": "7", "x": "1"})
    now[0] += LATE_IMAGE_S / 2
    # A click that was made before the new address arrived.
    assert written.wrote({"scene": "0", "x": "1"})
    now[0] += LATE_IMAGE_S
    assert not written.wrote({"scene": "0", "x": "1"})
