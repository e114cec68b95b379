#!/bin/sh
# Run once by the PostgreSQL image, on an empty data folder: a role and a database of its own for each service.
set -eu
for role in llactr_ctr llactr_llm; do
  psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
    --set role="$role" --set password="$(cat "/run/llactr/keys/postgres/$role.password")" <<'SQL'
CREATE ROLE :"role" LOGIN PASSWORD :'password';
CREATE DATABASE :"role" OWNER :"role" ENCODING 'UTF8' TEMPLATE template0;
REVOKE ALL ON DATABASE :"role" FROM PUBLIC;
SQL
done
