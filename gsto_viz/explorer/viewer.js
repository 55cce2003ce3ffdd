// Linked tiles of one image: hover reads every tile, a click or the arrow keys set the probe, and
// all tiles share one zoom and pan. Numbers arrive exact; colours are applied here, and arrive by
// themselves (see viewer.py), so that other colours send no number anew.

const memory = new WeakMap();
const INVALID = [176, 176, 176];
const HATCH = [132, 132, 132];
const NOT_FINITE = [255, 0, 255];
const DIM = 95; // Opacity, of 255, of what lies outside the chosen region.
const MAX_ZOOM = 32;
const HEARD_OPACITY = 0.75; // Of the cell with the greatest weight.
const NARROW = 900; // In narrower windows the tiles stand below each other and are not fitted.
const MIN_WIDTH = 420;
const STILL_MS = 400; // The zoom goes into the address when it has stood still for so long.

export default function mount(component) {
  const { data, parentElement, setStateValue } = component;
  if (!data || !data.rows) return;
  let viewer = memory.get(parentElement);
  if (!viewer) {
    viewer = new Viewer(parentElement);
    memory.set(parentElement, viewer);
  }
  viewer.send = setStateValue;
  viewer.show(data);
  return () => viewer.forget();
}

function bytes(text) {
  const binary = atob(text);
  const out = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) out[i] = binary.charCodeAt(i);
  return out;
}

const floats = (text) => new Float32Array(bytes(text).buffer);

function unroll(runs, size) {
  const values = new Uint16Array(bytes(runs.values).buffer);
  const lengths = new Uint32Array(bytes(runs.lengths).buffer);
  const out = new Uint16Array(size);
  let at = 0;
  for (let k = 0; k < values.length; k++) {
    out.fill(values[k], at, at + lengths[k]);
    at += lengths[k];
  }
  return out;
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function shortNumber(value) {
  if (Number.isNaN(value)) return "no value";
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 100000)) return value.toExponential(2);
  return value.toPrecision(4).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");
}

const percent = (share) => (100 * share).toFixed(1) + " %";

function raster(width, height, paint) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(width, height);
  for (let k = 0; k < width * height; k++) {
    const color = paint(k);
    pixels.data[4 * k] = color[0];
    pixels.data[4 * k + 1] = color[1];
    pixels.data[4 * k + 2] = color[2];
    pixels.data[4 * k + 3] = color[3] === undefined ? 255 : color[3];
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}

