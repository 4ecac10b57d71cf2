// Drawing of the layout as SVG, with zoom and pan. Texts are set as text alone, never as HTML.

const SVG = "http://www.w3.org/2000/svg";
const FONT = "system-ui, Helvetica, Arial, sans-serif";
const data = JSON.parse(document.getElementById("data").textContent);
const world = document.getElementById("world"), picture = document.getElementById("picture");
const view = { scale: 1, x: 0, y: 0 };
const state = { open: new Set(data.open), cost: Object.keys(data.costs)[0], chosen: null, layout: null };
const marked = data.compared || Object.values(data.groups).some(group => !group.told);
const places = new Map(); // key -> where it is drawn

function element(name, attributes, parent, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.appendChild(made);
  return made;
}

// Words

function short(value) {
  for (const [size, letter] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (Math.abs(value) >= size) return Number((value / size).toPrecision(3)) + " " + letter;
  }
  return String(Number(value.toPrecision(3)));
}

function shapeText(now, before) {
  const words = shape => shape.length ? shape.join("×") : "number";
  if (!now || !before) return words(now || before || []);
  if (now.length !== before.length) return words(before) + " → " + words(now);
  if (!now.length) return "number";
  return now.map((size, dim) => size === before[dim] ? size : "[" + before[dim] + "→" + size + "]").join("×");
}

function shapesOf(vertex) {
  const now = vertex.now && vertex.now.shapes, before = vertex.before && vertex.before.shapes;
  const all = now || before || [];
  return all.map((shape, at) => shapeText(shape, now && before ? before[at] : null));
}

function boxPath(v) {
  return data.boxes[boxAround[v]].path;
}

function shortName(v) {
  const name = data.vertices[v].name, path = boxPath(v);
  return path && name.startsWith(path + ".") ? name.slice(path.length + 1) : name;
}

const boxAround = new Array(data.vertices.length).fill(0);
data.boxes.forEach((box, number) => box.vertices.forEach(v => { boxAround[v] = number; }));

function verticesIn(number) {
  const box = data.boxes[number];
  return [...box.vertices, ...box.children.flatMap(verticesIn)];
}

function cost(vertices, name, when) {
  return vertices.reduce((sum, v) => {
    const sizes = data.vertices[v][when];
    return sum + (sizes && sizes.costs[name] || 0);
  }, 0);
}

// "params 36.9 k → 21.9 k"
function costText(vertices, name) {
  const now = cost(vertices, name, "now"), before = cost(vertices, name, "before");
  if (!now && !before) return "";
  const title = { params: "params", macs: "MACs" }[name] || data.costs[name];
  return title + " " + (data.compared && before !== now ? short(before) + " → " + short(now) : short(now));
}

function costLine(vertices) {
  const names = Object.keys(data.costs).filter(name => name !== "output bytes");
  return names.map(name => costText(vertices, name)).filter(Boolean).join("  ·  ");
}

const ruler = document.createElement("canvas").getContext("2d");
function widthOf(text, size, bold) {
  ruler.font = (bold ? "600 " : "") + size + "px " + FONT;
  return ruler.measureText(text).width;
}

// The lines of a vertex or closed box: [text, size, bold, dim]
const linesOf = key => key[0] === "v" ? vertexLines(Number(key.slice(1))) : boxLines(Number(key.slice(1)));

function vertexLines(v) {
  const vertex = data.vertices[v], name = shortName(v), mark = data.groups[vertex.group].mark;
  const told = vertex.what.toLowerCase() === name.replace(/_\d+$/, "").toLowerCase() ? "" : vertex.what;
  const costs = costLine([v]), shapes = shapesOf(vertex).join(", ");
  const first = [(mark ? mark + " " : "") + clipped(name, 34), 12, true, clipped(told, 26)];
  if (!costs && vertex.kind !== "input" && vertex.kind !== "output") {
    return [[first[0], 11, false, clipped(told || shapes, 34)]];
  }
  if (costs && !hasBar("v" + v) && shapes.length < 30) return [first, [shapes + "  ·  " + costs, 11, false]];
  return [first, [clipped(shapes, 44), 11, false], ...(costs ? [[costs, 11, false]] : [])];
}

function boxLines(number) {
  const box = data.boxes[number], inside = verticesIn(number), costs = costLine(inside);
  const lines = [["+ " + clipped(box.label, 34), 12, true, clipped(box.what, 26)]];
  lines.push([counted(inside), 11, false]);
  if (costs) lines.push([costs, 11, false]);
  return lines;
}

// "12 vertices" or "12 vertices: 8 shrank, 1 went"
function counted(vertices) {
  const counts = new Map();
  for (const v of vertices) {
    const group = data.vertices[v].group;
    if (marked && data.groups[group].told) counts.set(group, (counts.get(group) || 0) + 1);
  }
  const told = [...counts].map(([group, count]) => count + " " + group).join(", ");
  return vertices.length + " vertices" + (told ? ": " + told : "");
}

