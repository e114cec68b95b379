# Stands in for the public Redis image.
FROM debian:12.12-slim
RUN groupadd --system --gid 999 redis && useradd --system --gid 999 --uid 999 redis \
 && apt-get update && apt-get install --yes --no-install-recommends redis-server \
 && rm -rf /var/lib/apt/lists/* && install -d -o redis -g redis /data
VOLUME /data
WORKDIR /data
CMD ["redis-server"]
