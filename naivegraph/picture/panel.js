// The panel beside the picture: totals, search, legend, what changed, and the vertex that is chosen.

const byId = id => document.getElementById(id);

function html(name, parent, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  if (parent) parent.appendChild(made);
  return made;
}

function row(table, cells, heading) {
  const made = html("tr", table);
  cells.forEach((cell, at) => {
    const field = html(heading ? "th" : "td", made, typeof cell === "string" ? cell : undefined, at ? "number" : "");
    if (typeof cell !== "string") field.appendChild(cell);
  });
}

function link(v, text, inline) {
  const made = html("button", null, "", inline ? "link inline" : "link");
  for (const part of (text === undefined ? data.vertices[v].name : text).split(/(?<=[._])/)) {
    made.append(part, document.createElement("wbr")); // a line may end behind a dot
  }
  made.onclick = () => choose(v);
  return made;
}

function drawPanel() {
  byId("title").textContent = data.title;
  byId("about").textContent = data.about.slice(0, 1).join("");
  byId("notes").textContent = data.about.slice(1).join(" ");
  if (data.compared) row(byId("totals"), ["", "before", "after", "left"], true);
  for (const [title, before, now, left] of data.totals) {
    row(byId("totals"), data.compared ? [title, before, now, left] : [title, now]);
  }
  drawLegend();
  drawMarked();
}

function drawLegend() {
  const legend = byId("legend"), next = new Map();
  html("h2", legend, "Colours");
  for (const [name, group] of Object.entries(data.groups)) {
    const members = data.vertices.flatMap((vertex, v) => vertex.group === name ? [v] : []);
    if (!members.length) continue;
    const line = html("button", legend, undefined, "link");
    const swatch = html("span", line, group.mark, "swatch");
    [swatch.style.background, swatch.style.borderColor, swatch.style.color] = [group.fill, group.line, group.line];
    swatch.style.borderStyle = group.dashed ? "dashed" : "solid";
    html("span", line, name);
    html("span", line, "  " + members.length, "dim");
    line.title = "Go to the next of them";
    line.onclick = () => {
      next.set(name, ((next.has(name) ? next.get(name) : -1) + 1) % members.length);
      choose(members[next.get(name)]);
    };
  }
  const line = html("p", legend, "Bars: ", "dim"), select = html("select", line);
  select.id = "bars";
  for (const [name, title] of Object.entries(data.costs)) html("option", select, title).value = name;
  select.onchange = () => { state.cost = select.value; draw(); };
  if (data.compared) html("span", line, " (grey: before)");
}

// The vertices with parameters that changed, or those with notes.
function drawMarked() {
  const all = data.vertices.flatMap((vertex, v) => isListed(vertex) ? [v] : []);
  const layers = all.filter(v => hasParameters(data.vertices[v])), listed = data.compared && layers.length ? layers : all;
  if (!marked || !listed.length) return;
  const part = byId("changes"), table = html("table");
  part.hidden = false;
  if (data.compared) {
    html("h2", part, "What changed");
    row(table, ["layer", "size", "parameters"], true);
    for (const v of listed) {
      row(table, [link(v, undefined, true), sizeChange(data.vertices[v]), parameterChange(v)]);
    }
  } else {
    html("h2", part, "Why");
    for (const v of listed) {
      html("p", part).append(link(v, undefined, true), ": " + data.vertices[v].notes.join(" "));
    }
  }
  part.appendChild(table);
  if (data.compared) html("p", part, "In brackets: of its inputs or its kernel.", "dim");
}

function isListed(vertex) {
  const group = data.groups[vertex.group];
  return data.compared ? group.told : group.listed && vertex.notes.length > 0;
}

function hasParameters(vertex) {
  return Object.keys((vertex.now || vertex.before).parameters).length > 0;
}

