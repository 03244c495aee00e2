-- Runs once, when the database is made on an empty volume. To change the table later: a migration, or an empty volume.

CREATE TABLE predictions (
    id            uuid PRIMARY KEY,           -- made by the api, so that a row that is sent twice counts once
    requested_at  timestamptz      NOT NULL,
    input_hash    text             NOT NULL,  -- sha256 of the 64 pixels
    digit         smallint         NOT NULL CHECK (digit BETWEEN 0 AND 9),
    probabilities real[]           NOT NULL,
    model_version text             NOT NULL,
    cached        boolean          NOT NULL,
    latency_ms    double precision NOT NULL,
    served_by     text             NOT NULL   -- the replica that computed the answer
);

CREATE INDEX predictions_requested_at ON predictions (requested_at);
