"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const narrow = matchMedia("(max-width: 40rem)"), dark = matchMedia("(prefers-color-scheme: dark)");
  const EVERY = 1000, SELDOM = 5000;
  const FIGURES = ["power", "curve"];
  const CONFIG = { displayModeBar: false, responsive: true };
  let shown = null;

  // -- figures, in the colours of page.css --

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const painted = (value, key = "") => {
    if (Array.isArray(value)) return value;
    if (value !== null && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, painted(item, name)]));
    }
    const isColour = /color$/.test(key) && typeof value === "string" && value.startsWith("var(");
    return isColour ? colour(value.slice(4, -1)) : value;
  };
  const axis = (name, own) => ({ nticks: narrow.matches && name === "xaxis" ? 4 : 0, gridcolor: colour("--line"),
    linecolor: colour("--line"), zeroline: false, automargin: true, hoverformat: ".4s", fixedrange: true, ...painted(own),
    title: { font: { size: 12.5 }, ...own.title } });
  const layout = (own) => ({
    ...painted(own),
    ...Object.fromEntries(
      Object.keys(own).filter((name) => /axis/.test(name)).map((name) => [name, axis(name, own[name])])),
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", autosize: true, hovermode: "closest", dragmode: false,
    font: { family: getComputedStyle(document.body).fontFamily, size: 12.5, color: colour("--soft") },
    hoverlabel: { bgcolor: colour("--card"), bordercolor: colour("--line"), font: { color: colour("--ink") } },
    legend: { orientation: "h", x: 0, xanchor: "left", y: 1.02, yanchor: "bottom", traceorder: "normal",
      bgcolor: "rgba(0,0,0,0)" },
    margin: narrow.matches ? { l: 8, r: 8, t: 8, b: 8 } : { l: 60, r: 10, t: 10, b: 45 },
  });
  const draw = () => {
    for (const name of FIGURES) {
      const figure = shown.figures[name];
      byId(`${name}-section`).hidden = !figure;
      if (figure) Plotly.react(byId(name), figure.data.map((trace) => painted(trace)), layout(figure.layout), CONFIG);
    }
  };

  // -- words; whatever a run is called stays text --

  const element = (tag, text, look = {}) => Object.assign(document.createElement(tag), { textContent: text, ...look });
  const write = (id, text) => { if (byId(id).textContent !== text) byId(id).textContent = text; };
  const card = ([label, value, note]) => {
    const box = document.createElement("div");
    box.append(element("dt", label), element("dd", value), element("dd", note, { className: "note" }));
    return box;
  };
  const cells = (row, head) => {
    const line = document.createElement("tr");
    line.append(...row.map((text, index) => {
      const cell = element(head ? "td" : "th", text);
      if (head) cell.dataset.label = head[index];
      return cell;
    }));
    return line;
  };
  const table = ({ head, rows }) => {
    const top = document.createElement("thead"), body = document.createElement("tbody");
    top.append(cells(head));
    body.append(...rows.map((row) => cells(row, head)));
    byId("targets").replaceChildren(top, body);
  };
  const show = (seen) => {
    const before = shown;
    shown = seen;
    write("name", seen.name);
    write("state", seen.state);
    write("answer", seen.answer);
    document.title = `${seen.name} - ${seen.status}`;
    byId("lamp").className = seen.status;
    byId("cards").replaceChildren(...seen.cards.map(card));
    byId("targets-section").hidden = !seen.targets;
    if (seen.targets && JSON.stringify(seen.targets) !== JSON.stringify(before && before.targets)) table(seen.targets);
    byId("warnings-section").hidden = !seen.warnings.length;
    byId("warnings").replaceChildren(...seen.warnings.map((text) => element("li", text)));
    if (!before || JSON.stringify(seen.figures) !== JSON.stringify(before.figures)) draw();
  };

  // -- again and again --

  const complain = (text) => {
    write("problem", text);
    byId("problem").hidden = !text;
  };
  const look = async () => {
    let wait = EVERY;
    try {
      const answer = await fetch("/snapshot.json", { cache: "no-store" });
      const seen = await answer.json();
      if (answer.ok) show(seen);
      complain(answer.ok ? "" : seen.error);
      if (seen.over || document.hidden) wait = SELDOM;
    } catch {
      complain("energy-profiler watch has ended; the numbers below are the last it showed.");
      wait = SELDOM;
    }
    setTimeout(look, wait);
  };
  for (const change of [dark, narrow]) change.addEventListener("change", () => { if (shown) draw(); });
  look();
})();
