"use strict";

// Sortable tables: every header becomes a button.
function sortable(table) {
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = header.textContent;
    header.replaceChildren(button);
    button.addEventListener("click", () => {
      const numeric = header.hasAttribute("data-number");
      const first = numeric ? "descending" : "ascending";
      const other = numeric ? "ascending" : "descending";
      const order = header.getAttribute("aria-sort") === first ? other : first;
      headers.forEach((one) => one.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const key = (row) => row.cells[column].dataset.sort ?? row.cells[column].textContent;
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => sign * (numeric ? key(a) - key(b) : key(a).localeCompare(key(b), "en", { numeric: true })));
      table.tBodies[0].append(...rows);
    });
  });
}

function findable(field, table, status) {
  field.addEventListener("input", () => {
    const text = field.value.trim().toLowerCase();
    let shown = 0;
    for (const row of table.tBodies[0].rows) {
      row.hidden = !row.cells[0].textContent.toLowerCase().includes(text);
      shown += row.hidden ? 0 : 1;
    }
    status.textContent = text ? `${shown} classes` : "";
  });
}

// The confusion matrix: data.cells is [label, prediction, videos, label, prediction, videos, ...].
function matrix(canvas, select, note, data) {
  const size = data.classes.length;
  const cells = [];
  const rows = new Array(size).fill(0);
  const hits = new Array(size).fill(0);
  for (let i = 0; i < data.cells.length; i += 3) {
    const [label, predicted, videos] = data.cells.slice(i, i + 3);
    cells.push([label, predicted, videos]);
    rows[label] += videos;
    if (label === predicted) hits[label] = videos;
  }
  cells.sort((a, b) => (a[0] === a[1]) - (b[0] === b[1])); // the diagonal is drawn last, on top
  const videosOf = new Map(cells.map(([label, predicted, videos]) => [label * size + predicted, videos]));
  const recall = (k) => (rows[k] ? hits[k] / rows[k] : 2);
  const start = note.textContent;
  let order = [...Array(size).keys()];
  let place = { left: 0, top: 0, cell: 1 };

  const orders = {
    list: () => 0,
    name: (a, b) => data.classes[a].localeCompare(data.classes[b], "en", { numeric: true }),
    recall: (a, b) => recall(a) - recall(b) || a - b,
    videos: (a, b) => rows[b] - rows[a] || a - b,
  };

  // From the class of most errors on, the next class is the one that is confused most with those that are placed.
  function similar() {
    const links = Array.from({ length: size }, () => new Map());
    for (const [label, predicted, videos] of cells) {
      if (label === predicted) continue;
      const share = videos / rows[label];
      links[label].set(predicted, (links[label].get(predicted) ?? 0) + share);
      links[predicted].set(label, (links[predicted].get(label) ?? 0) + share);
    }
    const errors = links.map((link) => [...link.values()].reduce((a, b) => a + b, 0));
    const left = new Set(order.keys());
    const pull = new Array(size).fill(0);
    const placed = [];
    while (left.size) {
      let best = -1;
      for (const k of left) {
        if (best < 0 || pull[k] > pull[best] || (pull[k] === pull[best] && errors[k] > errors[best])) best = k;
      }
      left.delete(best);
      placed.push(best);
      for (let k = 0; k < size; k++) pull[k] *= 0.5;
      for (const [k, share] of links[best]) pull[k] += share;
    }
    return placed;
  }

  function colors(print) {
    const style = getComputedStyle(document.documentElement);
    const value = (name, light) => (print ? light : style.getPropertyValue(name).trim());
    return {
      blue: value("--blue", "#0b62ab"), orange: value("--orange", "#b84a00"), text: value("--text", "#1b1f24"),
      muted: value("--muted", "#57606a"), line: value("--line", "#d0d7de"), back: value("--back", "#ffffff"),
    };
  }

  function clipped(context, text, width) {
    if (context.measureText(text).width <= width) return text;
    let length = text.length;
    while (length > 1 && context.measureText(text.slice(0, length) + "…").width > width) length--;
    return text.slice(0, length) + "…";
  }

  function draw(print) {
    const scale = Math.max(1, window.devicePixelRatio || 1);
    const width = canvas.parentElement.clientWidth;
    const named = size <= 60 && width / size > 9;
    const font = Math.min(13, Math.max(9, (width * 0.75) / size - 2));
    const context = canvas.getContext("2d");
    context.font = `${font}px sans-serif`;
    const longest = Math.max(...data.classes.map((name) => context.measureText(name).width));
    const margin = named ? Math.ceil(Math.min(longest + 8, width * 0.28)) : 2;
    const cell = Math.min(60, (width - margin - 2) / size);
    const side = cell * size;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round((margin + side + 2) * scale);
    place = { left: margin, top: margin, cell };
    const tone = colors(print);
    const at = new Array(size);
    order.forEach((k, position) => { at[k] = position; });
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, margin + side + 2);
    const gap = cell > 8 ? 1 : 0;
    for (const [label, predicted, videos] of cells) {
      const part = videos / rows[label];
      const right = label === predicted;
      const least = cell < 4 ? 0.5 : 0.12; // small cells need a strong color to be seen
      context.globalAlpha = least + (1 - least) * part;
      context.fillStyle = right ? tone.blue : tone.orange;
      const x = margin + at[predicted] * cell;
      const y = margin + at[label] * cell;
      const drawn = Math.max(cell - gap, right ? 1 / scale : 2);
      context.fillRect(x, y, drawn, drawn);
      context.globalAlpha = 1;
      if (cell >= 22) {
        context.fillStyle = part > 0.45 ? tone.back : tone.text;
        context.font = `${Math.min(13, cell * 0.45)}px sans-serif`;
        context.textAlign = "center";
        context.textBaseline = "middle";
        context.fillText(videos, x + cell / 2, y + cell / 2, cell - 2);
      }
    }
    context.strokeStyle = tone.line;
    context.lineWidth = 1;
    context.strokeRect(margin - 0.5, margin - 0.5, side + 1, side + 1);
    if (!named) return;
    context.fillStyle = tone.text;
    context.font = `${font}px sans-serif`;
    context.textBaseline = "middle";
    order.forEach((k, position) => {
      const middle = margin + (position + 0.5) * cell;
      const text = clipped(context, data.classes[k], margin - 6);
      context.textAlign = "right";
      context.fillText(text, margin - 5, middle);
      context.save();
      context.translate(middle, margin - 5);
      context.rotate(-Math.PI / 2);
      context.textAlign = "left";
      context.fillText(text, 0, 0);
      context.restore();
    });
  }

  function show(event) {
    const box = canvas.getBoundingClientRect();
    const column = order[Math.floor((event.clientX - box.left - place.left) / place.cell)];
    const row = order[Math.floor((event.clientY - box.top - place.top) / place.cell)];
    if (column === undefined || row === undefined) { note.textContent = start; return; }
    const videos = videosOf.get(row * size + column) ?? 0;
    note.textContent = `${data.classes[row]} predicted as ${data.classes[column]}: ${videos} of ${rows[row]} videos`;
  }

  select.addEventListener("change", () => {
    order = select.value === "similar" ? similar() : [...Array(size).keys()].sort(orders[select.value]);
    draw(false);
  });
  canvas.addEventListener("pointermove", show);
  canvas.addEventListener("pointerdown", show);
  canvas.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") note.textContent = start; });
  window.addEventListener("resize", () => draw(false));
  window.addEventListener("beforeprint", () => draw(true));
  window.addEventListener("afterprint", () => draw(false));
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw(false));
  draw(false);
  return () => order;
}

document.querySelectorAll("table.sortable").forEach(sortable);
const field = document.getElementById("find");
if (field) findable(field, document.getElementById("classes-table"), document.getElementById("found"));
const canvas = document.getElementById("matrix");
if (canvas) {
  const data = JSON.parse(document.getElementById("data").textContent);
  matrix(canvas, document.getElementById("order"), document.getElementById("cell"), data);
}
window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
