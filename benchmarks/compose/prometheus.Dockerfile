# Stands in for the public Prometheus image: Debian's package, started as that image starts its own.
FROM debian:12.12-slim
RUN apt-get update && apt-get install --yes --no-install-recommends prometheus \
 && rm -rf /var/lib/apt/lists/* /etc/prometheus/* && install -d -o nobody -g nogroup /prometheus
USER nobody
VOLUME /prometheus
WORKDIR /prometheus
ENTRYPOINT ["/bin/prometheus"]
CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