class Tile {
  constructor(viewer, source) {
    this.viewer = viewer;
    this.key = source.key;
    this.box = element("figure", "tile");
    this.caption = element("figcaption", "title");
    this.canvas = element("canvas");
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "img");
    this.canvas.dataset.tile = source.key;
    this.scale = element("div", "scale");
    this.bar = element("canvas", "bar");
    this.low = element("span");
    this.high = element("span", "high");
    this.scale.append(this.low, this.bar, this.high);
    this.reading = element("div", "reading");
    this.box.append(this.caption, this.canvas, this.scale, this.reading);
    this.listen();
  }

  fill(source) {
    this.source = source;
    this.stride = source.stride || 1;
    this.caption.textContent = source.title;
    this.image = null;
    this.picture = null;
    if (source.kind === "picture") this.fillPicture(source);
    else if (source.kind === "classes") this.fillClasses(source);
    else if (source.kind === "map") this.fillMap(source);
    else if (source.kind === "regions") this.fillRegions(source);
    this.scale.style.display = source.low === undefined ? "none" : "";
  }

  fillPicture(source) {
    const picture = new Image();
    picture.onload = () => {
      const { width, height } = this.viewer.data;
      const canvas = document.createElement("canvas");
      canvas.width = width;
      canvas.height = height;
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(picture, 0, 0);
      this.image = canvas;
      this.pixels = context.getImageData(0, 0, width, height).data;
      if (this.key === "input") this.viewer.base = canvas;
      this.viewer.draw();
    };
    picture.src = "data:image/png;base64," + source.png;
  }

  fillClasses(source) {
    const { width, height } = this.viewer.data;
    const classes = this.names();
    this.labels = unroll(source, width * height);
    this.present = new Set(this.labels);
    this.image = raster(width, height, (k) => {
      const found = classes[this.labels[k]];
      return found ? found.color : INVALID;
    });
  }

  // Classes of this tile: its own, or those of the image.
  names() {
    return this.source.names || this.viewer.data.classes;
  }

  // A colour for each number, and the bar that says so.
  colorsOf(source) {
    const table = bytes(this.viewer.paint.tables[source.colors]);
    const span = source.high - source.low;
    const [low, high] = source.ends || ["", ""];
    this.bar.width = 256;
    this.bar.height = 1;
    this.bar.getContext("2d").drawImage(raster(256, 1, (k) => table.subarray(3 * k, 3 * k + 3)), 0, 0);
    this.low.textContent = `${low} ${shortNumber(source.low)}`;
    this.high.textContent = `${shortNumber(source.high)} ${high}`;
    return (value) => {
      const level = Math.max(0, Math.min(255, Math.floor((256 * (value - source.low)) / span)));
      return table.subarray(3 * level, 3 * level + 3);
    };
  }

  // Every region in the colour of its number; hatched where it has none.
  fillRegions(source) {
    const { width, height } = this.viewer.data;
    const color = this.colorsOf(source);
    const levels = source.numbers.map((value) => (value === null ? null : color(value)));
    this.image = raster(width, height, (k) => {
      const level = levels[this.viewer.regions[k] - 1];
      if (level) return level;
      return ((k % width) + Math.floor(k / width)) % 8 < 2 ? HATCH : INVALID;
    });
    this.note = "";
  }

  fillMap(source) {
    this.numbers = floats(source.numbers);
    this.raw = source.raw ? floats(source.raw) : null;
    const color = this.colorsOf(source);
    this.image = raster(source.width, source.height, (k) => {
      const value = this.numbers[k];
      if (Number.isNaN(value)) return (k + Math.floor(k / source.width)) % 2 ? HATCH : INVALID;
      return Number.isFinite(value) ? color(value) : NOT_FINITE;
    });
    const notes = [];
    if (source.constant) notes.push("constant");
    if (source.clipped > 0) notes.push((100 * source.clipped).toFixed(1) + " % beyond the bar");
    if (source.unknown > 0) notes.push(source.unknown + " cells do not count (hatched)");
    this.note = notes.join(", ");
  }

  // What the tile shows at an image pixel, in words.
  words(point) {
    if (!point) return this.note || "";
    const { width, objects } = this.viewer.data;
    const at = point.y * width + point.x;
    if (this.source.kind === "picture") {
      if (!this.pixels) return "";
      return "RGB " + [0, 1, 2].map((c) => this.pixels[4 * at + c]).join(", ");
    }
    if (this.source.kind === "classes") {
      const found = this.names()[this.labels[at]];
      return found ? found.name : this.source.unmarked || "ignored";
    }
    if (this.source.kind === "regions") {
      const found = (objects || [])[this.viewer.regions[at] - 1];
      return found || "no region";
    }
    if (this.source.kind === "heard") {
      const inside = ([y0, x0, y1, x1]) =>
        point.y >= y0 && point.y < y1 && point.x >= x0 && point.x < x1;
      const cell = this.heard().find(inside);
      return cell ? percent(cell[4]) : "";
    }
    // Where clicks read regions, the tiles say what the panel says; hovering reads cells.
    const { dim, ranks } = this.viewer.data;
    if (dim && ranks && !this.viewer.hover) {
      const mean = (ranks[this.key] || [])[this.viewer.regions[at] - 1];
      if (typeof mean === "number") return `object: rank ${(100 * mean).toFixed(1)} %`;
    }
    const cell = this.cell(point);
    const k = cell.row * this.source.width + cell.column;
    const value = this.numbers[k];
    if (!this.raw) return shortNumber(value);
    // What has raw values beside it is a share of cells, or a distance from their mean.
    const rank = this.source.low === 0 && this.source.high === 1 && !Number.isNaN(value);
    const text = rank ? `rank ${(100 * value).toFixed(1)} %` : shortNumber(value);
    return `${text}, raw ${shortNumber(this.raw[k])}`;
  }

  cell(point) {
    return { row: Math.floor(point.y / this.stride), column: Math.floor(point.x / this.stride) };
  }

  describe(probe) {
    const where = probe ? ` at x ${probe.x}, y ${probe.y}: ${this.words(probe)}` : "";
    const label = `${this.source.title}${where}`;
    if (this.label !== label) this.canvas.setAttribute("aria-label", label);
    this.label = label;
  }

  resize() {
    const { width, height } = this.viewer.data;
    const shown = this.canvas.clientWidth;
    if (!shown) return false;
    const ratio = window.devicePixelRatio || 1;
    const wide = Math.round(shown * ratio);
    const high = Math.round((shown * ratio * height) / width);
    if (this.canvas.width !== wide || this.canvas.height !== high) {
      this.canvas.width = wide;
      this.canvas.height = high;
    }
    return true;
  }

  draw() {
    if (!this.resize()) return;
    const { viewer, canvas } = this;
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.clearRect(0, 0, canvas.width, canvas.height);
    const isMap = this.source.kind === "map";
    const base = viewer.base;
    if (isMap && viewer.paint.opacity < 1 && base) this.put(context, base, 1);
    context.globalAlpha = isMap ? viewer.paint.opacity : 1;
    const image = this.source.kind === "heard" ? base : this.image;
    if (image) this.put(context, image, this.stride);
    context.globalAlpha = 1;
    this.drawHeard(context);
    this.drawMarks(context);
    const words = this.words(viewer.hover || viewer.probe);
    this.reading.textContent = words;
    this.reading.title = words;
    this.describe(viewer.probe);
  }

  put(context, image, stride) {
    const { view, data } = this.viewer;
    const wide = data.width / view.zoom;
    const high = data.height / view.zoom;
    context.drawImage(
      image,
      view.left / stride,
      view.top / stride,
      wide / stride,
      high / stride,
      0,
      0,
      this.canvas.width,
      this.canvas.height,
    );
  }

  // Image pixels (their corners are whole numbers) to canvas pixels.
  place(x, y) {
    const { view, data } = this.viewer;
    const factor = (this.canvas.width * view.zoom) / data.width;
    return [(x - view.left) * factor, (y - view.top) * factor, factor];
  }

  drawMarks(context) {
    const { viewer } = this;
    if (viewer.outline) {
      if (viewer.mask && this.source.kind !== "regions") this.put(context, viewer.mask, 1);
      this.stroke(context, () => this.traceOutline(context), 0.5, 1);
    }
    if (viewer.data.pin) this.drawCross(context, viewer.data.pin, true);
    if (viewer.probe) this.drawCross(context, viewer.probe, false);
    if (viewer.hover) {
      this.stroke(context, () => this.traceCell(context, viewer.hover), 1);
      this.stroke(context, () => this.traceLines(context, viewer.hover), 0.5);
    }
  }

  // The cells that the probed pixel listens to, [y0, x0, y1, x1, weight] each; none while the
  // cells of another pixel are the last that have arrived.
  heard() {
    const { paint, probe } = this.viewer;
    const { x, y, tiles } = (paint && paint.heard) || {};
    if (this.source.kind !== "heard" || !probe || probe.x !== x || probe.y !== y) return [];
    return tiles[this.key] || [];
  }

  // Cells are more opaque the greater their weight; it is written where it has room.
  drawHeard(context) {
    const cells = this.heard();
    if (!cells.length) return;
    const ratio = window.devicePixelRatio || 1;
    const most = Math.max(...cells.map((cell) => cell[4]));
    const boxes = cells.map(([y0, x0, y1, x1, weight]) => {
      const [left, top, factor] = this.place(x0, y0);
      return { left, top, width: (x1 - x0) * factor, height: (y1 - y0) * factor, weight };
    });
    context.fillStyle = this.viewer.paint.heard.color;
    for (const { left, top, width, height, weight } of boxes) {
      context.globalAlpha = (HEARD_OPACITY * weight) / most;
      context.fillRect(left, top, width, height);
    }
    context.globalAlpha = 1;
    // Between small cells there is no room for lines: only their window is framed.
    const [first, last] = [boxes[0], boxes[boxes.length - 1]];
    const around = {
      left: first.left,
      top: first.top,
      width: last.left + last.width - first.left,
      height: last.top + last.height - first.top,
    };
    const framed = first.width < 10 * ratio ? [around] : boxes;
    const trace = () => {
      for (const { left, top, width, height } of framed) context.rect(left, top, width, height);
    };
    this.stroke(context, trace, 0.5);
    context.font = `${11 * ratio}px sans-serif`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    for (const { left, top, width, height, weight } of boxes) {
      if (width < 44 * ratio || height < 16 * ratio) continue;
      const at = [percent(weight), left + width / 2, top + height / 4];
      context.lineWidth = 3 * ratio;
      context.strokeStyle = "white";
      context.strokeText(...at);
      context.fillStyle = "black";
      context.fillText(...at);
    }
  }

  stroke(context, trace, width, casing = 2) {
    const ratio = window.devicePixelRatio || 1;
    for (const [color, extra] of [["black", casing], ["white", 0]]) {
      context.strokeStyle = color;
      context.lineWidth = (width + extra) * ratio;
      context.beginPath();
      trace();
      context.stroke();
    }
  }

  traceOutline(context) {
    const segments = this.viewer.outline;
    for (let k = 0; k < segments.length; k += 4) {
      const [x0, y0] = this.place(segments[k], segments[k + 1]);
      const [x1, y1] = this.place(segments[k + 2], segments[k + 3]);
      context.moveTo(x0, y0);
      context.lineTo(x1, y1);
    }
  }

  traceCell(context, point) {
    const { row, column } = this.cell(point);
    const [x, y, factor] = this.place(column * this.stride, row * this.stride);
    context.rect(x, y, this.stride * factor, this.stride * factor);
  }

  traceLines(context, point) {
    const [x, y] = this.place(point.x + 0.5, point.y + 0.5);
    context.moveTo(x, 0);
    context.lineTo(x, this.canvas.height);
    context.moveTo(0, y);
    context.lineTo(this.canvas.width, y);
  }

  drawCross(context, point, pinned) {
    const ratio = window.devicePixelRatio || 1;
    const [x, y] = this.place(point.x + 0.5, point.y + 0.5);
    const arm = 7 * ratio;
    this.stroke(
      context,
      () => {
        if (pinned) context.rect(x - arm / 2, y - arm / 2, arm, arm);
        else {
          context.moveTo(x - arm, y);
          context.lineTo(x + arm, y);
          context.moveTo(x, y - arm);
          context.lineTo(x, y + arm);
        }
      },
      1.5,
    );
    if (!pinned && this.stride > 1) this.stroke(context, () => this.traceCell(context, point), 1);
  }

  // Where a pointer is, in image pixels; null outside.
  at(event) {
    const { view, data } = this.viewer;
    const box = this.canvas.getBoundingClientRect();
    const x = view.left + ((event.clientX - box.left) / box.width) * (data.width / view.zoom);
    const y = view.top + ((event.clientY - box.top) / box.height) * (data.height / view.zoom);
    if (x < 0 || y < 0 || x >= data.width || y >= data.height) return null;
    return { x: Math.floor(x), y: Math.floor(y), exact: [x, y] };
  }

  listen() {
    const { canvas, viewer } = this;
    let drag = null;
    canvas.onpointermove = (event) => {
      if (drag) {
        const moved = Math.hypot(event.clientX - drag.x, event.clientY - drag.y);
        if (moved > 3) drag.far = true;
        if (drag.far) viewer.pan(event, drag, canvas);
      }
      viewer.hover = drag && drag.far ? null : this.at(event);
      viewer.request();
    };
    canvas.onpointerleave = () => {
      viewer.hover = null;
      viewer.request();
    };
    canvas.onpointerdown = (event) => {
      if (event.button !== 0) return;
      drag = { x: event.clientX, y: event.clientY, ...viewer.view, far: false };
      if (event.pointerType === "mouse") canvas.setPointerCapture(event.pointerId);
    };
    canvas.onpointerup = (event) => {
      const clicked = drag && !drag.far;
      if (drag && drag.far) viewer.keep();
      drag = null;
      const point = this.at(event);
      if (clicked && point) viewer.choose(point, this);
    };
    canvas.onpointercancel = () => {
      if (drag && drag.far) viewer.keep();
      drag = null;
    };
    canvas.onwheel = (event) => {
      const focused = canvas.getRootNode().activeElement === canvas;
      if (!event.ctrlKey && !focused) return;
      event.preventDefault();
      viewer.zoomAt(this.at(event), Math.exp(-event.deltaY / 300));
    };
    canvas.onkeydown = (event) => viewer.key(event, this);
  }
}

