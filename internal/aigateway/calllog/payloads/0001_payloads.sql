-- What was said in calls, where that is kept: one zstd frame for each side.
CREATE TABLE payloads (
    id       INTEGER PRIMARY KEY, -- as in calls
    request  BLOB    NOT NULL,
    response BLOB    NOT NULL,
    cut      INTEGER NOT NULL -- 1 the request goes on, 2 the response goes on
) STRICT;
