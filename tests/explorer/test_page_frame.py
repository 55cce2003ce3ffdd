"""What an address means: a link that was followed, or one of ours that comes late."""

from gsto_viz.explorer import page_frame
from gsto_viz.explorer.page_frame import LATE_S, WrittenLink


def test_an_address_that_comes_late_is_ours_for_a_while(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(page_frame.time, "monotonic", lambda: now[0])
    written = WrittenLink({"scene": "0"})
    assert written.wrote({"scene": "0"})
    assert not written.wrote({})
    written = written.replaced_by({"scene": "1"})
    now[0] += 1
    written = written.replaced_by({"scene": "2"})
    now[0] += LATE_S - 1.5
    assert all(written.wrote({"scene": scene}) for scene in "012")
    assert not written.wrote({"scene": "3"})
    now[0] += 1
    # Whoever goes back in the browser after a while means it.
    assert [written.wrote({"scene": scene}) for scene in "012"] == [False, True, True]
    now[0] += 60
    written = written.replaced_by({"scene": "3"})
    assert [written.wrote({"scene": scene}) for scene in "0123"] == [False, False, True, True]
    assert len(written.before) == 1
