// Keeps a page up to date by one stream of events. An element with data-events is
// told what happens as a DOM event on the body, named "live-" and the event; parts
// of the page ask for themselves anew then (hx-trigger).
(function () {
  "use strict";
  var source, tries = 0, host = document.querySelector("[data-events]");
  if (!host || !window.EventSource || !window.htmx) return;
  var proof = document.querySelector("meta[name=proof]").content;
  var names = host.dataset.names.split(" ");

  var state = "";
  function show(now) {
    state = now || state;
    if (!state) return;
    document.querySelectorAll("[data-live-state]").forEach(function (e) {
      e.hidden = false;
      e.textContent = state === "on" ? "Live" : "Reconnecting";
      e.className = "tag dot " + (state === "on" ? "good" : "warn");
    });
  }
  function open() {
    if (source) source.close();
    source = new EventSource(host.dataset.events + "&proof=" + encodeURIComponent(proof));
    source.onopen = function () {
      show("on");
      if (tries++ > 0) names.forEach(tell); // what happened meanwhile
    };
    source.onerror = function () {
      show("off");
      // CLOSED: the answer was no stream, and the browser will not try again.
      if (source.readyState === EventSource.CLOSED) setTimeout(open, 5000);
    };
    names.forEach(function (name) {
      source.addEventListener(name, function (m) { tell(name, m.data); });
    });
  }
  function tell(name, data) { htmx.trigger(document.body, "live-" + name, { data: typeof data === "string" ? data : "" }); }

  // A page that nobody sees needs no stream; it catches up when it is seen again.
  document.addEventListener("visibilitychange", function () {
    if (document.visibilityState === "hidden") { if (source) source.close(); source = null; }
    else if (!source) open();
  });
  addEventListener("pagehide", function () { if (source) source.close(); source = null; });
  addEventListener("pageshow", function (event) { if (event.persisted && !source) open(); });

  // A part is not replaced under somebody's hands: while they type in it, select
  // text, have one of its forms open, are asked whether they are sure, or press a
  // button, whose click would be lost.
  // It is stale then, and asks for itself anew afterwards.
  var down = false, opened = [];
  function busy(part) {
    var active = document.activeElement, chosen = document.getSelection();
    return down || document.querySelector("dialog[open]") || part.querySelector("details[open] form") ||
      part.contains(active) && /^(INPUT|TEXTAREA|SELECT)$/.test(active.tagName) ||
      !chosen.isCollapsed && part.contains(chosen.anchorNode);
  }
  function refresh() {
    document.querySelectorAll("[data-stale]").forEach(function (part) {
      if (busy(part)) return;
      delete part.dataset.stale;
      htmx.trigger(part, "refresh");
    });
  }
  function soon() { setTimeout(refresh, 150); }
  addEventListener("pointerdown", function () { down = true; }, true);
  ["pointerup", "pointercancel", "dragend"].forEach(function (name) {
    addEventListener(name, function () { down = false; soon(); }, true);
  });
  document.addEventListener("focusout", soon);
  document.addEventListener("toggle", soon, true);
  document.addEventListener("close", soon, true);
  document.addEventListener("selectionchange", soon);
  document.addEventListener("htmx:beforeSwap", function (event) {
    var part = event.detail.target, config = event.detail.requestConfig;
    if (!config || config.verb !== "get" || !part.hasAttribute("data-part")) return;
    if (busy(part)) {
      event.detail.shouldSwap = false;
      part.dataset.stale = "yes";
      return;
    }
    opened = Array.prototype.map.call(part.querySelectorAll("details[open][id]"), function (e) { return e.id; });
  });
  document.addEventListener("htmx:afterSwap", function () {
    opened.forEach(function (id) {
      var e = document.getElementById(id);
      if (e) e.open = true;
    });
    opened = [];
  });
  document.addEventListener("htmx:afterSettle", function () { show(); });
  open();
})();
