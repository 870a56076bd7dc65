// The microphone's half: sound of a track as numbered 16-bit samples, none lost, none doubled.

const PROCESSOR = `
class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Float32Array(2048);
    this.filled = 0;
    this.next = -1;
  }
  process(inputs) {
    const channels = inputs[0], frames = channels.length ? channels[0].length : 128;
    // Before the microphone is connected there is nothing to hear or to lose.
    if (!channels.length && this.next < 0) return true;
    if (this.next >= 0 && currentFrame > this.next) {
      // While the sound card starts, the clock may jump: the recording begins behind that.
      if (this.begun) {
        this.port.postMessage({ samples: this.block.slice(0, this.filled) });
        this.port.postMessage({ skipped: currentFrame - this.next });
      }
      this.filled = 0;
    }
    this.next = currentFrame + frames;
    for (let i = 0; i < frames; i++) {
      let sum = 0;
      for (const channel of channels) sum += channel[i];
      this.block[this.filled++] = channels.length ? sum / channels.length : 0;
      if (this.filled === this.block.length) {
        this.port.postMessage({ samples: this.block });
        this.filled = 0;
        this.begun = true;
      }
    }
    return true;
  }
}
registerProcessor("capture", Capture);`;

// Samples of a block that is handed on; sounds of 10 ms that may wait in line while the page is busy.
const BLOCK = 2048, WAITING = 3000;
const RAW = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
const REMEDIES = {
  NotAllowedError: "The browser may not use the microphone. Click the microphone or lock sign beside the address, allow it for this page, then start again.",
  NotFoundError: "No microphone was found. Plug one in, or switch it on in the system's sound settings, then start again.",
  NotReadableError: "The microphone is there but cannot be read: another program may hold it. Close that program, then start again.",
  OverconstrainedError: "The microphone that was chosen before is gone. Choose another one, then start again.",
};

// Sound by an AudioWorklet, which every browser has.
class WorkletTap {
  constructor(stream, hear, skipped) { Object.assign(this, { stream, hear, skipped }); }

  // -> the sample rate.
  async open(rate) {
    this.context = new AudioContext(rate ? { sampleRate: rate } : {});
    const address = URL.createObjectURL(new Blob([PROCESSOR], { type: "text/javascript" }));
    await this.context.audioWorklet.addModule(address);
    URL.revokeObjectURL(address);
    this.node = new AudioWorkletNode(this.context, "capture", { numberOfInputs: 1, numberOfOutputs: 1 });
    this.node.port.onmessage = ({ data }) => (data.samples ? this.hear(data.samples) : this.skipped(data.skipped));
    // The node's output is silence: it is connected so that every browser runs it.
    this.context.createMediaStreamSource(this.stream).connect(this.node).connect(this.context.destination);
    this.context.addEventListener("statechange", () => { if (this.context.state !== "closed") this.context.resume().catch(() => {}); });
    if (this.context.state === "suspended") await this.context.resume();
    return this.context.sampleRate;
  }

  close() {
    if (this.node) this.node.port.onmessage = null;
    this.context.close().catch(() => {});
  }
}

// Sound read from the track itself. Its time stamps are no witness of loss: under load they jump by tens of milliseconds though the sound is
// whole; what is missing for longer, the clock of SleepWatch shows.
class TrackTap {
  constructor(stream, hear) { Object.assign(this, { hear, track: stream.getAudioTracks()[0], block: new Float32Array(BLOCK), filled: 0 }); }

  // -> the sample rate, known from the first sound.
  async open() {
    this.reader = new MediaStreamTrackProcessor({ track: this.track, maxBufferSize: WAITING }).readable.getReader();
    return new Promise((known, failed) => this.read(known).catch(failed));
  }

  async read(known) {
    for (;;) {
      const { value: sound, done } = await this.reader.read();
      if (done) return;
      known(sound.sampleRate);
      this.take(sound);
      sound.close();
    }
  }

  take(sound) {
    for (const sample of mono(sound)) {
      this.block[this.filled++] = sample;
      if (this.filled < BLOCK) continue;
      this.hear(this.block);
      this.filled = 0;
    }
  }

  close() { this.reader.cancel().catch(() => {}); }
}

function mono(sound) {
  const sum = new Float32Array(sound.numberOfFrames), part = new Float32Array(sound.numberOfFrames);
  for (let channel = 0; channel < sound.numberOfChannels; channel++) {
    sound.copyTo(part, { planeIndex: channel, format: "f32-planar" });
    for (let i = 0; i < sum.length; i++) sum[i] += part[i] / sound.numberOfChannels;
  }
  return sum;
}

class Microphone {
  // `hear(samples Float32Array)`, `skipped(count)`, `ended(words)` are called as things happen.
  constructor(hear, skipped, ended) {
    Object.assign(this, { hear, skipped, ended, tap: null, stream: null });
  }

