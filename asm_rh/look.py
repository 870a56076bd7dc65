"""The look inside one window as HTML: what mattered, what it rests on, one block at a time. Pure; look.css and look.js belong to it."""

import base64
import io
import json
from html import escape

import numpy as np
import soundfile

from . import pictures
from .attribution import strongest
from .explain import SHARE, Explanation
from .maps import Place, before_and_after, bin_profiles, bin_table, input_map, map_table, patch_map, plain, sent_maps, sent_table
from .markup import HERE, element, styles, table
from .sentences import PARTS, READINGS, UNCHANGED, told_block, told_mixing, told_readings, told_roll_maps, told_support, told_whole
from .words import frequency, shown, signed

FOLLOW_HINT = "Click a patch in any map, or move to it with the arrow keys and press Enter, to take it out and follow what that changes."


def style() -> str:
    """The style sheets of the look inside."""
    return styles("markup.css", "look.css")


def script() -> str:
    """Its script: defines `lookInside(root)`."""
    return (HERE / "look.js").read_text(encoding="utf-8")


def body(found: Explanation) -> str:
    """What stands on the page: the headline, what mattered, what the score rests on, a block at a time, a patch followed."""
    place, chosen = Place(found.grid, found.start), strongest_block(found)
    head = element("h1", f"{escape(shown(found.label))} {found.score:.2f}") + _said(f"{told_whole(found)} Model: {found.model}.")
    blocks = "".join(block(found, number, place, number == chosen) for number in range(len(found.rolls)))
    parts = [head, overview(found, chosen), evidence(found, place), element("div", blocks, kind="look-blocks"), followed(found, place)]
    return element("div", "".join(parts), kind="look", data_label=shown(found.label))


def strongest_block(found: Explanation) -> int:
    """The block without which the explained class changes most."""
    falls = found.falls()
    return max((abs(falls[cause.name]), -cause.block) for cause in found.causes)[1] * -1


def overview(found: Explanation, chosen: int) -> str:
    """Blocks by causes: how far the class falls without each mechanism, coloured around 0; a row opens its block."""
    falls, parts = found.falls(), [part for part in PARTS if any(c.part == part for c in found.causes)]
    reach = max([abs(fall) for fall in falls.values()] + [0.01])
    by_place = {(c.block, c.part): falls[c.name] for c in found.causes}
    rows = [
        element("th", _opener(b, b == chosen), scope="row") + "".join(_cause_cell(by_place.get((b, part)), reach) for part in parts)
        for b in range(len(found.rolls))
    ]  # fmt: skip
    heads = "".join(element("th", f"without {escape(PARTS[part])}", scope="col") for part in parts)
    words = f"How far <b>{escape(shown(found.label))}</b> falls when a mechanism is switched off; a minus means that it rises."
    inner = element("thead", f"<tr><th>block</th>{heads}</tr>") + element("tbody", "".join(element("tr", row) for row in rows))
    content = element("p", words) + element("div", element("table", inner, kind="causes"), kind="scroll")
    return _section("What mattered", content, kind="look-overview")


def _opener(number, chosen):
    return element("button", f"Block {number}", kind="open-block", type="button", data_open=number, aria_pressed=str(chosen).lower())


def _cause_cell(fall, reach):
    if fall is None:
        return "<td></td>"
    if abs(fall) < UNCHANGED:
        return element("td", "0.00", kind="cause")
    share, colour = abs(fall) / reach, "198,65,58" if fall > 0 else "47,111,183"
    strong = ";color:#fff" if share > 0.6 else ""
    return element("td", signed(fall), kind="cause", style=f"background:rgba({colour},{share:.2f}){strong}")


def evidence(found: Explanation, place: Place) -> str:
    """Spectrogram, attribution, and the sounds of what was kept and removed."""
    why, label = found.attribution, shown(found.label)
    limits, best = pictures.limits(why.features), strongest(why.weights, SHARE)
    kept = np.where(best, why.features, limits[0])
    shares = found.grid.pooled(why.cells, np.sum)
    maps = input_map("the window as the model gets it", why.features, limits, "magma", place, "normalised log energy")
    words = f"contribution to {label}: red for, blue against"
    signed_limits = pictures.even_limits(why.cells)
    maps += input_map(words, why.cells, signed_limits, pictures.SIGNED, place, "sum of the contributions", np.sum)
    words = f"the strongest {100 * SHARE:.0f} % of the cells, per unit of sound"
    maps += input_map(words, kept, limits, "magma", place, "normalised log energy")
    other = found.untrained.cells
    words = f"the same of an untrained model: no reason for {label}"
    maps += input_map(words, other, pictures.even_limits(other), pictures.SIGNED, place, "sum of the contributions", np.sum)
    sounds = _sound("kept: the strongest cells", found.kept, found.rate) + _sound("removed: the rest", found.removed, found.rate)
    sounds += _sound("original", found.kept + found.removed, found.rate)
    numbers = map_table("Mean of the window per patch as numbers", place, "band", found.grid.pooled(why.features))
    numbers += map_table("Sum of the contributions per patch as numbers", place, "band", shares)
    numbers += map_table("Share of each patch that is among the strongest cells as numbers", place, "band", found.grid.pooled(best))
    untrained = found.grid.pooled(other, np.sum)
    numbers += map_table("Sum of the untrained model's contributions per patch as numbers", place, "band", untrained)
    return _section("What it rests on", _said(told_support(found)) + _panels(maps) + numbers + _panels(sounds), kind="look-evidence")


