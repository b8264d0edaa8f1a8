"use strict";
const byId = (id) => document.getElementById(id);
let run;
let shown = { name: "", sort: "", down: false, begin: 0 };
let coloured = "";
let first = null;
// How soon what was written since is asked for: by a run that goes on, or by edits that are applied to a finished one.
const OFTEN_MS = 3000, SELDOM_MS = 8000;

// A refusal of what was clicked is shown in the line under the name of the run.
const shownIfRefused = (what) => async (...given) => {
  try { return await what(...given); } catch (error) { byId("line").textContent = error.message; }
};
async function ask(path, given) {
  const options = given === undefined ? {} : {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(given),
  };
  const answer = await fetch(`/api/${path}`, options);
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}
function boxes() {
  const layers = viewer().layerManager.managedLayers;
  byId("boxes").replaceChildren(...layers.map((layer) => {
    const item = document.createElement("li");
    const label = document.createElement("label");
    const box = document.createElement("input");
    box.type = "checkbox";
    box.checked = layer.visible;
    box.addEventListener("change", () => layer.setVisible(box.checked));
    label.append(box, ` ${layer.name}`);
    item.append(label);
    return item;
  }));
}
function bars() {
  const seen = new Set(viewer().layerManager.managedLayers.filter((l) => l.visible).map((l) => l.name));
  byId("bars").replaceChildren(...Object.entries(run.bars).filter(([name]) => seen.has(name)).map(([name, bar]) => {
    const one = document.createElement("div");
    one.className = "bar";
    const texts = [bar.low, bar.high].map((v) => Number(v.toPrecision(4)));
    const ramp = document.createElement("i");
    ramp.style.background = `linear-gradient(to right, ${bar.colours.join(",")})`;
    const [low, high, what] = [texts[0], texts[1], `${name}: ${bar.text}`].map((text) => {
      const span = document.createElement("span");
      span.textContent = text;
      return span;
    });
    one.append(low, ramp, high, what);
    return one;
  }));
}
const colours = shownIfRefused(async () => {
  const found = await ask("colours");
  const chosen = byId("colour").value;
  byId("colour").replaceChildren(new Option("their ids", ""));
  for (const [image, tables] of Object.entries(found)) {
    for (const [table, columns] of Object.entries(tables)) {
      const group = document.createElement("optgroup");
      group.label = `${image}, ${table}`;
      group.append(...columns.map((column) => new Option(column, JSON.stringify([image, table, column]))));
      byId("colour").append(group);
    }
  }
  byId("colour").value = chosen;
});
function instances() {
  const chosen = byId("image").value;
  byId("image").replaceChildren(...run.instances.map((name) => new Option(name, name)));
  // Nobody has chosen yet: those with edits that wait.
  const first = run.instances.find((name) => run.edits[name]?.rows.length);
  if (run.instances.includes(chosen)) byId("image").value = chosen;
  else if (first) byId("image").value = first;
}
async function colourBy() {
  const wanted = byId("colour").value;
  const before = coloured;
  let layer = null;
  if (wanted) {
    const [image, table, column] = JSON.parse(wanted);
    layer = await ask(`values?${new URLSearchParams({ image, table, column })}`);
    run.bars[layer.name] = layer.bar;
    delete layer.bar;
  }
  delete run.bars[before];
  coloured = layer?.name ?? "";
  change((state) => {
    state.layers = state.layers.filter((l) => l.name !== before);
    if (layer) {
      const at = state.layers.findIndex((l) => l.name === JSON.parse(wanted)[0]);
      state.layers.splice(at + 1, 0, withOrigin(layer));
    }
  });
  bars();
}
function views(known) {
  byId("views").replaceChildren(...Object.entries(known).map(([name, state]) => {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.className = "jump";
    button.textContent = name;
    button.addEventListener("click", () => show(state));
    item.append(button);
    return item;
  }));
}

