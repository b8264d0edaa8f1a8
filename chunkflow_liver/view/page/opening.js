"use strict";
// The state of neuroglancer: set, told, and opened so that the first pixels come before all that can wait.
const look = document.getElementById("look");
const viewer = () => look.contentWindow.viewer;
const withOrigin = (state) => JSON.parse(JSON.stringify(state).replaceAll("ORIGIN", `http://${location.host}`));
const withoutOrigin = (state) => JSON.parse(JSON.stringify(state).replaceAll(`http://${location.host}`, "ORIGIN"));
const sourcesOf = (layer) => [layer.source ?? []].flat().map((s) => (typeof s === "string" ? { url: s } : s)).filter((s) => s.url);
const PATIENCE_MS = 10000;
const SCALE = "crossSectionRenderScale";
const COARSEST = 4096;
const TRIES = 50;

// Sources that are not given to neuroglancer yet, by the name of their layer.
const held = new Map();
// Layers of which only the coarsest level is shown yet, with the scale that they are to have.
const coarse = new Map();
let opened = 0;
// The state that neuroglancer is being given.
let giving = null;

// With layers in its first address neuroglancer loses one whose shader has a range: it gets them when it stands.
function stands() {
  return new Promise((done) => {
    const wait = () => (look.contentWindow?.viewer?.display?.frameNumber > 0 ? done() : setTimeout(wait, 10));
    wait();
  });
}
function stateNow() {
  // What is still being given counts, not what neuroglancer has of it so far: what is made of that lacks a layer.
  const there = giving ?? viewer().state.toJSON();
  const state = JSON.parse(JSON.stringify(there, (_, v) => (typeof v === "bigint" ? String(v) : v)));
  for (const layer of state.layers ?? []) {
    if (held.has(layer.name)) layer.source = [...sourcesOf(layer), ...held.get(layer.name)];
    if (coarse.has(layer.name)) layer[SCALE] = coarse.get(layer.name);
  }
  return state;
}
// While it still sets itself up neuroglancer loses a layer now and then, and says no more of it than an error: a state is
// given until all its layers are there, or another one is given.
async function restore(state) {
  giving = state;
  for (let tries = 0; tries < TRIES && giving === state; tries += 1) {
    viewer().state.reset();
    viewer().state.restoreState(state);
    if ((state.layers ?? []).every((l) => viewer().layerManager.getLayerByName(l.name))) break;
    await new Promise((done) => { setTimeout(done, 100); });
  }
  if (giving === state) giving = null;
}
function change(how) {
  const state = stateNow();
  how(state);
  settled();
  restore(state);
}
function settled() {
  opened += 1;
  held.clear();
  coarse.clear();
}

// The coarsest levels come first, then finer ones, then what has no pixels: the properties of a million objects take
// the browser longer to read than all the rest, and meanwhile it draws nothing.
async function show(given) {
  const state = withOrigin(given);
  withEdits(state.layers);
  settled();
  const mine = opened;
  for (const layer of state.layers ?? []) {
    const all = sourcesOf(layer);
    const now = all.filter((s, i) => !ours(s) || i === 0);
    if (now.length < all.length) {
      held.set(layer.name, all.filter((s) => !now.includes(s)));
      layer.source = now;
    }
    if (layer.visible === false || layer.archived || !all.some((s) => ours(s) && volume(s))) continue;
    coarse.set(layer.name, layer[SCALE] ?? 1);
    layer[SCALE] = COARSEST;
  }
  await restore(state);
  if (mine !== opened) return;
  await soon(complete());
  if (mine !== opened) return;
  for (const [name, scale] of coarse) {
    const target = viewer().layerManager.getLayerByName(name)?.layer?.sliceViewRenderScaleTarget;
    if (target) target.value = scale;
  }
  coarse.clear();
  await soon(complete());
  if (mine === opened) release();
}
// The instances of a layer as they are now: as stored, or with the edits that wait, whatever the state that is shown says.
// Whether that is another address than before.
function drawEdits(layer, image, mine) {
  const wanted = mine.revision ? `/edited/${mine.revision}/${image}/` : `/data/done/${image}/`;
  if (sourcesOf(layer).some((source) => source.url.includes(wanted))) return false;
  const known = sourcesOf(layer).filter((s) => !/\/(edited|data|meshes)\//.test(s.url));
  const format = mine.revision ? 3 : mine.format;
  layer.source = [{ url: `zarr${format}://http://${location.host}${wanted}` }, ...known];
  if (mine.meshes) layer.source.push({ url: `precomputed://http://${location.host}/meshes/${mine.revision ?? "done"}/${image}` });
  // An object that became part of another is chosen as that one; neuroglancer marks those that are hidden.
  const become = (id) => (id.startsWith("!") ? `!${become(id.slice(1))}` : mine.ends[id] ?? id);
  if (layer.segments) layer.segments = [...new Set(layer.segments.map((id) => become(String(id))))].filter((id) => !/^!?0$/.test(id));
  return true;
}
// The same of a layer that colours objects by a column.
function recoloured(layer) {
  const [source] = sourcesOf(layer);
  const found = source && /\/values\/([^/]+)\/([^/]+)\//.exec(source.url);
  const wanted = found && (run.edits[found[2]]?.revision ?? "done");
  if (!found || found[1] === wanted) return false;
  layer.source = [{ ...source, url: source.url.replace(found[0], `/values/${wanted}/${found[2]}/`) }];
  return true;
}
// Whether a layer has another address by the edits that wait.
function withEdits(layers) {
  return (layers ?? []).map((l) => (run.edits[l.name] ? drawEdits(l, l.name, run.edits[l.name]) : recoloured(l))).includes(true);
}
const ours = (source) => source.url.includes(`//${location.host}/`);
const volume = (source) => source.url.startsWith("zarr");
// What cannot be read draws no pixels, and must not keep the rest away.
const soon = (what) => Promise.race([what, new Promise((done) => { setTimeout(done, PATIENCE_MS); })]);

function release() {
  for (const [name, sources] of held) {
    const layer = viewer().layerManager.getLayerByName(name)?.layer;
    for (const spec of layer?.getDataSourceSpecifications({ source: sources }) ?? []) layer.addDataSource(spec);
  }
  held.clear();
}
// All chunks of the view are there, and drawn.
async function complete() {
  while (!viewer().isReady()) await new Promise((done) => { setTimeout(done, 50); });
  const { display } = viewer();
  await new Promise((done) => {
    const drawn = () => { display.updateFinished.remove(drawn); done(); };
    display.updateFinished.add(drawn);
    display.scheduleRedraw();
  });
}

// The state is the fragment of this page, so that a copied address leads to the same view.
function kept() {
  try {
    history.replaceState(null, "", `${location.pathname}#!${encodeURIComponent(JSON.stringify(withoutOrigin(stateNow())))}`);
  } catch { /* neuroglancer is not there yet */ }
}
function fromAddress() {
  if (!location.hash.startsWith("#!")) return null;
  try { return JSON.parse(decodeURIComponent(location.hash.slice(2))); } catch { return null; }
}

function moved(state, place, object) {
  state.position = place;
  if (object?.size) state.crossSectionScale = Math.max(object.size / 150, 1);
  if (object?.size) state.projectionScale = object.size * 2;
  const layer = state.layers.find((l) => l.name === object?.image);
  if (layer) { layer.segments = [String(object.label)]; layer.visible = true; delete layer.archived; }
}
function go(place, object) {
  if (!place) return;
  if (object?.label) change((state) => moved(state, place, object));
  else viewer().position.value = Float32Array.from(place);
}
