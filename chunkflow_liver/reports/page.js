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
