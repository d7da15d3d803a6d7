// Draws the charts of a page with uPlot, from what is in data-chart. Without this
// there are the tables behind them.
(function () {
  "use strict";
  if (!window.uPlot) return;
  var drawn = [], whole = []; // whole: distances of lines between counts
  for (var ten = 1; ten < 1e15; ten *= 10) whole.push(ten, 2 * ten, 5 * ten);

  function color(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }

  // Amounts as the pages themselves put them, a little shorter.
  function words(unit, v) {
    if (v === null || v === undefined) return "–";
    if (unit === "usd") {
      if (v === 0) return "$0";
      if (v >= 1) return "$" + v.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
      return "$" + (v >= 0.1 ? v.toFixed(2) : String(Number(v.toPrecision(2))));
    }
    if (unit === "ms") return v < 1000 ? Math.round(v) + " ms" : (v / 1000).toFixed(1) + " s";
    if (v >= 1e6) return Number((v / 1e6).toFixed(1)) + " M";
    if (v >= 1e4) return Math.round(v / 1e3) + " k";
    return Math.round(v).toLocaleString("en-US");
  }

  function day(t) { return new Date(t * 1000).toISOString().slice(0, 10); }

  function draw(host) {
    var chart = JSON.parse(host.dataset.chart), n = chart.labels.length;
    var stack = chart.kind === "stack", y = chart.y, series = [{}];
    var colors = chart.labels.map(function (_, i) { return color("--c" + i); });
    if (stack) { // sums from the first on, the largest drawn first
      var sums = [], below = chart.x.map(function () { return 0; });
      y.forEach(function (values) {
        below = values.map(function (v, i) { return below[i] + (v || 0); });
        sums.unshift(below);
      });
      y = sums;
    }
    y.forEach(function (_, i) {
      var c = colors[stack ? n - 1 - i : i];
      series.push(stack ? { fill: c, stroke: c, width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.75, 40], gap: 1 }) }
        : { stroke: c, width: 2, spanGaps: true, points: { show: true, size: 4, fill: c } });
    });
    var axis = { stroke: color("--soft"), grid: { stroke: color("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    var at = host.parentNode.querySelector("[data-at]");
    var plot = new uPlot({
      width: host.clientWidth, height: 190, tzDate: function (t) { return uPlot.tzDate(new Date(t * 1000), "UTC"); },
      padding: [8, 8, 0, 0], legend: { show: false }, series: series,
      cursor: { y: false, drag: { setScale: false, x: false, y: false }, points: { show: !stack } },
      scales: { y: { range: function (u, low, high) { return [0, high > 0 ? high * 1.1 : 1]; } },
        x: { range: function (u, low, high) { return [low - 43200, high + 43200]; } } },
      axes: [Object.assign({ size: 28, space: 60, incrs: [86400, 2 * 86400, 7 * 86400, 14 * 86400, 30 * 86400], values: function (u, splits) { return splits.map(function (t) { return day(t).slice(5); }); } }, axis, { grid: { show: false } }),
        Object.assign({ size: 58, incrs: chart.unit === "count" ? whole : undefined, values: function (u, splits) { return splits.map(function (v) { return words(chart.unit, v); }); } }, axis)],
      hooks: { setCursor: [function (u) {
        var i = u.cursor.idx;
        at.textContent = i === null || i === undefined ? "" : day(chart.x[i]) + ": " + chart.labels.map(function (label, s) { return label + " " + words(chart.unit, chart.y[s][i]); }).join(", ");
      }] }
    }, [chart.x].concat(y), host);
    drawn.push({ host: host, plot: plot });
  }

  function drawAll() {
    drawn = drawn.filter(function (d) {
      if (d.host.isConnected) return true;
      d.plot.destroy();
      return false;
    });
    document.querySelectorAll("[data-chart]").forEach(function (host) { if (!host.firstChild) draw(host); });
  }
  function anew() {
    drawn.forEach(function (d) { d.plot.destroy(); d.host.replaceChildren(); });
    drawn = [];
    drawAll();
  }

  drawAll();
  document.addEventListener("htmx:afterSettle", drawAll);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", anew);
  var soon = 0;
  addEventListener("resize", function () {
    clearTimeout(soon);
    soon = setTimeout(function () { drawn.forEach(function (d) { if (d.host.clientWidth) d.plot.setSize({ width: d.host.clientWidth, height: 190 }); }); }, 100);
  });
})();
