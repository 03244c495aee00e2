# Over TCP, and as far as the table that the init script makes.
psql --host 127.0.0.1 --username postgres --dbname "$POSTGRES_DB" --quiet --command 'SELECT count(*) FROM predictions'
