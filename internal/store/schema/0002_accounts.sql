-- Who may sign in, by what, and who is signed in. Every value that a caller shows
-- (session, link, device, service token) is kept as its SHA-256; passwords as argon2id.
CREATE TABLE people (
    id       TEXT    PRIMARY KEY, -- random; the user handle of the person's passkeys
    name     TEXT    NOT NULL,
    folded   TEXT    NOT NULL UNIQUE, -- name in lower case
    password TEXT    NOT NULL,        -- PHC string, or ''
    created  INTEGER NOT NULL,
    disabled INTEGER NOT NULL         -- since when, or 0
) STRICT;

CREATE TABLE passkeys (
    id         BLOB    PRIMARY KEY, -- the authenticator's credential ID
    person     TEXT    NOT NULL REFERENCES people ON DELETE CASCADE,
    name       TEXT    NOT NULL,
    rp         TEXT    NOT NULL, -- the host name that it was made for
    credential BLOB    NOT NULL, -- public key, counter and flags, as JSON
    created    INTEGER NOT NULL,
    used       INTEGER NOT NULL
) STRICT;
CREATE INDEX passkeys_person ON passkeys (person);

-- Links that let somebody in once: setup, invite, recover.
CREATE TABLE links (
    hash    BLOB    PRIMARY KEY,
    kind    TEXT    NOT NULL,
    person  TEXT    REFERENCES people ON DELETE CASCADE, -- whom a recovery is for
    by      TEXT    NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL -- or 0: until it is used or replaced
) STRICT;

CREATE TABLE sessions (
    id        TEXT    PRIMARY KEY, -- public
    hash      BLOB    NOT NULL UNIQUE,
    previous  BLOB,               -- the value before, good until shortly after the new one was seen
    seed      BLOB    NOT NULL,   -- hash of the part that stays, from which pages prove themselves
    rotated   INTEGER NOT NULL,
    confirmed INTEGER NOT NULL,   -- when hash was first seen, or 0
    person    TEXT    REFERENCES people ON DELETE CASCADE, -- NULL: another party vouches
    name      TEXT    NOT NULL,
    via       TEXT    NOT NULL,
    parent    TEXT    REFERENCES sessions ON DELETE CASCADE, -- of a visit to an agent's own host
    agent     TEXT    NOT NULL,   -- the visit's agent, or ''
    created   INTEGER NOT NULL,
    used      INTEGER NOT NULL,
    expires   INTEGER NOT NULL,
    address   TEXT    NOT NULL,
    client    TEXT    NOT NULL    -- User-Agent
) STRICT;
CREATE INDEX sessions_previous ON sessions (previous);
CREATE INDEX sessions_person ON sessions (person);
CREATE INDEX sessions_parent ON sessions (parent);
CREATE INDEX sessions_name ON sessions (name);

-- Browsers that somebody has signed in from: strangers' failures do not lock them out.
CREATE TABLE devices (
    hash   BLOB    NOT NULL,
    person TEXT    NOT NULL REFERENCES people ON DELETE CASCADE,
    used   INTEGER NOT NULL,
    PRIMARY KEY (hash, person)
) STRICT;
CREATE INDEX devices_person ON devices (person);

CREATE TABLE service_tokens (
    id      TEXT    PRIMARY KEY, -- public
    name    TEXT    NOT NULL UNIQUE,
    hash    BLOB    NOT NULL UNIQUE,
    scopes  TEXT    NOT NULL, -- comma list
    by      TEXT    NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL, -- or 0: never
    used    INTEGER NOT NULL
) STRICT;