const text = (value) => {
  if (value === null) return "";
  if (typeof value === "number" && !Number.isInteger(value)) return String(Number(value.toPrecision(5)));
  return String(value);
};
async function rows() {
  const { name, sort, down, begin } = shown;
  if (!name) return;
  const asked = { name, sort, down: down ? "1" : "0", begin, where: byId("conditions").value };
  let found;
  try { found = await ask(`table?${new URLSearchParams(asked)}`); } catch (error) { byId("count").textContent = error.message; return; }
  byId("count").textContent = found.total ? `${found.total.toLocaleString("en")} rows, from ${begin + 1}. A click on a row leads there.` : "no rows";
  const head = document.createElement("tr");
  head.append(document.createElement("th"), ...found.columns.map((column, i) => {
    const cell = document.createElement("th");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = column + (column === sort ? (down ? " ▾" : " ▴") : "");
    button.addEventListener("click", () => {
      shown = { name, sort: column, down: column === sort ? !down : true, begin: 0 };
      rows();
    });
    cell.append(button);
    if (found.units[i]) { const unit = document.createElement("small"); unit.textContent = found.units[i]; cell.append(unit); }
    return cell;
  }));
  byId("found").tHead.replaceChildren(head);
  const label = found.columns.findIndex((c) => c === "label" || c === "label_a");
  // Of contacts with a class its rows are no objects of the image.
  const side = found.columns.indexOf("side");
  byId("found").tBodies[0].replaceChildren(...found.rows.map((values, i) => {
    const row = document.createElement("tr");
    row.tabIndex = 0;
    row.dataset.row = found.index[i];
    const mark = document.createElement("td");
    mark.className = "mark";
    const wrong = document.createElement("button");
    wrong.type = "button";
    wrong.textContent = "✗";
    wrong.title = "mark as wrong";
    wrong.addEventListener("click", shownIfRefused(async (event) => {
      event.stopPropagation();
      await ask("mark", { table: name, row: String(found.index[i]), label: label < 0 ? "" : text(values[label]) });
      row.classList.add("wrong");
    }));
    mark.append(wrong);
    row.append(mark, ...values.map((value) => { const cell = document.createElement("td"); cell.textContent = text(value); return cell; }));
    const lead = shownIfRefused(async () => {
      for (const other of row.parentElement.rows) other.classList.remove("here");
      row.classList.add("here");
      const object = label < 0 || !found.image || values[side] === "b" ? null : { image: found.image, label: text(values[label]) };
      if (object && run.instances.includes(object.image) && byId("image").value !== object.image) {
        byId("image").value = object.image;
        waiting(run.edits);
      }
      let place = found.places[i];
      if (!place && object) {
        const there = await ask(`go?${new URLSearchParams({ object: object.label, in: object.image })}`);
        place = there.position;
      }
      go(place, object);
    });
    row.addEventListener("click", lead);
    row.addEventListener("keydown", (event) => { if (event.key === "Enter") lead(); });
    return row;
  }));
}
const jumps = shownIfRefused(async () => {
  const found = await ask("jumps");
  byId("jumps").replaceChildren(...found.flatMap((list) => {
    const title = document.createElement("h2");
    title.textContent = `${list.what[0].toUpperCase()}${list.what.slice(1)}: ${list.table}`;
    if (list.wrong) return [title, list.wrong];
    const by = document.createElement("p");
    by.textContent = `${list.first} ${list.by} first${list.unit ? ` (${list.unit})` : ""}`;
    return [title, by, ...list.rows.map((row, i) => {
      const button = document.createElement("button");
      button.className = "jump";
      button.textContent = `${i + 1}. ${row.of ? `${row.of}: ` : ""}${text(row.value)}`;
      button.addEventListener("click", () => go(row.place, row.label && list.image ? { image: list.image, label: row.label } : null));
      return button;
    })];
  }));
  if (!found.length) byId("jumps").textContent = "This run has no seams, narrowings or contacts to list (yet).";
});

