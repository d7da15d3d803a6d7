-- What a call is counted by. Rows and rollups name it by its ID.
CREATE TABLE series (
    id       INTEGER PRIMARY KEY,
    agent    TEXT    NOT NULL,
    cause    TEXT    NOT NULL, -- trigger, which is a word of SQL
    provider TEXT    NOT NULL,
    model    TEXT    NOT NULL,
    outcome  INTEGER NOT NULL,
    UNIQUE (agent, cause, provider, model, outcome)
) STRICT;

-- One model call each. Times are microseconds, money is millionths of a millionth
-- of a dollar, 0 and NULL take no room.
CREATE TABLE calls (
    id             INTEGER PRIMARY KEY, -- Unix milliseconds << 21 | number
    secret         INTEGER NOT NULL,    -- the rest of the call's ID
    series         INTEGER NOT NULL,
    status         INTEGER NOT NULL,
    flags          INTEGER NOT NULL, -- 1 stream, 2 usage known, 4 usage estimated
    error          TEXT,
    asked          TEXT, -- NULL: as the series' model
    answered       TEXT, -- NULL: as the series' model
    counted        TEXT, -- NULL: as the series' model, which may stand for several
    endpoint       TEXT,
    tier           TEXT,
    key            TEXT,
    event          TEXT,
    metadata       TEXT, -- JSON object
    guards         TEXT, -- JSON array
    cache          INTEGER NOT NULL,
    attempts       INTEGER NOT NULL,
    step           INTEGER NOT NULL,
    input          INTEGER NOT NULL,
    cache_read     INTEGER NOT NULL,
    cache_write_5m INTEGER NOT NULL,
    cache_write_1h INTEGER NOT NULL,
    audio_input    INTEGER NOT NULL,
    output         INTEGER NOT NULL,
    audio_output   INTEGER NOT NULL,
    reasoning      INTEGER NOT NULL,
    images         INTEGER NOT NULL,
    searches       INTEGER NOT NULL,
    millis         INTEGER NOT NULL, -- of audio or computing
    cost           INTEGER,          -- NULL: not known
    saved          INTEGER NOT NULL,
    took           INTEGER NOT NULL,
    first          INTEGER NOT NULL,
    request_bytes  INTEGER NOT NULL,
    response_bytes INTEGER NOT NULL
) STRICT;
CREATE INDEX calls_series ON calls (series);
CREATE INDEX calls_event ON calls (event) WHERE event IS NOT NULL;

CREATE TABLE feedback (
    id      INTEGER PRIMARY KEY, -- of the call
    vote    INTEGER NOT NULL,    -- -1, 0, 1
    score   INTEGER,             -- 0 to 100
    comment TEXT    NOT NULL
) STRICT;

-- Sums of the calls that began in an hour or a day (UTC), kept by the transaction
-- that adds the calls. start counts hours or days since 1970.
CREATE TABLE hours (
    start INTEGER NOT NULL, series INTEGER NOT NULL,
    calls INTEGER NOT NULL, errors INTEGER NOT NULL, unpriced INTEGER NOT NULL, estimated INTEGER NOT NULL,
    hits INTEGER NOT NULL, misses INTEGER NOT NULL, cost INTEGER NOT NULL, saved INTEGER NOT NULL,
    input INTEGER NOT NULL, cache_read INTEGER NOT NULL, cache_write_5m INTEGER NOT NULL, cache_write_1h INTEGER NOT NULL,
    audio_input INTEGER NOT NULL, output INTEGER NOT NULL, audio_output INTEGER NOT NULL, reasoning INTEGER NOT NULL,
    images INTEGER NOT NULL, searches INTEGER NOT NULL, millis INTEGER NOT NULL,
    request_bytes INTEGER NOT NULL, response_bytes INTEGER NOT NULL,
    took BLOB NOT NULL, first BLOB NOT NULL, -- histograms
    PRIMARY KEY (start, series)
) STRICT, WITHOUT ROWID;

CREATE TABLE days (
    start INTEGER NOT NULL, series INTEGER NOT NULL,
    calls INTEGER NOT NULL, errors INTEGER NOT NULL, unpriced INTEGER NOT NULL, estimated INTEGER NOT NULL,
    hits INTEGER NOT NULL, misses INTEGER NOT NULL, cost INTEGER NOT NULL, saved INTEGER NOT NULL,
    input INTEGER NOT NULL, cache_read INTEGER NOT NULL, cache_write_5m INTEGER NOT NULL, cache_write_1h INTEGER NOT NULL,
    audio_input INTEGER NOT NULL, output INTEGER NOT NULL, audio_output INTEGER NOT NULL, reasoning INTEGER NOT NULL,
    images INTEGER NOT NULL, searches INTEGER NOT NULL, millis INTEGER NOT NULL,
    request_bytes INTEGER NOT NULL, response_bytes INTEGER NOT NULL,
    took BLOB NOT NULL, first BLOB NOT NULL, -- histograms
    PRIMARY KEY (start, series)
) STRICT, WITHOUT ROWID;

CREATE TABLE state (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    rows INTEGER NOT NULL -- in calls
) STRICT;
INSERT INTO state VALUES (1, 0);
