(() => {
  const data = JSON.parse(byId("data").textContent);
  const PRINTED = { high: 300, low: 220, bar: 120 }, PRINTED_WIDTH = 680;
  let printing = false;
  const isVisible = (element) => element.offsetParent !== null && !element.closest("details:not([open])");
  const draw = (name) => {
    const element = byId(name), figure = data.figures[name];
    if (!element || !figure || !isVisible(element)) return;
    const number = name.startsWith("curve-") ? name.slice(6) : null;
    const rows = number && data.sliders[number];
    const traces = rows ? [...figure.data, ...marks(number)] : figure.data;
    const size = Object.keys(PRINTED).find((kind) => element.classList.contains(kind));
    drawFigure(name, traces, figure.layout, printing ? { width: PRINTED_WIDTH, height: PRINTED[size] } : {});
  };
  const drawAll = () => {
    if (typeof Plotly === "undefined") document.body.classList.add("undrawn");
    else Object.keys(data.figures).forEach(draw);
  };

  // Sliders: row k of a table holds the finished strings of target k.
  const chosen = {};
  const marks = (number) => {
    const rows = data.sliders[number], row = chosen[number] ?? 0;
    const [low, high, median] = rows.marks[row], loss = rows.losses[row];
    const ends = [low, high].filter((end) => end !== null), point = median !== null;
    const look = { type: "scatter", hoverinfo: "skip", showlegend: false, line: { color: "var(--ink)", width: 4 } };
    return [
      { ...look, mode: "lines", name: "selected target, 90 %", x: ends, y: ends.map(() => loss) },
      { ...look, mode: "markers", x: point ? [median] : [], y: point ? [loss] : [],
        marker: { size: 11, color: "var(--page)", line: { color: "var(--ink)", width: 3 } } },
    ];
  };
  const pending = {};
  const move = (number) => {
    const figure = byId(`curve-${number}`);
    if (pending[number] || !figure?.data) return;
    pending[number] = true;
    requestAnimationFrame(() => {
      pending[number] = false;
      const first = data.figures[`curve-${number}`].data.length, moved = marks(number);
      Plotly.restyle(figure, { x: moved.map((one) => one.x), y: moved.map((one) => one.y) }, [first, first + 1]);
    });
  };
  const select = (number, row) => {
    const rows = data.sliders[number], metric = byId(`panel-${number}`).dataset.metric;
    chosen[number] = row;
    rows.labels.forEach((label, index) => {
      [byId(`more-${label}-${number}`).textContent, byId(`ends-${label}-${number}`).textContent] = rows.cells[row][index];
    });
    byId(`verdict-${number}`).textContent = rows.sentences[row];
    byId(`exact-${number}`).value = rows.names[row];
    byId(`slider-${number}`).setAttribute("aria-valuetext", `${metric} ${rows.names[row]}`);
    move(number);
  };
  for (const [number, rows] of Object.entries(data.sliders)) {
    if (!rows) continue;
    const slider = byId(`slider-${number}`), exact = byId(`exact-${number}`);
    slider.addEventListener("input", () => select(number, Number(slider.value)));
    exact.addEventListener("change", () => {
      const loss = Number(exact.value), distance = (index) => Math.abs(rows.losses[index] - loss);
      const isNumber = exact.value.trim() !== "" && isFinite(loss);
      exact.setAttribute("aria-invalid", String(!isNumber));
      const row = isNumber ? rows.losses.reduce((best, _, index) => distance(index) < distance(best) ? index : best, 0) : chosen[number];
      slider.value = row;
      select(number, row);
    });
    select(number, Number(slider.value));
  }

  // Tabs of the metrics, with the arrow keys as in the ARIA pattern.
  const tabs = [...document.querySelectorAll("[role=tab]")];
  const show = (tab) => {
    for (const one of tabs) {
      const isShown = one === tab, panel = byId(one.getAttribute("aria-controls"));
      one.setAttribute("aria-selected", String(isShown));
      one.tabIndex = isShown ? 0 : -1;
      panel.hidden = !isShown;
    }
    draw(tab.getAttribute("aria-controls").replace("panel", "curve"));
  };
  tabs.forEach((tab, index) => {
    tab.addEventListener("click", () => show(tab));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = tabs[(index + step + tabs.length) % tabs.length];
      next.focus();
      show(next);
    });
  });
  for (const fold of document.querySelectorAll("details")) {
    fold.addEventListener("toggle", () => fold.querySelectorAll(".figure").forEach((figure) => draw(figure.id)));
  }
  for (const button of document.querySelectorAll("[data-save]")) {
    button.addEventListener("click", () => {
      const figure = byId(button.dataset.figure);
      Plotly.downloadImage(figure, { format: button.dataset.save, filename: figure.id, scale: 2,
        width: figure.clientWidth, height: figure.clientHeight });
    });
  }

  drawAll();
  dark.addEventListener("change", drawAll);
  narrow.addEventListener("change", drawAll);
  let opened = [];
  addEventListener("beforeprint", () => {
    document.documentElement.dataset.theme = "light";
    printing = true;
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const fold of opened) fold.open = true;
    drawAll();
  });
  addEventListener("afterprint", () => {
    delete document.documentElement.dataset.theme;
    printing = false;
    for (const fold of opened) fold.open = false;
    drawAll();
  });
})();
