"""Live listeners: one session each, a limit on their number, an end for those who left. Knows no Gradio."""

import base64
import io
import math
import threading
import time
from collections import deque
from dataclasses import dataclass

import numpy as np
import soundfile

from asm_rh.audio import check_rate
from asm_rh.checkpoint import CheckpointError
from asm_rh.events import Change, EventSettings
from asm_rh.interventions import causes
from asm_rh.streaming import Step, StreamSession, StreamSettings

from .live_picture import LivePicture
from .models import OWN, Loaded, Models
from .text import shown

KEEP_SECONDS = 10.0
EXPIRE_SECONDS = 20.0
LEAST_HOP_SECONDS = 0.05
MOST_CHUNK_SECONDS = 10.0
SCORE_DECIMALS = 7  # live and file scores agree to 1e-5, in the page too


class Refused(ValueError):
    """A call that cannot be answered; `code` says which kind to the page: full, gone, order, bad."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


@dataclass
class Wish:
    """Settings as the page sends them: seconds, a score, a number of windows."""

    hop_seconds: float
    smoothing_seconds: float
    threshold: float
    confirmations: int

    @classmethod
    def read(cls, fields: dict) -> "Wish":
        """Numbers from a page's message; raises Refused for anything else."""
        try:
            numbers = {name: float(fields[name]) for name in cls.__dataclass_fields__}
            return cls(**{**numbers, "confirmations": int(numbers["confirmations"])})
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise Refused("bad", f"settings: got {fields!r}, expected numbers for {', '.join(cls.__dataclass_fields__)}") from error

    def settings(self, window_seconds: float) -> StreamSettings:
        """What the session needs; raises Refused for values that cannot be."""
        try:
            if not LEAST_HOP_SECONDS <= self.hop_seconds <= window_seconds:
                raise ValueError(f"hop: got {self.hop_seconds:g} s, expected {LEAST_HOP_SECONDS:g} s to the window's {window_seconds:g} s")
            if not 0 <= self.smoothing_seconds <= 10:
                raise ValueError(f"smoothing: got {self.smoothing_seconds:g} s, expected 0 to 10 s")
            if self.confirmations > 50:
                raise ValueError(f"confirmations: got {self.confirmations}, expected at most 50")
            events = EventSettings(self.threshold, confirmations=self.confirmations)
            return StreamSettings(window_seconds, self.hop_seconds, self.smoothing_seconds, events, drop_late=True)
        except ValueError as error:
            raise Refused("bad", str(error)) from None


class Listener:
    """One open microphone: its session, its picture and the last seconds of its sound."""

    def __init__(self, loaded: Loaded, rate: int, settings: StreamSettings, position: int = 0):
        self.classifier, self.score, self.rate = loaded.classifier, loaded.score, rate
        self.lock, self.seen = threading.Lock(), time.monotonic()
        self.lost_before = 0.0
        self.answered: tuple[int, int, dict] | None = None
        self.kept: deque[tuple[int, np.ndarray]] = deque()
        self.begin(settings, position)

    def begin(self, settings: StreamSettings, position: int) -> None:
        """A new grid from sample `position` on."""
        config = self.classifier.config
        self.session = StreamSession(self.score, self.rate, config.labels, config.background_labels, settings)
        self.session.start_at(position)
        self.draw_anew(position)

    def draw_anew(self, position: int) -> None:
        """A picture that begins at sample `position`."""
        self.picture = LivePicture(self.classifier.model.frontend, self.classifier.config, self.rate)
        self.columns_from = position / self.rate + self.picture.first_seconds
        self.columns = 0

    def change(self, settings: StreamSettings) -> tuple[list[Step], list[Change]]:
        """Other settings from now on: what was open ends, nothing that was heard is lost."""
        told = self.session.finish()
        self.lost_before += self.session.lost_seconds
        self.begin(settings, self.session.position)
        return told

    def hear(self, samples: np.ndarray, position: int):
        """Int16 samples from number `position` on -> (steps, columns (m, bands), seconds of the first column)."""
        if position > self.session.position:
            self.draw_anew(position)
        wave = samples.astype(np.float32) / 2**15
        steps = self.session.feed(wave, position)
        self.keep(samples, position)
        columns = self.picture.feed(wave)
        at = self.columns_from + self.columns * self.picture.column_seconds
        self.columns += len(columns)
        return steps, columns, at

    def keep(self, samples: np.ndarray, position: int) -> None:
        """Holds the newest KEEP_SECONDS for the replay."""
        self.kept.append((position, samples))
        oldest = self.session.position - math.ceil((KEEP_SECONDS + 2) * self.rate)
        while self.kept and self.kept[0][0] + len(self.kept[0][1]) <= oldest:
            self.kept.popleft()

    def last_seconds(self) -> tuple[np.ndarray, float]:
        """Int16 samples of about the last ten seconds, from the start of a window on, and when they began; gaps are left out."""
        pieces = _unbroken(self.kept)
        if not pieces:
            raise Refused("bad", "nothing was heard yet: start listening first")
        first, sound = pieces[0][0], np.concatenate([samples for _, samples in pieces])
        hop = self.session.settings.hop_seconds * self.rate
        wanted = max(first, self.session.position - KEEP_SECONDS * self.rate)
        number = math.ceil((wanted - self.session.origin) / hop - 1e-9)
        start = min(max(self.session.origin + round(number * hop), first), self.session.position)
        return sound[start - first :], start / self.rate


    def newest_window(self) -> tuple[np.ndarray, float]:
        """The last window's length of sound, float samples, and when it ended."""
        pieces, length = _unbroken(self.kept), round(self.classifier.config.window_seconds * self.rate)
        if sum(len(samples) for _, samples in pieces) < length:
            raise Refused("bad", "less than one window was heard so far")
        sound = np.concatenate([samples for _, samples in pieces])[-length:]
        return sound.astype(np.float32) / 2**15, self.session.position / self.rate


