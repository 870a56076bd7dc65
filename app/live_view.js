// What live sound looks like: a scrolling spectrogram and one row of curves per class, drawn from differences.

const SPAN_SECONDS = 12, ROWS = 6, RANGE = 147, LEAST_TOP = 110;

class LiveView {
  constructor(root, facts) {
    Object.assign(this, { root, facts, steps: [], shown: [], events: [], top: LEAST_TOP, newest: 0 });
    this.picture = root.querySelector(".lv-bands canvas");
    this.curves = root.querySelector(".lv-curves canvas");
    this.names = root.querySelector(".lv-names");
    this.ring = document.createElement("canvas");
    this.ring.width = Math.ceil(SPAN_SECONDS / facts.column_seconds) + 40;
    this.ring.height = facts.bands;
    this.ink = this.ring.getContext("2d");
    this.clear();
  }

  clear() {
    Object.assign(this, { steps: [], events: [], shown: [], written: 0, newest: 0, rest: 0 });
    this.ink.fillStyle = "#000004";
    this.ink.fillRect(0, 0, this.ring.width, this.ring.height);
    this.names.replaceChildren();
    this.plan();
  }

  // Columns of bytes (count x bands, lowest band first), the first centred at `at` seconds.
  add_columns(bytes, at) {
    const bands = this.facts.bands, count = bytes.length / bands;
    if (!count) return;
    const image = this.ink.createImageData(count, bands), colours = this.facts.colours;
    const loudest = bytes.reduce((a, b) => Math.max(a, b), 0);
    this.top = Math.max(LEAST_TOP, loudest, this.top - 0.35 * count * this.facts.column_seconds * 10);
    for (let x = 0; x < count; x++) for (let y = 0; y < bands; y++) {
      const value = (bytes[x * bands + y] - this.top + RANGE) / RANGE, index = 3 * Math.round(255 * Math.max(0, Math.min(1, value)));
      const place = 4 * ((bands - 1 - y) * count + x);
      image.data[place] = colours[index]; image.data[place + 1] = colours[index + 1];
      image.data[place + 2] = colours[index + 2]; image.data[place + 3] = 255;
    }
    // A gap in the sound is a gap in the picture.
    const first = Math.round(at / this.facts.column_seconds);
    if (this.written && first > this.written) this.blank(Math.min(first - this.written, this.ring.width));
    this.written = first;
    this.put(image);
    this.newest = Math.max(this.newest, this.written * this.facts.column_seconds);
  }

  put(image) {
    const width = this.ring.width, x = this.written % width, left = Math.min(image.width, width - x);
    this.ink.putImageData(image, x, 0, 0, 0, left, image.height);
    if (left < image.width) this.ink.putImageData(image, x - width, 0, left, 0, image.width - left, image.height);
    this.written += image.width;
  }

  blank(count) {
    this.ink.fillStyle = "#30363d";
    for (let i = 0; i < count; i++) this.ink.fillRect((this.written + i) % this.ring.width, 0, 1, this.ring.height);
    this.written += count;
  }

  add_step(step) {
    this.steps.push({ ...step, middle: (step.start + step.at) / 2 });
    const oldest = step.at - SPAN_SECONDS - 2;
    while (this.steps[0].at < oldest) this.steps.shift();
    this.events = this.events.filter((event) => event.end > oldest);
    this.choose();
  }

  add_event(event) {
    const known = this.events.find((other) => other.label === event.label && Math.abs(other.start - event.start) < 0.001);
    if (known) Object.assign(known, event);
    else this.events.push(event);
  }

  // The classes with the highest peaks in sight, later ones before earlier ones; one that is shown stays until another is clearly higher.
  choose() {
    const labels = this.facts.labels, now = this.steps[this.steps.length - 1].at;
    const weight = (step) => 1 - 0.5 * Math.min(1, (now - step.at) / SPAN_SECONDS);
    const peaks = labels.map((_, i) => Math.max(...this.steps.map((step) => step.smoothed[i] * weight(step))));
    const order = [...labels.keys()].sort((a, b) => peaks[b] - peaks[a]);
    const most = Math.min(ROWS, labels.length);
    let changed = false;
    if (this.shown.length < most) { this.shown = order.slice(0, most); changed = true; }
    for (const candidate of order.slice(0, most)) {
      if (this.shown.includes(candidate)) continue;
      const worst = this.shown.reduce((a, b) => (peaks[a] <= peaks[b] ? a : b));
      if (peaks[candidate] > peaks[worst] + 0.05) { this.shown[this.shown.indexOf(worst)] = candidate; changed = true; }
    }
    this.rest = labels.length - most;
    if (changed || !this.names.childElementCount) this.name_rows();
    const newest = this.steps[this.steps.length - 1];
    this.values(newest).forEach((value, i) => { this.names.children[i].lastChild.textContent = value.toFixed(2); });
  }

  values(step, key = "smoothed") {
    const own = this.shown.map((i) => step[key][i]);
    if (this.rest) own.push(Math.max(...step[key].filter((_, i) => !this.shown.includes(i))));
    return own;
  }

  name_rows() {
    const names = this.shown.map((i) => this.facts.labels[i]);
    if (this.rest) names.push(`${this.rest} others`);
    this.names.replaceChildren(...names.map((name, i) => {
      const row = document.createElement("div"), words = document.createElement("b"), value = document.createElement("span");
      row.className = "lv-name c" + i;
      words.textContent = name;
      row.append(words, value);
      return row;
    }));
  }