class Viewer {
  constructor(parent) {
    this.root = parent.querySelector(".viewer");
    this.tiles = new Map();
    this.view = { zoom: 1, left: 0, top: 0 };
    this.observer = new ResizeObserver(() => this.fit());
    this.observer.observe(this.root);
    this.painted = (event) => {
      if (!this.data || event.detail !== this.data.viewer) return;
      const paint = window.gstoVizPaint[this.data.viewer];
      if (!this.paint || paint.tables !== this.paint.tables) return this.refresh();
      this.paint = paint;
      this.request();
    };
    document.addEventListener("gsto-viz-paint", this.painted);
  }

  forget() {
    this.observer.disconnect();
    document.removeEventListener("gsto-viz-paint", this.painted);
    clearTimeout(this.still);
    memory.delete(this.root.getRootNode());
  }

  // Begin with the zoom of the view, or go on with that of the viewer that stood here before.
  open({ opened, zoom }) {
    if (opened === this.opened) return;
    this.opened = opened;
    const kept = window.gstoVizZoom;
    if (kept && kept.opened === opened) this.view = { ...kept.view };
    else {
      const { width, height } = this.data;
      const [factor, left, top] = (zoom || "1,0,0").split(",").map(Number);
      this.view = { zoom: factor, left: left * width, top: top * height };
    }
  }

