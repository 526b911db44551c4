"use strict";

// Light or dark: as the system has it until the reader chooses.
{
  const button = document.getElementById("theme");
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
  const label = () => { button.textContent = dark() ? "Light" : "Dark"; };
  button.hidden = false;
  button.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; label(); });
  system.addEventListener("change", label);
  label();
}

// Figures of one kind: a list to choose from, one at a time. Without scripts, and on paper, all are there.
for (const choices of document.querySelectorAll(".choices")) {
  const figures = [...choices.children];
  const select = document.createElement("select");
  for (const figure of figures) select.add(new Option(figure.querySelector("h3").textContent, figure.id));
  const label = document.createElement("label");
  label.className = "chooser";
  label.append("Show ", select, ` of ${figures.length}`);
  const choose = () => figures.forEach((figure, n) => figure.classList.toggle("chosen", n === select.selectedIndex));
  select.addEventListener("change", choose);
  choices.before(label);
  choices.classList.add("live");
  choose();
}

// What a mark says: by mouse, by finger, and with the arrow keys on a figure that has the focus.
{
  const tip = document.getElementById("tip");
  let lit = null;
  const hide = () => {
    if (lit) lit.classList.remove("lit");
    lit = null;
    tip.hidden = true;
  };
  const show = (mark, x, y) => {
    if (lit !== mark) {
      hide();
      lit = mark;
      lit.classList.add("lit");
      tip.textContent = mark.dataset.tip;
    }
    tip.hidden = false;
    const [w, h] = [tip.offsetWidth, tip.offsetHeight];
    const left = Math.max(8, Math.min(x + 14, innerWidth - w - 8));
    const top = y + 16 + h > innerHeight ? Math.max(8, y - h - 12) : y + 16;
    tip.style.left = `${left}px`;
    tip.style.top = `${top}px`;
  };
  for (const figure of document.querySelectorAll("svg.figure")) {
    const marks = [...figure.querySelectorAll(".cell, .point, .series")];
    for (const mark of marks) {
      const title = mark.querySelector("title");
      mark.dataset.tip = title.textContent;
      title.remove();
    }
    const wide = marks.filter((mark) => mark.dataset.row === "0").length || 1;
    figure.addEventListener("pointermove", (event) => {
      const mark = event.target.closest(".cell, .point, .series");
      if (mark) show(mark, event.clientX, event.clientY); else hide();
    });
    figure.addEventListener("pointerdown", (event) => {
      const mark = event.target.closest(".cell, .point, .series");
      if (mark) show(mark, event.clientX, event.clientY);
    });
    figure.addEventListener("pointerleave", hide);
    figure.addEventListener("blur", hide);
    figure.addEventListener("keydown", (event) => {
      if (event.key === "Escape") return hide();
      const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -wide, ArrowDown: wide }[event.key];
      if (!step || !marks.length) return;
      event.preventDefault();
      const now = marks.indexOf(lit);
      const next = now < 0 ? 0 : now + step;
      if (next < 0 || next >= marks.length) return;
      marks[next].scrollIntoView({ block: "nearest", inline: "nearest" });
      const box = marks[next].getBoundingClientRect();
      show(marks[next], box.right, box.bottom);
    });
  }
}

// Tables sort by a column: text by its letters, numbers by their values, what has none last.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const numbers = head.classList.contains("number");
      const key = (row) => {
        const cell = row.cells[column];
        return numbers ? parseFloat(cell.dataset.value) : cell.textContent;
      };
      const rows = [...body.rows].map((row) => [key(row), row]);
      const empty = (value) => numbers && Number.isNaN(value);
      rows.sort(([a], [b]) => {
        if (empty(a) || empty(b)) return empty(a) - empty(b);
        return (numbers ? a - b : a.localeCompare(b)) * (up ? 1 : -1);
      });
      body.append(...rows.map(([, row]) => row));
    });
  });
}

// A figure as a file: with its style in it, in light colours.
for (const button of document.querySelectorAll("button.svg")) {
  button.addEventListener("click", () => {
    const svg = button.closest("figure").querySelector("svg.figure").cloneNode(true);
    for (const mark of svg.querySelectorAll("[data-tip]")) {
      const title = document.createElementNS(svg.namespaceURI, "title");
      title.textContent = mark.dataset.tip;
      mark.removeAttribute("data-tip");
      mark.classList.remove("lit");
      mark.prepend(title);
    }
    const box = svg.viewBox.baseVal;
    svg.removeAttribute("tabindex");
    svg.setAttribute("width", box.width);
    svg.setAttribute("height", box.height);
    const style = document.createElementNS(svg.namespaceURI, "style");
    style.textContent = document.getElementById("plain-figure").textContent;
    const ground = document.createElementNS(svg.namespaceURI, "rect");
    ground.setAttribute("width", "100%");
    ground.setAttribute("height", "100%");
    ground.setAttribute("class", "paper");
    svg.prepend(style, ground);
    const link = document.createElement("a");
    link.download = button.dataset.file;
    link.href = URL.createObjectURL(new Blob([new XMLSerializer().serializeToString(svg)], { type: "image/svg+xml" }));
    link.click();
    URL.revokeObjectURL(link.href);
  });
}

addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("section:not(#provenance) details:not([open])")) {
    details.open = true;
    details.dataset.printed = "";
  }
});
addEventListener("afterprint", () => {
  for (const details of document.querySelectorAll("details[data-printed]")) {
    details.open = false;
    delete details.dataset.printed;
  }
});
