# docker build -t blobkeep . && docker run -d -p 7777:7777 -v blobs:/data blobkeep
# Every dependency is a wheel, so the slim image needs no compiler. supervisord is process 1 and reaps orphans.
FROM python:3.12-slim

RUN useradd --system --uid 7777 --no-create-home blobkeep && install -d -o blobkeep -m 0700 /data

WORKDIR /blobkeep
COPY pyproject.toml README.md LICENSE ./
COPY common ./common
COPY services ./services
COPY conf ./conf
COPY docs ./docs
RUN pip install --no-cache-dir .

USER blobkeep
ENV BLOBKEEP_DIR=/data
VOLUME /data
EXPOSE 7777

# Reads the configuration, TLS and address included. 503 while the disk refuses writes, no answer while the
# server cannot start: both are unhealthy.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["blobkeep", "health"]

CMD ["blobkeep", "serve"]
