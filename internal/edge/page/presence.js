(function () {
  var noted = -Infinity, asked = -Infinity;
  function present() {
    var now = performance.now();
    if (now - noted < 5000) return;
    noted = now;
    document.cookie = "%s=1; max-age=%d; path=/; samesite=lax" + (location.protocol === "https:" ? "; secure" : "");
    if (now - asked < 10000) return;
    asked = now;
    // 200: it slept. A page that lost its line in the meantime connects again at
    // once when told that the network is back, rather than with its next try.
    fetch("%s", { method: "POST" }).then(function (answer) {
      if (answer.status === 200) dispatchEvent(new Event("online"));
    }, function () {});
  }
  function acted(event) { if (event.isTrusted) present(); }
  function seen() { if (document.visibilityState === "visible") present(); }
  addEventListener("pointerdown", acted, { capture: true, passive: true });
  addEventListener("keydown", acted, { capture: true, passive: true });
  addEventListener("visibilitychange", seen, { capture: true }); // before the page's own
  seen();
})();
