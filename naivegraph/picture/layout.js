// Layout of nested boxes. Each open module is laid out by itself, in layers from top to bottom; edges pass its
// border at ports. What is given and returned has plain numbers; nothing here knows of the page.

const GAP_X = 22, GAP_Y = 24, MARGIN = 16, HEADER = 26, DUMMY = 8, ROUNDS = 24;

// The containers that are seen: for every vertex and box, the box around it that is closed, or itself.
function visibleModel(data, open) {
  const boxOf = new Array(data.vertices.length).fill(0);
  data.boxes.forEach((box, number) => box.vertices.forEach(v => { boxOf[v] = number; }));
  const closed = data.boxes.map(() => null); // the outermost closed box around each box, itself among them
  data.boxes.forEach((box, number) => {
    const above = box.parent === null ? null : closed[box.parent];
    closed[number] = above !== null ? above : (open.has(number) ? null : number);
  });
  const key = v => closed[boxOf[v]] === null ? "v" + v : "b" + closed[boxOf[v]];
  const outer = v => {
    const top = closed[boxOf[v]];
    return top === null ? boxOf[v] : data.boxes[top].parent;
  };
  return { key, outer };
}

// The open boxes from the network itself down to one.
function chainTo(data, number) {
  const out = [];
  for (let at = number; at !== null; at = data.boxes[at].parent) out.unshift(at);
  return out;
}

// The edges of each open box, between its children and ports; those of one tensor are one edge.
function localEdges(data, open) {
  const { key, outer } = visibleModel(data, open);
  const found = new Map(); // box -> Map(from|tensor|to -> edge)
  function add(box, from, to, tensor, number) {
    if (!found.has(box)) found.set(box, new Map());
    const id = from + "|" + to + "|" + tensor, edges = found.get(box);
    if (!edges.has(id)) edges.set(id, { from, to, tensor, numbers: [] });
    edges.get(id).numbers.push(number);
  }
  data.edges.forEach(([source, target], number) => {
    const from = key(source), to = key(target);
    if (from === to) return;
    const up = chainTo(data, outer(source)), down = chainTo(data, outer(target));
    let depth = 0;
    while (depth + 1 < up.length && depth + 1 < down.length && up[depth + 1] === down[depth + 1]) depth += 1;
    for (let d = up.length - 1; d > depth; d -= 1) {
      add(up[d], d === up.length - 1 ? from : "b" + up[d + 1], "out:" + from, from, number);
    }
    const first = up.length - 1 > depth ? "b" + up[depth + 1] : from;
    const last = down.length - 1 > depth ? "b" + down[depth + 1] : to;
    add(up[depth], first, last, from, number);
    for (let d = depth + 1; d < down.length; d += 1) {
      add(down[d], "in:" + from, d + 1 < down.length ? "b" + down[d + 1] : to, from, number);
    }
  });
  return found;
}

// Lay out all that is seen. `sizeOf(key)` gives width and height of vertices and closed boxes; `room` is the
// size of what it is to fill.
function layoutAll(data, open, sizeOf, room) {
  const edges = localEdges(data, open);
  function inside(number) {
    const box = data.boxes[number];
    const items = [
      ...box.vertices.map(v => ({ key: "v" + v, order: v })),
      ...box.children.map(b => ({ key: "b" + b, order: firstVertex(data, b) })),
    ].sort((a, b) => a.order - b.order);
    for (const item of items) {
      const child = item.key[0] === "b" ? Number(item.key.slice(1)) : null;
      if (child !== null && open.has(child)) {
        item.inner = inside(child);
        [item.width, item.height] = [item.inner.width, item.inner.height];
      } else {
        [item.width, item.height] = sizeOf(item.key);
      }
    }
    const local = [...(edges.get(number) || new Map()).values()];
    if (number === 0) return layoutLevel(items, local, 0, 0, room);
    // Inside of others, only what would not fit at full size.
    return layoutLevel(items, local, HEADER, sizeOf("h" + number)[0], { width: room.width, height: 1.4 * room.height });
  }
  return inside(0);
}

function firstVertex(data, number) {
  const box = data.boxes[number];
  return Math.min(...box.vertices, ...box.children.map(child => firstVertex(data, child)));
}

// One box: ranks, order within ranks, then places. Returns its size, its children and its edges as points.
function layoutLevel(items, edges, header, least, room) {
  const nodes = new Map(items.map((item, place) => [item.key, { ...item, place, rank: 0 }]));
  for (const edge of edges) {
    for (const end of [edge.from, edge.to]) {
      if (!nodes.has(end)) {
        const input = end.startsWith("in:");
        nodes.set(end, { key: end, width: DUMMY, height: 0, port: input ? "in" : "out",
                         place: input ? -1 : items.length });
      }
    }
  }
  rankNodes(nodes, edges);
  const { ranks, segments } = withDummies(nodes, edges);
  orderRanks(ranks, segments);
  placeAcross(ranks, segments);
  return placed(nodes, ranks, edges, header, least, room);
}

