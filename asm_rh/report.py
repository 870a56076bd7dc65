"""An explanation as one HTML file that needs nothing else: sentences, numbers, pictures, sounds."""

import base64
import io
import json
from html import escape
from pathlib import Path

import numpy as np
import soundfile

from . import pictures
from .attribution import strongest
from .explain import PARTS, SHARE, Explanation, arrays, sentences, summary

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #16202b; background: #f6f8fa; max-width: 1000px; margin: 0 auto; padding: 24px 16px; }
h1 { font-size: 34px; margin: 0; color: #0e7490; } h2 { font-size: 20px; margin: 32px 0 8px; } p { max-width: 80ch; margin: 8px 0; }
section { background: #fff; border: 1px solid #dde4ea; border-radius: 12px; padding: 16px 18px; margin: 14px 0; overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 14px; }
th, td { padding: 5px 14px 5px 0; text-align: left; border-bottom: 1px solid #dde4ea; font-weight: 400; } thead th { color: #566473; }
td.cause { padding: 5px 14px; text-align: right; } figure { margin: 0; } figcaption { font-size: 13px; color: #566473; }
.maps { display: grid; grid-template-columns: repeat(auto-fit, minmax(230px, 1fr)); gap: 18px; margin-top: 12px; }
img { width: 100%; height: 180px; image-rendering: pixelated; border-radius: 4px; display: block; } img.wide { height: 220px; }
svg { width: 100%; height: 120px; background: #f1f4f7; border-radius: 4px; } svg path { fill: none; stroke: #0e7490; stroke-width: 2; }
svg path, svg line { vector-effect: non-scaling-stroke; } svg line { stroke: #93a1b1; stroke-dasharray: 4 4; } audio { width: 100%; }
"""


def report(found: Explanation) -> str:
    """The whole page."""
    title = f"{escape(found.label)} {found.score:.2f}"
    meta = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    top = f"<head>{meta}<title>{title}</title><style>{STYLE}</style></head>"
    return f"<!doctype html><html lang=en>{top}<body>{body(found)}</body></html>\n"


def body(found: Explanation) -> str:
    """What stands on the page: the headline, what mattered, what the score rests on, and every block."""
    words = sentences(found)
    head = f"<h1>{escape(found.label.strip('_'))} {found.score:.2f}</h1><p>{escape(words[0])} Model: {escape(found.model)}.</p>"
    blocks = [block(found, b, words[1 + b]) for b in range(len(found.rolls))]
    return head + overview(found) + evidence(found, words[-1]) + "".join(blocks)


def files(found: Explanation) -> dict[str, bytes]:
    """report.html, maps.npz and summary.json, by name."""
    maps = io.BytesIO()
    np.savez_compressed(maps, **arrays(found))
    numbers = json.dumps(summary(found), indent=1, ensure_ascii=False) + "\n"
    return {"report.html": report(found).encode(), "maps.npz": maps.getvalue(), "summary.json": numbers.encode()}


def save(found: Explanation, folder: Path) -> list[Path]:
    """Writes the files into a folder; gives their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {folder / name: data for name, data in files(found).items()}
    for path, data in made.items():
        path.write_bytes(data)
    return list(made)


def overview(found: Explanation) -> str:
    """Blocks by causes: how far the class falls without each mechanism, coloured around 0."""
    falls, parts = found.falls(), [part for part in PARTS if any(c.part == part for c in found.causes)]
    reach = max([abs(fall) for fall in falls.values()] + [0.01])
    by_place = {(c.block, c.part): falls[c.name] for c in found.causes}
    rows = [
        f"<tr><th scope=row>block {b}</th>" + "".join(_cause_cell(by_place.get((b, part)), reach) for part in parts) + "</tr>"
        for b in range(len(found.rolls))
    ]
    head = "".join(f"<th scope=col>without {escape(PARTS[part])}</th>" for part in parts)
    words = f"How far <b>{escape(found.label)}</b> falls when a mechanism is switched off; a minus means that it rises."
    table = f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f"<h2>What mattered</h2><section><p>{words}</p>{table}</section>"


def _cause_cell(fall, reach):
    if fall is None:
        return "<td></td>"
    red, green, blue = pictures.colour_table(pictures.SIGNED)[round(127.5 + 127.5 * fall / reach)]
    dark = 0.3 * red + 0.6 * green + 0.1 * blue < 130
    style = f"background:rgb({red},{green},{blue});color:{'#fff' if dark else '#16202b'}"
    return f'<td class=cause style="{style}">{fall:+.2f}</td>'.replace("-", "−") if abs(fall) >= 0.005 else '<td class=cause>0.00</td>'


def evidence(found: Explanation, sentence: str) -> str:
    """Spectrogram, attribution, and the sounds of what was kept and removed."""
    why = found.attribution
    low, high = pictures.limits(why.features)
    heat = pictures.heat_png
    heard = _figure("The window as the model sees it; time to the right, frequency upwards", heat(why.features.T, low, high))
    words = f"Contribution of each cell to {found.label} ({why.method}), red for, blue against"
    maps = _figure(words, heat(why.cells.T, *pictures.even_limits(why.cells), pictures.SIGNED))
    best = strongest(why.cells, SHARE)
    shown = _figure(f"The strongest {100 * SHARE:.0f} % of the cells", heat(np.where(best, why.features, low).T, low, high))
    sounds = _sound("kept: the strongest cells", found.kept, found.rate) + _sound("removed: the rest", found.removed, found.rate)
    sounds += _sound("original", found.kept + found.removed, found.rate)
    inner = f"<div class=maps>{heard}{maps}{shown}</div><div class=maps>{sounds}</div>"
    return f"<h2>What it rests on</h2><section><p>{escape(sentence)}</p>{inner}</section>"


def block(found: Explanation, number: int, sentence: str) -> str:
    """One block: its sentence, its roll as a table, its mixing as maps."""
    roll, mixed = found.rolls[number], found.mixings[number]
    inner = f"<p>{escape(sentence)}</p>"
    if roll:
        ways = [(f"{t * found.grid.column_ms:+.0f} ms", f"{b:+d}", f"{100 * share:.1f} %") for t, b, share in roll.moves()]
        rows = ["<tr>" + "".join(f"<td>{cell}</td>" for cell in way) + "</tr>" for way in ways]
        head = "<tr><th scope=col>later</th><th scope=col>bands up</th><th scope=col>share of the features</th></tr>"
        inner += f"<table><thead>{head}</thead><tbody>{''.join(rows).replace('-', '−')}</tbody></table>"
    if mixed:
        maps = _figure("Energy from patch time (right) to patch time (up)", _energy(mixed.time_to_time))
        maps += _figure("Energy from band (right) to band (up)", _energy(mixed.band_to_band))
        maps += _gain(mixed)
        inner += f"<div class=maps>{maps}</div>"
    ratio = [f"{name.rsplit('.', 1)[-1]}: change {r:.2f} of the size before, cosine {c:.2f}" for name, (r, c) in found.sizes.items()
             if name.startswith(f"blocks.{number}.")]  # fmt: skip
    return f"<h2>Block {number}</h2><section>{inner}<p>{escape('; '.join(ratio))}</p></section>"


def _energy(matrix):
    decibel = 10 * np.log10(np.maximum(matrix, matrix.max() * 1e-4))
    return pictures.heat_png(decibel, *pictures.limits(decibel), "viridis")


def _gain(mixed):
    gain, reach = mixed.gain_db, max(10.0, float(np.abs(mixed.gain_db).max()))
    x, y = np.linspace(0, 1, len(gain)), 0.5 + 0.5 * gain / reach
    words = f"Gain of the learned mixing per Hermitian bin (of the embedding, not hertz), −{reach:.0f} to {reach:.0f} dB"
    box = f'<svg viewBox="0 0 1000 1000" preserveAspectRatio="none" role="img" aria-label="{words}">'
    drawn = f'<line x1="0" y1="500" x2="1000" y2="500"/><path d="{pictures.line_path(x, y)}"/></svg>'
    return f"<figure>{box}{drawn}<figcaption>{words}</figcaption></figure>"


def _figure(words, png):
    return f'<figure><img alt="{escape(words)}" src="{pictures.png_uri(png)}"><figcaption>{escape(words)}</figcaption></figure>'


def _sound(words, wave, rate):
    file = io.BytesIO()
    soundfile.write(file, np.clip(wave, -1, 1), rate, format="WAV", subtype="PCM_16")
    address = "data:audio/wav;base64," + base64.b64encode(file.getvalue()).decode()
    return f'<figure><audio controls src="{address}"></audio><figcaption>{escape(words)}</figcaption></figure>'