function clipped(text, most) {
  return text.length <= most ? text : text.slice(0, most / 2 - 1) + "…" + text.slice(-most / 2);
}

function sizeOf(key) {
  if (key[0] === "h") {
    const box = data.boxes[Number(key.slice(1))];
    return [widthOf("− " + box.label, 12, true) + widthOf(box.what, 11) + 40, HEADER];
  }
  const lines = linesOf(key);
  const wide = Math.max(...lines.map(([text, size, bold, more]) =>
    widthOf(text, size, bold) + (more ? widthOf(more, 11) + 8 : 0)));
  return [Math.max(60, wide + 22), lines.length === 1 ? 22 : 12 + 16 * lines.length + (hasBar(key) ? 6 : 0)];
}

function membersOf(key) {
  return key[0] === "v" ? [Number(key.slice(1))] : verticesIn(Number(key.slice(1)));
}

function hasBar(key) {
  return Boolean(costText(membersOf(key), state.cost));
}

// Colours

function inkOf(key) {
  const plain = { fill: "#f4f6f8", line: "#8a97a6", dashed: false };
  if (key[0] === "v") return data.groups[data.vertices[Number(key.slice(1))].group];
  return majority(membersOf(key).map(v => data.vertices[v].group), marked) || plain;
}

function majority(names, wanted) {
  const counts = new Map();
  for (const name of names) {
    const group = data.groups[name];
    if (wanted && group && group.told) counts.set(name, (counts.get(name) || 0) + 1);
  }
  const first = [...counts].sort((a, b) => b[1] - a[1])[0];
  return first ? data.groups[first[0]] : null;
}

// Drawing

function draw() {
  state.layout = layoutAll(data, state.open, sizeOf, { width: picture.clientWidth, height: picture.clientHeight });
  world.replaceChildren();
  places.clear();
  const most = Math.max(1e-9, ...seenKeys().flatMap(key => ["now", "before"].map(w => cost(membersOf(key), state.cost, w))));
  drawLevel(state.layout, world, 0, 0, most);
  light();
}

function seenKeys(layout = state.layout) {
  return layout.children.flatMap(child => child.inner ? seenKeys(child.inner) : [child.key]);
}

function drawLevel(layout, parent, dx, dy, most) {
  for (const child of layout.children.filter(each => each.inner)) {
    const x = dx + child.x - child.width / 2, y = dy + child.top;
    places.set(child.key, { x, y, width: child.width, height: child.height });
    drawOpenBox(child, parent, x, y);
    drawLevel(child.inner, parent, x, y, most);
  }
  for (const edge of layout.edges) drawEdge(edge, parent, dx, dy);
  for (const child of layout.children.filter(each => !each.inner)) {
    const x = dx + child.x - child.width / 2, y = dy + child.top;
    places.set(child.key, { x, y, width: child.width, height: child.height });
    drawLeaf(child, parent, x, y, most);
  }
}

function drawOpenBox(child, parent, x, y) {
  const box = data.boxes[Number(child.key.slice(1))];
  const group = element("g", { class: "box", "data-key": child.key, transform: `translate(${x},${y})` }, parent);
  element("rect", { width: child.width, height: child.height, rx: 8, fill: "#64748b", "fill-opacity": 0.06,
    stroke: "#b6c0cb", "stroke-width": 1 }, group);
  element("rect", { width: child.width, height: HEADER, fill: "transparent" }, group);
  const text = element("text", { x: 10, y: 17, "font-size": 12, "font-family": FONT, fill: "#1f2933" }, group);
  element("tspan", { "font-weight": 600 }, text, "− " + box.label);
  element("tspan", { dx: 8, "font-size": 11, fill: "#5b6876" }, text, box.what);
  element("title", {}, group, box.path + ": " + counted(membersOf(child.key)) + "\n" + costLine(membersOf(child.key)));
}

function drawLeaf(child, parent, x, y, most) {
  const ink = inkOf(child.key), lines = linesOf(child.key), closed = child.key[0] === "b";
  const group = element("g", { class: closed ? "box" : "vertex", "data-key": child.key, tabindex: 0,
    role: "button", transform: `translate(${x},${y})` }, parent);
  if (closed) {
    element("rect", { x: 4, y: 4, width: child.width, height: child.height, rx: 6, fill: ink.fill,
      stroke: ink.line, "stroke-width": 1 }, group);
  }
  const round = lines.length === 1 ? child.height / 2 : 6;
  element("rect", { width: child.width, height: child.height, rx: round, fill: ink.fill, stroke: ink.line,
    "stroke-width": 1.4, "stroke-dasharray": ink.dashed ? "5 3" : "none" }, group);
  lines.forEach(([text, size, bold, more], at) => {
    const baseline = lines.length === 1 ? 15 : 18 + 16 * at;
    const line = element("text", { x: 11, y: baseline, "font-size": size, "font-family": FONT, fill: "#1f2933",
      "text-decoration": ink.dashed && !at ? "line-through" : "none" }, group);
    element("tspan", { "font-weight": bold ? 600 : 400 }, line, text);
    if (more) element("tspan", { dx: 8, "font-size": 11, fill: "#5b6876" }, line, more);
  });
  if (hasBar(child.key)) drawBar(child, group, most, ink);
  element("title", {}, group, tipOf(child.key));
}

