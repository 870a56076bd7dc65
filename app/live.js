// The Live tab: start, pause, stop; sound goes out in order, what comes back is drawn. Needs capture.js and live_view.js before it.

let root = null, facts = null, view = null, fields = [], inside = null, part = null;
const find = (name) => root.querySelector(name);
const SEND_SECONDS = 0.1, MOST_SECONDS = 5, KEEP_SECONDS = 30, ANSWER_MS = 8000, LISTED = 40, HELD_MS = 1500, METER_MS = 80;
const KEPT = "asm-rh-live";
const unused = () => ({ latencies: [], delays: [], sent: 0, answered: 0, lost: 0, dropped: 0, gaps: 0, draws: 0, looks: 0, steps: [], events: [] });
const stats = unused();

let state = "stopped", microphone = null, outbox = null, sleep = null, sid = "", sending = false, away = 0, lock = null, heardAt = 0, startedAt = 0, pausedAt = 0;
let arrivals = [], waiting = [], events = [], refused = {}, peak = 0, clipAt = 0, level = -100, lastTable = 0;
let turn = 0; // grows with every model; what was begun for an earlier one ends in silence

// Takes the tab as the server drew it for a model.
function bind() {
  root = element.querySelector(".live");
  facts = JSON.parse(root.dataset.facts);
  facts.colours = Uint8Array.from(atob(facts.colours), (c) => c.charCodeAt(0));
  fields = [...root.querySelectorAll("[data-setting]")];
  inside = find(".lv-inside");
  part = inside.querySelector("select");
  root.stats = Object.assign(stats, unused(), { inside: null });
  events = []; refused = {}; waiting = [];
  view = new LiveView(root, facts);
  view.drawn = drawn;
}

// Another model: who listens goes on with it, in a new place and with the same microphone.
async function follow() {
  const before = state, device = find(".lv-mic").value, mine = (turn += 1);
  bind();
  halt();
  restore();
  if (before !== "stopped") await in_time(server.bye({ sid })).catch(() => {});
  if (navigator.mediaDevices) await list_microphones().catch(() => {});
  if (mine !== turn || state !== "stopped") return;
  if (device) find(".lv-mic").value = device;
  if (before === "stopped") { apply(); return; }
  if (before !== "listening") { apply(); tell(`The model is now ${facts.name}: start listening again.`); return; }
  await start();
  if (state === "listening") tell(`Listening goes on with ${facts.name}.`);
}

// ------------------------------------------------------------------------------------------ words

const tell = (words, kind = "") => { const line = find(".lv-say"); line.textContent = words; line.className = "lv-say " + kind; };
const stamp = (seconds) => new Date(startedAt + 1000 * seconds).toLocaleTimeString([], { hour12: false }) + "." + String(Math.floor(((startedAt + 1000 * seconds) % 1000) / 10)).padStart(2, "0");
const middle = (list, share) => (list.length ? [...list].sort((a, b) => a - b)[Math.min(list.length - 1, Math.floor(share * list.length))] : NaN);

function remember(changes) {
  try { localStorage.setItem(KEPT, JSON.stringify({ ...recall(), ...changes })); } catch (error) {}
}
function recall() {
  try { return JSON.parse(localStorage.getItem(KEPT)) || {}; } catch (error) { return {}; }
}

// ------------------------------------------------------------------------------------------ settings

const wish = () => Object.fromEntries(fields.map((field) => [field.dataset.setting, +field.value]));

function restore() {
  const kept = (recall().settings_of || {})[facts.name] || {};
  for (const field of fields) if (field.dataset.setting in kept) field.value = kept[field.dataset.setting];
  show_settings();
}

function show_settings() {
  for (const field of fields) field.nextElementSibling.textContent = field.dataset.setting === "confirmations" ? field.value : (+field.value).toFixed(2) + (field.dataset.unit || "");
}

async function apply() {
  show_settings();
  const mine = turn, answer = await server.change({ settings: wish(), sid: state === "stopped" ? "" : sid, model: facts.model }).catch(() => null);
  if (!answer || mine !== turn) return;
  if (answer.error && answer.code !== "gone") { find(".lv-sentence").textContent = answer.error; return; }
  if (answer.error) return;
  remember({ settings_of: { ...recall().settings_of, [facts.name]: wish() } });
  meaning(answer);
}

