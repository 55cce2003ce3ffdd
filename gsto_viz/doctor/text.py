"""An examination as text."""

import textwrap
from collections.abc import Iterable, Sequence
from functools import partial

from gsto_viz.anatomy import safe_name
from gsto_viz.doctor.examine import ITSELF, Examination, GateFacts, ModuleFacts
from gsto_viz.text_table import text_table
from gsto_viz.words import counted

WIDTH = 100
"""Columns of sentences; tables are as wide as names are."""
MANY = 12
"""Rows of a list on screen; the JSON has all of them."""


def report_text(seen: Examination) -> str:
    """Lay an examination out: what it is, taps, gates, calls, in-place changes, resizing."""
    parts = [
        [
            f"{seen.name} ({seen.type}), {seen.parameters / 1e6:.3f} M parameters, seen on one "
            f"image of {seen.height}x{seen.width}",
            f"gives {_outputs(seen)}",
        ],
        _taps(seen),
        _gates(seen.gates),
        _calls(seen),
        _in_place(seen),
        _resizing(seen),
        _problems(seen.problems),
    ]
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


def _outputs(seen: Examination) -> str:
    if not seen.outputs:
        return "no tensor"
    return ", ".join(
        f"{key} {_shape(shape)}".strip() for key, shape in list(seen.outputs.items())[:MANY]
    )


def _shape(shape: Sequence[int] | None) -> str:
    return "never called" if shape is None else "x".join(map(str, shape))


def _taps(seen: Examination) -> list[str]:
    """Show the taps that a network declares, gates apart, or modules that could be taps."""
    if not seen.taps:
        return _candidates(seen.candidates)
    rows = [
        (
            tap.name,
            tap.stride,
            tap.channels,
            _shape(tap.shape) + ("" if tap.agrees else "  NOT AS DECLARED"),
        )
        for tap in seen.taps
        if tap.kind != "gate"
    ]
    gates = sum(tap.kind == "gate" for tap in seen.taps)
    head = f"taps: {len(seen.taps)} declared" + (
        f", {gates} of them gates (below)" if gates else ""
    )
    return [head, *text_table([("tap", "stride", "channels", "seen"), *rows], indent="  ")]


def _candidates(candidates: Sequence[ModuleFacts]) -> list[str]:
    if not candidates:
        return ["taps: none declared, and no module gives a grid that is a stride of the image"]
    rows = [(m.tap, m.stride, m.type, _shape(m.shape)) for m in candidates]
    return [
        "taps: none declared; the last module on the grid of each stride (any module can be a tap)",
        *text_table([("module", "stride", "type", "seen"), *rows], indent="  "),
        "for gsto_viz.report.Site and --taps, choose the branches, for example",
        f"  branches: [{', '.join(m.tap for m in candidates)}]",
        f"  strides: [{', '.join(str(m.stride) for m in candidates)}]",
    ]


def _gates(gates: Sequence[GateFacts]) -> list[str]:
    if not gates:
        return ["gates: none"]
    low, high = min(gate.allowed[0] for gate in gates), max(gate.allowed[1] for gate in gates)
    if gates[0].declared:
        head = f"gates: {len(gates)}, their form allows {low:g} to {high:g}"
    else:
        head = f"gates: none declared; {len(gates)} sigmoids over maps, which is how gates end"
    rows = [
        (
            safe_name(gate.name),
            gate.stride,
            gate.channels,
            f"{gate.low:.3f}",
            f"{gate.mean:.3f}",
            f"{gate.high:.3f}",
            None if gate.closed_share is None else f"{100 * gate.closed_share:.0f} %",
        )
        for gate in gates
    ]
    heads = ("gate", "stride", "channels", "min", "mean", "max", "closed")
    return [head, *text_table([heads, *rows], indent="  ")]


def _calls(seen: Examination) -> list[str]:
    lines = ["calls: "]
    if not seen.called_more and not seen.never_called:
        lines[0] += "every module is called once"
    else:
        once = sum(module.calls == 1 for module in seen.modules)
        lines[0] += f"{once} of {len(seen.modules)} modules are called once"
    lines += _listed("called more than once", (f"{m.name} ({m.calls}x)" for m in seen.called_more))
    lines += _listed(
        "never called",
        (
            f"{m.name} ({m.type}, {m.parameters} weights)"
            + ", for training only" * (m.name in seen.for_training)
            for m in seen.never_called
        ),
    )
    lines += _listed("one module, several names", (" = ".join(names) for names in seen.shared))
    return lines


def _in_place(seen: Examination) -> list[str]:
    if not seen.in_place and not seen.changes:
        return ["in place: nothing"]
    layers, outputs = len(seen.in_place), len(seen.changes)
    lines = [f"in place: {counted(layers, 'layer')}, {counted(outputs, 'output')} by other code"]
    lines += _listed("layers", seen.in_place)
    changed = (f"{c.output or ITSELF} by {c.by or ITSELF}" for c in seen.changes)
    return lines + _listed("outputs", changed)


def _resizing(seen: Examination) -> list[str]:
    said = "" if seen.align_corners is None else f" (its configuration says {seen.align_corners})"
    if not seen.resizings:
        return [f"resizing: no call of interpolate or grid_sample{said}"]
    lines = [f"resizing{said}:"]
    for one in seen.resizings:
        where = ", ".join(one.modules[:2]) + (", ..." if len(one.modules) > 2 else "")
        calls = counted(one.count, "call")
        lines.append(f"  {one.mode}, align_corners={one.align_corners}: {calls} in {where}")
    return lines


def _problems(problems: Sequence[str]) -> list[str]:
    if not problems:
        return ["problems: none"]
    wrap = partial(textwrap.wrap, width=WIDTH, initial_indent="- ", subsequent_indent="  ")
    return ["problems:", *(line for text in problems for line in wrap(f"{text}."))]


def _listed(title: str, items: Iterable[str]) -> list[str]:
    names = list(items)
    if not names:
        return []
    more = [f"    and {len(names) - MANY} more (--json has them)"] if len(names) > MANY else []
    return [f"  {title}:", *(f"    {name}" for name in names[:MANY]), *more]