function say(message, bad = false) {
  byId("told").textContent = message;
  byId("told").classList.toggle("bad", bad);
}
function waiting(edits) {
  run.edits = edits;
  const image = byId("image").value;
  const mine = edits[image] ?? { rows: [], command: "" };
  byId("waiting").replaceChildren(...mine.rows.map((row) => {
    const item = document.createElement("li");
    const what = { merge: `merge ${row.label} and ${row.other}`, cut: `cut ${row.label}: ${row.other} is new`,
      cleave: `cleave ${row.label}: ${row.other} is new`, delete: `delete ${row.label}`,
      class: `${row.label} is of class ${row.other}` };
    item.textContent = what[row.action] ?? `${row.action} ${row.label}`;
    if (!(row.action in what)) item.textContent += " (by hand: not shown in the volume, done by the command)";
    item.title = row.said.filter(Boolean).join(", ");
    return item;
  }));
  byId("pieces").disabled = !mine.pieces?.length;
  byId("pieces").replaceChildren(...(mine.pieces?.length ? [] : [new Option("none: see view --pieces", "")]), ...(mine.pieces ?? []).map((name) => new Option(name, name, false, name === byId("pieces").value)));
  byId("apply").hidden = !mine.rows.length;
  byId("command").textContent = mine.command;
  // The view of edited labels has another address after each edit.
  if (withEdits(stateNow().layers)) change((state) => withEdits(state.layers));
}
const tellEdit = async (given) => {
  try {
    waiting(await ask(given === null ? "undo" : "edit", given ?? { image: byId("image").value }));
    // A reason is of one edit.
    if (given !== null) byId("why").value = "";
    say(given === null ? "undone" : "done, and kept in the list");
  } catch (error) { say(error.message, true); }
  first = null;
};
// What lies under the mouse: the id, as shown, and the place.
function under() {
  const image = byId("image").value;
  const mouse = viewer().mouseState;
  const layer = viewer().layerManager.getLayerByName(image);
  if (!mouse.active || !layer?.layer) return null;
  mouse.updateUnconditionally?.();
  let id = layer.layer.displayState?.segmentSelectionState?.value;
  if (id === undefined || id === null) {
    const value = layer.layer.getValueAt?.(mouse.position, mouse);
    id = typeof value === "bigint" || typeof value === "number" ? value : value?.value ?? value?.key ?? value;
  }
  const label = id === undefined || id === null ? "" : String(id);
  if (!/^\d+$/.test(label) || label === "0") return null;
  const corner = run.edits[image].corner;
  const at = [...mouse.position].map((p, i) => p - corner[i]).reverse();
  return { image, label, at };
}
function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || /INPUT|TEXTAREA|SELECT/.test(event.target.tagName)) return;
  const pressed = event.key;
  if (!"mcsduk".includes(pressed) && pressed !== "Escape") return;
  event.stopImmediatePropagation();
  event.preventDefault();
  if (pressed === "Escape") { first = null; say(""); return; }
  if (pressed === "u") { tellEdit(null); return; }
  const point = under();
  if (!point) { say("point at an object first", true); return; }
  point_at(pressed, point);
}
function point_at(pressed, point) {
  const why = byId("why").value;
  if (pressed === "k" && !byId("named").value.trim()) { say("type the class first, in the field Class", true); return; }
  if (pressed === "s" && !byId("pieces").value) { say("choose the pieces first, in the field Pieces: another label image with the same voxels (view --pieces)", true); return; }
  if (pressed === "d") { tellEdit({ action: "delete", why, ...point }); return; }
  if (pressed === "k") { tellEdit({ action: "class", why, named: byId("named").value, ...point }); return; }
  if (first === null || first.pressed !== pressed) {
    first = { pressed, ...point };
    say(pressed === "m" ? `${point.label} and ...? (m on the other)` : `${point.label}: ${pressed} on the other side`);
    return;
  }
  const { image, label, at } = first;
  if (pressed === "m") tellEdit({ action: "merge", why, image, label, other: point.label });
  else if (point.label !== label) say(`the second point is in ${point.label}, not in ${label}`, true);
  else tellEdit({ action: pressed === "s" ? "cleave" : "cut", why, image, label, pieces: byId("pieces").value, points: [...at, ...point.at] });
}

