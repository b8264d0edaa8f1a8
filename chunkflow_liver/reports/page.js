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
