// Mounts the viewer above in a page without a server: chooses image, mode and pair, and says what
// is known of the region that was clicked. What comes from data is only ever written as text.

const known = JSON.parse(document.getElementById("viewer-data").textContent);
const host = document.getElementById("linked");
const LONGEST = 80;
const state = { pick: 0, mode: Object.keys(known.images[0].modes)[0], turn: 0, opened: 0 };

const cut = (text) => (text.length > LONGEST ? text.slice(0, LONGEST) + "\u2026" : text);

function chooser(label, names, chosen) {
  const select = element("select");
  names.forEach((name, k) => select.append(new Option(name, k)));
  select.onchange = () => chosen(Number(select.value));
  const line = element("label", "", label + " ");
  line.append(select);
  host.before(line);
  return select;
}

function regionAt({ x, y }) {
  const { regions, width, height, facts } = known.images[state.pick];
  const number = unroll(regions, width * height)[y * width + x];
  const fact = facts[number];
  if (!fact) return "No object here that counts.";
  const coarse = Object.entries(fact.q).map(
    ([key, q]) => `${key} ${q === null ? "has none" : shortNumber(q)}`,
  );
  return `${fact.name}, ${fact.area} px. Coarseness q: ${coarse.join("; ")} (0 is what pooling alone gives; above 0 the coarser branches answer more).`;
}

function show() {
  const one = known.images[state.pick];
  if (!one.modes[state.mode]) state.mode = Object.keys(one.modes)[0];
  const mode = known.modes[state.mode];
  window.gstoVizPaint = { page: { viewer: "page", opacity: 1, tables: { map: mode.table } } };
  const restored = (tile) => {
    const texts = ["numbers", "raw"].filter((name) => name in tile);
    return { ...tile, ...Object.fromEntries(texts.map((name) => [name, one.pool[tile[name]]])) };
  };
  const rows = Object.entries(one.modes[state.mode]).map(([key, tiles]) => ({
    title: known.networks[key],
    tiles: tiles.map(restored),
  }));
  mount({
    parentElement: host,
    setStateValue: (name, point) => {
      if (name === "point") said.textContent = regionAt(point);
    },
    data: {
      ...one,
      viewer: "page",
      rows: [{ title: "", tiles: one.first }, ...rows],
      turn: state.turn,
      start: { ...state.place, zoom: "1,0,0", opened: state.opened },
      pin: state.pin,
      outline: true,
    },
  });
  said.textContent = regionAt(state.place);
  meaning.textContent = mode.meaning;
  images.value = state.pick;
  modes.value = Object.keys(known.modes).indexOf(state.mode);
}

function go(pick, pair) {
  const { width, height, pairs } = known.images[pick];
  const chosen = pair || pairs[0];
  const middle = { x: Math.floor(width / 2), y: Math.floor(height / 2) };
  Object.assign(state, { pick, place: chosen ? chosen.small : middle, pin: chosen && chosen.large });
  state.turn += 1;
  state.opened += 1;
  show();
}

function listPairs() {
  const list = document.getElementById("pairs");
  known.images.forEach((one, pick) => {
    for (const pair of one.pairs) {
      const named = (region) => {
        const fact = one.facts[region];
        return fact ? `${fact.name} of ${fact.area} px` : `region ${region}`;
      };
      const small = `${named(pair.small_region)} (q ${pair.q_small.toFixed(2)})`;
      const large = `${named(pair.large_region)} (q ${pair.q_large.toFixed(2)})`;
      const button = element("button", "", "Show");
      button.type = "button";
      button.onclick = () => {
        go(pick, pair);
        host.scrollIntoView({ block: "start" });
      };
      const item = element("li", "", `${pair.model} answers coarser for ${small} than for ${large}, ${pair.gap_octaves.toFixed(1)} octaves larger, in ${cut(one.image)} `);
      item.append(button);
      list.append(item);
    }
  });
  list.parentElement.hidden = !list.children.length;
}

const images = chooser("Image", known.images.map((one) => cut(one.image)), (k) => go(k));
const modes = chooser("Maps", Object.values(known.modes).map((mode) => mode.label), (k) => {
  state.mode = Object.keys(known.modes)[k];
  show();
});
const said = element("p", "said");
const meaning = element("p", "note");
said.setAttribute("aria-live", "polite");
host.before(said);
host.after(meaning);
[...modes.options].forEach((option, k) => {
  const mode = Object.keys(known.modes)[k];
  option.disabled = !known.images.some((one) => one.modes[mode]);
});
listPairs();
go(0);
