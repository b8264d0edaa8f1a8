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
