-- What happened, in order. Each entry names the hash of the one before it.
CREATE TABLE audit (
    seq    INTEGER PRIMARY KEY,
    at     INTEGER NOT NULL, -- Unix milliseconds, as all times here
    action TEXT    NOT NULL, -- this and the next two as in the entry, to look for
    actor  TEXT    NOT NULL,
    agent  TEXT    NOT NULL,
    entry  BLOB    NOT NULL, -- canonical JSON, the bytes that are hashed
    hash   BLOB    NOT NULL  -- SHA-256 of entry
) STRICT;
