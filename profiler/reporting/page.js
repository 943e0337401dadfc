"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const narrow = matchMedia("(max-width: 40rem)"), dark = matchMedia("(prefers-color-scheme: dark)");

  // -- numbers, worded as in profiler/units.py and profiler/report/words.py --

  const PREFIXES = [[1e24, "Y"], [1e21, "Z"], [1e18, "E"], [1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"],
    [1, ""], [1e-3, "m"], [1e-6, "u"]];
  const DURATIONS = [[31557600e9, 1, "billion years"], [31557600e6, 1, "million years"], [31557600, 1, "years"], [86400, 1, "days"], [3600, 1, "h"], [60, 2, "min"]];

  const significant = (value, digits = 3) => {
    if (value === 0) return "0";
    const [mantissa, power] = value.toExponential(digits - 1).split("e");
    const exponent = Number(power), sign = exponent < 0 ? "-" : "+";
    if (exponent > -5 && exponent < 6) return Number(`${mantissa}e${power}`).toFixed(Math.max(digits - 1 - exponent, 0));
    return `${mantissa}e${sign}${String(Math.abs(exponent)).padStart(2, "0")}`;
  };
  const si = (unit) => (value) => {
    const rounded = Math.abs(Number(value.toExponential(2)));
    if (rounded === 0) return `0 ${unit}`;
    const [scale, prefix] = PREFIXES.find(([least]) => rounded >= least) || PREFIXES[PREFIXES.length - 1];
    return `${significant(value / scale)} ${prefix}${unit}`;
  };
  const duration = (seconds) => {
    const longest = DURATIONS.find(([length, least]) => Math.abs(seconds) >= length * least);
    return longest ? `${significant(seconds / longest[0])} ${longest[2]}` : si("s")(seconds);
  };
  const percent = (share) => {
    if (share > 0 && share < 0.005) return "< 1 %";
    if (share >= 0.995 && share < 1) return "> 99 %";
    return `${halfEven(100 * share)} %`;
  };
  const halfEven = (value) => {
    const below = Math.floor(value), rest = value - below;
    return rest === 0.5 ? below + (below % 2) : Math.round(value);
  };
  const UNITS = { Energy: si("J"), Time: duration, Electricity: (kwh) => kwh >= 0.001 ? `${significant(kwh)} kWh` : si("Wh")(kwh * 1000), Carbon: si("gCO2e"),
    Money: (amount) => { const [mantissa, power] = significant(amount).split("e"); return power < 0 ? Number(`${mantissa}e${power}`).toFixed(2 - power) : significant(amount); } };

  // -- figures, in the colours of page.css --

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const painted = (value, key) => {
    if (Array.isArray(value)) return value;
    if (value !== null && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, painted(item, name)]));
    }
    const isColour = /color$/.test(key) && typeof value === "string" && value.startsWith("var(");
    return isColour ? colour(value.slice(4, -1)) : value;
  };
  const axis = (name, own) => ({ nticks: 8, gridcolor: colour("--line"), linecolor: colour("--line"), zeroline: false, automargin: true,
    hoverformat: ".4s", ...painted(own), title: { font: { size: 12.5 }, ...own.title },
    ...(narrow.matches && name === "xaxis" ? { nticks: 4 } : {}) });
  const layout = (own, width) => ({
    ...painted(own),
    ...Object.fromEntries(Object.keys(own).filter((name) => /axis/.test(name)).map((name) => [name, axis(name, own[name])])),
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", width, autosize: true, hovermode: "closest",
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12.5, color: colour("--soft") },
    hoverlabel: { bgcolor: colour("--card"), bordercolor: colour("--line"), font: { color: colour("--ink") } },
    legend: { orientation: "h", x: 0, xanchor: "left", y: 1.02, yanchor: "bottom", traceorder: "normal", bgcolor: "rgba(0,0,0,0)" },
    margin: narrow.matches ? { l: 8, r: 8, t: 8, b: 8 } : { l: 60, r: 10, t: 10, b: 45 },
  });
  const CONFIG = { displayModeBar: false, responsive: true };
  const draw = (width) => {
    if (typeof Plotly === "undefined") {
      document.body.classList.add("undrawn");
      return;
    }
    for (const [name, figure] of Object.entries(data.figures)) {
      const traces = name === "curve" && data.table ? [...figure.data, ...picked()] : figure.data;
      Plotly.react(byId(name), traces.map((trace) => painted(trace)), layout(figure.layout, width), CONFIG);
    }
  };

  // -- what one loss costs: the same rules as TargetTable.at --

  const table = data.table;
  const row = (column, index) => table[column][index] === null ? Infinity : table[column][index];
  const between = (easier, harder, part) =>
    part === 1 || !isFinite(easier) || !isFinite(harder) || !(easier > 0) ? harder : easier * (harder / easier) ** part;
  const quote = (loss) => {
    const losses = table.losses, last = losses.length - 1, sign = losses[0] > losses[last] ? -1 : 1;
    const found = losses.findIndex((one) => sign * one >= sign * loss);
    const harder = found < 0 ? last : found;
    const easier = found > 0 ? found - 1 : harder;
    const gap = losses[easier] - losses[harder], part = gap ? (losses[easier] - loss) / gap : 1;
    const [low, median, high] = ["low", "median", "high"].map((end) => between(row(end, easier), row(end, harder), part));
    const chances = table.p_unreachable;
    return { loss, low, median, high, verdict: table.verdicts[harder],
      never: chances[easier] + part * (chances[harder] - chances[easier]) };
  };
  const worded = (known, name) => {
    if (known.verdict === "reached") return ["none", ""];
    const [low, median, high] = [known.low, known.median, known.high]
      .map((joules) => Math.max(joules - table.joules_now, 0) * table.factors[name]);
    if (known.verdict === "unreachable" || !isFinite(low)) return ["never", ""];
    const unit = UNITS[name], end = (value) => isFinite(value) ? unit(value) : "never";
    return [known.verdict === "reachable" ? unit(median) : `over ${unit(low)}`, `[${end(low)}, ${end(high)}]`];
  };
  let chosen = null;
  const picked = () => {
    const ends = [chosen.low, Math.min(chosen.high, chosen.low * 1e12)].filter(isFinite), point = chosen.verdict === "reached" || chosen.verdict === "reachable";
    const look = { type: "scatter", hoverinfo: "skip", line: { color: "var(--ink)", width: 4 } };
    return [
      { ...look, mode: "lines", name: "target picked below, 90 %", showlegend: true, x: ends, y: ends.map(() => chosen.loss) },
      { ...look, mode: "markers", showlegend: false, x: point ? [chosen.median] : [], y: point ? [chosen.loss] : [],
        marker: { size: 11, color: "var(--page)", line: { color: "var(--ink)", width: 3 } } },
    ];
  };
  const show = (loss) => {
    chosen = quote(loss);
    for (const name of Object.keys(table.factors)) {
      const [value, note] = worded(chosen, name);
      byId(`more-${name}`).textContent = value;
      byId(`ends-${name}`).textContent = note;
    }
    const said = { "{never}": percent(chosen.never), "{joules}": UNITS.Energy(chosen.median) };
    byId("verdict").textContent = table.sentences[chosen.verdict].replace(/\{\w+\}/g, (key) => said[key]);
    byId("slider").setAttribute("aria-valuetext", `loss ${significant(loss, 4)}`);
  };
  let pending = false;
  const mark = () => {
    if (pending || !byId("curve")?.data) return;
    pending = true;
    requestAnimationFrame(() => {
      pending = false;
      const first = data.figures.curve.data.length, marks = picked();
      Plotly.restyle(byId("curve"), { x: marks.map((one) => one.x), y: marks.map((one) => one.y) }, [first, first + 1]);
    });
  };
  const follow = () => {
    const slider = byId("slider"), exact = byId("exact");
    slider.addEventListener("input", () => {
      const loss = table.losses[Number(slider.value)];
      exact.value = significant(loss, 4);
      show(loss);
      mark();
    });
    exact.addEventListener("change", () => {
      const loss = Number(exact.value);
      if (exact.value.trim() === "" || !isFinite(loss)) { exact.value = significant(chosen.loss, 4); return; }
      const distance = (one) => Math.abs(one - loss);
      slider.value = table.losses.reduce((best, one, index) => distance(one) < distance(table.losses[best]) ? index : best, 0);
      show(loss);
      mark();
    });
    show(table.losses[Number(slider.value)]);
  };

  if (table) follow();
  draw();
  dark.addEventListener("change", () => draw());
  narrow.addEventListener("change", () => draw());
  addEventListener("beforeprint", () => {
    document.documentElement.dataset.theme = "light";
    for (const fold of document.querySelectorAll("details")) fold.open = true;
    draw(680);
  });
  addEventListener("afterprint", () => {
    delete document.documentElement.dataset.theme;
    draw();
  });
})();