// The longest way from above; what nothing comes into stands just above its first user.
function rankNodes(nodes, edges) {
  const into = new Map(), outof = new Map();
  for (const edge of edges) {
    edge.back = nodes.get(edge.from).place >= nodes.get(edge.to).place;
    if (edge.back) continue;
    if (!into.has(edge.to)) into.set(edge.to, []);
    if (!outof.has(edge.from)) outof.set(edge.from, []);
    into.get(edge.to).push(edge.from);
    outof.get(edge.from).push(edge.to);
  }
  const sorted = [...nodes.values()].sort((a, b) => a.place - b.place);
  const ports = sorted.some(node => node.port === "in");
  for (const node of sorted) {
    const above = (into.get(node.key) || []).map(from => nodes.get(from).rank);
    node.rank = node.port === "in" ? 0 : Math.max(ports ? 0 : -1, ...above) + 1;
  }
  for (const node of sorted.reverse()) {
    if (node.port || into.has(node.key) || !outof.has(node.key)) continue;
    node.rank = Math.min(...outof.get(node.key).map(to => nodes.get(to).rank)) - 1;
  }
  const last = Math.max(0, ...sorted.filter(node => node.port !== "out").map(node => node.rank));
  for (const node of sorted) if (node.port === "out") node.rank = last + 1;
}

// A tensor that passes several ranks has a place in each, which all its users share.
function withDummies(nodes, edges) {
  const ranks = [], segments = [], lanes = new Map();
  const put = node => { (ranks[node.rank] = ranks[node.rank] || []).push(node); };
  [...nodes.values()].sort((a, b) => a.place - b.place).forEach(put);
  for (const edge of edges) {
    if (edge.back) continue;
    const from = nodes.get(edge.from), to = nodes.get(edge.to);
    edge.way = [from];
    let above = from;
    for (let rank = from.rank + 1; rank < to.rank; rank += 1) {
      const id = edge.from + "|" + edge.tensor + "|" + rank;
      if (!lanes.has(id)) {
        const dummy = { key: id, rank, width: DUMMY, height: 0, dummy: true, place: from.place };
        lanes.set(id, dummy);
        put(dummy);
        segments.push({ above, below: dummy, edge });
      }
      above = lanes.get(id);
      edge.way.push(above);
    }
    segments.push({ above, below: to, edge });
    edge.way.push(to);
  }
  for (let rank = 0; rank < ranks.length; rank += 1) ranks[rank] = ranks[rank] || [];
  return { ranks, segments };
}

// Few crossings: each node to the mean of its neighbours in the rank before, down and up in turn.
function orderRanks(ranks, segments) {
  const above = new Map(), below = new Map();
  for (const segment of segments) {
    if (!above.has(segment.below)) above.set(segment.below, []);
    if (!below.has(segment.above)) below.set(segment.above, []);
    above.get(segment.below).push(segment.above);
    below.get(segment.above).push(segment.below);
  }
  const number = () => ranks.forEach(rank => rank.forEach((node, at) => { node.at = at; }));
  number();
  let best = ranks.map(rank => [...rank]), least = crossings(segments);
  for (let round = 0; round < 12 && least > 0; round += 1) {
    const down = round % 2 === 0, near = down ? above : below;
    for (const rank of down ? ranks : [...ranks].reverse()) {
      for (const node of rank) {
        const others = near.get(node) || [];
        node.wish = others.length ? others.reduce((sum, other) => sum + other.at, 0) / others.length : node.at;
      }
      rank.sort((a, b) => a.wish - b.wish || a.at - b.at);
      rank.forEach((node, at) => { node.at = at; });
    }
    const now = crossings(segments);
    if (now < least) { least = now; best = ranks.map(rank => [...rank]); }
  }
  best.forEach((rank, at) => { ranks[at] = rank; });
  number();
}

function crossings(segments) {
  const byRank = new Map();
  for (const s of segments) {
    if (!byRank.has(s.above.rank)) byRank.set(s.above.rank, []);
    byRank.get(s.above.rank).push(s);
  }
  let count = 0;
  for (const group of byRank.values()) {
    for (let i = 0; i < group.length; i += 1) {
      for (let j = i + 1; j < group.length; j += 1) {
        const a = group[i], b = group[j];
        if ((a.above.at - b.above.at) * (a.below.at - b.below.at) < 0) count += 1;
      }
    }
  }
  return count;
}

