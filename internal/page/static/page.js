// What makes the pages handier with JavaScript. Nothing here is needed.
(function () {
  "use strict";
  var $ = function (id) { return document.getElementById(id); };

  // Times that run: data-age is how many milliseconds ago something began, when
  // the page was made.
  function long(s) { // as the pages themselves put it
    var min = Math.floor(s / 60), h = Math.floor(min / 60);
    if (s < 10) return s.toFixed(1) + " s";
    if (s < 60) return Math.floor(s) + " s";
    if (h < 1) return min + " min";
    if (h < 10 && min % 60) return h + " h " + min % 60 + " min";
    return h < 48 ? h + " h" : Math.floor(h / 24) + " d";
  }
  function tick() {
    var now = performance.now();
    document.querySelectorAll("[data-age]").forEach(function (e) {
      if (!e.born) e.born = now - Number(e.dataset.age);
      var s = (now - e.born) / 1000;
      var text = long(s);
      if (e.textContent !== text) e.textContent = text;
    });
  }
  setInterval(tick, 200);

  // The button that was pressed last keeps the focus when the page changes under it.
  var pressed = "";
  document.addEventListener("submit", function (event) { pressed = event.submitter ? event.submitter.id : ""; }, true);

  // twin is the form in the page now that does what another one did.
  function twin(form) {
    function values(f) { return new URLSearchParams(new FormData(f)).toString(); }
    return Array.prototype.find.call(document.forms, function (f) { return f.action === form.action && values(f) === values(form); });
  }

  // Forms with data-ask are sent when their question was answered with yes.
  document.addEventListener("submit", function (event) {
    var form = event.target, ask = $("ask");
    if (!form.dataset.ask || form.dataset.sure || !ask.showModal) { delete form.dataset.sure; return; }
    event.preventDefault();
    event.stopImmediatePropagation();
    var by = event.submitter;
    $("ask-title").textContent = form.dataset.ask;
    $("ask-text").textContent = form.dataset.why || "";
    $("ask-yes").textContent = form.dataset.yes || (by && by.textContent) || "Yes";
    ask.returnValue = "no";
    ask.onclose = function () {
      if (ask.returnValue !== "yes") return;
      // What is live may have been replaced meanwhile, or be new itself, perhaps since this
      // very moment: what came in is sent by htmx only when the swap has settled.
      if (form.isConnected && !form.closest(".htmx-added")) send(); else setTimeout(send, 100);
    };
    function send() {
      var now = form.isConnected ? form : twin(form);
      if (!now) { toast("That is not there any more.", true); return; }
      now.dataset.sure = "yes";
      now.requestSubmit(now === form ? by : by && by.id && now.querySelector("#" + CSS.escape(by.id)) || null);
    }
    ask.showModal();
  }, true);

  // Shortcuts: g and a letter goes to a page, / to the filter, ? shows them.
  var pending = 0;
  function typing(e) { return e.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(e.tagName); }
  document.addEventListener("keydown", function (event) {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target) || document.querySelector("dialog[open]")) return;
    if (event.key === "?") { $("keys").showModal(); event.preventDefault(); return; }
    if (event.key === "/") {
      var filter = document.querySelector("[data-filter]");
      if (filter) { filter.focus(); event.preventDefault(); }
      return;
    }
    if (event.key === "g") { pending = performance.now(); return; }
    if (performance.now() - pending > 1500) return;
    pending = 0;
    document.querySelectorAll("#keys dt").forEach(function (dt) {
      var keys = dt.querySelectorAll("kbd");
      if (keys.length === 2 && keys[1].textContent === event.key) location.href = dt.nextElementSibling.dataset.path;
    });
  });

  // Actions by htmx: what went wrong is said, what was said is said aloud too.
  function toast(text, seen) {
    var p = document.createElement("p");
    p.textContent = text;
    if (!seen) p.className = "hidden";
    $("toast").replaceChildren(p);
    setTimeout(function () { p.remove(); }, 8000);
  }
  document.addEventListener("htmx:afterSettle", function (event) {
    var config = event.detail.requestConfig;
    if (config && config.verb === "post" && document.activeElement === document.body) (pressed && $(pressed) || $("main")).focus({ preventScroll: true });
    var said = document.querySelector("#flash .flash");
    if (said && !said.told) {
      said.told = true;
      toast(said.textContent.trim(), said.getBoundingClientRect().bottom < 60);
    }
  });
  document.addEventListener("htmx:sendError", function () { toast("moltworker did not answer. Is it running?", true); });
  document.addEventListener("htmx:timeout", function () { toast("That takes long. Reload the page to see what has become of it.", true); });
  document.addEventListener("htmx:responseError", function (event) {
    var status = event.detail.xhr.status;
    if (status === 401) { location.reload(); return; }
    if (status === 403) { toast("You may not do that, or this page is from an earlier sign-in. Reload it.", true); return; }
    if (event.detail.requestConfig.verb !== "get") toast("That did not work (" + status + ").", true);
  });
  // An action that ended on another page shows that page, not a part of it in this one.
  document.addEventListener("htmx:beforeSwap", function (event) {
    var at = event.detail.xhr.responseURL, config = event.detail.requestConfig;
    if (!at || !config || config.verb === "get") return;
    var url = new URL(at);
    if (url.pathname !== location.pathname) { event.detail.shouldSwap = false; location.href = url.href; }
  });

  // Choices that need no button with JavaScript.
  document.addEventListener("change", function (event) {
    if (event.target.matches("select[data-submit]")) event.target.form.requestSubmit();
  });

  // The menu of narrow screens closes when something else is touched.
  document.addEventListener("click", function (event) {
    document.querySelectorAll("details.menu[open]").forEach(function (menu) {
      if (!menu.contains(event.target)) menu.open = false;
    });
  });
})();
