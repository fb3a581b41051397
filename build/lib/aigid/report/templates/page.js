"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const element = id => document.getElementById(id);
  const [dataset, view, filter, intervals, status, tip] = ["dataset", "view", "filter", "intervals", "status", "tip"].map(element);
  const sections = all("section[data-dataset]"), names = all("#names option").map(one => one.value);

  // Sorting: numbers by their first, the largest first; texts from a to z; what has none is last.
  const number = text => parseFloat(text.replace(/^[<\s]+/, ""));
  const sort = head => {
    const table = head.closest("table"), body = table.tBodies[0], place = head.cellIndex;
    const rows = [...body.rows].map(row => [row, row.cells[place].textContent]);
    const isNumber = rows.some(([, text]) => !isNaN(number(text))) && place > 0;
    const turned = { ascending: "descending", descending: "ascending" }[head.ariaSort];
    const order = turned || (isNumber ? "descending" : "ascending"), sign = order == "ascending" ? 1 : -1;
    const compare = isNumber ? (a, b) => number(a) - number(b) : (a, b) => a.localeCompare(b, "en", { numeric: true });
    const empty = text => isNumber ? isNaN(number(text)) : text == "-";
    rows.sort(([, a], [, b]) => empty(a) - empty(b) || (empty(a) ? 0 : sign * compare(a, b)));
    all("th[aria-sort]", table).forEach(other => other.removeAttribute("aria-sort"));
    head.ariaSort = order;
    body.append(...rows.map(([row]) => row));
  };
  for (const head of all("thead th")) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(head));
    head.append(button);
  }

  // The views of a dataset stand where its headline stands.
  for (const section of sections) {
    const blocks = all(".view", section);
    blocks[0]?.after(...blocks.slice(1));
  }
  const show = () => {
    const open = sections.filter(section => !dataset.value || section.dataset.dataset == dataset.value);
    sections.forEach(section => { section.hidden = !open.includes(section); });
    const views = new Set(open.flatMap(section => all(".view", section).map(block => block.dataset.view)));
    const chosen = views.has(view.value) ? view.value : [...views][0];
    view.replaceChildren(...[...views].map(name => new Option(name, name, false, name == chosen)));
    for (const section of open) {
      const blocks = all(".view", section);
      const block = blocks.find(one => one.dataset.view == chosen) || blocks[0];
      blocks.forEach(one => { one.hidden = one != block; });
    }
  };

  // Words choose detectors that contain one of them; words with a minus leave out.
  const choose = () => {
    const words = filter.value.toLowerCase().split(/[\s,]+/).filter(Boolean);
    const not = words.filter(word => word[0] == "-").map(word => word.slice(1)).filter(Boolean);
    const wanted = words.filter(word => word[0] != "-");
    const shown = text => (!wanted.length || wanted.some(word => text.includes(word))) && !not.some(word => text.includes(word));
    const isShown = one => shown(one.dataset.d.toLowerCase());
    all("tr[data-d], g[data-d]").forEach(one => one.toggleAttribute("hidden", !isShown(one)));
    for (const head of all("th[data-d]")) {
      const rows = head.closest("table").rows, hidden = !isShown(head);
      if (hidden != head.hidden) for (const row of rows) row.cells[head.cellIndex].hidden = hidden;
    }
    status.textContent = words.length ? `${names.filter(name => shown(name.toLowerCase())).length} of ${names.length} detectors` : "";
  };

  // What a cell of a heat map says, under the pointer, the finger or the arrow keys.
  const hide = () => { tip.hidden = true; };
  const say = cell => {
    const row = cell.parentNode, head = cell.closest("table").tHead.rows[0].cells[cell.cellIndex];
    const place = cell.getBoundingClientRect(), block = cell.closest(".view");
    const words = [head.textContent, "on", row.cells[0].textContent + ":", cell.firstChild.textContent, cell.children[0]?.textContent || ""];
    if (block) words.push(`(view ${block.dataset.view}, images: ${row.cells[1].textContent})`);
    tip.textContent = words.join(" ");
    tip.hidden = false;
    tip.style.left = `${Math.max(4, Math.min(place.left, innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${place.bottom + tip.offsetHeight + 8 < innerHeight ? place.bottom + 4 : place.top - tip.offsetHeight - 4}px`;
  };
  for (const table of all("table.heat")) {
    const first = table.querySelector("td");
    if (first) first.tabIndex = 0;
    table.addEventListener("pointerover", event => { const cell = event.target.closest("td"); if (cell) say(cell); else hide(); });
    table.addEventListener("pointerleave", hide);
    table.addEventListener("focusin", event => { if (event.target.cellIndex) say(event.target); });
    table.addEventListener("focusout", hide);
    table.addEventListener("keydown", event => {
      const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key], cell = event.target;
      if (event.key == "Escape") hide();
      if (!step || cell.tagName != "TD") return;
      let row = cell.parentNode, next = cell;
      do {
        row = step[0] < 0 ? row.previousElementSibling : step[0] ? row.nextElementSibling : row;
        next = row?.cells[next.cellIndex + step[1]];
      } while (next?.hidden);
      event.preventDefault();
      if (next?.tagName != "TD") return;
      cell.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    });
  }

  const plain = () => document.body.classList.toggle("plain", !intervals.checked);
  dataset.value = sections.length ? sections[0].dataset.dataset : "";
  [dataset, view].forEach(one => one.addEventListener("change", show));
  filter.addEventListener("input", choose);
  intervals.addEventListener("change", plain);
  element("controls").addEventListener("submit", event => event.preventDefault());
  element("controls").hidden = false;
  show();
  plain();
})();
