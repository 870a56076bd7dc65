// The browser's half of the time axis: play head, read-out under the pointer, click and keys to seek. Runs once per component;
// the view inside may be replaced at any time, so it is looked up again after every change.
const player = new Audio();
player.preload = "auto";
let view = null, frame = 0, timer = 0;

const unpack = (text, Type) => new Type(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
const find = (name) => view.root.querySelector(name);
const clamp = (t) => Math.min(Math.max(t, 0), view.seconds);

function clock(t) {
  if (view.seconds < 60) return t.toFixed(2) + " s";
  const tenths = Math.round(t * 10), h = Math.floor(tenths / 36000), m = Math.floor(tenths / 600) % 60;
  const s = ((tenths % 600) / 10).toFixed(1).padStart(4, "0");
  return (h ? h + ":" + String(m).padStart(2, "0") : String(m)) + ":" + s;
}

function nearest(t) {
  let best = 0;
  view.centres.forEach((c, i) => { if (Math.abs(c - t) < Math.abs(view.centres[best] - t)) best = i; });
  return best;
}

function attach() {
  const root = element.querySelector(".tl");
  if (!root) { view = null; player.pause(); return; }
  const old = view, d = root.dataset;
  view = { root, seconds: +d.seconds, step: +d.step, window: +d.window, moment: +d.moment, names: JSON.parse(d.names) };
  view.centres = unpack(d.centres, Float32Array);
  view.scores = unpack(d.scores, Uint16Array);
  view.source = d.source;
  const same = old && old.source === view.source;
  if (!same) { player.pause(); player.src = view.source; }
  show(same && !player.paused ? clamp(player.currentTime) : view.moment);
  mark(view.moment);
  paint();
}

function show(t) {
  view.moment = t;
  const surface = find(".tl-surface");
  find(".tl-head").style.left = (100 * t) / view.seconds + "%";
  find(".tl-now").textContent = clock(t);
  surface.setAttribute("aria-valuenow", t.toFixed(2));
  read(t);
  surface.setAttribute("aria-valuetext", clock(t) + ", " + find(".tl-read").textContent);
}

function read(t) {
  const k = view.names.length, i = nearest(t), row = [...view.scores.subarray(i * k, (i + 1) * k)].map((v) => v / 65535);
  view.root.querySelectorAll(".tl-value").forEach((span, j) => { span.textContent = row[j].toFixed(2); });
  const best = row.indexOf(Math.max(...row));
  find(".tl-read").textContent = view.names[best] + " " + row[best].toFixed(2);
}

function mark(t) {
  const centre = view.centres[nearest(t)], band = find(".tl-window");
  const start = Math.max(0, centre - view.window / 2), end = Math.min(view.seconds, centre + view.window / 2);
  band.style.left = (100 * start) / view.seconds + "%";
  band.style.width = (100 * (end - start)) / view.seconds + "%";
}

function seek(t, ask = true) {
  t = clamp(t);
  if (player.readyState) player.currentTime = t;
  show(t);
  mark(t);
  if (!ask) return;
  clearTimeout(timer);
  timer = setTimeout(() => trigger("select", { seconds: t }), 200);
}

function paint() {
  const button = find(".tl-play"), on = !player.paused;
  button.setAttribute("aria-pressed", String(on));
  button.innerHTML = on ? '<i class="tl-icon pause"></i>Pause' : '<i class="tl-icon play"></i>Play';
}

function follow() {
  cancelAnimationFrame(frame);
  if (!view || player.paused) return;
  show(clamp(player.currentTime));
  frame = requestAnimationFrame(follow);
}

function toggle() {
  if (!player.paused) { player.pause(); return; }
  if (view.moment >= view.seconds - 0.02) view.moment = 0;
  if (player.readyState) player.currentTime = view.moment;
  else player.addEventListener("loadedmetadata", () => { player.currentTime = view.moment; }, { once: true });
  player.play().catch(() => { if (view) find(".tl-read").textContent = "this browser cannot play this kind of file"; });
}

player.addEventListener("play", () => { if (view) { paint(); follow(); } });
player.addEventListener("pause", () => {
  if (!view) return;
  paint();
  if (!player.ended) seek(player.currentTime);
});
player.addEventListener("ended", () => { if (view) { paint(); show(view.seconds); } });

const fraction = (event) => {
  const box = find(".tl-surface").getBoundingClientRect();
  return Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
};

element.addEventListener("click", (event) => {
  if (!view) return;
  const goal = event.target.closest("[data-seek]");
  if (goal) seek(+goal.dataset.seek);
  else if (event.target.closest(".tl-play")) toggle();
  else if (event.target.closest(".tl-surface")) seek(fraction(event) * view.seconds);
});

element.addEventListener("pointermove", (event) => {
  if (!view) return;
  const over = event.target.closest(".tl-surface"), line = find(".tl-hover");
  line.style.display = over ? "block" : "none";
  if (!over) return;
  const t = fraction(event) * view.seconds;
  line.style.left = 100 * fraction(event) + "%";
  find(".tl-now").textContent = clock(t);
  read(t);
});

element.addEventListener("pointerleave", () => {
  if (!view) return;
  find(".tl-hover").style.display = "none";
  show(view.moment);
});

element.addEventListener("keydown", (event) => {
  if (!view || !event.target.closest(".tl-surface")) return;
  const moves = { ArrowLeft: -view.step, ArrowRight: view.step, PageDown: -10 * view.step, PageUp: 10 * view.step };
  if (event.key === " ") toggle();
  else if (event.key === "Home") seek(0);
  else if (event.key === "End") seek(view.seconds);
  else if (event.key in moves) seek(view.moment + moves[event.key]);
  else return;
  event.preventDefault();
});

watch("value", attach);
attach();
