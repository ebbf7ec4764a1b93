"use strict";
(() => {
  const area = document.querySelector("#frames > svg"), told = document.getElementById("told");
  const form = document.getElementById("find"), field = form.querySelector("input");
  const matched = form.querySelector("output"), whole = document.getElementById("whole");
  const NARROW = 34, ROW = ROW_HEIGHT;
  // As they are drawn: in rows, and in each row from the left; a frame's parent contains it.
  const frames = Array.from(area.children, node => ({
    node, x: parseFloat(node.getAttribute("x")), width: parseFloat(node.getAttribute("width")),
    row: Math.round(parseFloat(node.getAttribute("y")) / ROW), title: node.querySelector("title").textContent,
  }));
  const rows = [];
  for (const each of frames) (rows[each.row] ||= []).push(each);
  const SLACK = 1e-4;
  const within = (one, other) => one.x >= other.x - SLACK && one.x + one.width <= other.x + other.width + SLACK;
  for (const each of frames) {
    each.parent = each.row ? rows[each.row - 1].find(other => within(each, other)) : null;
    each.node.setAttribute("aria-label", each.title.split("\n").join(", "));
    each.node.setAttribute("role", "button");
    each.node.setAttribute("tabindex", each.row ? "-1" : "0");
  }
  let shown = frames[0], marked = frames[0];
  const name = each => each.title.split("\n")[0];

  const draw = () => {
    const pixels = area.getBoundingClientRect().width || 1200, scale = 100 / shown.width;
    for (const each of frames) {
      const above = each.row < shown.row && within(shown, each), below = each.row >= shown.row && within(each, shown);
      each.visible = above || below;
      each.node.style.display = each.visible ? "" : "none";
      each.node.classList.toggle("above", above);
      if (!each.visible) continue;
      const width = above ? 100 : each.width * scale;
      each.node.setAttribute("x", `${above ? 0 : (each.x - shown.x) * scale}%`);
      each.node.setAttribute("width", `${width}%`);
      each.node.classList.toggle("n", width * pixels / 100 < NARROW);
    }
    whole.hidden = shown === frames[0];
  };
  const zoom = each => { shown = each; draw(); };
  const tell = each => { told.textContent = each ? each.title.split("\n").join("   ·   ") : ""; };
  const mark = each => {
    if (!each || !each.visible) return;
    marked.node.setAttribute("tabindex", "-1");
    marked = each;
    marked.node.setAttribute("tabindex", "0");
    marked.node.focus();
  };
  const find = () => {
    const text = field.value.trim().toLowerCase();
    let share = 0;
    for (const each of frames) {
      each.found = text !== "" && name(each).toLowerCase().includes(text);
      each.inFound = each.parent !== null && (each.parent.found || each.parent.inFound);
      if (each.found && !each.inFound) share += each.width;
      each.node.classList.toggle("found", each.found);
    }
    matched.textContent = text ? `${share.toFixed(1)} % matches` : "";
  };
  const of = event => { const node = event.target.closest("#frames > svg > svg");
    return node ? frames[Array.prototype.indexOf.call(area.children, node)] : null; };

  area.addEventListener("click", event => { const each = of(event); if (each) { zoom(each); mark(each); } });
  area.addEventListener("mouseover", event => tell(of(event)));
  area.addEventListener("mouseleave", () => tell(null));
  area.addEventListener("focusin", event => tell(of(event)));
  area.addEventListener("keydown", event => {
    const each = of(event);
    if (!each) return;
    const beside = step => rows[each.row].filter(other => other.visible)[
      rows[each.row].filter(other => other.visible).indexOf(each) + step];
    const moves = {
      Enter: () => zoom(each), " ": () => zoom(each),
      ArrowUp: () => mark(each.parent), ArrowLeft: () => mark(beside(-1)), ArrowRight: () => mark(beside(1)),
      ArrowDown: () => mark((rows[each.row + 1] || []).find(other => other.parent === each && other.visible)),
    };
    if (moves[event.key]) { event.preventDefault(); moves[event.key](); }
  });
  document.addEventListener("keydown", event => {
    if (event.key === "Escape") { field.value = ""; find(); zoom(frames[0]); }
    if (event.key === "/" && event.target !== field) { event.preventDefault(); field.focus(); }
  });
  field.addEventListener("input", find);
  form.addEventListener("submit", event => event.preventDefault());
  whole.addEventListener("click", () => zoom(frames[0]));
  window.addEventListener("resize", draw);
  form.style.display = "flex";
  draw();
})();
