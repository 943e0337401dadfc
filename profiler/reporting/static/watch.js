(() => {
  const EVERY = 1000, SELDOM = 5000;
  const FIGURES = ["power", "curve"];
  let shown = null;

  const draw = () => {
    for (const name of FIGURES) {
      const figure = shown.figures[name];
      byId(`${name}-section`).hidden = !figure;
      if (figure) drawFigure(name, figure.data, figure.layout);
    }
  };

  // Names from the run stay text: they enter the page as textContent only.

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
      const cell = element(head ? "td" : "th", text, head ? {} : { scope: "col" });
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
    write("status", seen.band);
    byId("status").className = `band ${seen.tone}`;
    byId("status").hidden = !seen.band;
    byId("answer").replaceChildren(...seen.answer.flatMap(([label, text]) => [element("dt", label), element("dd", text)]));
    write("metric", seen.metric);
    write("age", seen.age);
    document.title = `${seen.name} - ${seen.status}`;
    byId("lamp").className = seen.status;
    byId("cards").replaceChildren(...seen.cards.map(card));
    byId("targets-section").hidden = !seen.targets;
    if (seen.targets && JSON.stringify(seen.targets) !== JSON.stringify(before && before.targets)) table(seen.targets);
    byId("warnings-section").hidden = !seen.warnings.length;
    byId("warnings").replaceChildren(...seen.warnings.map((text) => element("li", text)));
    if (!before || JSON.stringify(seen.figures) !== JSON.stringify(before.figures)) draw();
  };

  const complain = (text) => {
    write("problem", text);
    byId("problem").hidden = !text;
  };
  const look = async () => {
    let wait = EVERY;
    try {
      const answer = await fetch(`/snapshot.json${location.search}`, { cache: "no-store" });
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