  // Remember the zoom, as exactly as an address holds it, and say it once it stands still.
  keep() {
    const { width, height } = this.data;
    const rounded = (value, unit) => Math.round(value * unit) / unit;
    this.view = {
      zoom: rounded(this.view.zoom, 1e3),
      left: rounded(this.view.left / width, 1e4) * width,
      top: rounded(this.view.top / height, 1e4) * height,
    };
    this.limitView();
    const { opened } = this;
    window.gstoVizZoom = { opened, view: { ...this.view } };
    clearTimeout(this.still);
    this.still = setTimeout(() => {
      const { zoom, left, top } = this.view;
      this.send("zoom", { zoom, left: left / width, top: top / height, opened });
    }, STILL_MS);
  }

  show(data) {
    const sameImage = this.data && this.data.image === data.image;
    this.data = data;
    if (!sameImage) this.base = null;
    // What every tile is drawn with; a tile is drawn anew when this or its own source differs.
    const { image, width, height, classes } = data;
    this.frame = JSON.stringify([image, width, height, classes]);
    this.regions = unroll(data.regions, data.width * data.height);
    if (data.turn !== this.turn) {
      this.turn = data.turn;
      this.probe = data.start;
      this.sent = null;
    }
    if (this.probe) {
      this.probe = {
        x: Math.min(this.probe.x, data.width - 1),
        y: Math.min(this.probe.y, data.height - 1),
      };
    }
    this.open(data.start);
    this.limitView();
    this.setOutline();
    this.refresh();
  }

