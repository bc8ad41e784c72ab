# docker build -t blobkeep . && docker run -d -p 7777:7777 -v blobs:/data blobkeep
# Every dependency is a wheel, so the slim image needs no compiler. supervisord is process 1 and reaps orphans.
FROM python:3.12-slim

RUN useradd --system --uid 7777 --no-create-home blobkeep && install -d -o blobkeep -m 0700 /data

WORKDIR /blobkeep
COPY pyproject.toml README.md supervisord.conf ./
COPY conf ./conf
COPY common ./common
COPY services ./services
RUN install -d -o blobkeep -m 0700 run && pip install --no-cache-dir -e . && python -m compileall -q common services

USER blobkeep
ENV BLOBKEEP_DIR=/data
VOLUME /data
EXPOSE 7777

# 503 while the disk refuses writes, nothing while the server cannot start: both are unhealthy.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:7777/healthz', timeout=2)"]

CMD ["supervisord", "-c", "supervisord.conf"]
