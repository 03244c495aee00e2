-- Runs once, when the database is made on an empty volume. After a change here: docker compose down -v.

CREATE TABLE predictions (
    id            uuid PRIMARY KEY,                    -- made by the api, so that a row that is sent twice counts once
    requested_at  timestamptz      NOT NULL,
    pixels        real[]           NOT NULL,           -- the input
    digit         smallint         NOT NULL CHECK (digit BETWEEN 0 AND 9),
    model_version text             NOT NULL,
    cached        boolean          NOT NULL,           -- came from Redis, not from the model server
    latency_ms    double precision NOT NULL            -- thousandths of a second
);

CREATE INDEX predictions_requested_at ON predictions (requested_at);