  // Lay out and draw, as soon as the colours of all tiles are there.
  refresh() {
    const paint = (window.gstoVizPaint || {})[this.data.viewer];
    const tiles = this.data.rows.flatMap((row) => row.tiles);
    if (!paint || !paint.tables || !tiles.every((tile) => !tile.colors || paint.tables[tile.colors])) return;
    this.paint = paint;
    this.layOut();
    this.fit();
  }

  // As wide as there is room, but not so wide that the first rows leave the window.
  fit() {
    this.request();
    const lines = [...this.root.querySelectorAll(".row")].slice(0, this.data && this.data.fitted);
    if (!this.data || !this.data.fitted || !lines.length) return;
    // Measured at full width: what narrow tiles need would hold them narrow, as they stand in more rows.
    this.root.style.maxWidth = "none";
    const main = document.querySelector("[data-testid=stMain]");
    const top = this.root.getBoundingClientRect().top + (main ? main.scrollTop : window.scrollY);
    const first = lines.map((line) => line.querySelector("canvas").getBoundingClientRect());
    const wide = this.root.getBoundingClientRect().width;
    const bottom = lines[lines.length - 1].getBoundingClientRect().bottom;
    const pictures = first.reduce((sum, box) => sum + box.height, 0);
    const other = bottom - this.root.getBoundingClientRect().top - pictures;
    if (!pictures || !wide) return;
    const limit = window.innerWidth < NARROW ? 0 : ((window.innerHeight - top - other) * wide) / pictures;
    if (limit) this.root.style.maxWidth = `${Math.max(MIN_WIDTH, Math.floor(limit))}px`;
  }

