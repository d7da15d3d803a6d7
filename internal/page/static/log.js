// The log page, live: new lines as they come, pause, and the filter while typing.
(function () {
  "use strict";
  var MOST = 3000, WAITING = 3000;
  var log = document.getElementById("log"), filter = document.getElementById("filter");
  var pause = document.getElementById("pause"), note = document.getElementById("lognote");
  if (!log || !log.dataset.events) return;
  var paused = false, held = [], lost = 0, anew = false; // anew: what is shown is to be replaced
  pause.hidden = false;

  function element(line) {
    var row = document.createElement("div"), time = document.createElement("time"), text = document.createElement("span");
    row.className = "ln" + (line.stream === "stderr" ? " err" : line.stream === "guest" ? " own" : "");
    time.textContent = line.time;
    time.title = line.day;
    text.textContent = line.text;
    row.append(time, text);
    row.said = (line.stream + " " + line.text).toLowerCase();
    return row;
  }
  function sift(row) { row.hidden = row.said.indexOf(filter.value.toLowerCase()) < 0; }
  function tell() {
    var all = log.children.length, shown = 0;
    for (var i = 0; i < all; i++) if (!log.children[i].hidden) shown++;
    note.textContent = (shown === all ? all + " lines" : shown + " of " + all + " lines") +
      (paused ? " · paused" + (held.length ? ", " + (held.length + lost) + " more wait" : "") : "");
  }
  function add(lines) {
    var end = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    var rows = document.createDocumentFragment();
    lines.forEach(function (line) { var row = element(line); sift(row); rows.append(row); });
    log.append(rows);
    while (log.children.length > MOST) log.firstChild.remove();
    if (end) log.scrollTop = log.scrollHeight;
    tell();
  }
  function catchUp(lines) {
    var old = anew;
    if (old) { anew = false; log.replaceChildren(); }
    add(lines);
    if (old) log.scrollTop = log.scrollHeight;
  }
  document.body.addEventListener("live-log", function (event) {
    if (!event.detail.data) return;
    var batch = JSON.parse(event.detail.data);
    if (batch.reset) { anew = true; held = []; lost = 0; }
    if (!paused) return catchUp(batch.lines);
    held = held.concat(batch.lines);
    if (held.length > WAITING) { lost += held.length - WAITING; held = held.slice(-WAITING); }
    tell();
  });
  pause.addEventListener("click", function () {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Resume" : "Pause";
    if (paused) return tell();
    catchUp(held);
    held = [];
    lost = 0;
    log.scrollTop = log.scrollHeight;
    tell();
  });
  filter.addEventListener("input", function () {
    Array.prototype.forEach.call(log.children, function (row) {
      if (row.said === undefined) row.said = row.lastChild.textContent.toLowerCase();
      sift(row);
    });
    log.scrollTop = log.scrollHeight;
    tell();
  });
  document.getElementById("logbar").addEventListener("submit", function (event) { event.preventDefault(); });
  log.scrollTop = log.scrollHeight;
})();
