(function () {
  var boot = document.getElementById("boot"), started = performance.now(), gone = false;
  function again(after) {
    if (gone) return;
    gone = true;
    setTimeout(function () { location.reload(); }, after);
  }
  setInterval(function () {
    boot.querySelectorAll("[data-millis]").forEach(function (e) {
      var ms = Number(e.dataset.millis) + performance.now() - started;
      e.textContent = (ms / 1000).toFixed(1) + " s";
    });
  }, 100);
  if (boot.dataset.state === "awake") return again(1500);
  if (!window.EventSource) return again(3000);
  var source = new EventSource(boot.dataset.events), failures = 0;
  source.onmessage = function (m) {
    var change = JSON.parse(m.data);
    failures = 0;
    if (change.state === "awake") { source.close(); return again(250); }
    started = performance.now();
    boot.innerHTML = change.html;
    document.getElementById("title").textContent = change.title;
    document.title = change.title + " \u00b7 moltworker";
  };
  source.onerror = function () {
    failures++;
    if (source.readyState === EventSource.CLOSED || failures > 3) again(4000);
  };
})();
