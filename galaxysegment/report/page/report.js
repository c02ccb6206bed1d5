"use strict";
(() => {
// --- data -----------------------------------------------------------------------------------
const element = id => document.getElementById(id);
const data = JSON.parse(element("data").textContent);
const [height, width] = data.image.shape;
const n = data.n_sources;

function bytes(text) {
  const raw = atob(text), out = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
  return out.buffer;
}
const makers = { f4: b => new Float32Array(b), f8: b => new Float64Array(b), i4: b => new Int32Array(b) };
for (const column of data.columns)
  column.values = column.type === "text" ? column.data : makers[column.type](bytes(column.data));
for (const flag of data.flags) flag.values = new Uint8Array(bytes(flag.data));
const columns = new Map(data.columns.map(column => [column.name, column]));
const labels = columns.get("label").values;
const boxes = makers.i4(bytes(data.boxes));
const places = data.cutouts ? makers.i4(bytes(data.cutouts)) : null;
const rowOf = new Map();
for (let i = 0; i < n; i++) rowOf.set(String(labels[i]), i);
const lines = new Map();
function line(id, index) {
  if (!lines.has(id)) lines.set(id, element(id).textContent.split("\n"));
  return lines.get(id)[index + 1];
}

// --- outlines ---------------------------------------------------------------------------------
const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const valueOf = new Uint8Array(128);
for (let i = 0; i < 64; i++) valueOf[DIGITS.charCodeAt(i)] = i;
const MOVES = [[1, 0], [0, 1], [-1, 0], [0, -1]];
const paths = new Map();
function pathOf(index) {
  let path = paths.get(index);
  if (path) return path;
  path = new Path2D();
  const parts = line("outlines", index).split(";"), step = Number(parts[0]);
  for (let k = 1; k < parts.length; k++) {
    const [x0, y0, length, code] = parts[k].split(" ");
    let x = boxes[4 * index + 1] + step * x0, y = boxes[4 * index] + step * y0;
    path.moveTo(x, y);
    for (let j = 0; j < length; j++) {
      const [dx, dy] = MOVES[valueOf[code.charCodeAt(Math.floor(j / 3))] >> (4 - 2 * (j % 3)) & 3];
      x += step * dx; y += step * dy;
      path.lineTo(x, y);
    }
  }
  if (paths.size > 20000) paths.clear();
  paths.set(index, path);
  return path;
}

// --- which sources are where --------------------------------------------------------------------
const CELL = 256, LARGE = 512;
const gridColumns = Math.ceil(width / CELL), gridRows = Math.ceil(height / CELL);
const cellStart = new Int32Array(gridColumns * gridRows + 1), members = new Int32Array(n), large = [];
const cellOf = i => Math.floor(boxes[4 * i] / CELL) * gridColumns + Math.floor(boxes[4 * i + 1] / CELL);
const isLarge = i => Math.max(boxes[4 * i + 2] - boxes[4 * i], boxes[4 * i + 3] - boxes[4 * i + 1]) > LARGE;
for (let i = 0; i < n; i++) if (isLarge(i)) large.push(i); else cellStart[cellOf(i) + 1]++;
for (let c = 0; c < gridColumns * gridRows; c++) cellStart[c + 1] += cellStart[c];
{
  const next = cellStart.slice();
  for (let i = 0; i < n; i++) if (!isLarge(i)) members[next[cellOf(i)]++] = i;
}
function sourcesIn(x0, y0, x1, y1) {
  const inside = [];
  const add = i => {
    if (boxes[4 * i] < y1 && boxes[4 * i + 2] > y0 && boxes[4 * i + 1] < x1 && boxes[4 * i + 3] > x0) inside.push(i);
  };
  large.forEach(add);
  const clip = (value, most) => Math.max(0, Math.min(most, Math.floor(value / CELL)));
  const left = clip(x0 - LARGE, gridColumns - 1), right = clip(x1, gridColumns - 1);
  for (let row = clip(y0 - LARGE, gridRows - 1); row <= clip(y1, gridRows - 1); row++)
    for (let k = cellStart[row * gridColumns + left]; k < cellStart[row * gridColumns + right + 1]; k++) add(members[k]);
  return inside;
}

// --- tiles --------------------------------------------------------------------------------------
const TILE = data.tile, levels = data.levels, images = new Map();
let redraw = () => {};
function picture(key, text) {
  let image = images.get(key);
  if (!image) {
    image = new Image();
    image.onload = () => { image.ready = true; redraw(); };
    image.src = "data:image/jpeg;base64," + text;
    if (images.size > 800) images.delete(images.keys().next().value);
  } else images.delete(key);
  images.set(key, image);
  return image;
}
const tile = (level, row, column) =>
  picture(`${level} ${row} ${column}`, line(`level-${level}`, row * levels[level].columns + column));

// --- drawing --------------------------------------------------------------------------------------
// A view: the point of the image in the middle of a canvas, and device pixels per image pixel.
function place(view, canvas) {
  const { x, y, zoom } = view, w = canvas.width, h = canvas.height;
  return {
    x0: x - w / 2 / zoom, x1: x + w / 2 / zoom, y0: y - h / 2 / zoom, y1: y + h / 2 / zoom,
    toX: value => (value - x) * zoom + w / 2, toY: value => h / 2 - (value - y) * zoom,
  };
}
function drawBlock(context, where, image, x0, y0, x1, y1, zoom, scale) {
  const left = Math.round(where.toX(x0)), right = Math.round(where.toX(x1));
  const top = Math.round(where.toY(y1)), bottom = Math.round(where.toY(y0));
  context.imageSmoothingEnabled = zoom * scale < 3;
  context.drawImage(image, left, top, right - left, bottom - top);
}
function drawLevel(context, view, where, index) {
  const level = levels[index], side = TILE * level.scale;
  let complete = true;
  const first = value => Math.max(0, Math.floor(value / side));
  for (let row = first(where.y0); row < level.rows && row * side < where.y1; row++)
    for (let column = first(where.x0); column < level.columns && column * side < where.x1; column++) {
      const image = tile(index, row, column);
      if (!image.ready) { complete = false; continue; }
      const x1 = column * side + image.naturalWidth * level.scale, y1 = row * side + image.naturalHeight * level.scale;
      drawBlock(context, where, image, column * side, row * side, x1, y1, view.zoom, level.scale);
    }
  return complete;
}
function drawSky(canvas, view, withCutouts) {
  const context = canvas.getContext("2d"), where = place(view, canvas);
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.fillStyle = "#000";
  context.fillRect(0, 0, canvas.width, canvas.height);
  let chosen = 0;
  while (chosen + 1 < levels.length && levels[chosen + 1].scale * view.zoom <= 1.01) chosen++;
  const last = levels.length - 1;
  drawLevel(context, view, where, last);
  if (chosen < last && !drawLevel(context, view, where, chosen)) {
    for (let index = last - 1; index > chosen; index--) drawLevel(context, view, where, index);
    drawLevel(context, view, where, chosen);
  }
  if (places && chosen === 0 && view.zoom * levels[0].scale > 1.01)
    for (const i of withCutouts.slice(0, 500)) {
      const [y0, x0, y1, x1, step] = places.subarray(5 * i, 5 * i + 5);
      if (!step) continue;
      const image = picture(`cutout ${i}`, line("cutouts", i));
      if (image.ready) drawBlock(context, where, image, x0, y0, x0 + image.naturalWidth * step, y0 + image.naturalHeight * step, view.zoom, step);
    }
  return where;
}
const MOST = 6000;
let shown = new Uint8Array(n).fill(1), selected = -1, withOutlines = true;
function drawOutlines(canvas, view, where, inside) {
  const context = canvas.getContext("2d"), zoom = view.zoom, thick = canvas.width / canvas.clientWidth;
  const colour = i => i === selected ? "#ffb534" : shown[i] ? "#45d9c6" : "#45d9c640";
  if (inside.length > MOST) {
    for (const bright of [0, 1]) {
      context.fillStyle = bright ? "#45d9c6b0" : "#45d9c628";
      for (const i of inside) if (shown[i] === bright) {
        const w = Math.max(thick, (boxes[4 * i + 3] - boxes[4 * i + 1]) * zoom), h = Math.max(thick, (boxes[4 * i + 2] - boxes[4 * i]) * zoom);
        const side = Math.min(w, h, 3 * thick);
        context.fillRect(where.toX((boxes[4 * i + 1] + boxes[4 * i + 3]) / 2) - side / 2, where.toY((boxes[4 * i] + boxes[4 * i + 2]) / 2) - side / 2, side, side);
      }
    }
  }
  const stroke = (i, weight) => {
    context.lineWidth = weight * thick / zoom;
    context.strokeStyle = colour(i);
    context.stroke(pathOf(i));
  };
  context.setTransform(zoom, 0, 0, -zoom, canvas.width / 2 - view.x * zoom, canvas.height / 2 + view.y * zoom);
  if (inside.length <= MOST) for (const i of inside) if (i !== selected) stroke(i, 1.3);
  if (selected >= 0) stroke(selected, 2.4);
  context.setTransform(1, 0, 0, 1, 0, 0);
  if (selected >= 0) {
    const [y0, x0, y1, x1] = boxes.subarray(4 * selected, 4 * selected + 4);
    const radius = Math.max(14 * thick, Math.hypot(y1 - y0, x1 - x0) / 2 * zoom + 6 * thick);
    context.lineWidth = 1.5 * thick;
    context.strokeStyle = "#ffb534";
    context.beginPath();
    context.arc(where.toX((x0 + x1) / 2), where.toY((y0 + y1) / 2), radius, 0, 2 * Math.PI);
    context.stroke();
  }
}

// --- the large view -----------------------------------------------------------------------------
const sky = element("sky"), view = { x: width / 2, y: height / 2, zoom: 1 };
const ratio = () => window.devicePixelRatio || 1;
const fitted = () => 0.98 * Math.min(sky.width / width, sky.height / height);
function resize(canvas) {
  const w = Math.round(canvas.clientWidth * ratio()), h = Math.round(canvas.clientHeight * ratio());
  if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
}
function number(value) {
  if (!Number.isFinite(value)) return "–";
  if (Number.isInteger(value) && Math.abs(value) < 1e7) return String(value);
  const size = Math.abs(value);
  return size !== 0 && (size >= 1e7 || size < 1e-3) ? value.toExponential(3) : String(Number(value.toPrecision(6)));
}
const count = value => value.toLocaleString("en");
function sayScale() {
  const perPixel = ratio() / view.zoom, arcsec = data.image.pixel_scale;
  const angle = pixels => arcsec ? ` = ${number(Number((pixels * arcsec).toPrecision(3)))}″` : "";
  const finest = levels[0].scale;
  const kept = places ? ` ${count(data.n_cutouts)} of ${count(n)} sources, the brightest first, are shown at full resolution.` : "";
  const resolution = finest === 1 ? "The picture has full resolution." :
    `The picture has ${finest} × ${finest} image pixels${angle(finest)} per pixel.${kept}`;
  element("scale").textContent = `1 screen pixel = ${number(Number(perPixel.toPrecision(3)))} image pixels${angle(perPixel)}. ${resolution}`;
}
let waiting = false;
redraw = () => {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    resize(sky);
    const edges = place(view, sky);
    const inside = sourcesIn(edges.x0, edges.y0, edges.x1, edges.y1);
    const where = drawSky(sky, view, inside);
    if (withOutlines) drawOutlines(sky, view, where, inside);
    if (selected >= 0) drawCutout();
    sayScale();
  });
};
function clampView() {
  view.zoom = Math.min(Math.max(view.zoom, fitted() / 2), 40 * ratio());
  view.x = Math.min(Math.max(view.x, 0), width);
  view.y = Math.min(Math.max(view.y, 0), height);
}
function fit() {
  resize(sky);
  Object.assign(view, { x: width / 2, y: height / 2, zoom: fitted() });
  redraw();
}
function zoomBy(factor, px = sky.width / 2, py = sky.height / 2) {
  const dx = (px - sky.width / 2) / view.zoom, dy = (sky.height / 2 - py) / view.zoom;
  const before = view.zoom;
  view.zoom *= factor;
  clampView();
  view.x += dx * (1 - before / view.zoom);
  view.y += dy * (1 - before / view.zoom);
  clampView();
  redraw();
}
function panBy(dx, dy) {
  view.x -= dx / view.zoom;
  view.y += dy / view.zoom;
  clampView();
  redraw();
}
const position = event => {
  const frame = sky.getBoundingClientRect();
  return [(event.clientX - frame.left) * sky.width / frame.width, (event.clientY - frame.top) * sky.height / frame.height];
};
const pointers = new Map();
let moved = 0;
sky.addEventListener("pointerdown", event => {
  sky.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, position(event));
  if (pointers.size === 1) moved = 0;
});
sky.addEventListener("pointermove", event => {
  const old = pointers.get(event.pointerId);
  if (!old) return;
  const now = position(event);
  moved += Math.hypot(now[0] - old[0], now[1] - old[1]);
  if (pointers.size === 1) panBy(now[0] - old[0], now[1] - old[1]);
  else {
    const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
    const span = point => Math.hypot(point[0] - other[0], point[1] - other[1]) || 1;
    zoomBy(span(now) / span(old), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
    moved = 1e9;
  }
  pointers.set(event.pointerId, now);
});
const release = event => {
  if (pointers.delete(event.pointerId) && event.type === "pointerup" && pointers.size === 0 && moved < 6 * ratio())
    select(sourceAt(...position(event)));
};
sky.addEventListener("pointerup", release);
sky.addEventListener("pointercancel", release);
sky.addEventListener("dblclick", event => zoomBy(2, ...position(event)));
sky.addEventListener("wheel", event => {
  event.preventDefault();
  zoomBy(Math.exp(-Math.max(-200, Math.min(200, event.deltaY)) / 300), ...position(event));
}, { passive: false });

function sourceAt(px, py) {
  const edges = place(view, sky), x = edges.x0 + px / view.zoom, y = edges.y1 - py / view.zoom;
  const reach = 14 * ratio() / view.zoom;
  const context = sky.getContext("2d");
  let best = -1, least = Infinity;
  for (const i of sourcesIn(x - reach, y - reach, x + reach, y + reach)) {
    const [y0, x0, y1, x1] = boxes.subarray(4 * i, 4 * i + 4);
    const inBox = x >= x0 && x < x1 && y >= y0 && y < y1;
    const hit = inBox && context.isPointInPath(pathOf(i), x, y, "evenodd");
    const distance = Math.hypot(x - (x0 + x1) / 2, y - (y0 + y1) / 2);
    const cost = hit ? -1 / ((y1 - y0) * (x1 - x0)) : distance <= reach + Math.hypot(y1 - y0, x1 - x0) / 2 ? distance : Infinity;
    if (cost < least) { least = cost; best = i; }
  }
  return best;
}

// --- the selected source ------------------------------------------------------------------------
const cutout = element("cutout");
function drawCutout() {
  resize(cutout);
  const [y0, x0, y1, x1] = boxes.subarray(4 * selected, 4 * selected + 4);
  const zoom = Math.min(cutout.width / (x1 - x0 + 16), cutout.height / (y1 - y0 + 16), 16 * ratio());
  const small = { x: (x0 + x1) / 2, y: (y0 + y1) / 2, zoom };
  const edges = place(small, cutout);
  const inside = sourcesIn(edges.x0, edges.y0, edges.x1, edges.y1);
  // a neighbour's cutout must not hide part of this source's
  const where = drawSky(cutout, small, [...inside.filter(i => i !== selected), selected].slice(-500));
  const context = cutout.getContext("2d"), thick = ratio();
  context.setTransform(zoom, 0, 0, -zoom, cutout.width / 2 - small.x * zoom, cutout.height / 2 + small.y * zoom);
  for (const i of inside.slice(0, MOST)) {
    context.lineWidth = (i === selected ? 2 : 1) * thick / zoom;
    context.strokeStyle = i === selected ? "#ffb534" : "#45d9c6";
    context.stroke(pathOf(i));
  }
  const step = levels[0].scale === 1 ? 1 : places && places[5 * selected + 4] || levels[0].scale;
  element("resolution").textContent = step === 1 ? "Full resolution." : `${step} × ${step} image pixels per pixel.`;
}
function cell(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}
const written = (column, i) => column.type === "text" ? column.values[i] :
  column.type === "f8" ? column.values[i].toFixed(6) : number(column.values[i]);
function select(index, centre = false) {
  if (index < 0) {
    selected = -1;
    element("chosen").hidden = true;
    element("said").textContent = "No source there. Click on a source, or enter its label.";
    redraw();
    listSources();
    return;
  }
  selected = index;
  const label = String(labels[index]);
  element("chosen").hidden = false;
  element("name").textContent = `Source ${label}`;
  element("label").value = label;
  const marks = data.flags.filter(flag => flag.values[index]).map(flag => flag.name);
  element("marks").replaceChildren(...marks.map(mark => cell("span", mark)));
  element("said").textContent = `Source ${label} selected${marks.length ? `, flags: ${marks.join(", ")}` : ", no flags"}.`;
  element("row").tBodies[0].replaceChildren(...data.columns.map(column => {
    const row = document.createElement("tr"), head = cell("th", column.name);
    head.scope = "row";
    row.append(head, cell("td", written(column, index) + (column.unit ? ` ${column.unit}` : "")));
    return row;
  }));
  if (centre) {
    const [y0, x0, y1, x1] = boxes.subarray(4 * index, 4 * index + 4);
    view.x = (x0 + x1) / 2; view.y = (y0 + y1) / 2;
    const wanted = sky.height / 8 / Math.max(y1 - y0, x1 - x0, 8);
    if (view.zoom < wanted) view.zoom = wanted;
    clampView();
  }
  listSources();
  redraw();
}
function stepBy(step) {
  if (!n) return;
  let index = selected;
  for (let k = 0; k < n; k++) {
    index = ((index < 0 && step < 0 ? 0 : index) + step + n) % n;
    if (shown[index]) return select(index, true);
  }
}

// --- filters, histograms and the list -----------------------------------------------------------
const flagged = new Set(), ranges = new Map();
function filter() {
  const flags = [...flagged].map(name => data.flags.find(flag => flag.name === name).values);
  for (let i = 0; i < n; i++) {
    let ok = !flags.length || flags.some(values => values[i]);
    for (const [column, [low, high]] of ranges) {
      const value = columns.get(column).values[i];
      ok = ok && value >= low && value <= high;
    }
    shown[i] = ok ? 1 : 0;
  }
  order = null;
  page = 0;
  charts.forEach(chart => chart());
  showFilters();
  listSources();
  redraw();
}
function showFilters() {
  element("filters").replaceChildren(...data.flags.map(flag => {
    let total = 0;
    for (const value of flag.values) total += value;
    const button = cell("button", `${flag.name} (${count(total)})`);
    button.type = "button";
    button.setAttribute("aria-pressed", flagged.has(flag.name));
    button.onclick = () => {
      if (!flagged.delete(flag.name)) flagged.add(flag.name);
      filter();
      [...element("filters").children].find(other => other.textContent === button.textContent).focus();
    };
    return button;
  }));
}
const SVG = "http://www.w3.org/2000/svg";
function svg(tag, attributes, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}
const numeric = data.columns.filter(column => column.type !== "text" && !["label", "x", "y", "ra", "dec"].includes(column.name));
function binning(column) {
  const values = Array.from(column.values).filter(Number.isFinite).sort((a, b) => a - b);
  if (!values.length) return null;
  const at = part => values[Math.min(values.length - 1, Math.floor(part * values.length))];
  let low = at(0.001), high = at(0.999);
  const log = low > 0 && high / low > 30;
  if (log) { low = Math.log10(low); high = Math.log10(high); }
  if (high <= low) { low -= 0.5; high += 0.5; }
  const bins = 30, edges = Array.from({ length: bins + 1 }, (_, k) => low + (high - low) * k / bins);
  return { log, low, high, bins, lowest: values[0], highest: values[values.length - 1], edges: edges.map(edge => log ? 10 ** edge : edge) };
}
function drawChart(figure, name) {
  const column = columns.get(name), bin = binning(column);
  const choose = document.createElement("select");
  choose.setAttribute("aria-label", "Column of the histogram");
  choose.append(...numeric.map(other => new Option(other.name, other.name, false, other.name === name)));
  choose.onchange = () => {
    ranges.delete(name);
    charts[figure.id === "first" ? 0 : 1] = () => drawChart(figure, choose.value);
    filter();
    figure.querySelector("select").focus();
  };
  if (!bin) return figure.replaceChildren(choose, cell("figcaption", "no values"));
  const all = new Array(bin.bins).fill(0), part = new Array(bin.bins).fill(0);
  let without = 0;
  for (let i = 0; i < n; i++) {
    const value = column.values[i];
    if (!Number.isFinite(value)) { without++; continue; }
    const place = ((bin.log ? Math.log10(Math.max(value, 1e-300)) : value) - bin.low) / (bin.high - bin.low);
    const k = Math.max(0, Math.min(bin.bins - 1, Math.floor(place * bin.bins)));
    all[k]++;
    part[k] += shown[i];
  }
  const W = 600, H = 190, base = 160, most = Math.max(...all), step = W / bin.bins;
  const bars = all.map((total, k) => {
    // the outermost bars hold what lies beyond
    const from = k ? bin.edges[k] : bin.lowest, to = k < bin.bins - 1 ? bin.edges[k + 1] : bin.highest;
    const tall = value => Math.max(value ? 1 : 0, 145 * value / most);
    const text = `${name} ${number(from)} to ${number(to)}: ${count(total)} sources`;
    const range = ranges.get(name), isChosen = range && range[0] === from && range[1] === to;
    const bar = svg("g", { class: isChosen ? "bar chosen" : "bar", tabindex: 0, role: "button", "aria-pressed": !!isChosen, "aria-label": text },
      svg("rect", { x: k * step, y: 0, width: step, height: base, style: "fill:transparent" }),
      svg("rect", { x: k * step + 1, y: base - tall(total), width: step - 2, height: tall(total), opacity: 0.45 }),
      svg("rect", { class: "part", x: k * step + 1, y: base - tall(part[k]), width: step - 2, height: tall(part[k]) }),
      svg("title", {}, text));
    const toggle = () => {
      if (isChosen) ranges.delete(name); else ranges.set(name, [from, to]);
      filter();
      figure.querySelectorAll("g.bar")[k].focus();
    };
    bar.addEventListener("click", toggle);
    bar.addEventListener("keydown", event => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); toggle(); } });
    return bar;
  });
  const marks = [0, 0.25, 0.5, 0.75, 1].map(part => {
    const value = bin.low + (bin.high - bin.low) * part;
    return svg("text", { x: part * W, y: 178, "text-anchor": part === 0 ? "start" : part === 1 ? "end" : "middle" }, number(Number((bin.log ? 10 ** value : value).toPrecision(3))));
  });
  const drawing = svg("svg", { viewBox: `0 0 ${W} ${H}`, role: "group", "aria-label": `Histogram of ${name}` },
    svg("text", { x: 4, y: 12 }, count(most)), svg("line", { x1: 0, x2: W, y1: base, y2: base, stroke: "#54626f" }), ...bars, ...marks);
  const words = `${name}${column.unit ? `, ${column.unit}` : ""}${bin.log ? ", logarithmic" : ""}${without ? `; ${count(without)} without a value` : ""}. Choose a bar to see its sources.`;
  figure.replaceChildren(choose, drawing, cell("figcaption", words));
}
const pick = names => names.find(name => numeric.some(column => column.name === name)) || (numeric[0] && numeric[0].name);
const start = [pick(data.first), pick(data.second)];
const charts = start.map((name, k) => () => name && drawChart(element(k ? "second" : "first"), name));