def block(found: Explanation, number: int, place: Place, chosen: bool) -> str:
    """One block: its sentence, its roll, its mixing, and the other readings of its roll."""
    inner = _said(told_block(found, number))
    if found.rolls[number]:
        inner += roll_part(found, number, place)
    if found.mixings[number]:
        inner += mixing_part(found, number, place)
    if found.readings:
        inner += readings_part(found, number, place)
    last = len(found.rolls) - 1
    steps = "".join(_step(words, to, 0 <= to <= last) for words, to in (("‹ before", number - 1), ("next ›", number + 1)))
    title = element("h2", f"Block {number}") + element("span", steps, kind="steps")
    hidden = {} if chosen else {"hidden": "hidden"}
    return element("section", element("div", title, kind="look-head") + inner, kind="look-block", data_block=number, **hidden)


def _step(words, to, there):
    return element("button", words, kind="open-block step", type="button", data_open=to, **({} if there else {"disabled": "disabled"}))


def roll_part(found: Explanation, number: int, place: Place) -> str:
    """RollBlock: the maps around it, and its ruler, every way that features go."""
    roll, maps = found.rolls[number], found.energies[f"blocks.{number}.roll"]
    rows = [(f"{t:+d}", f"{t * found.grid.column_ms:+.0f} ms", f"{b:+d}", f"{100 * share:.1f} %") for t, b, share in roll.moves()]
    rows = [tuple(cell.replace("-", "−") for cell in row) for row in rows]
    ruler = table(("patches later", "time", "patches up", "share of the features"), rows, "ruler")
    content = _said(told_roll_maps(found, number)) + _panels(before_and_after(maps, place, ("before the roll", "after the roll")))
    numbers = map_table("Energy before and after the roll as numbers", place, "band", maps.before, maps.after)
    return element("h3", "What the roll moved") + content + ruler + numbers + _sizes(found, f"blocks.{number}.roll")


def mixing_part(found: Explanation, number: int, place: Place) -> str:
    """Frequency mixing: the maps around it, from where to where it sent energy, and its bins."""
    mixed, maps = found.mixings[number], found.energies[f"blocks.{number}.hermit"]
    drawn = before_and_after(maps, place, ("before mixing", "after mixing")) + sent_maps(mixed, place) + bin_profiles(mixed)
    numbers = map_table("Energy before and after mixing as numbers", place, "band", maps.before, maps.after)
    numbers += sent_table("Energy from time to time as numbers", mixed.time_to_time, place.column_names)
    numbers += sent_table("Energy from band to band as numbers", mixed.band_to_band, place.row_names)
    numbers += bin_table(mixed)
    head = element("h3", "What the frequency mixing changed")
    return head + _said(told_mixing(found, number)) + _panels(drawn) + numbers + _sizes(found, f"blocks.{number}.hermit")


def readings_part(found: Explanation, number: int, place: Place) -> str:
    """The energy behind the roll with every reading of it, same colours, side by side."""
    maps = {reading.name: reading.energies[number].after for reading in found.readings}
    shared = pictures.limits(*maps.values())
    drawn = "".join(patch_map(f"after the roll: {READINGS[name]}", values, shared, "viridis", place) for name, values in maps.items())
    rows = [
        (escape(READINGS[r.name]), f"{r.scores[found.labels.index(found.label)]:.2f}", escape(shown(found.labels[int(r.scores.argmax())])),
         f"{100 * r.rolls[number].moved_share:.0f} %", f"{100 * r.rolls[number].rotated_share:.0f} %")
        for r in found.readings
    ]  # fmt: skip
    heads = ("roll", escape(shown(found.label)), "says", "features that go to another patch", "features that turn inside their patch")
    numbers = "".join(map_table(f"After the roll as numbers: {READINGS[name]}", place, "band", values) for name, values in maps.items())
    head = element("h3", "The roll read three ways")
    return head + _said(told_readings(found)) + _panels(drawn) + table(heads, rows) + numbers


def followed(found: Explanation, place: Place) -> str:
    """The place where the effect of a patch is followed; its pictures are drawn when a patch is chosen."""
    told, column = found.followed, found.labels.index(found.label)
    data = {
        "data_tokens": json.dumps(told.tokens.tolist()), "data_shares": pictures.packed(np.round(65535 * told.shares), "<u2"),
        "data_falls": pictures.packed(found.score - told.scores[:, column], "<f4"), "data_rows": found.grid.rows,
        "data_columns": found.grid.columns, "data_depth": len(found.rolls),
        "data_bands": "|".join(frequency(a) + " to " + frequency(b) for a, b in found.grid.hz_ranges),
        "data_times": "|".join(f"{a:.2f} to {b:.2f} s" for a, b in found.grid.ms_ranges / 1000 + found.start),
        "data_colours": pictures.packed(pictures.colour_table("viridis"), "u1"),
    }  # fmt: skip
    inner = element("p", FOLLOW_HINT, kind="follow-say", aria_live="polite") + element("div", kind="panels follow-maps")
    return _section("Follow one patch", inner + element("div", kind="follow-table"), kind="look-follow", **data)


def _section(title, content, kind="", **data):
    return element("section", element("h2", title) + content, kind=kind, **data)


def _panels(drawn):
    return element("div", drawn, kind="panels")


def _said(words):
    return element("p", escape(words))


def _sizes(found, name):
    ratio, cosine = found.sizes[name]
    words = f"The change is {plain(ratio)} times the size of what was there; cosine between before and after {plain(cosine)}."
    return element("p", words, kind="quiet")


def _sound(words, wave, rate):
    file = io.BytesIO()
    soundfile.write(file, np.clip(wave, -1, 1), rate, format="WAV", subtype="PCM_16")
    address = "data:audio/wav;base64," + base64.b64encode(file.getvalue()).decode()
    return f'<figure class="sound"><audio controls src="{address}"></audio><figcaption>{escape(words)}</figcaption></figure>'
