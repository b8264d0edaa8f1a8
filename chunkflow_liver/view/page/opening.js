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

// Sources that are not given to neuroglancer yet, by the name of their layer.
const held = new Map();
// The layer of which only the coarsest level is shown yet, with the scale that it is to have.
let coarse = null;
let opened = 0;

// With layers in its first address neuroglancer loses one whose shader has a range: it gets them when it stands.
function stands() {
  return new Promise((done) => {
    const wait = () => (look.contentWindow?.viewer?.layerManager ? done() : setTimeout(wait, 10));
    wait();
  });
}
function stateNow() {
  const state = JSON.parse(JSON.stringify(viewer().state.toJSON(), (_, v) => (typeof v === "bigint" ? String(v) : v)));
  for (const layer of state.layers ?? []) {
    if (held.has(layer.name)) layer.source = [...sourcesOf(layer), ...held.get(layer.name)];
    if (coarse?.name === layer.name) layer[SCALE] = coarse.scale;
  }
  return state;
}
function restore(state) {
  viewer().state.reset();
  viewer().state.restoreState(state);
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
  coarse = null;
}

// The coarsest level of the image comes first, then its others and the other layers that are seen, then what has no
// pixels: the properties of a million objects take the browser longer to read than all the rest, and meanwhile it
// draws nothing.
async function show(given) {
  const state = withOrigin(given);
  const seen = (state.layers ?? []).filter((l) => l.visible !== false && !l.archived && sourcesOf(l).some(ours));
  const first = seen.find((l) => l.type === "image") ?? seen[0];
  settled();
  if (!first) { restore(state); return; }
  const mine = opened;
  for (const layer of state.layers) {
    const all = sourcesOf(layer);
    const now = all.filter((s, i) => !ours(s) || (layer === first && i === 0));
    if (now.length === all.length) continue;
    held.set(layer.name, all.filter((s) => !now.includes(s)));
    layer.source = now;
  }
  coarse = { name: first.name, scale: first[SCALE] ?? 1 };
  first[SCALE] = COARSEST;
  restore(state);
  await soon(complete());
  if (mine !== opened) return;
  const target = viewer().layerManager.getLayerByName(coarse.name)?.layer?.sliceViewRenderScaleTarget;
  if (target) target.value = coarse.scale;
  coarse = null;
  release((source, name) => volume(source) && seen.some((l) => l.name === name));
  await soon(complete());
  if (mine === opened) release(() => true);
}
const ours = (source) => source.url.includes(`//${location.host}/`);
const volume = (source) => source.url.startsWith("zarr");
// What cannot be read draws no pixels, and must not keep the rest away.
const soon = (what) => Promise.race([what, new Promise((done) => { setTimeout(done, PATIENCE_MS); })]);

function release(wanted) {
  for (const [name, sources] of [...held]) {
    const now = sources.filter((source) => wanted(source, name));
    const later = sources.filter((source) => !now.includes(source));
    if (later.length) held.set(name, later); else held.delete(name);
    const layer = viewer().layerManager.getLayerByName(name)?.layer;
    if (!layer || !now.length) continue;
    const specs = layer.getDataSourceSpecifications({ source: now });
    // A layer without a source has an empty one.
    if (layer.dataSources[0]?.spec.url === "") layer.dataSources[0].spec = specs.shift();
    for (const spec of specs) layer.addDataSource(spec);
  }
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