const LISTED = 15;
let order = null, sortBy = data.sort, downwards = data.downwards, page = 0;
const listed = ["label", "x", "y", ...start.filter(name => name), "flux"].filter((name, k, names) => columns.has(name) && names.indexOf(name) === k);
function listSources() {
  if (!order) {
    order = [];
    for (let i = 0; i < n; i++) if (shown[i]) order.push(i);
    const values = columns.get(sortBy).values, sign = downwards ? -1 : 1;
    const key = i => Number.isFinite(values[i]) ? sign * values[i] : Infinity;
    order.sort((a, b) => key(a) - key(b) || a - b);
  }
  element("count").textContent = order.length === n ? `${count(n)} sources.` : `${count(order.length)} of ${count(n)} sources.`;
  const last = Math.max(0, Math.ceil(order.length / LISTED) - 1);
  page = Math.min(Math.max(page, 0), last);
  const head = document.createElement("tr");
  for (const name of listed) {
    const button = cell("button", name + (name === sortBy ? downwards ? " ↓" : " ↑" : "")), th = document.createElement("th");
    button.type = "button";
    button.onclick = () => {
      downwards = name === sortBy ? !downwards : false;
      sortBy = name;
      order = null;
      listSources();
      element("sources").tHead.querySelectorAll("button")[listed.indexOf(name)].focus();
    };
    th.scope = "col";
    if (name === sortBy) th.setAttribute("aria-sort", downwards ? "descending" : "ascending");
    th.append(button);
    head.append(th);
  }
  head.append(cell("th", "flags"));
  element("sources").tHead.replaceChildren(head);
  element("sources").tBodies[0].replaceChildren(...order.slice(page * LISTED, (page + 1) * LISTED).map(i => {
    const row = document.createElement("tr");
    if (i === selected) row.className = "chosen";
    for (const name of listed) {
      const td = document.createElement("td");
      if (name === "label") {
        const button = cell("button", written(columns.get(name), i));
        button.type = "button";
        button.setAttribute("aria-label", `Show source ${labels[i]}`);
        button.onclick = () => { select(i, true); sky.scrollIntoView({ block: "nearest" }); };
        td.append(button);
      } else td.textContent = written(columns.get(name), i);
      row.append(td);
    }
    row.append(cell("td", data.flags.filter(flag => flag.values[i]).map(flag => flag.name).join(", ")));
    return row;
  }));
  element("page").textContent = order.length ? `page ${count(page + 1)} of ${count(last + 1)}` : "";
  document.querySelector('[data-do="back"]').disabled = page === 0;
  document.querySelector('[data-do="forward"]').disabled = page === last;
}

