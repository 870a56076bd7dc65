// The look inside in the browser: one block at a time, the same cell marked in every map, a patch followed through the blocks, pictures saved.
// Events are heard at the root, so what stands inside may be replaced at any time.

function lookInside(root) {
  const all = (name) => [...root.querySelectorAll(name)], one = (name) => root.querySelector(name);
  const unpack = (text, Type) => new Type(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  const number = (value) => value.toFixed(2).replace("-", "−");
  const fell = (fall) => (Math.abs(fall) < 0.005 ? "stays" : `${fall > 0 ? "falls" : "rises"} by ${Math.abs(fall).toFixed(2)}`);
  const percent = (share) => `${(100 * share).toFixed(0)} %`;
  let cell = null;

  // ---------------------------------------------------------------------------------------- one block at a time

  function open(block) {
    for (const section of all(".look-block")) section.hidden = section.dataset.block !== String(block);
    for (const button of all(".causes .open-block")) button.setAttribute("aria-pressed", String(button.dataset.open === String(block)));
    mark(cell);
  }

  // ---------------------------------------------------------------------------------------- the same cell in every map

  const facts = () => one(".look-follow").dataset;
  const place = (token) => ({ row: Math.floor(token / +facts().columns), column: token % +facts().columns });
  const words = (token) => { const { row, column } = place(token); return `${facts().bands.split("|")[row]}, ${facts().times.split("|")[column]}`; };

  // Which row (from below) and column of a figure's cells an event is over.
  function under(event, figure) {
    const box = figure.querySelector(".map-plot").getBoundingClientRect(), rows = +figure.dataset.rows, columns = +figure.dataset.columns;
    const x = (event.clientX - box.left) / box.width, y = (box.bottom - event.clientY) / box.height;
    if (x < 0 || x >= 1 || y < 0 || y >= 1) return null;
    return { row: Math.floor(y * rows), column: Math.floor(x * columns) };
  }

  function frame(figure, rows, columns, row, column, kind = "over") {
    const plot = figure.querySelector(".map-plot");
    let box = plot.querySelector(`.cell-mark.${kind}`);
    if (!box) plot.append((box = Object.assign(document.createElement("i"), { className: `cell-mark ${kind}` })));
    box.style.display = row === null ? "none" : "block";
    if (row === null) return;
    Object.assign(box.style, { left: `${(100 * column) / columns}%`, width: `${100 / columns}%`, bottom: `${(100 * row) / rows}%`, height: `${100 / rows}%` });
  }

  function read(figure, text) {
    let line = figure.querySelector(".map-read");
    if (!line) figure.append((line = Object.assign(document.createElement("p"), { className: "map-read" })));
    line.textContent = text;
  }

  const value = (figure, row, column) => {
    figure.cells = figure.cells || unpack(figure.dataset.cells, Float32Array);
    return figure.cells[row * +figure.dataset.columns + column];
  };

  // Marks a patch (its number, or null) in all maps that are shown, with each map's own number.
  function mark(token) {
    cell = token;
    for (const figure of all(".map.patches")) {
      if (token === null) { frame(figure, 1, 1, null, 0); read(figure, ""); continue; }
      const { row, column } = place(token);
      frame(figure, +figure.dataset.rows, +figure.dataset.columns, row, column);
      read(figure, `${words(token)}: ${number(value(figure, row, column))}`);
    }
    for (const figure of all(".map.sent")) {
      const count = +figure.dataset.rows, at = token === null ? null : place(token)[figure.dataset.axis === "time" ? "column" : "row"];
      frame(figure, 1, count, at === null ? null : 0, at);
      read(figure, at === null ? "" : `from ${figure.dataset.names.split("|")[at]}: ${sent(figure, at)}`);
    }
  }

  function sent(figure, from) {
    const count = +figure.dataset.rows;
    let total = 0;
    for (let to = 0; to < count; to++) total += value(figure, to, from);
    return `sends ${total.toFixed(1)} % of the energy, ${(total - value(figure, from, from)).toFixed(1)} % of it elsewhere`;
  }

  function hover(event) {
    const figure = event.target.closest && event.target.closest(".map[data-cells]"), at = figure && under(event, figure);
    if (!at) return;
    if (figure.matches(".patches")) mark(at.row * +figure.dataset.columns + at.column);
    else {
      const names = figure.dataset.names.split("|");
      frame(figure, +figure.dataset.rows, +figure.dataset.columns, at.row, at.column);
      read(figure, `from ${names[at.column]} to ${names[at.row]}: ${value(figure, at.row, at.column).toFixed(1)} % of the energy`);
    }
  }

  // ---------------------------------------------------------------------------------------- one patch followed

  function follow(token) {
    const data = facts(), tokens = JSON.parse(data.tokens), index = tokens.indexOf(token), say = one(".follow-say");
    one(".follow-maps").replaceChildren();
    one(".follow-table").replaceChildren();
    if (index < 0) {
      say.textContent = `The patch at ${words(token)} was not followed: only the ${tokens.length} on which the score rests most were.`;
      return;
    }
    const count = +data.rows * +data.columns, layers = +data.depth + 1;
    const shares = unpack(data.shares, Uint16Array).slice(index * layers * count, (index + 1) * layers * count);
    const fall = unpack(data.falls, Float32Array)[index], rows = [];
    const behind = (layer) => (layer ? `behind block ${layer - 1}` : "behind the patch stem");
    for (let layer = 0; layer < layers; layer++) {
      const own = shares.slice(layer * count, (layer + 1) * count);
      let most = -1;
      own.forEach((share, i) => { if (i !== token && (most < 0 || share > own[most])) most = i; });
      rows.push([behind(layer), percent(own[token] / 65535), own[most] ? words(most) : "nowhere", percent(own[most] / 65535)]);
      one(".follow-maps").append(drawn(own, token, behind(layer), percent(own[token] / 65535)));
    }
    say.textContent = `Without the patch at ${words(token)} ${one(".look").dataset.label} ${fell(fall)}. Of what that changes ${rows[1][1]} `
      + `is in its own place behind block 0, and ${rows[layers - 1][1]} behind block ${layers - 2}.`;
    one(".follow-table").append(table(["", "in its own place", "elsewhere most at", "share there"], rows));
  }

  function drawn(shares, token, title, own) {
    const figure = document.createElement("figure"), caption = document.createElement("figcaption"), body = document.createElement("div");
    const canvas = document.createElement("canvas"), rows = +facts().rows, columns = +facts().columns, colours = unpack(facts().colours, Uint8Array);
    Object.assign(canvas, { width: columns, height: rows });
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${title}: ${own} of the change in the patch's own place`);
    const image = canvas.getContext("2d").createImageData(columns, rows), top = Math.max(...shares);
    shares.forEach((share, i) => {
      const shade = 3 * Math.round(255 * Math.sqrt(share / top)), at = 4 * ((rows - 1 - Math.floor(i / columns)) * columns + (i % columns));
      for (let c = 0; c < 3; c++) image.data[at + c] = colours[shade + c];
      image.data[at + 3] = 255;
    });
    canvas.getContext("2d").putImageData(image, 0, 0);
    caption.textContent = `${title}: ${own} in its own place`;
    figure.className = "map followed";
    body.className = "map-plot";
    body.append(canvas);
    figure.append(caption, body);
    const { row, column } = place(token);
    frame(figure, rows, columns, row, column, "chosen");
    return figure;
  }

  function table(heads, rows) {
    const made = document.createElement("table"), box = Object.assign(document.createElement("div"), { className: "scroll" });
    const line = (parent, cells, kinds) => { const row = parent.insertRow(); cells.forEach((text, i) => { const cell = document.createElement(kinds(i)); cell.textContent = text; row.append(cell); }); };
    line(made.createTHead(), heads, () => "th");
    const body = made.createTBody();
    for (const cells of rows) line(body, cells, (i) => (i ? "td" : "th"));
    box.append(made);
    return box;
  }

  // ---------------------------------------------------------------------------------------- pictures saved

  const NS = "http://www.w3.org/2000/svg", WIDTH = 640, HEIGHT = 360, LEFT = 90, TOP = 48, RIGHT = 110, BOTTOM = 44;
  const text = (x, y, words, more = "") => `<text x="${x}" y="${y}" ${more}>${words.replaceAll("&", "&amp;").replaceAll("<", "&lt;")}</text>`;

  function svg(figure) {
    const plot = figure.querySelector(".map-plot"), picture = plot.querySelector("img"), curves = plot.querySelector("svg"), bar = figure.querySelector(".bar img");
    const style = getComputedStyle(figure), parts = [];
    parts.push(text(LEFT, 26, figure.querySelector("figcaption span").innerText, 'font-size="16" font-weight="600"'));
    if (picture) parts.push(`<image x="${LEFT}" y="${TOP}" width="${WIDTH}" height="${HEIGHT}" preserveAspectRatio="none" style="image-rendering:pixelated" href="${picture.src}"/>`);
    else {
      const copy = curves.cloneNode(true), now = [...curves.querySelectorAll("path")];
      [...copy.querySelectorAll("path")].forEach((path, i) => { const s = getComputedStyle(now[i]); path.setAttribute("style", `fill:none;stroke:${s.stroke};stroke-width:${s.strokeWidth};stroke-dasharray:${s.strokeDasharray};vector-effect:non-scaling-stroke`); });
      parts.push(`<svg x="${LEFT}" y="${TOP}" width="${WIDTH}" height="${HEIGHT}" viewBox="0 0 1000 1000" preserveAspectRatio="none">${copy.innerHTML}</svg>`);
    }
    for (const one of figure.querySelectorAll(".tl-mark")) parts.push(text(LEFT - 8, TOP + (HEIGHT * parseFloat(one.style.top)) / 100 + 4, one.textContent, 'text-anchor="end"'));
    for (const one of figure.querySelectorAll(".tl-tick")) parts.push(text(LEFT + (WIDTH * parseFloat(one.style.left)) / 100, TOP + HEIGHT + 22, one.textContent, 'text-anchor="middle"'));
    if (bar) {
      parts.push(`<image x="${LEFT + WIDTH + 14}" y="${TOP}" width="14" height="${HEIGHT}" preserveAspectRatio="none" href="${bar.src}"/>`);
      const ends = [...figure.querySelectorAll(".bar-text span")];
      ends.forEach((end, i) => parts.push(text(LEFT + WIDTH + 36, TOP + 10 + ((HEIGHT - 10) * i) / Math.max(1, ends.length - 1), end.textContent)));
    }
    const wide = LEFT + WIDTH + RIGHT, high = TOP + HEIGHT + BOTTOM;
    return `<svg xmlns="${NS}" width="${wide}" height="${high}" viewBox="0 0 ${wide} ${high}" font-family="system-ui, sans-serif" font-size="13" fill="${style.color}">`
      + `<rect width="100%" height="100%" fill="${getComputedStyle(figure.closest("section")).backgroundColor}"/>${parts.join("")}</svg>`;
  }

  async function save(figure, ending) {
    const drawing = new Blob([svg(figure)], { type: "image/svg+xml" });
    const name = figure.querySelector("figcaption span").innerText.replace(/[^\w]+/g, "-").replace(/^-|-$/g, "");
    let blob = drawing;
    if (ending === "png") {
      const address = URL.createObjectURL(drawing), image = new Image(), canvas = document.createElement("canvas");
      image.src = address;
      await image.decode();
      Object.assign(canvas, { width: 2 * image.naturalWidth, height: 2 * image.naturalHeight });
      const context = canvas.getContext("2d");
      context.imageSmoothingEnabled = false;
      context.drawImage(image, 0, 0, canvas.width, canvas.height);
      URL.revokeObjectURL(address);
      blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
    }
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: `${name}.${ending}` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  // ---------------------------------------------------------------------------------------- events

  root.addEventListener("pointermove", hover);
  root.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button && button.matches(".open-block")) return open(button.dataset.open);
    if (button && button.matches(".save")) return save(button.closest("figure"), button.dataset.save);
    const figure = event.target.closest(".map.patches"), at = figure && event.target.closest(".map-plot") && under(event, figure);
    if (!at) return;
    mark(at.row * +figure.dataset.columns + at.column);
    follow(cell);
    show();
  });

  // After a click the pictures below are worth a look; they come into view where they are not.
  const show = () => one(".look-follow").scrollIntoView({ block: "nearest", behavior: "smooth" });

  root.addEventListener("focusin", (event) => { if (cell === null && event.target.matches(".map-plot[tabindex]")) mark(0); });
  root.addEventListener("keydown", (event) => {
    if (!event.target.matches || !event.target.matches(".map-plot[tabindex]")) return;
    const { row, column } = place(cell || 0), rows = +facts().rows, columns = +facts().columns;
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [1, 0], ArrowDown: [-1, 0] };
    if (event.key === "Enter") { follow(cell || 0); show(); }
    else if (event.key in moves) {
      const [up, right] = moves[event.key];
      mark(Math.min(rows - 1, Math.max(0, row + up)) * columns + Math.min(columns - 1, Math.max(0, column + right)));
    } else return;
    event.preventDefault();
  });
}