function drawBar(child, group, most, ink) {
  const room = child.width - 22, y = child.height - 9;
  const width = when => room * cost(membersOf(child.key), state.cost, when) / most;
  element("rect", { x: 11, y, width: room, height: 4, fill: "#1f2933", "fill-opacity": 0.07 }, group);
  element("rect", { x: 11, y, width: width("before"), height: 4, fill: "#94a3b8" }, group);
  element("rect", { x: 11, y, width: width("now"), height: 4, fill: ink.line }, group);
}

function tipOf(key) {
  if (key[0] === "b") return data.boxes[Number(key.slice(1))].path + ": click to open";
  const vertex = data.vertices[Number(key.slice(1))];
  return [vertex.name + ": " + vertex.what, ...shapesOf(vertex), ...vertex.notes].join("\n");
}

function drawEdge(edge, parent, dx, dy) {
  const ink = majority(edge.numbers.map(number => data.edges[number][4]), true);
  const points = edge.points.map(([x, y]) => [x + dx, y + dy]);
  let way = `M${points[0]}`;
  for (let at = 1; at < points.length; at += 1) {
    const [x0, y0] = points[at - 1], [x1, y1] = points[at], middle = (y0 + y1) / 2;
    way += x0 === x1 ? `L${x1},${y1}` : `C${x0},${middle} ${x1},${middle} ${x1},${y1}`;
  }
  const colour = ink ? ink.line : "#8a97a6";
  const path = element("path", { d: way, fill: "none", stroke: colour, "stroke-width": ink ? 1.8 : 1.3,
    "stroke-dasharray": ink && ink.dashed ? "5 3" : "none" }, parent);
  path.dataset.numbers = edge.numbers.join(" ");
  const [, , now, before] = data.edges[edge.numbers[0]];
  element("title", {}, path, shapeText(now, before));
  if (edge.to.startsWith("out:") || places.has(edge.to) && state.open.has(Number(edge.to.slice(1))) && edge.to[0] === "b") return;
  const [x, y] = points[points.length - 1];
  element("path", { d: `M${x - 3.5},${y - 6}L${x + 3.5},${y - 6}L${x},${y}Z`, fill: colour }, parent);
}

// The edges of what is pointed at or chosen, in black.
function light(key) {
  const members = new Set([key, state.chosen === null ? null : "v" + state.chosen]
    .filter(each => each && places.has(each)).flatMap(membersOf));
  for (const path of world.querySelectorAll("path[data-numbers]")) {
    const lit = path.dataset.numbers.split(" ").some(number => {
      const [source, target] = data.edges[number];
      return members.has(source) !== members.has(target);
    });
    path.classList.toggle("lit", lit);
  }
  for (const group of world.querySelectorAll(".vertex")) {
    group.classList.toggle("chosen", group.dataset.key === "v" + state.chosen);
  }
}

// Zoom and pan

function show() {
  world.setAttribute("transform", `translate(${view.x},${view.y}) scale(${view.scale})`);
}

function zoom(factor, x = picture.clientWidth / 2, y = picture.clientHeight / 2) {
  const scale = Math.min(8, Math.max(0.02, view.scale * factor)), by = scale / view.scale;
  [view.x, view.y, view.scale] = [x - (x - view.x) * by, y - (y - view.y) * by, scale];
  show();
}

// All of it, or, where that would be too small to read, its top.
function fit(least = 0) {
  const room = 28, above = 52, { width, height } = state.layout;
  const across = (picture.clientWidth - 2 * room) / width, down = (picture.clientHeight - above - room) / height;
  view.scale = Math.max(Math.min(1.25, across, down), Math.min(least, across));
  view.x = (picture.clientWidth - width * view.scale) / 2;
  view.y = Math.max(above, above + (picture.clientHeight - above - room - height * view.scale) / 2);
  show();
}

function centre(key) {
  const at = places.get(key);
  view.scale = Math.max(view.scale, 0.9);
  view.x = picture.clientWidth / 2 - (at.x + at.width / 2) * view.scale;
  view.y = picture.clientHeight / 2 - (at.y + at.height / 2) * view.scale;
  show();
}