def _unbroken(kept):
    """The newest pieces that follow each other without a gap."""
    pieces = []
    for position, samples in reversed(kept):
        if pieces and position + len(samples) != pieces[0][0]:
            break
        pieces.insert(0, (position, samples))
    return pieces


class LiveServer:
    """What the page's live tab calls; every message is a dict, every answer too, with "error" and "code" where it is refused.

    At most `most_listeners` at a time; one that has sent nothing for `expire_seconds` is forgotten. Safe across threads.
    """

    def __init__(self, models: Models, most_listeners: int = 8, expire_seconds: float = EXPIRE_SECONDS):
        self.models, self.most, self.expire_seconds = models, most_listeners, expire_seconds
        self.listeners: dict[str, Listener] = {}
        self.lock, self.looking = threading.Lock(), threading.Lock()

    # ------------------------------------------------------------------------------------------ messages

    def open(self, message: dict) -> dict:
        """A new listener: {sid, rate, settings, position, model} -> the model's facts and what the settings mean.

        `model` is the key of one that is loaded, the page's own where it is missing. `position` is the number of the first sample that
        will come: not 0 for one that was here before.
        """
        return self._answer(self._open, message)

    def push(self, message: dict) -> dict:
        """Sound: {sid, position, pcm: base64 of int16} -> steps, columns of the picture, what was lost.

        The same message twice, as after an answer that never arrived, has the same answer twice.
        """
        return self._answer(self._push, message)

    def change(self, message: dict) -> dict:
        """Other settings: {settings, sid?, model?} -> what they mean, and what ended by it."""
        return self._answer(self._change, message)

    def bye(self, message: dict) -> dict:
        """The listener stops: {sid} -> the last steps and what ended."""
        return self._answer(self._bye, message)

    def inside(self, message: dict) -> dict:
        """A look at the newest window: {sid} -> its best class and how far that falls without each mechanism of each block.

        One look at a time for all listeners: {"busy": true} where another is being computed.
        """
        return self._answer(self._inside, message)

    def _answer(self, work, message):
        try:
            return work(message if isinstance(message, dict) else {})
        except Refused as refusal:
            return {"error": str(refusal), "code": refusal.code}
        except Exception as error:  # the page must learn of it: a lost exception would leave it waiting
            return {"error": f"{type(error).__name__}: {error}", "code": "bad"}

    def _open(self, message):
        sid, rate = str(message.get("sid", "")), message.get("rate")
        if not 8 <= len(sid) <= 64:
            raise Refused("bad", "sid: expected a name of 8 to 64 characters")
        try:
            rate = check_rate(rate)
        except ValueError as error:
            raise Refused("bad", str(error)) from None
        loaded = self._model(message)
        config = loaded.classifier.config
        settings = Wish.read(message.get("settings") or {}).settings(config.window_seconds)
        listener = Listener(loaded, rate, settings, _position(message, 0))
        with self.lock:
            self._forget_silent()
            if sid not in self.listeners and len(self.listeners) >= self.most:
                raise Refused("full", f"every place is taken: at most {self.most} can listen here at a time; try again in a minute")
            self.listeners[sid] = listener
        return {"labels": [shown(label) for label in config.labels], **self._meaning(settings), **told([], [])}

    def _push(self, message):
        listener, position = self._listener(message), _position(message)
        samples = _samples(message.get("pcm", ""), listener.rate)
        with listener.lock:
            listener.seen = time.monotonic()
            if listener.answered and listener.answered[:2] == (position, len(samples)):
                return listener.answered[2]
            if position < listener.session.position:
                raise Refused("order", f"position: got sample {position}, expected {listener.session.position} or later")
            answer = _heard(listener, samples, position)
            listener.answered, listener.seen = (position, len(samples), answer), time.monotonic()
        return answer

    def _change(self, message):
        wish, steps, ended = Wish.read(message.get("settings") or {}), [], []
        listener = self._listener(message) if message.get("sid") else None
        settings = wish.settings((listener or self._model(message)).classifier.config.window_seconds)
        if listener:
            with listener.lock:
                steps, ended = listener.change(settings)
        return {**self._meaning(settings), **told(steps, ended)}

    def _bye(self, message):
        listener = self._listener(message)
        with self.lock:
            self.listeners.pop(str(message["sid"]), None)
        with listener.lock:
            return told(*listener.session.finish())

    def _inside(self, message):
        listener = self._listener(message)
        with listener.lock:
            wave, at = listener.newest_window()
        if not self.looking.acquire(blocking=False):
            return {"busy": True}
        try:
            classifier = listener.classifier
            scores, found = causes(classifier.model, classifier.prepare(wave, listener.rate))
        finally:
            self.looking.release()
        best, blocks = int(scores.argmax()), [{} for _ in classifier.model.blocks]
        for cause in found:
            blocks[cause.block][cause.part] = round(float(scores[best] - cause.scores[best]), 4)
        label = shown(classifier.labels[best])
        # To the sample: 4 decimals would be off by two of them.
        return {"label": label, "score": round(float(scores[best]), SCORE_DECIMALS), "at": round(at, 6), "blocks": blocks}

    # ------------------------------------------------------------------------------------------ for the other tabs

    def last_seconds_wav(self, sid: str) -> tuple[bytes, float]:
        """The last ten seconds of a listener as a WAV file of exactly the samples that came, and when they began."""
        listener = self._listener({"sid": sid})
        with listener.lock:
            samples, start = listener.last_seconds()
        file = io.BytesIO()
        soundfile.write(file, samples, listener.rate, format="WAV", subtype="PCM_16")
        return file.getvalue(), start

    # ------------------------------------------------------------------------------------------ who is there

    def _model(self, message):
        try:
            return self.models.of(str(message.get("model") or OWN))
        except CheckpointError as error:
            raise Refused("bad", str(error)) from None

    def _listener(self, message):
        with self.lock:
            self._forget_silent()
            listener = self.listeners.get(str(message.get("sid", "")))
        if listener is None:
            raise Refused("gone", "this listener is no longer known here: the connection was away for too long, or the page was restarted")
        return listener

    def _forget_silent(self):
        oldest = time.monotonic() - self.expire_seconds
        for sid in [sid for sid, listener in self.listeners.items() if listener.seen < oldest and not listener.lock.locked()]:
            del self.listeners[sid]

    def _meaning(self, settings: StreamSettings):
        window, hop = settings.window_seconds, settings.hop_seconds
        sentence = f"A window of {window:.2f} s every {hop:.2f} s. {settings.events.sentence(window, hop)}"
        if settings.smoothing_seconds:
            sentence += f" Scores are the mean of the last {settings.smoothing_seconds:.2f} s."
        return {"sentence": sentence, "threshold": settings.events.threshold}


