"""The microphones of this computer, through PortAudio: which there are, and the sound of one as mono blocks on a clock of samples."""

import atexit
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

POLL_SECONDS = 0.1
# A sound server may have to wake its source first: 1.9 s were measured with PulseAudio.
FIRST_SOUND_SECONDS = 6.0
SILENT_SECONDS = 2.0
CLOSE_SECONDS = 2.0

NO_PORTAUDIO = (
    "the PortAudio library is missing, which reads the microphone: on Debian and Ubuntu install it with `apt-get install libportaudio2`, "
    "on other Linux systems the package is called portaudio; for macOS and Windows it comes with `pip install sounddevice`"
)
NO_SOUNDDEVICE = "the Python package sounddevice is missing, which reads the microphone: install it with `pip install sounddevice`"
NO_MICROPHONE = (
    "no microphone found: the system lists no input device; plug one in, start the sound server, or allow this program to use the "
    "microphone, then look with `asm-rh devices`"
)


class MicrophoneError(RuntimeError):
    """A microphone that cannot be used or went silent; the message says what to do."""


@dataclass(frozen=True)
class Device:
    """An input device: PortAudio's number and name, the sound system it belongs to, its channels and its own rate in Hz."""

    number: int
    name: str
    system: str
    channels: int
    rate: int
    is_default: bool

    def __str__(self):
        return f"{self.number} '{self.name}, {self.system}'"


def devices() -> list[Device]:
    """Every input device, none where there is none; MicrophoneError where PortAudio is missing or fails."""
    portaudio = _portaudio()
    try:
        systems = [system["name"] for system in portaudio.query_hostapis()]
        default = portaudio.default.device[0]
        found = list(enumerate(portaudio.query_devices()))
    except portaudio.PortAudioError as error:
        raise MicrophoneError(f"PortAudio cannot list the microphones: {error}") from error
    return [_device(number, info, systems, default) for number, info in found if info["max_input_channels"] > 0]


def find(wanted: str | int | None = None) -> Device:
    """The input device of that number or of that part of its name, upper or lower case; the system's default where None.

    A whole name goes before a part of one, and the default's sound system before others that list the same device once more.
    Raises MicrophoneError, which lists what there is, for none or several.
    """
    there = devices()
    if not there:
        raise MicrophoneError(NO_MICROPHONE)
    if wanted is None:
        fitting, wish = [device for device in there if device.is_default], "no default microphone is set"
    elif str(wanted).isdecimal():
        fitting, wish = [device for device in there if device.number == int(wanted)], f"no microphone has number {wanted}"
    else:
        fitting, wish = _named(there, str(wanted)), f"no microphone's name holds '{wanted}'"
    if len(fitting) > 1:
        raise MicrophoneError(f"'{wanted}' fits {len(fitting)} microphones: {_listed(fitting)}; give more of the name, or the number")
    if not fitting:
        raise MicrophoneError(f"{wish}; there are: {_listed(there)}")
    return fitting[0]


