// Passkeys, and the token behind the # of a link. Signing in with a password works
// without this file.
(function () {
  "use strict";
  var $ = function (id) { return document.getElementById(id); };

  // A link's token goes from the address bar to the server and nowhere else.
  if (($("take-link") || $("enroll")) && location.hash.length > 1) {
    var form = document.createElement("form"), field = document.createElement("input");
    form.method = "post";
    form.action = location.pathname;
    field.type = "hidden";
    field.name = "token";
    field.value = location.hash.slice(1);
    form.append(field);
    document.body.append(form);
    history.replaceState(null, "", location.pathname);
    form.submit();
    return;
  }

  var box = $("passkey"), keys = window.PublicKeyCredential;
  if (!box || !keys || !keys.parseCreationOptionsFromJSON || !keys.parseRequestOptionsFromJSON) return;
  box.hidden = false;

  function post(path, body, proof) {
    var headers = { "Content-Type": "application/json", "Accept": "application/json" };
    if (proof) headers["X-Moltworker-Proof"] = proof;
    return fetch(path, { method: "POST", headers: headers, body: JSON.stringify(body), credentials: "same-origin" }).then(function (answer) {
      return answer.json().then(function (said) {
        if (answer.ok) return said;
        throw new Error(said.error.message + " " + (said.error.remedy || ""));
      });
    });
  }

  function run(button, steps) {
    var problem = $("passkey-problem");
    button.addEventListener("click", function () {
      problem.hidden = true;
      button.disabled = true;
      steps().then(function (said) { location.assign(said.next); }).catch(function (error) {
        button.disabled = false;
        problem.textContent = error.name === "NotAllowedError" ? "The passkey was not used: it took too long, or was cancelled."
          : error.name === "InvalidStateError" ? "This device has a passkey for you already." : error.message;
        problem.hidden = false;
      });
    });
  }

  function create(options) {
    return navigator.credentials.create({ publicKey: keys.parseCreationOptionsFromJSON(options.publicKey) });
  }

  if ($("use-passkey")) run($("use-passkey"), function () {
    return post(box.dataset.begin, {}).then(function (options) {
      return navigator.credentials.get({ publicKey: keys.parseRequestOptionsFromJSON(options.publicKey) });
    }).then(function (made) { return post(box.dataset.finish, made.toJSON()); });
  });

  var enroll = $("enroll");
  if ($("make-passkey")) run($("make-passkey"), function () {
    if (!$("name").reportValidity()) return Promise.reject(new Error("Choose a name first."));
    var who = { kind: enroll.dataset.kind, link: enroll.dataset.link, name: $("name").value };
    return post(enroll.dataset.begin, who).then(create).then(function (made) {
      who.answer = made.toJSON();
      return post(enroll.dataset.finish, who);
    });
  });

  if ($("add-passkey")) run($("add-passkey"), function () {
    return post(box.dataset.begin, {}, box.dataset.proof).then(create).then(function (made) {
      return post(box.dataset.finish, { key: $("key").value, answer: made.toJSON() }, box.dataset.proof);
    });
  });
})();