  layOut() {
    const used = new Set();
    const body = [];
    let blocks = null;
    for (const row of this.data.rows) {
      const parts = this.layOutRow(row, used);
      if (!row.columns) {
        blocks = null;
        body.push(...parts);
        continue;
      }
      // Rows of a fixed number of columns stand side by side as far as they fit.
      if (!blocks) {
        blocks = element("div", "blocks");
        body.push(blocks);
      }
      const block = element("div", "block");
      block.style.setProperty("--columns", row.columns);
      block.append(...parts);
      blocks.append(block);
    }
    for (const key of this.tiles.keys()) if (!used.has(key)) this.tiles.delete(key);
    const focused = this.root.getRootNode().activeElement;
    this.root.replaceChildren(this.buttons(), ...body);
    if (focused && focused.isConnected) focused.focus({ preventScroll: true });
  }

  layOutRow(row, used) {
    const heading = row.title ? element("div", "heading", row.title) : null;
    const line = element("div", "row");
    for (const source of row.tiles) {
      const tile = this.tileOf(source);
      used.add(source.key);
      tile.box.style.gridArea = source.row ? `${source.row} / ${source.column}` : "";
      tile.box.classList.toggle("chosen", (this.data.chosen || []).includes(source.key));
      line.append(tile.box);
    }
    const badged = row.tiles.find((source) => source.badge);
    if (badged && heading) heading.append(element("span", "badge", badged.badge));
    const legend = this.legend(row);
    if (row.first) line.classList.add("first");
    return [...(heading ? [heading] : []), line, ...legend];
  }

  // Names beside the colours of the classes that a row shows; none without class tiles.
  legend(row) {
    const all = row.tiles.filter((source) => source.kind === "classes");
    const own = (source) => JSON.stringify(source.names || null);
    const groups = [...new Set(all.map(own))].map((name) => all.filter((one) => own(one) === name));
    return groups.map((tiles) => this.legendOf(tiles));
  }

  legendOf(tiles) {
    const present = new Set(tiles.flatMap((source) => [...this.tiles.get(source.key).present]));
    const classes = tiles[0].names || this.data.classes;
    const named = classes.filter((_, k) => present.has(k));
    if ([...present].some((k) => !classes[k])) {
      const unmarked = tiles.map((source) => source.unmarked).find(Boolean);
      named.push({ name: ["ignored", unmarked].filter(Boolean).join(", or "), color: INVALID });
    }
    const list = element("ul", "legend");
    for (const { name, color } of named) {
      const item = element("li");
      const swatch = element("span", "swatch");
      swatch.style.backgroundColor = `rgb(${color.join(", ")})`;
      item.append(swatch, element("span", "", name));
      list.append(item);
    }
    return list;
  }

  // The tile of a source, drawn anew only where something of it has changed.
  tileOf(source) {
    let tile = this.tiles.get(source.key);
    if (!tile) {
      tile = new Tile(this, source);
      this.tiles.set(source.key, tile);
    }
    const names = Object.keys(source);
    const colors = source.colors ? this.paint.tables[source.colors] : "";
    const frame = this.frame + colors;
    const same =
      tile.frame === frame &&
      Object.keys(tile.source).length === names.length &&
      names.every((name) => tile.source[name] === source[name]);
    if (!same) tile.fill(source);
    tile.frame = frame;
    return tile;
  }

