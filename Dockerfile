# Both images of Trainyard, for docker buildx and for buildah:
#   docker buildx build --target operator .        the controller: no Ray, no torch
#   docker buildx build --target training .        what head, workers and drivers run
# Dependencies are one large layer below, the code is small layers on top: a code change moves only those.

# Any Debian-like image with Python 3.11 or later (python3, venv).
ARG BASE_IMAGE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS base
RUN if ! command -v tini > /dev/null; then \
      apt-get update && apt-get install --yes --no-install-recommends tini procps && rm -rf /var/lib/apt/lists/*; \
    fi && \
    useradd --uid 1000 --create-home --home-dir /home/trainyard --shell /bin/bash trainyard && \
    mkdir -p /opt/trainyard/code /results && \
    chown 1000:1000 /results && \
    python3 -m venv /opt/trainyard/venv && \
    echo /opt/trainyard/code > "$(/opt/trainyard/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/trainyard.pth" && \
    echo 'PATH=/opt/trainyard/venv/bin:$PATH' > /etc/profile.d/trainyard.sh && \
    for script in trainyard:trainyard.cli trainyard-operator:trainyard_operator.__main__; do \
      printf '#!/opt/trainyard/venv/bin/python\nimport sys\n\nfrom %s import main\n\nsys.exit(main())\n' "${script#*:}" \
        > "/opt/trainyard/venv/bin/${script%%:*}" && chmod 755 "/opt/trainyard/venv/bin/${script%%:*}" || exit 1; \
    done && \
    python3 -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir --quiet uv==0.13.8
ENV PATH=/opt/trainyard/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOME=/home/trainyard

FROM base AS requirements
COPY dev/image/requirements.py /src/
# constraints.txt is optional: the glob matches nothing where it is absent.
COPY pyproject.toml constraints.tx[t] /src/
RUN touch /src/constraints.txt && \
    python3 /src/requirements.py /src/pyproject.toml /out && \
    cp /src/constraints.txt /out/ && touch --date=@0 /out/constraints.txt

FROM base AS operator-dependencies
# "--cache-dir=FOLDER" where the builder mounts a cache of packages.
ARG UV_OPTIONS=--no-cache
COPY --from=requirements /out/operator.txt /out/constraints.txt /opt/trainyard/
RUN /opt/uv/bin/uv pip install --system-certs ${UV_OPTIONS} --compile-bytecode --python /opt/trainyard/venv/bin/python \
      --requirement /opt/trainyard/operator.txt --constraint /opt/trainyard/constraints.txt && \
    rm -rf /opt/uv

FROM operator-dependencies AS operator
COPY --from=requirements /out/ /opt/trainyard/code/
COPY operator/trainyard_operator /opt/trainyard/code/trainyard_operator
RUN python -m compileall -q /opt/trainyard/code
USER 1000:1000
WORKDIR /home/trainyard
ENTRYPOINT ["tini", "--"]
CMD ["trainyard-operator"]

FROM base AS training-dependencies
# Where torch comes from, when it is not the default package index; the CPU index makes the image four times smaller.
ARG TORCH_INDEX=
ARG UV_OPTIONS=--no-cache
COPY --from=requirements /out/training.txt /out/constraints.txt /opt/trainyard/
RUN if [ -n "${TORCH_INDEX}" ]; then \
      /opt/uv/bin/uv pip install --system-certs ${UV_OPTIONS} --python /opt/trainyard/venv/bin/python --index-url "${TORCH_INDEX}" \
        --constraint /opt/trainyard/constraints.txt torch || exit 1; \
    fi && \
    /opt/uv/bin/uv pip install --system-certs ${UV_OPTIONS} --compile-bytecode --python /opt/trainyard/venv/bin/python \
      --requirement /opt/trainyard/training.txt --constraint /opt/trainyard/constraints.txt && \
    rm -rf /opt/uv

FROM training-dependencies AS training
COPY --from=requirements /out/ /opt/trainyard/code/
COPY training_image/trainyard /opt/trainyard/code/trainyard
RUN python -m compileall -q /opt/trainyard/code
# The commit that the code is of, for run.json and the report; "+changed" behind it where the files differ from it.
ARG GIT_REVISION=
ENV TRAINYARD_GIT_REVISION=${GIT_REVISION}
USER 1000:1000
WORKDIR /home/trainyard
ENTRYPOINT ["tini", "--"]
CMD ["trainyard", "--help"]