  async start(deviceId) {
    if (!window.isSecureContext || !navigator.mediaDevices)
      throw new Error("Browsers give the microphone to secure pages only. Open this page as https://… or as http://localhost.");
    const wish = deviceId ? { ...RAW, deviceId: { exact: deviceId } } : RAW;
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ audio: wish });
    } catch (error) {
      if (deviceId && error.name === "OverconstrainedError") return this.start("");
      const framed = error.name === "NotAllowedError" && window.top !== window ? ` If nothing asks you, open the page in a tab of its own: ${location.href}` : "";
      throw new Error((REMEDIES[error.name] || `The microphone could not be opened (${error.name}: ${error.message}).`) + framed);
    }
    const track = this.stream.getAudioTracks()[0];
    this.applied = track.getSettings();
    this.label = track.label;
    track.addEventListener("ended", () => this.lose("The microphone is gone: it was unplugged, or its permission was withdrawn."));
    await this.listen();
    return this;
  }

  // Read straight from the track, sound waits in line while the computer is busy; a worklet's short queue would let it fall out.
  async listen() {
    const Tap = window.MediaStreamTrackProcessor ? TrackTap : WorkletTap;
    this.tap = new Tap(this.stream, (samples) => this.hear(samples), (count) => this.skipped(count));
    this.rate = await this.tap.open(this.applied.sampleRate);
  }

  // A track that is off is heard as silence, and the browser shows that nobody listens.
  pause(on) {
    for (const track of this.stream.getTracks()) track.enabled = !on;
  }

  lose(words) {
    if (!this.stream) return;
    this.stop();
    this.ended(words);
  }

  stop() {
    for (const track of this.stream ? this.stream.getTracks() : []) track.stop();
    if (this.tap) this.tap.close();
    this.stream = this.tap = null;
  }

  // What the browser really did, in words.
  facts() {
    const on = (name, words) => `${words} ${this.applied[name] === undefined ? "unknown" : this.applied[name] ? "ON" : "off"}`;
    const channels = this.applied.channelCount || 1;
    return [`${(this.rate / 1000).toFixed(1).replace(".0", "")} kHz, ${channels === 1 ? "mono" : channels + " channels mixed to one"}`,
      on("echoCancellation", "echo cancelling"), on("noiseSuppression", "noise suppression"), on("autoGainControl", "gain control")].join(", ");
  }
}

// Samples that wait to be sent: each has its number; at most `most` seconds are kept, what falls out is counted as lost.
class Outbox {
  constructor(rate, most) {
    Object.assign(this, { rate, most: most * rate, parts: [], count: 0, first: 0, lost: 0 });
  }

  add(samples) {
    const whole = new Int16Array(samples.length);
    for (let i = 0; i < samples.length; i++) whole[i] = Math.max(-32768, Math.min(32767, Math.round(samples[i] * 32768)));
    this.parts.push(whole);
    this.count += whole.length;
    while (this.count > this.most) { this.lost += this.parts[0].length; this.drop(this.parts[0].length); }
  }

  // A stretch of time without sound: what waits is unreachable behind it, so numbers go on after it.
  skip(samples) {
    this.gap = { at: this.first + this.count, samples: (this.gap ? this.gap.samples : 0) + samples };
    if (!this.count) this.pass();
  }

  pass() {
    if (this.gap && this.first >= this.gap.at) { this.first += this.gap.samples; this.gap = null; }
  }

  // Up to `most` of the oldest samples, which stay until `drop`.
  peek(most) {
    const wanted = Math.min(most, this.count, this.gap ? this.gap.at - this.first : Infinity), joined = new Int16Array(wanted);
    let filled = 0;
    for (const part of this.parts) {
      if (filled === wanted) break;
      joined.set(part.subarray(0, wanted - filled), filled);
      filled += Math.min(part.length, wanted - filled);
    }
    return joined;
  }

  drop(samples) {
    this.first += samples;
    this.count -= samples;
    while (samples && samples >= this.parts[0].length) samples -= this.parts.shift().length;
    if (samples) this.parts[0] = this.parts[0].subarray(samples);
    this.pass();
  }
}

// Tells when time has passed without sound, as when a computer sleeps: the clock ran on, the samples did not.
const DRIFT = 0.0005, PATIENCE = 2.5, LONG = 5;

class SleepWatch {
  constructor(rate) { Object.assign(this, { rate, usual: null, recent: [] }); }

  // Seconds that are missing, told once; late chunks that still arrive are no gap.
  heard(samples, now = Date.now() / 1000) {
    const behind = now - samples / this.rate;
    // A sound card's clock may run slower than the computer's: what is usual follows by up to 0.05 %.
    if (this.usual !== null) this.usual += DRIFT * Math.max(0, now - this.recent[this.recent.length - 1].now);
    this.recent = this.recent.filter((entry) => entry.now > now - PATIENCE);
    this.recent.push({ now, behind });
    const since = (seconds) => this.recent.filter((entry) => entry.now > now - seconds), least = (entries) => Math.min(...entries.map((entry) => entry.behind));
    if (this.usual === null || behind < this.usual) this.usual = behind;
    // A busy computer can be seconds late and catch up; a night is missing at once.
    const soon = least(since(0.7)) - this.usual, missing = soon > LONG ? soon : least(this.recent) - this.usual;
    if (missing < 1 || since(0.7).length < 5) return 0;
    this.usual = null;
    this.recent = [];
    return missing;
  }
}

const base64 = (samples) => {
  const bytes = new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength);
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(text);
};