  buttons() {
    const bar = element("div", "buttons");
    const actions = [
      ["Zoom in", () => this.zoomAt(null, 1.5)],
      ["Zoom out", () => this.zoomAt(null, 1 / 1.5)],
      ["Reset view", () => this.reset()],
    ];
    for (const [name, action] of actions) {
      const button = element("button", "", name);
      button.type = "button";
      button.onclick = action;
      bar.append(button);
    }
    this.status = element("span", "status");
    bar.append(this.status);
    return bar;
  }

  request() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.draw();
    });
  }

  draw() {
    if (!this.paint) return;
    for (const tile of this.tiles.values()) tile.draw();
    const point = this.hover || this.probe;
    const where = point ? `x ${point.x}, y ${point.y}` : "";
    const zoom = this.view.zoom > 1 ? `, zoom ${this.view.zoom.toFixed(1)}` : "";
    this.status.textContent = where + zoom;
  }

  choose(point, tile) {
    this.probe = { x: point.x, y: point.y };
    this.setOutline();
    this.request();
    this.send("point", { x: point.x, y: point.y, turn: this.turn, tile: tile.key });
  }

  key(event, tile) {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const step = steps[event.key];
    if (step) {
      const { width, height } = this.data;
      const from = this.probe || { x: Math.floor(width / 2), y: Math.floor(height / 2) };
      const clamp = (value, most) => Math.max(0, Math.min(most, value));
      const x = clamp(from.x + step[0] * tile.stride, width - 1);
      const y = clamp(from.y + step[1] * tile.stride, height - 1);
      this.choose({ x, y }, tile);
    } else if (event.key === "+" || event.key === "=") this.zoomAt(null, 1.5);
    else if (event.key === "-") this.zoomAt(null, 1 / 1.5);
    else if (event.key === "0") this.reset();
    else return;
    event.preventDefault();
  }

  reset() {
    this.view = { zoom: 1, left: 0, top: 0 };
    this.keep();
    this.request();
  }

  zoomAt(point, factor) {
    const { width, height } = this.data;
    const { view } = this;
    const middle = [view.left + width / view.zoom / 2, view.top + height / view.zoom / 2];
    const [x, y] = point ? point.exact : middle;
    const zoom = Math.max(1, Math.min(MAX_ZOOM, view.zoom * factor));
    const share = view.zoom / zoom;
    this.view = { zoom, left: x - (x - view.left) * share, top: y - (y - view.top) * share };
    this.limitView();
    this.keep();
    this.request();
  }

  pan(event, drag, canvas) {
    const perPixel = this.data.width / this.view.zoom / canvas.clientWidth;
    this.view.left = drag.left - (event.clientX - drag.x) * perPixel;
    this.view.top = drag.top - (event.clientY - drag.y) * perPixel;
    this.limitView();
  }

  limitView() {
    const { width, height } = this.data;
    const { view } = this;
    view.zoom = Math.max(1, Math.min(MAX_ZOOM, view.zoom));
    view.left = Math.max(0, Math.min(width - width / view.zoom, view.left));
    view.top = Math.max(0, Math.min(height - height / view.zoom, view.top));
  }

  // The outline of the region under the probe, as line segments between pixel corners.
  setOutline() {
    this.outline = null;
    this.mask = null;
    const { data, probe, regions } = this;
    if (!data.outline || !probe) return;
    const { width, height } = data;
    const id = regions[probe.y * width + probe.x];
    if (!id) return;
    const inside = (x, y) =>
      x >= 0 && y >= 0 && x < width && y < height && regions[y * width + x] === id;
    const segments = [];
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        if (regions[y * width + x] !== id) continue;
        if (!inside(x, y - 1)) segments.push(x, y, x + 1, y);
        if (!inside(x, y + 1)) segments.push(x, y + 1, x + 1, y + 1);
        if (!inside(x - 1, y)) segments.push(x, y, x, y + 1);
        if (!inside(x + 1, y)) segments.push(x + 1, y, x + 1, y + 1);
      }
    }
    this.outline = segments;
    // The rest is dimmed: a line around a ragged region would cover it.
    if (data.dim) this.mask = raster(width, height, (k) => [0, 0, 0, regions[k] === id ? 0 : DIM]);
  }
}
