"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  table.querySelectorAll("th button").forEach((button) => {
    button.addEventListener("click", () => {
      const head = button.parentElement;
      const column = head.cellIndex;
      const numeric = head.classList.contains("n");
      const down = head.getAttribute("aria-sort") === "ascending";
      const key = (row) => row.cells[column].dataset.v ?? "";
      const order = (a, b) => {
        if (key(a) === "" || key(b) === "") return (key(a) === "") - (key(b) === "");
        const step = numeric ? key(a) - key(b) : key(a).localeCompare(key(b));
        return down ? -step : step;
      };
      const body = table.tBodies[0];
      body.append(...[...body.rows].sort(order));
      for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
    });
  });
}
const switches = document.querySelectorAll("input[data-whole]");
for (const one of switches) {
  one.addEventListener("change", () => {
    for (const other of switches) other.checked = one.checked;
    document.body.classList.toggle("all", !one.checked);
  });
}
for (const gallery of document.querySelectorAll(".gallery")) {
  const [select, smallest] = [gallery.querySelector("select"), gallery.querySelector("input")];
  const cards = [...gallery.querySelectorAll("figure")].map((figure) => ({
    figure, values: JSON.parse(figure.dataset.v), texts: JSON.parse(figure.dataset.t),
  }));
  const show = () => {
    const column = Number(select.value);
    const sign = smallest.checked ? 1 : -1;
    cards.sort((a, b) => {
      const [x, y] = [a.values[column], b.values[column]];
      return x === null || y === null ? (x === null) - (y === null) : sign * (x - y);
    });
    for (const { figure, texts } of cards) {
      figure.querySelector("b").textContent = texts[column];
      figure.parentElement.append(figure);
    }
  };
  for (const button of document.querySelectorAll(`[data-gallery="${gallery.id}"] [data-sort]`)) {
    button.addEventListener("click", () => {
      // A second click on the same feature turns the order around.
      smallest.checked = select.value === button.dataset.sort && !smallest.checked;
      select.value = button.dataset.sort;
      show();
      gallery.scrollIntoView({ block: "start" });
    });
  }
  select.addEventListener("change", show);
  smallest.addEventListener("change", show);
  show();
}
// Any picture, as large as the window; nothing is loaded for it.
const stage = document.createElement("dialog");
stage.className = "stage";
stage.addEventListener("click", () => stage.close());
document.body.append(stage);
const enlarge = (picture) => {
  const close = document.createElement("button");
  close.type = "button";
  close.textContent = "close";
  const copy = picture.cloneNode(true);
  for (const name of ["style", "tabindex", "role"]) copy.removeAttribute(name);
  const caption = document.createElement("p");
  const figure = picture.closest("figure");
  caption.textContent = figure?.querySelector("figcaption")?.textContent ?? picture.getAttribute("aria-label") ?? "";
  stage.replaceChildren(copy, caption, close);
  stage.showModal();
};
for (const picture of document.querySelectorAll("svg.panel, svg.thumb, .charts figure > svg, figure > img")) {
  picture.classList.add("enlarges");
  picture.tabIndex = 0;
  picture.addEventListener("click", () => enlarge(picture));
  picture.addEventListener("keydown", (event) => { if (event.key === "Enter") enlarge(picture); });
}
// The rows of a table as they are sorted, with the numbers behind the texts.
const csv = (table) => [...table.rows].map((row) => [...row.cells].map((cell) => {
  const text = row.parentElement.tagName === "THEAD"
    ? [...cell.childNodes].map((node) => node.textContent.trim()).filter(Boolean).join(" ")
    : cell.dataset.v ?? cell.textContent.trim();
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}).join(",")).join("\r\n");
for (const table of document.querySelectorAll("table[data-name]")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "keep";
  button.textContent = "download as CSV";
  button.addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(["\ufeff", csv(table)], { type: "text/csv" }));
    link.download = `${table.dataset.name.replaceAll(/[^\w.-]+/g, "-")}.csv`;
    link.click();
    URL.revokeObjectURL(link.href);
  });
  table.closest(".scroll").after(button);
}
// Objects and places lead into the viewer while it runs. Its token is a cookie of the browser, not in this page.
const { run, viewer } = document.body.dataset;
const lead = (link, given) => {
  link.href = `${viewer}?${new URLSearchParams({ run, ...given })}`;
  link.target = "chunkflow-liver-view";
  link.rel = "noreferrer";
  const words = Object.entries(given).map(([key, value]) => `--${key} ${value}`).join(" ");
  link.title = `chunkflow-liver view ${run} ${words}`;
};
for (const link of document.querySelectorAll("a.go")) {
  const { at, object } = link.dataset;
  lead(link, at ? { at } : { object, in: link.dataset.in });
}
for (const table of document.querySelectorAll("table[data-name]")) {
  const names = [...table.rows[0].cells].map((cell) => (cell.querySelector("button") ?? cell.firstChild)?.textContent);
  const [label, z, y, x] = ["label", "z_nm", "y_nm", "x_nm"].map((name) => names.indexOf(name));
  if (label < 0 && z < 0) continue;
  for (const row of table.tBodies[0].rows) {
    if (row.cells.length !== names.length) continue;
    const value = (column) => row.cells[column].dataset.v ?? row.cells[column].textContent.trim();
    const given = z < 0 ? { object: value(label), in: table.dataset.in } : { at: [z, y, x].map(value).join(",") };
    const cell = row.cells[label < 0 ? z : label];
    const link = document.createElement("a");
    link.append(...cell.childNodes);
    lead(link, given);
    cell.append(link);
  }
}