function sizeChange(vertex) {
  if (!vertex.before) return "came";
  if (!vertex.now) return "went";
  const changed = vertex.now.shapes.flatMap((shape, at) => {
    const before = vertex.before.shapes[at] || [];
    return shape.flatMap((size, dim) => size === before[dim] ? [] : [(before[dim] || "") + " → " + size]);
  });
  if (changed.length) return changed[0];
  const { before, now } = { before: vertex.before.parameters, now: vertex.now.parameters };
  const others = Object.keys(now).flatMap(name => now[name].flatMap((size, dim) =>
    before[name] && before[name][dim] !== size ? ["(" + before[name][dim] + " → " + size + ")"] : []));
  return others[0] || "";
}

function parameterChange(v) {
  const [before, now] = [cost([v], "params", "before"), cost([v], "params", "now")];
  return before === now ? short(now) : short(before) + " → " + short(now);
}

// Choosing a vertex: what it is in is opened, it comes to the middle, and its sizes are told.
function choose(v, silent) {
  let changed = false;
  for (let at = boxAround[v]; at !== null; at = data.boxes[at].parent) {
    if (!state.open.has(at)) { state.open.add(at); changed = true; }
  }
  state.chosen = v;
  if (changed) draw();
  centre("v" + v);
  light();
  tell(v);
  if (!silent) history.replaceState(null, "", "#find=" + encodeURIComponent(data.vertices[v].name));
}

function tell(v) {
  const vertex = data.vertices[v], part = byId("chosen");
  part.replaceChildren();
  part.hidden = false;
  const shut = html("button", part, "×", "shut");
  shut.title = "Close";
  shut.onclick = () => { part.hidden = true; state.chosen = null; light(); history.replaceState(null, "", "#"); };
  html("h2", part, vertex.name);
  html("p", part, vertex.what + (vertex.source ? ", called at " + vertex.source : ""), "dim");
  html("p", part, (marked ? vertex.group + ". " : "") + vertex.notes.join(" "));
  const table = html("table", part);
  shapesOf(vertex).forEach((text, at, all) => row(table, [all.length > 1 ? "output " + (at + 1) : "output", text]));
  const now = (vertex.now || {}).parameters || {}, before = (vertex.before || {}).parameters || {};
  for (const name of Object.keys({ ...before, ...now })) row(table, [name, shapeText(now[name], before[name])]);
  for (const [name, title] of Object.entries(data.costs)) {
    const [was, is] = [cost([v], name, "before"), cost([v], name, "now")];
    if (was || is) row(table, [title, (data.compared && was !== is ? was.toLocaleString("en") + " → " : "") + is.toLocaleString("en")]);
  }
  for (const [title, here, there] of [["from", 1, 0], ["to", 0, 1]]) {
    const others = [...new Set(data.edges.filter(edge => edge[here] === v).map(edge => edge[there]))];
    if (!others.length) continue;
    const line = html("p", part, title + " ");
    others.forEach((other, at) => line.append(at ? ", " : "", link(other, undefined, true)));
  }
}

// Search

function find(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return [];
  const hits = data.vertices.flatMap((vertex, v) => {
    const all = (vertex.name + " " + vertex.what).toLowerCase();
    return words.every(word => all.includes(word)) ? [v] : [];
  });
  const rank = v => {
    const name = data.vertices[v].name.toLowerCase();
    return name === words[0] ? 0 : name.endsWith("." + words[0]) ? 1 : name.includes(words[0]) ? 2 : 3;
  };
  return hits.sort((a, b) => rank(a) - rank(b) || a - b);
}

function listFound() {
  const list = byId("found"), hits = find(byId("search").value);
  list.replaceChildren();
  hits.slice(0, 60).forEach(v => {
    const line = list.appendChild(link(v));
    html("span", line, "  " + data.vertices[v].what, "dim");
  });
  if (!hits.length && byId("search").value.trim()) html("p", list, "No vertex has this in its name.", "dim");
  list.at = -1;
}

function nextFound(step) {
  const list = byId("found"), lines = [...list.querySelectorAll(".link")];
  if (!lines.length) return;
  list.at = (list.at + step + lines.length) % lines.length;
  lines.forEach((line, at) => line.classList.toggle("on", at === list.at));
  lines[list.at].scrollIntoView({ block: "nearest" });
  lines[list.at].click();
}