// Places across: each node wishes to stand at the mean of its neighbours; of a rank, the wishes are met as
// nearly as its order and widths allow (least squares, by pooling neighbours that are in each other's way).
function placeAcross(ranks, segments) {
  for (const rank of ranks) {
    let x = 0;
    for (const node of rank) { node.x = x + node.width / 2; x += node.width + GAP_X; }
  }
  const near = new Map();
  for (const { above, below, edge } of segments) {
    // An open box is pulled by its port for the tensor rather than by its middle.
    const shift = portOf(above, "out:" + edge.tensor) - portOf(below, "in:" + edge.tensor);
    for (const [one, other, way, by] of [[above, below, "down", -shift], [below, above, "up", shift]]) {
      if (!near.has(one)) near.set(one, { up: [], down: [] });
      near.get(one)[way].push({ other, by, weight: one.dummy && other.dummy ? 16 : one.dummy || other.dummy ? 1 : 4 });
    }
  }
  for (let round = 0; round < ROUNDS; round += 1) {
    const way = round % 2 === 0 ? "up" : "down";
    for (const rank of round % 2 === 0 ? ranks : [...ranks].reverse()) {
      for (const node of rank) {
        const all = near.get(node), pulls = !all ? [] : round > ROUNDS - 8 ? [...all.up, ...all.down] : all[way];
        const sum = pulls.reduce((total, pull) => total + pull.weight, 0);
        const wishes = pulls.reduce((total, pull) => total + pull.weight * (pull.other.x + pull.by), 0);
        [node.wish, node.weight] = sum ? [wishes / sum, sum] : [node.x, 0.1];
      }
      pool(rank);
    }
  }
  for (const rank of ranks) straighten(rank, near);
}

// Each node below the one that it continues; tensors that only pass by make room.
function straighten(rank, near) {
  for (const node of rank) {
    const up = near.has(node) ? near.get(node).up : [];
    const main = up.filter(pull => !pull.other.dummy || node.dummy);
    const passes = node.dummy && main.every(pull => !pull.other.dummy);
    if (!main.length || passes) {
      [node.wish, node.weight] = [node.x, 0.5];
    } else {
      node.wish = main.reduce((sum, pull) => sum + pull.other.x + pull.by, 0) / main.length;
      node.weight = node.dummy ? 2 : 8;
    }
  }
  pool(rank);
}

function portOf(node, name) {
  return node.inner && node.inner.ports.has(name) ? node.inner.ports.get(name) - node.width / 2 : 0;
}

function pool(rank) {
  const blocks = [];
  let shift = 0;
  rank.forEach((node, at) => {
    if (at) shift += (rank[at - 1].width + node.width) / 2 + gapBetween(rank[at - 1], node);
    node.shift = shift;
    let block = { sum: node.weight * (node.wish - shift), weight: node.weight, nodes: [node] };
    while (blocks.length && mean(blocks[blocks.length - 1]) > mean(block)) {
      const { sum, weight, nodes } = blocks.pop();
      block = { sum: sum + block.sum, weight: weight + block.weight, nodes: [...nodes, ...block.nodes] };
    }
    blocks.push(block);
  });
  for (const block of blocks) for (const node of block.nodes) node.x = mean(block) + node.shift;
}

function mean(block) {
  return block.sum / block.weight;
}

function gapBetween(one, two) {
  return one.dummy && two.dummy ? GAP_X / 2 : GAP_X;
}

// Places down, columns where that would be too high, and the edges as points.
function placed(nodes, ranks, edges, header, least, room) {
  const all = ranks.flat(), solid = all.filter(node => !node.port);
  const left = Math.min(0, ...all.map(node => node.x - node.width / 2));
  for (const node of all) node.x -= left - MARGIN;
  let y = header + (header ? 8 : 0);
  for (const rank of ranks) {
    if (!rank.length) continue;
    const height = Math.max(0, ...rank.map(node => node.height));
    for (const node of rank) {
      node.top = node.port === "in" ? header : y + (node.dummy ? 0 : (height - node.height) / 2);
      [node.rankTop, node.rankBottom] = [y, y + height];
    }
    y += height + (rank.every(node => node.port) ? 14 : Math.min(GAP_Y + 3 * rank.length, 3 * GAP_Y));
  }
  const cuts = columns(ranks, edges, room);
  const width = Math.max(least, MARGIN + Math.max(0, ...all.map(node => node.x + node.width / 2)));
  const bottom = Math.max(header, ...solid.map(node => node.rankBottom)) + (header ? 14 : 0);
  for (const node of all) if (node.port === "out") node.top = bottom;
  const ports = new Map(all.filter(node => node.port).map(node => [node.key, node.x]));
  spreadEnds(edges, nodes);
  const drawn = edges.map(edge => ({ ...edge, points: pointsOf(edge, nodes, cuts) }));
  return { width, height: bottom, ports, children: [...nodes.values()].filter(node => !node.port), edges: drawn };
}