// --- commands -----------------------------------------------------------------------------------
function toggleOutlines() {
  withOutlines = !withOutlines;
  document.querySelector('[data-do="outlines"]').setAttribute("aria-pressed", withOutlines);
  redraw();
}
const commands = {
  in: () => zoomBy(1.6), out: () => zoomBy(1 / 1.6), fit, outlines: toggleOutlines,
  next: () => stepBy(1), previous: () => stepBy(-1),
  back: () => { page--; listSources(); }, forward: () => { page++; listSources(); },
  clear: () => { flagged.clear(); ranges.clear(); filter(); },
};
for (const button of document.querySelectorAll("[data-do]")) button.addEventListener("click", commands[button.dataset.do]);
const keys = {
  ArrowLeft: () => panBy(sky.width / 8, 0), ArrowRight: () => panBy(-sky.width / 8, 0),
  ArrowUp: () => panBy(0, sky.height / 8), ArrowDown: () => panBy(0, -sky.height / 8),
  "+": commands.in, "=": commands.in, "-": commands.out, 0: fit, o: toggleOutlines, n: commands.next, p: commands.previous,
};
sky.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
  event.preventDefault();
  keys[event.key]();
});
element("search").addEventListener("submit", event => {
  event.preventDefault();
  const label = element("label").value.trim();
  if (rowOf.has(label)) select(rowOf.get(label), true);
  else element("said").textContent = `There is no source ${label}.`;
});

const angle = data.image.pixel_scale ? ` (${number(Number((height * data.image.pixel_scale / 60).toPrecision(3)))}′ × ${number(Number((width * data.image.pixel_scale / 60).toPrecision(3)))}′, ${number(Number(data.image.pixel_scale.toPrecision(4)))}″ per pixel)` : "";
element("facts").textContent = `${count(n)} sources in ${count(height)} × ${count(width)} pixels${angle}. Row 0 is at the bottom.`;
element("made").textContent = data.made;
window.addEventListener("resize", redraw);
filter();
fit();
window.galaxysegmentReport = { view, select, sourceAt, rowOf, pathOf, get selected() { return selected < 0 ? null : labels[selected]; } };
})();
