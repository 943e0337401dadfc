(() => {
  const EVERY = 2000, SELDOM = 10000;
  const byId = (id) => document.getElementById(id);
  const element = (tag, text) => Object.assign(document.createElement(tag), { textContent: text });
  let last = "";

  // Names from the runs stay text: they enter the page as textContent only.

  const link = (key, text) => Object.assign(element("a", text), { href: `/run?run=${encodeURIComponent(key)}` });
  const line = ({ key, status, cells }, head) => {
    const row = document.createElement("tr");
    row.className = status;
    row.append(...cells.map((text, index) => {
      const cell = element("td", index ? text : "");
      cell.dataset.label = head[index];
      if (!index) cell.append(link(key, text || key));
      return cell;
    }));
    return row;
  };
  const show = ({ title, head, rows }) => {
    byId("title").textContent = title;
    const top = document.createElement("thead"), body = document.createElement("tbody"), names = document.createElement("tr");
    names.append(...head.map((text) => Object.assign(element("th", text), { scope: "col" })));
    top.append(names);
    body.append(...rows.map((row) => line(row, head)));
    byId("runs").replaceChildren(top, body);
  };
  const complain = (text) => {
    byId("problem").textContent = text;
    byId("problem").hidden = !text;
  };
  const look = async () => {
    let wait = document.hidden ? SELDOM : EVERY;
    try {
      const answer = await fetch("/snapshot.json", { cache: "no-store" });
      const text = await answer.text();
      if (answer.ok && text !== last) show(JSON.parse(last = text));
      complain(answer.ok ? "" : JSON.parse(text).error);
    } catch {
      complain("energy-profiler watch has ended; the numbers below are the last it showed.");
      wait = SELDOM;
    }
    setTimeout(look, wait);
  };
  look();
})();
