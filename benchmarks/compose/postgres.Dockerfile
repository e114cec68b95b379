# Stands in for the public PostgreSQL image: Debian's server, and of the image's start only what the compose file uses.
FROM debian:12.12-slim
RUN groupadd --system --gid 999 postgres && useradd --system --gid 999 --uid 999 postgres \
 && apt-get update && apt-get install --yes --no-install-recommends postgresql-15 \
 && rm -rf /var/lib/apt/lists/* /var/lib/postgresql/15 \
 && install -d -o postgres -g postgres /var/lib/postgresql/data \
 && install -d -o postgres -g postgres -m 3777 /run/postgresql
COPY postgres-start.sh /usr/local/bin/docker-entrypoint.sh
ENV LANG=C.UTF-8 PATH=/usr/lib/postgresql/15/bin:$PATH PGDATA=/var/lib/postgresql/data
VOLUME /var/lib/postgresql/data
STOPSIGNAL SIGINT
ENTRYPOINT ["sh", "/usr/local/bin/docker-entrypoint.sh"]