  plan() { if (!this.frame) this.frame = requestAnimationFrame(() => { this.frame = 0; this.draw(); }); }

  draw() {
    this.draw_picture();
    this.draw_curves();
    if (this.drawn) this.drawn();
  }

  fit(canvas) {
    const ratio = window.devicePixelRatio || 1, box = canvas.getBoundingClientRect();
    const width = Math.round(box.width * ratio), height = Math.round(box.height * ratio);
    if (!width || !height) return null;
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    return { pen: canvas.getContext("2d"), width, height, ratio };
  }

  draw_picture() {
    const place = this.fit(this.picture);
    if (!place) return;
    const { pen, width, height } = place, wide = this.ring.width;
    const span = SPAN_SECONDS / this.facts.column_seconds, end = this.written, begin = Math.max(0, end - span), scale = width / span;
    pen.imageSmoothingEnabled = true;
    pen.fillStyle = "#000004";
    pen.fillRect(0, 0, width, height);
    // The ring is at most two pieces.
    for (let from = begin; from < end;) {
      const x = from % wide, count = Math.min(end - from, wide - x);
      pen.drawImage(this.ring, x, 0, count, this.ring.height, width - (end - from) * scale, 0, count * scale, height);
      from += count;
    }
  }

  draw_curves() {
    const place = this.fit(this.curves);
    if (!place || !this.facts) return;
    const { pen, width, height, ratio } = place, style = this.colours(), rows = this.shown.length + (this.rest ? 1 : 0);
    pen.clearRect(0, 0, width, height);
    if (!rows) return;
    const high = height / rows, x = (at) => width * (1 - (this.newest - at) / SPAN_SECONDS);
    for (let row = 0; row < rows; row++) {
      const low = high * (row + 1) - 3 * ratio, tall = high - 8 * ratio, y = (score) => low - tall * score;
      const colour = style.rows[Math.min(row, 6)];
      const label = row < this.shown.length ? this.facts.labels[this.shown[row]] : null;
      this.draw_events(pen, label, x, high * row, high, style, ratio);
      this.line(pen, [[0, low], [width, low]], style.line, ratio);
      const counts = label === null || !this.facts.background[this.shown[row]];
      pen.setLineDash([2 * ratio, 4 * ratio]);
      if (counts) this.line(pen, [[0, y(this.facts.threshold)], [width, y(this.facts.threshold)]], style.accent, ratio);
      pen.setLineDash(counts ? [] : [5 * ratio, 4 * ratio]);
      for (const [key, thick, alpha] of [["scores", 1, 0.45], ["smoothed", 2.25, 1]]) {
        pen.globalAlpha = alpha;
        for (const part of this.unbroken()) this.line(pen, part.map((step) => [x(step.middle), y(this.values(step, key)[row])]), colour, thick * ratio);
        pen.globalAlpha = 1;
      }
      pen.setLineDash([]);
      this.draw_flags(pen, label, x, high * row, style, ratio);
    }
  }

  // Reading styles costs more than drawing: once a second is enough to follow light and dark.
  colours() {
    if (this.style && performance.now() - this.style.at < 1000) return this.style;
    const style = getComputedStyle(this.root), read = (name) => style.getPropertyValue(name).trim() || "#888";
    const rows = [0, 1, 2, 3, 4, 5, 6].map((i) => read("--c" + i));
    return (this.style = { at: performance.now(), rows, line: read("--border-color-primary"), accent: read("--accent"), ground: read("--background-fill-primary"), shade: read("--shade") });
  }

  // A gap in the sound is a gap in the curves.
  unbroken() {
    const parts = [[]];
    for (const step of this.steps) {
      if (step.gap_seconds && parts[parts.length - 1].length) parts.push([]);
      parts[parts.length - 1].push(step);
    }
    return parts;
  }

  draw_events(pen, label, x, top, high, style, ratio) {
    for (const event of this.events) {
      if (event.label !== label) continue;
      const left = x(event.start), right = x(Math.min(event.end, this.newest));
      pen.fillStyle = style.shade;
      pen.fillRect(left, top, right - left, high);
      pen.fillStyle = style.accent;
      pen.fillRect(left, top, 2 * ratio, high);
    }
  }

  // On top of the curves, with a rim of the ground's colour.
  draw_flags(pen, label, x, top, style, ratio) {
    Object.assign(pen, { font: `600 ${11 * ratio}px system-ui, sans-serif`, strokeStyle: style.ground, lineWidth: 4 * ratio, lineJoin: "round", fillStyle: style.accent });
    for (const event of this.events) {
      if (event.label !== label) continue;
      const words = `⚑ ${event.score.toFixed(2)}`, left = x(event.start) + 5 * ratio;
      pen.strokeText(words, left, top + 13 * ratio);
      pen.fillText(words, left, top + 13 * ratio);
    }
  }

  line(pen, points, colour, thick) {
    pen.strokeStyle = colour;
    pen.lineWidth = thick;
    pen.lineJoin = "round";
    pen.beginPath();
    points.forEach(([px, py], i) => (i ? pen.lineTo(px, py) : pen.moveTo(px, py)));
    pen.stroke();
  }
}
