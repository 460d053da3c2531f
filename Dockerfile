# The Headsaw service. Stages: the locked dependencies, the native parser, the wheels, and what runs.
# All but the native parser's start from one image, so an environment made in the first runs in the last.
ARG PYTHON_IMAGE=python:3.13-slim-trixie
# Of the same Debian release: what is linked here is loaded there.
ARG RUST_IMAGE=rust:1.95-slim-trixie


# The dependencies change seldom, the service often: the service is a layer of its own on top.
FROM ${PYTHON_IMAGE} AS dependencies

# pip lives outside the environment that ships.
RUN python3 -m venv /opt/build \
 && python3 -m venv --without-pip /opt/headsaw
COPY requirements/run.txt /src/requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/build/bin/pip --python /opt/headsaw/bin/python install --require-hashes --only-binary=:all: --no-compile \
        --requirement /src/requirements/run.txt
# Left out: what only a compiler or a library's own tests read, and Arrow's RPC (an optional module, unused here).
# Compiled now, since the root file system is read-only later. Imported, so that a wrong omission fails here.
RUN find /opt/headsaw/lib -path '*/pyarrow/*' \
        \( -path '*/include' -o -path '*/src' -o -path '*/tests' -o -name '*_flight*' \) \
        -prune -exec rm -rf {} + \
 && /opt/headsaw/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/headsaw/lib \
 && /opt/headsaw/bin/python -c 'import pyarrow.compute, pyarrow.dataset, pyarrow.parquet, polars'


FROM dependencies AS maturin

COPY requirements/native-build.txt /src/requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/build/bin/pip install --require-hashes --only-binary=:all: --requirement /src/requirements/native-build.txt


# One wheel for every Python: none is needed here. Crates come by the checksums in locked.toml.
FROM ${RUST_IMAGE} AS native

COPY --from=maturin /opt/build/bin/maturin /usr/local/bin/
COPY native/Cargo.toml native/locked.toml native/lock.sh native/pyproject.toml /src/native/
COPY native/src /src/native/src
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    /src/native/lock.sh restore \
 && maturin build --release --locked --compatibility linux --manifest-path /src/native/Cargo.toml --out /wheels


# Wheels are collected in /wheels: the native parser's and the service's own.
FROM dependencies AS wheel

COPY requirements/deploy-build.txt /src/requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/build/bin/pip install --require-hashes --only-binary=:all: --requirement /src/requirements/deploy-build.txt
COPY pyproject.toml README.md LICENSE /src/
COPY service /src/service
COPY --from=native /wheels /wheels
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels /src \
 && /opt/build/bin/pip --python /opt/headsaw/bin/python install --no-deps --no-index --no-compile --no-warn-script-location \
        --root /stage /wheels/*.whl \
 && /opt/headsaw/bin/python -m compileall -q -s /stage --invalidation-mode unchecked-hash /stage


FROM ${PYTHON_IMAGE}

LABEL org.opencontainers.image.title="headsaw" \
      org.opencontainers.image.description="Exactly-once NDJSON to Parquet: an SQS-driven streaming worker for S3" \
      org.opencontainers.image.licenses="Apache-2.0"

# A named user for libraries that ask; no installer for anyone who gets in.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin headsaw \
 && rm -rf /usr/local/bin/pip* /usr/local/lib/python3.*/site-packages/pip* /usr/local/lib/python3.*/ensurepip

COPY --from=dependencies /opt/headsaw /opt/headsaw
COPY --from=wheel /stage /

ENV PATH=/opt/headsaw/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

USER 10001:10001
EXPOSE 8080

# Exec form: the worker is process 1 and gets SIGTERM itself.
ENTRYPOINT ["headsaw"]
CMD ["run", "-c", "/etc/headsaw/config.yaml"]