async function changes() {
  let pending = true;
  try { pending = await renewed(); } catch (error) {
    byId("line").textContent = `the viewer does not answer (${error.message}); asked again until it does`;
  } finally { setTimeout(changes, pending ? OFTEN_MS : SELDOM_MS); }
}
// What the run wrote since the page was loaded; whether there will be more.
async function renewed() {
  const now = await ask("changes");
  byId("line").textContent = now.line;
  if (now.generation !== run.generation) {
    const before = run;
    const bar = coloured && run.bars[coloured];
    run = await ask("run");
    if (bar) run.bars[coloured] = bar;
    change((state) => {
      // What the run wrote since has another address; what is new is added.
      const known = new Set(state.layers.map((l) => l.name));
      const text = JSON.stringify(state.layers).replaceAll(`/data/${before.generation}/`, `/data/${run.generation}/`);
      state.layers = [...JSON.parse(text), ...withOrigin(run.state).layers.filter((l) => !known.has(l.name))];
      // Instances of which newer ones were made are off, as they are where a page opens anew.
      const seen = (from, name) => from.state.layers.find((l) => l.name === name)?.visible;
      for (const l of state.layers) if (seen(before, l.name) && seen(run, l.name) === false) l.visible = false;
    });
    tables();
    bars();
    colours();
    instances();
    if (run.instances.length) waiting(run.edits);
  }
  return now.pending;
}
function tables() {
  byId("wrong").replaceChildren(...run.wrong.map((what) => {
    const item = document.createElement("li");
    item.textContent = what;
    return item;
  }));
  byId("table").replaceChildren(...run.tables.map((t) => new Option(`${t.name} (${t.rows.toLocaleString("en")})`, t.name)));
  const placed = run.tables.find((t) => t.kind === "instance table") ?? run.tables.find((t) => t.placed) ?? run.tables[0];
  if (!shown.name && placed) shown.name = placed.name;
  byId("table").value = shown.name;
}

async function start() {
  const link = new URLSearchParams(location.search);
  run = await ask("run");
  byId("name").textContent = run.name;
  document.title = `${run.name}: chunkflow_liver`;
  byId("line").textContent = run.line;
  const state = fromAddress() ?? run.state;
  // Before it is shown: a state that neuroglancer tells while it still loads lacks what is not there yet.
  if (link.size) {
    try {
      const there = await ask(`go?${link}`);
      if (there.position) moved(state, there.position, there.label ? there : null);
    } catch (error) { byId("line").textContent = error.message; }
  }
  await stands();
  show(state);
  look.contentWindow.addEventListener("keydown", key, true);
  viewer().layerManager.layersChanged.add(() => { boxes(); bars(); });
  viewer().state.changed.add(() => { clearTimeout(kept.timer); kept.timer = setTimeout(kept, 300); });
  boxes();
  bars();
  colours();
  views(run.views);
  tables();
  instances();
  if (run.instances.length) waiting(run.edits);
  document.body.dataset.ready = "yes";
  setTimeout(changes, run.pending ? OFTEN_MS : SELDOM_MS);
}
for (const tab of document.querySelectorAll("[data-tab]")) {
  tab.addEventListener("click", () => {
    for (const other of document.querySelectorAll("[data-tab]")) {
      other.setAttribute("aria-selected", String(other === tab));
      byId(other.dataset.tab).hidden = other !== tab;
    }
    if (tab.dataset.tab === "rows") rows();
    if (tab.dataset.tab === "jumps") jumps();
  });
}
byId("colour").addEventListener("change", shownIfRefused(colourBy));
byId("table").addEventListener("change", () => { shown = { name: byId("table").value, sort: "", down: false, begin: 0 }; rows(); });
byId("where").addEventListener("submit", (event) => { event.preventDefault(); shown.begin = 0; rows(); });
byId("earlier").addEventListener("click", () => { shown.begin = Math.max(0, shown.begin - 100); rows(); });
byId("later").addEventListener("click", () => { shown.begin += 100; rows(); });
byId("image").addEventListener("change", () => waiting(run.edits));
byId("undo").addEventListener("click", () => tellEdit(null));
byId("keep").addEventListener("submit", shownIfRefused(async (event) => {
  event.preventDefault();
  const name = new FormData(event.target).get("name");
  views(await ask("view", { name, state: withoutOrigin(stateNow()) }));
}));
start().catch((error) => { byId("line").textContent = error.message; });
