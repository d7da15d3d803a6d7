(function () {
  var suffix = %s;
  function make(tag, className, parent) {
    var e = document.createElement(tag);
    e.className = className;
    if (parent) parent.append(e);
    return e;
  }
  // A box like the page's own, before it; the page's own is hidden, not removed:
  // the page goes on updating it, and the request's ID is read from there.
  function box(gate, theirs) {
    var ours = make("div", "login-gate__hero");
    make("span", "login-gate__hero-label", ours).textContent = "Run on the machine where moltworker runs";
    var line = make("div", "login-gate__command login-gate__command--hero", ours);
    make("code", "", line).translate = false;
    var copy = make("button", "btn btn--xs", line);
    copy.type = "button";
    copy.textContent = "Copy";
    copy.addEventListener("click", function () {
      if (navigator.clipboard) navigator.clipboard.writeText(ours.dataset.moltworker).then(function () { copy.textContent = "Copied"; });
    });
    theirs.before(ours);
    theirs.style.display = "none";
    gate.querySelectorAll(".login-gate__failure-steps").forEach(function (e) { e.style.display = "none"; });
    return ours;
  }
  function show() {
    var gate = document.querySelector(".login-gate__failure[data-kind=pairing-required]");
    var theirs = gate && gate.querySelector(".login-gate__hero:not([data-moltworker])");
    var found = theirs && /openclaw devices approve ([A-Za-z0-9][A-Za-z0-9._:-]*)/.exec(theirs.textContent);
    if (!found) return;
    var command = "moltworker device approve " + found[1] + suffix;
    var ours = gate.querySelector("[data-moltworker]");
    if (ours && ours.dataset.moltworker === command) return;
    ours = ours || box(gate, theirs);
    ours.dataset.moltworker = command;
    ours.querySelector("code").textContent = command;
  }
  new MutationObserver(show).observe(document.documentElement, { childList: true, subtree: true, characterData: true });
  show();
})();
