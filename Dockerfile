# One image for the API, the migration job and whatever else of the service runs; `slipway image` builds it.
# Three layers: the base, the locked packages, the service. Each is the same for the same content, whenever it is built.

ARG BASE_IMAGE=docker.io/library/python:3.14-slim-trixie@sha256:51dafde81dbdb6ebde285137a295cf18a47ca95234fe388a343719cb97305b3d

FROM ${BASE_IMAGE} AS base

FROM base AS build
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt/lists,sharing=locked \
    rm -f /etc/apt/apt.conf.d/docker-clean \
 && apt-get update --quiet \
 && DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends binutils

FROM build AS tidied-base
RUN --mount=type=bind,from=base,target=/base \
    --mount=type=bind,source=ops,target=/source/ops \
    cd /source && python3 -m ops.image_tree base /base /out

FROM build AS packages
RUN --mount=type=cache,target=/root/.cache \
    --mount=type=secret,id=index \
    --mount=type=secret,id=certificates \
    --mount=type=bind,source=requirements,target=/source/requirements \
    --mount=type=bind,source=ops,target=/source/ops \
    cd /source && python3 -m ops.image_tree packages requirements/uv.txt requirements/service.txt /app/packages

FROM packages AS service
ARG SOURCE_DATE_EPOCH=0
RUN --mount=type=bind,target=/source \
    cd /source && python3 -m ops.image_tree service /source /out/packages /out/service

FROM scratch
COPY --from=tidied-base /out/ /
COPY --from=service /out/packages/ /
COPY --from=service /out/service/ /
ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin \
    LANG=C.UTF-8 \
    PYTHONPATH=/app:/app/packages \
    PYTHONPYCACHEPREFIX=/app/bytecode \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONNOUSERSITE=1
WORKDIR /app
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=30s --start-period=30s --retries=2 CMD ["python", "-m", "service.healthcheck"]
CMD ["python", "-m", "gunicorn", "--config", "python:service.server", "--bind", "0.0.0.0:8000", "--workers", "2", "service.main:create_app()"]
ARG BASE_IMAGE
ARG VERSION=0
ARG REVISION=
ARG CREATED=
LABEL org.opencontainers.image.title="slipway" \
      org.opencontainers.image.description="The API of Slipway, and its migration job" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${BASE_IMAGE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