class Microphone:
    """The sound of one device while a `with` block lasts: iterate to get (position, mono float32 samples (n,)), and `stop` to end that.

    `position` is the number of the first sample on a clock that also counts what was lost: a full queue, because the caller took longer
    than `queue_seconds`, and what PortAudio reports as input overflow, are jumps of it. `lost_samples` is their sum, `overflows` how often
    PortAudio reported one. What waits is given joined, as one block per stretch without a gap. Channels are averaged; `device.rate` in Hz
    is the rate. Raises MicrophoneError when the device cannot be opened, ends, or is silent on the line for 2 s.
    """

    def __init__(self, device: Device, block_seconds: float = 0.05, queue_seconds: float = 10.0):
        if not 0 < block_seconds <= queue_seconds:
            raise ValueError(f"block_seconds: got {block_seconds!r}, expected above 0 and at most queue_seconds, {queue_seconds!r}")
        self.device, self.block_samples = device, max(1, round(block_seconds * device.rate))
        self.waiting = queue.Queue(round(queue_seconds / block_seconds))
        self.position = self.lost_samples = self.overflows = 0
        self.stopping, self.ended, self.stream = False, threading.Event(), None
        self.heard_at = self.sound_until = 0.0

    def __enter__(self):
        portaudio = _portaudio()
        # Some devices have a fixed number of channels; others, such as a sound server, offer more than a microphone has.
        for channels in dict.fromkeys((min(2, self.device.channels), self.device.channels)):
            try:
                self.stream = self._opened(portaudio, channels)
                return self
            except (portaudio.PortAudioError, ValueError) as error:
                reason = error
        raise MicrophoneError(f"microphone {self.device} cannot be opened: {reason}; is another program using it?") from reason

    def __exit__(self, *_):
        # Where the sound server hangs, closing waits for it without end, and so does PortAudio's own end of the program.
        closing = threading.Thread(target=self._close, daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)
        if closing.is_alive():
            atexit.unregister(getattr(_portaudio(), "_exit_handler", None))

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        idle_seconds = 0.0
        while True:
            last = self.stopping
            found = self._take(0.0 if last else POLL_SECONDS)
            yield from found
            if last:
                return
            idle_seconds = 0.0 if found else idle_seconds + POLL_SECONDS
            self._check(idle_seconds)

    def stop(self) -> None:
        """Ends the iteration once what was heard so far has been given; fit for a signal handler."""
        self.stopping = True

    def _opened(self, portaudio, channels):
        stream = portaudio.InputStream(
            device=self.device.number, samplerate=self.device.rate, channels=channels, dtype="float32", blocksize=self.block_samples,
            callback=self._hear, finished_callback=self.ended.set,
        )  # fmt: skip
        try:
            stream.start()
        except portaudio.PortAudioError:
            stream.close()
            raise
        return stream

    def _close(self):
        self.stream.abort()
        self.stream.close()

    def _hear(self, block, frames, clock, status):
        """PortAudio's callback, in its thread: (frames, channels), valid during the call only."""
        now = time.monotonic()
        if status.input_overflow and self.position:
            self.overflows += 1
            self._lose(self._missed_samples(frames, clock.inputBufferAdcTime, now))
        try:
            self.waiting.put_nowait((self.position, block.mean(axis=1, dtype=np.float32)))
            self.position += frames
        except queue.Full:
            self._lose(frames)
        self.heard_at, self.sound_until = now, clock.inputBufferAdcTime + frames / self.device.rate

    def _lose(self, samples):
        self.lost_samples += samples
        self.position += samples

    def _missed_samples(self, frames, begins_at, now):
        """PortAudio says that samples were lost but not how many: the distance on its clock, as far as that can be."""
        most = now - self.heard_at
        seconds = begins_at - self.sound_until if begins_at else most - frames / self.device.rate
        return max(1, round(min(seconds, most) * self.device.rate))

    def _take(self, wait_seconds):
        """All that waits, after at most `wait_seconds`: (position, samples) per stretch without a gap."""
        stretches, end = [], None
        try:
            for _ in range(max(1, self.waiting.qsize())):
                position, samples = self.waiting.get(timeout=wait_seconds)
                if position != end:
                    stretches.append((position, []))
                stretches[-1][1].append(samples)
                end = position + len(samples)
        except queue.Empty:
            pass
        return [(position, np.concatenate(parts)) for position, parts in stretches]

    def _check(self, idle_seconds):
        # Waits are counted rather than read off a clock: a program stopped by Ctrl-Z and continued was not left without sound.
        if idle_seconds and self.ended.is_set():
            raise MicrophoneError(f"microphone {self.device} stopped: was it unplugged, or did the sound server end?")
        patience = SILENT_SECONDS if self.heard_at else FIRST_SOUND_SECONDS
        if idle_seconds >= patience:
            reason = f"has sent nothing for {patience:.0f} s: was it unplugged, or is the sound server stuck?"
            raise MicrophoneError(f"microphone {self.device} {reason}")


def _portaudio():
    try:
        import sounddevice
    except ModuleNotFoundError as error:
        raise MicrophoneError(NO_SOUNDDEVICE) from error
    except OSError as error:
        raise MicrophoneError(NO_PORTAUDIO) from error
    return sounddevice


def _device(number, info, systems, default):
    rate = round(info["default_samplerate"])
    return Device(number, info["name"], systems[info["hostapi"]], info["max_input_channels"], rate, number == default)


def _listed(some):
    return "; ".join(map(str, some))


def _named(there, wanted):
    """The devices that a name may mean."""
    wanted, default = wanted.casefold(), next((device for device in there if device.is_default), None)
    fitting = [device for device in there if wanted in f"{device.name}, {device.system}".casefold()]
    fitting = [device for device in fitting if device.name.casefold() == wanted] or fitting
    names = {device.name for device in fitting}
    own = [device for device in fitting if default and device.system == default.system]
    return own if len(own) == 1 and len(names) == 1 else fitting
