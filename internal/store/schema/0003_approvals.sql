-- Who let a device in. OpenClaw knows that it was approved, not by whom.
CREATE TABLE device_approvals (
    agent   TEXT    NOT NULL,
    device  TEXT    NOT NULL, -- OpenClaw's ID of it
    request TEXT    NOT NULL,
    by      TEXT    NOT NULL, -- the principal: "person ann@example.com"
    via     TEXT    NOT NULL, -- how that was established: "passkey"
    how     TEXT    NOT NULL, -- "by hand", "automatic"
    name    TEXT    NOT NULL, -- by which people know it; "" when they gave none
    at      INTEGER NOT NULL,
    PRIMARY KEY (agent, device)
) STRICT, WITHOUT ROWID;

-- The devices of an agent as they were last seen, for while it sleeps.
CREATE TABLE device_lists (
    agent TEXT    NOT NULL PRIMARY KEY,
    at    INTEGER NOT NULL,
    list  BLOB    NOT NULL -- JSON
) STRICT;
