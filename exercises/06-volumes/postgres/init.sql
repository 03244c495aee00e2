-- Runs once, when the database is made on an empty volume.

CREATE TABLE pictures (
    name     text PRIMARY KEY,
    digit    smallint    NOT NULL,
    added_at timestamptz NOT NULL DEFAULT now()
);

-- The first pictures are there from the beginning.
INSERT INTO pictures VALUES
    ('example-1', 1, '2026-01-01 12:00:00Z'),
    ('example-2', 2, '2026-01-01 12:00:00Z'),
    ('example-3', 3, '2026-01-01 12:00:00Z');