function meaning(answer) {
  find(".lv-sentence").textContent = answer.sentence;
  facts.threshold = answer.threshold;
  take(answer);
  view.plan();
}

// ------------------------------------------------------------------------------------------ start, pause, stop

const newName = () => [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");

async function start() {
  const mine = turn;
  set("starting");
  tell("Waiting for the microphone: the browser may ask for permission.");
  try {
    const opened = await new Microphone(hear, skipped, lose).start(chosen_device());
    if (mine !== turn) { opened.stop(); return; }
    microphone = opened;
    outbox = new Outbox(microphone.rate, KEEP_SECONDS);
    sleep = new SleepWatch(microphone.rate);
    heardAt = 0;
    fresh();
    const there = await open(0);
    if (mine !== turn) return;
    if (!there) { halt(); return; }
    set("listening");
    tell("");
    find(".lv-facts").textContent = `${microphone.label || "Microphone"}: ${microphone.facts()}`;
    list_microphones();
    stay_awake();
  } catch (error) {
    if (mine !== turn) return;
    halt();
    tell(error.message, "bad");
  }
}

function fresh() {
  Object.assign(stats, unused(), { rate: microphone.rate });
  arrivals = []; waiting = []; refused = {}; away = 0;
  startedAt = Date.now();
  view.clear();
}

// Asks the server for a place; the numbers of the samples go on from `position`.
async function open(position) {
  const mine = turn;
  sid = newName();
  root.dataset.sid = sid;
  const answer = await server.open({ sid, rate: microphone.rate, settings: wish(), position, model: facts.model });
  if (mine !== turn) return false;
  if (answer.error) { tell(answer.error, "bad"); return false; }
  meaning(answer);
  return true;
}

function pause() {
  if (state === "listening") {
    set("paused");
    pausedAt = Date.now();
    microphone.pause(true);
    tell("Paused: nothing is heard until you go on.");
  } else if (state === "paused") {
    // Time went on, so the next window begins anew behind a gap; it was wanted, so nothing counts as lost.
    leave_out((Date.now() - pausedAt) / 1000);
    sleep = new SleepWatch(microphone.rate);
    heardAt = 0;
    set("listening");
    microphone.pause(false);
    tell("");
  }
}

async function stop(words = "", kind = "") {
  if (state === "stopped" || state === "stopping") return;
  const mine = turn;
  set("stopping");
  if (microphone) microphone.stop();
  for (let i = 0; i < 100 && mine === turn && outbox && outbox.count && !away; i++) { await pump(true); await new Promise((done) => setTimeout(done, 20)); }
  if (mine !== turn) return;
  const answer = await server.bye({ sid }).catch(() => null);
  if (mine !== turn) return;
  if (answer && !answer.error) take(answer);
  halt();
  tell(words || "Stopped.", kind);
}

function halt() {
  if (microphone) microphone.stop();
  microphone = null;
  if (lock) { lock.release().catch(() => {}); lock = null; }
  set("stopped");
}

function lose(words) { stop(words, "bad"); }

function set(next) {
  state = next;
  root.dataset.state = next;
  const go = find(".lv-go"), on = next === "listening" || next === "paused";
  go.textContent = on ? "Stop" : next === "starting" ? "Starting…" : next === "stopping" ? "Stopping…" : "Start listening";
  go.disabled = next === "starting" || next === "stopping";
  go.classList.toggle("on", on);
  find(".lv-pause").hidden = !on;
  find(".lv-pause").textContent = next === "paused" ? "Go on" : "Pause";
  if (!on) heard_line(null);
}

// Before the first permission the browser names no devices: then the remembered one is asked for.
const chosen_device = () => (find(".lv-mic").options.length > 1 ? find(".lv-mic").value : recall().device || "");

async function list_microphones() {
  const select = find(".lv-mic");
  const found = (await navigator.mediaDevices.enumerateDevices()).filter((device) => device.kind === "audioinput");
  select.replaceChildren(new Option("System default", ""), ...found.filter((d) => d.deviceId && d.deviceId !== "default").map((d, i) => new Option(d.label || `Microphone ${i + 1}`, d.deviceId)));
  select.value = [...select.options].some((option) => option.value === recall().device) ? recall().device : "";
}

async function stay_awake() {
  try { if (navigator.wakeLock && !lock) lock = await navigator.wakeLock.request("screen"); } catch (error) {}
}

// ------------------------------------------------------------------------------------------ sound goes out

function leave_out(seconds) {
  const samples = Math.round(seconds * microphone.rate);
  outbox.skip(samples);
  stats.gaps += samples / microphone.rate;
}

// A short gap was lost on the way; a long one is the computer's sleep.
function skipped(count) {
  if (!outbox || state !== "listening") return;
  heardAt += count;
  if (count < microphone.rate) outbox.skip(count);
  else slept(count / microphone.rate);
}

function slept(seconds) {
  leave_out(seconds);
  tell(`${seconds.toFixed(1)} s passed without sound, as when a computer sleeps. Listening goes on.`);
}

function hear(samples) {
  if (!outbox || (state !== "listening" && state !== "starting")) return;
  const missing = sleep.heard((heardAt += samples.length));
  if (missing) slept(missing);
  outbox.add(samples);
  arrivals.push({ end: outbox.first + outbox.count, at: performance.now() });
  meter(samples);
  pump();
}

async function pump(all = false) {
  if (sending || !outbox || !outbox.count || state === "starting") return;
  if (!all && outbox.count < SEND_SECONDS * outbox.rate) return;
  sending = true;
  const mine = turn;
  try {
    const part = outbox.peek(MOST_SECONDS * outbox.rate), position = outbox.first, left = performance.now();
    const answer = await in_time(server.push({ sid, position, pcm: base64(part) }));
    if (mine !== turn) return;
    if (answer.error) { await repair(answer); return; }
    if (away) { away = 0; tell("The connection is back; nothing was lost."); }
    stats.sent += part.length;
    outbox.drop(part.length);
    stats.answered = answer.position;
    if (stats.keep) stats.keep(part, position);
    take(answer, left);
  } catch (error) {
    if (mine !== turn) return;
    away = away || Date.now();
    tell("The connection is away; sound is kept for up to 30 s and sent when it is back.", "bad");
    await new Promise((done) => setTimeout(done, 500));
  } finally {
    sending = false;
  }
  if (outbox && (all || outbox.count >= SEND_SECONDS * outbox.rate)) setTimeout(() => pump(all));
}

const in_time = (promise) => Promise.race([promise, new Promise((_, fail) => setTimeout(() => fail(new Error("no answer")), ANSWER_MS))]);

async function repair(answer) {
  if (answer.code === "gone" && state !== "stopping") {
    if (await open(outbox.first)) { away = 0; tell("The connection is back; the listening goes on in a new place."); return; }
    stop(find(".lv-say").textContent, "bad");
  } else stop(answer.error, "bad");
}

// ------------------------------------------------------------------------------------------ answers come back

function take(answer, left = 0) {
  if (answer.columns) view.add_columns(Uint8Array.from(atob(answer.columns), (c) => c.charCodeAt(0)), answer.columns_at);
  for (const step of answer.steps) {
    view.add_step(step);
    stats.dropped += step.dropped;
    stats.steps.push(step);
    if (stats.steps.length > 5000) stats.steps.shift();
    for (const change of step.changes) tell_change(change);
    refusals(step);
    if (left) waiting.push({ at: step.at, left });
  }
  for (const change of answer.changes) tell_change(change);
  if ("lost_seconds" in answer) {
    stats.lost = answer.lost_seconds + (outbox ? outbox.lost / outbox.rate : 0) - stats.gaps;
  }
  const newest = answer.steps[answer.steps.length - 1];
  if (newest) { heard_line(newest); numbers(newest); stats.compute_ms = newest.compute_ms; }
  view.plan();
}

function drawn() {
  const now = performance.now();
  for (const one of waiting) {
    stats.latencies.push(now - one.left);
    // When the window's last sample reached the page.
    while (arrivals.length > 1 && arrivals[0].end < one.at * stats.rate) arrivals.shift();
    if (arrivals.length) stats.delays.push(now - arrivals[0].at);
  }
  waiting = [];
  for (const name of ["latencies", "delays"]) if (stats[name].length > 20000) stats[name].splice(0, 10000);
  stats.draws++;
  status();
}

function status() {
  if (state !== "listening" && state !== "paused") return;
  const delay = middle(stats.delays.slice(-20), 0.5), hop = wish().hop_seconds, factor = stats.compute_ms / 1000 / hop;
  const words = [`delay ${Number.isNaN(delay) ? "–" : delay.toFixed(0)} ms`, `${(stats.compute_ms || 0).toFixed(1)} ms a window`,
    `${(factor || 0).toFixed(2)} × real time`, `lost ${Math.max(0, stats.lost || 0).toFixed(1)} s`];
  if (stats.gaps) words.push(`not heard ${stats.gaps.toFixed(1)} s`);
  if (stats.dropped) words.push(`${stats.dropped} windows left out, the model is slower than the sound`);
  find(".lv-status").textContent = words.join(" · ");
}

function heard_line(step) {
  const line = find(".lv-heard"), big = line.firstElementChild, small = line.lastElementChild;
  if (!step) { if (Date.now() - (line.until || 0) > 0) { big.textContent = state === "stopped" ? "not listening" : "listening"; line.classList.add("none"); } small.textContent = ""; return; }
  const order = facts.labels.map((_, i) => i).filter((i) => !facts.background[i]).sort((a, b) => step.smoothed[b] - step.smoothed[a]);
  const open = view.events.filter((event) => event.end >= step.at - 0.001).sort((a, b) => b.score - a.score)[0];
  if (open) {
    big.textContent = `${open.label.toUpperCase()} ${open.score.toFixed(2)}`;
    line.classList.remove("none");
    line.until = Date.now() + HELD_MS;
  } else if (Date.now() > (line.until || 0)) { big.textContent = "listening"; line.classList.add("none"); }
  const best = order[0], why = step.refused[facts.labels[best]];
  small.textContent = best === undefined ? "" : `nearest now: ${facts.labels[best]} ${step.smoothed[best].toFixed(2)}${why ? ` (${why})` : ""}`;
}

function tell_change(change) {
  view.add_event(change);
  if (change.what === "began") {
    find(".lv-aria").textContent = `${change.label}, ${change.score.toFixed(2)}`;
    delete refused[change.label];
  }
  const old = events.find((event) => event.label === change.label && Math.abs(event.start - change.start) < 0.001);
  if (old) Object.assign(old, change); else events.unshift({ ...change, clock: stamp(change.start) });
  if (change.what === "ended") stats.events.push(change);
  events.length = Math.min(events.length, 1000);
  list_events();
}

// A score above the threshold that never became an event is listed with the reason.
function refusals(step) {
  for (const [label, why] of Object.entries(step.refused)) {
    const score = step.smoothed[facts.labels.indexOf(label)], old = refused[label];
    refused[label] = old ? { ...old, why, score: Math.max(score, old.score), at: step.at } : { label, why, score, at: step.at, start: step.start };
  }
  for (const [label, one] of Object.entries(refused)) {
    if (step.at - one.at < 1) continue;
    events.unshift({ ...one, what: "refused", end: one.at, clock: stamp(one.start) });
    delete refused[label];
    list_events();
  }
}

function list_events() {
  const list = find(".lv-list");
  find(".lv-save").disabled = !events.length;
  list.replaceChildren(...events.slice(0, LISTED).map((event) => {
    const item = document.createElement("li"), name = document.createElement("b"), when = document.createElement("time"), rest = document.createElement("span");
    when.textContent = event.clock;
    name.textContent = event.label;
    const length = event.end - event.start;
    rest.textContent = event.what === "refused" ? `${event.score.toFixed(2)}, no event: ${event.why}` : `${event.score.toFixed(2)}${event.what === "ended" ? ` · ${length.toFixed(2)} s` : " · now"}`;
    item.className = event.what;
    item.append(when, name, rest);
    return item;
  }));
}

function numbers(step) {
  if (!find(".lv-numbers").open || Date.now() - lastTable < 1000) return;
  lastTable = Date.now();
  const rows = [...find(".lv-numbers tbody").rows];
  facts.labels.forEach((_, i) => { rows[i].cells[1].textContent = step.smoothed[i].toFixed(2); rows[i].cells[2].textContent = step.scores[i].toFixed(2); });
}

// ------------------------------------------------------------------------------------------ what each block does

const LOOK_MS = 500, FULL_FALL = 0.5;

// Asks while it is open and sound comes; the answer is of the newest window.
async function look_inside() {
  if (inside.open && state === "listening" && !away && !document.hidden) {
    const mine = turn, answer = await server.inside({ sid }).catch(() => null);
    if (mine === turn && answer && answer.blocks) show_blocks((stats.inside = answer));
    stats.looks += 1;
  }
  setTimeout(look_inside, LOOK_MS);
}

function show_blocks(answer) {
  const name = part.options[part.selectedIndex].text;
  inside.querySelector(".lv-inside-say").textContent = `${answer.label} ${answer.score.toFixed(2)}: how far it falls ${name}; blue where it rises.`;
  [...inside.querySelectorAll(".lv-block")].forEach((row, i) => {
    const fall = answer.blocks[i][part.value] || 0, bar = row.querySelector("i"), share = Math.min(1, Math.abs(fall) / FULL_FALL) * 50;
    Object.assign(bar.style, { width: `${share}%`, left: `${fall < 0 ? 50 - share : 50}%` });
    bar.classList.toggle("rises", fall < 0);
    row.querySelector("output").textContent = Math.abs(fall) < 0.005 ? "0.00" : (fall > 0 ? "+" : "−") + Math.abs(fall).toFixed(2);
  });
}


// ------------------------------------------------------------------------------------------ level

function meter(samples) {
  let sum = 0, high = 0;
  for (const value of samples) { sum += value * value; high = Math.max(high, Math.abs(value)); }
  const now = 10 * Math.log10(sum / samples.length + 1e-10);
  level = Math.max(now, level - 1.5);
  peak = Math.max(high, peak * 0.9);
  if (high >= 0.999) clipAt = Date.now();
  if (meter.frame || performance.now() - (meter.at || 0) < METER_MS) return;
  meter.frame = requestAnimationFrame(() => {
    meter.frame = 0;
    meter.at = performance.now();
    const box = find(".lv-level"), share = Math.max(0, Math.min(1, (level + 70) / 70));
    box.firstElementChild.style.clipPath = `inset(0 ${(100 * (1 - share)).toFixed(1)}% 0 0)`;
    box.setAttribute("aria-valuenow", level.toFixed(0));
    find(".lv-db").textContent = level < -90 ? "silence" : `${level.toFixed(0).replace("-", "−")} dBFS`;
    find(".lv-clip").classList.toggle("on", Date.now() - clipAt < 2000);
  });
}

// ------------------------------------------------------------------------------------------ buttons

function save() {
  const quote = (words) => `"${String(words).replaceAll('"', '""')}"`;
  const rows = [...events].reverse().map((e) => [e.clock, e.start.toFixed(3), e.end.toFixed(3), quote(e.label), e.score.toFixed(4), e.what === "refused" ? quote("no event: " + e.why) : "event"].join(","));
  const address = URL.createObjectURL(new Blob(["clock,start,end,label,score,kind\n" + rows.join("\n") + "\n"], { type: "text/csv" }));
  const link = Object.assign(document.createElement("a"), { href: address, download: "live-events.csv" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.matches(".lv-go")) state === "stopped" ? start() : stop();
  else if (button.matches(".lv-pause")) pause();
  else if (button.matches(".lv-replay")) {
    if (state === "listening" || state === "paused") trigger("select", { sid });
    else tell("Start listening first: the last ten seconds are kept while the microphone is open.", "bad");
  } else if (button.matches(".lv-save")) save();
});

element.addEventListener("input", (event) => {
  if (!event.target.matches("[data-setting]")) return;
  show_settings();
  clearTimeout(apply.timer);
  apply.timer = setTimeout(apply, 250);
});

element.addEventListener("change", async (event) => {
  if (event.target === part && stats.inside) show_blocks(stats.inside);
  if (!event.target.matches(".lv-mic")) return;
  remember({ device: find(".lv-mic").value });
  if (state === "listening") { await stop(); start(); }
});

document.addEventListener("visibilitychange", () => { if (!document.hidden && state === "listening") stay_awake(); });
window.addEventListener("pagehide", () => { if (sid && state !== "stopped") server.bye({ sid }); });
window.addEventListener("resize", () => view.plan());
if (navigator.mediaDevices) navigator.mediaDevices.addEventListener("devicechange", () => list_microphones().catch(() => {}));

// A listener who pauses keeps the place.
setInterval(() => { if (state === "paused" && !outbox.count) server.push({ sid, position: outbox.first, pcm: "" }).catch(() => {}); }, 5000);

bind();
restore();
apply();
set("stopped");
look_inside();
watch("value", follow);
if (!window.isSecureContext) tell("Browsers give the microphone to secure pages only. Open this page as https://… or as http://localhost.", "bad");
else if (navigator.mediaDevices) list_microphones().catch(() => {});