// Where a long row of ranks is cut into columns beside each other: where one tensor alone passes. `room` is the
// width and height to fill. Returns for each cut the rank above it and the places of the way around.
function columns(ranks, edges, room) {
  const solid = ranks.flat().filter(node => !node.port);
  if (!room || solid.length < 4) return [];
  const top = Math.min(...solid.map(node => node.rankTop));
  const height = Math.max(...solid.map(node => node.rankBottom)) - top;
  const wide = Math.max(...solid.map(node => node.x + node.width / 2)) + 2 * GAP_X;
  const scale = count => Math.min(1.2, room.width / (count * wide), room.height / (height / count + 40));
  let best = 1;
  for (let count = 2; count <= 8; count += 1) if (scale(count) > 1.15 * scale(best)) best = count;
  if (best === 1) return [];
  const free = cuttable(ranks, edges), cuts = [];
  let start = top, column = 0, x = 0, right = 0;
  ranks.forEach((rank, at) => {
    const real = rank.filter(node => !node.port);
    if (!real.length) {
      for (const node of rank) node.x += x;
      return;
    }
    const last = cuts.length && at - 1 === cuts[cuts.length - 1].rank;
    const middle = (real[0].rankTop + real[0].rankBottom) / 2, rest = top + height - real[0].rankTop;
    const full = middle - start > height / best && rest > height / best / 4 && column < best - 1;
    if (at && full && !last && free.has(at - 1)) {
      const way = right + GAP_X;
      cuts.push({ rank: at - 1, x: way, bottom: ranks[at - 1][0].rankBottom + 14, top: top - 14 });
      [start, x, right, column] = [real[0].rankTop, way + GAP_X - MARGIN, 0, column + 1];
    }
    for (const node of rank) {
      node.x += x;
      for (const place of ["top", "rankTop", "rankBottom"]) node[place] -= start - top;
      right = Math.max(right, node.x + node.width / 2);
    }
  });
  return cuts;
}

// The ranks behind which one tensor alone goes on.
function cuttable(ranks, edges) {
  const passing = ranks.map(() => new Set());
  for (const edge of edges) {
    if (!edge.way) return new Set();
    const [from, to] = [edge.way[0].rank, edge.way[edge.way.length - 1].rank];
    for (let rank = from; rank < to; rank += 1) passing[rank].add(edge.from + "|" + edge.tensor);
  }
  return new Set(passing.flatMap((tensors, rank) => tensors.size === 1 ? [rank] : []));
}

// Edges into one vertex from several sides end beside each other.
function spreadEnds(edges, nodes) {
  const ends = new Map();
  for (const edge of edges) {
    const to = nodes.get(edge.to);
    if (to.port || to.inner) continue;
    if (!ends.has(to)) ends.set(to, []);
    ends.get(to).push(edge);
  }
  for (const [to, list] of ends) {
    const from = edge => (edge.way ? edge.way[edge.way.length - 2] : nodes.get(edge.from)).x;
    list.sort((a, b) => from(a) - from(b));
    const step = Math.min(28, (0.7 * to.width) / list.length);
    list.forEach((edge, at) => { edge.end = to.x + (at - (list.length - 1) / 2) * step; });
  }
}

function pointsOf(edge, nodes, cuts) {
  const from = nodes.get(edge.from), to = nodes.get(edge.to);
  const port = (node, name) => node.x - node.width / 2 + node.inner.ports.get(name);
  const startX = from.inner && from.inner.ports.has("out:" + edge.tensor) ? port(from, "out:" + edge.tensor) : from.x;
  const endX = to.inner && to.inner.ports.has("in:" + edge.tensor) ? port(to, "in:" + edge.tensor)
    : edge.end === undefined ? to.x : edge.end;
  const points = [[startX, from.top + from.height]];
  if (!edge.way) return [...points, [endX, to.top]];
  edge.way.forEach((node, at) => {
    const x = node === from ? startX : node === to ? endX : node.x;
    if (at && !node.port) points.push([x, node.rankTop]);
    if (node !== to && !node.port) points.push([x, node.rankBottom]);
    const cut = cuts.find(each => each.rank === node.rank);
    if (cut && node !== to) {
      const next = edge.way[at + 1], nextX = next === to ? endX : next.x;
      points.push([x, cut.bottom], [cut.x, cut.bottom], [cut.x, cut.top], [nextX, cut.top]);
    }
  });
  points.push([endX, to.top]);
  return points;
}