function fromAddress() {
  const asked = new URLSearchParams(location.hash.slice(1)).get("find");
  if (!asked) return false;
  const exact = data.vertices.findIndex(vertex => vertex.name === asked);
  const v = exact >= 0 ? exact : find(asked)[0];
  if (v === undefined) return false;
  choose(v, true);
  return true;
}

// What the user does

function toggle(number) {
  const key = "b" + number, was = places.get(key);
  if (state.open.has(number)) state.open.delete(number);
  else state.open.add(number);
  draw();
  const now = places.get(key); // its corner stays where it was on the screen
  if (was && now) [view.x, view.y] = [view.x + (was.x - now.x) * view.scale, view.y + (was.y - now.y) * view.scale];
  show();
}

function press(key) {
  if (key[0] === "b") toggle(Number(key.slice(1)));
  else {
    state.chosen = Number(key.slice(1));
    light();
    tell(state.chosen);
    history.replaceState(null, "", "#find=" + encodeURIComponent(data.vertices[state.chosen].name));
  }
}

function saveSvg() {
  const { width, height } = state.layout, copy = world.cloneNode(true);
  copy.removeAttribute("transform");
  const svg = element("svg", { width, height, viewBox: `0 0 ${width} ${height}` });
  element("rect", { width, height, fill: "#ffffff" }, svg);
  svg.appendChild(copy);
  const text = new XMLSerializer().serializeToString(svg);
  const anchor = html("a");
  anchor.href = URL.createObjectURL(new Blob([text], { type: "image/svg+xml" }));
  anchor.download = data.title.replace(/\W+/g, "_") + ".svg";
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(anchor.href), 1000);
}

function listen() {
  const keyOf = event => { const group = event.target.closest("[data-key]"); return group && group.dataset.key; };
  let held = null;
  picture.addEventListener("wheel", event => {
    event.preventDefault();
    const area = picture.getBoundingClientRect();
    zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)), event.clientX - area.left, event.clientY - area.top);
  }, { passive: false });
  picture.addEventListener("pointerdown", event => {
    if (event.button === 0) held = { x: event.clientX, y: event.clientY, key: keyOf(event), moved: false };
  });
  window.addEventListener("pointermove", event => {
    if (!held) return;
    const [dx, dy] = [event.clientX - held.x, event.clientY - held.y];
    if (!held.moved && Math.hypot(dx, dy) < 4) return;
    picture.classList.add("moving");
    Object.assign(held, { x: event.clientX, y: event.clientY, moved: true });
    [view.x, view.y] = [view.x + dx, view.y + dy];
    show();
  });
  window.addEventListener("pointerup", () => {
    picture.classList.remove("moving");
    if (held && !held.moved && held.key) press(held.key);
    held = null;
  });
  world.addEventListener("pointerover", event => light(keyOf(event)));
  world.addEventListener("keydown", event => { if (event.key === "Enter" && keyOf(event)) press(keyOf(event)); });
  byId("in").onclick = () => zoom(1.3);
  byId("out").onclick = () => zoom(1 / 1.3);
  byId("fit").onclick = () => fit();
  byId("open").onclick = () => { state.open = new Set(data.boxes.keys()); draw(); fit(); };
  byId("close").onclick = () => { state.open = new Set([0]); draw(); fit(); };
  byId("save").onclick = saveSvg;
  byId("search").addEventListener("input", listFound);
  byId("search").addEventListener("keydown", event => {
    if (event.key === "Enter") nextFound(event.shiftKey ? -1 : 1);
    if (event.key === "Escape") { byId("search").value = ""; listFound(); byId("search").blur(); }
  });
  window.addEventListener("keydown", event => {
    if (event.target.closest("input, select") || event.ctrlKey || event.metaKey || event.altKey) return;
    const act = { "+": () => zoom(1.3), "=": () => zoom(1.3), "-": () => zoom(1 / 1.3), 0: () => fit(),
                  "/": () => byId("search").focus() }[event.key];
    if (act) { event.preventDefault(); act(); }
  });
  window.addEventListener("hashchange", fromAddress);
}

drawPanel();
draw();
fit(0.5);
listen();
fromAddress();