def _heard(listener: Listener, samples, position) -> dict:
    began = time.perf_counter()
    steps, columns, at = listener.hear(samples, position)
    return {
        **told(steps, []), "columns": base64.b64encode(columns.tobytes()).decode(), "columns_at": round(at, 4),
        "position": listener.session.position, "lost_seconds": round(listener.lost_before + listener.session.lost_seconds, 4),
        "server_ms": round(1000 * (time.perf_counter() - began), 2),
    }  # fmt: skip


def _position(message, usual=None) -> int:
    """The number of a message's first sample; raises Refused where it is none."""
    position = message.get("position", usual)
    if isinstance(position, bool) or not isinstance(position, (int, float)) or position != position or not 0 <= position < 2**53:
        raise Refused("bad", f"position: got {position!r}, expected the number of a sample")
    return int(position)


def _samples(pcm, rate) -> np.ndarray:
    """Int16 samples from base64; raises Refused for anything else, and for more than MOST_CHUNK_SECONDS at once."""
    try:
        data = base64.b64decode(pcm, validate=True)
        samples = np.frombuffer(data, "<i2")
    except (TypeError, ValueError) as error:
        raise Refused("bad", f"pcm: expected base64 of 16-bit samples ({error})") from None
    if len(samples) > MOST_CHUNK_SECONDS * rate:
        raise Refused("bad", f"pcm: got {len(samples) / rate:.1f} s at once, expected at most {MOST_CHUNK_SECONDS:g} s")
    return samples


def told(steps: list[Step], ended: list[Change]) -> dict:
    """Steps and changes as plain JSON; labels as people read them."""
    return {"steps": [_step(step) for step in steps], "changes": [_change(change) for change in ended]}


def _step(step: Step) -> dict:
    return {
        "start": round(step.start, 4), "at": round(step.at, 4), "compute_ms": round(step.compute_ms, 2),
        "scores": [round(float(v), SCORE_DECIMALS) for v in step.scores],
        "smoothed": [round(float(v), SCORE_DECIMALS) for v in step.smoothed],
        "changes": [_change(change) for change in step.changes], "refused": {shown(k): why for k, why in step.refused.items()},
        "gap_seconds": round(step.gap_seconds, 4), "dropped": step.dropped, "padded": step.padded,
    }  # fmt: skip


def _change(change: Change) -> dict:
    event = change.event
    return {
        "what": change.what, "label": shown(event.label), "start": round(event.start, 4), "end": round(event.end, 4),
        "score": round(event.score, SCORE_DECIMALS), "peak": round(event.peak, 4),
    }  # fmt: skip
