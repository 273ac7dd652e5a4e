# twinreel on the CPU. Not built by the project's tests: only checked with hadolint.
#   docker build -t twinreel .
#   docker run --rm -v ~/Videos:/videos -v twinreel:/data twinreel dups /videos
FROM python:3.11-slim-bookworm

ENV XDG_DATA_HOME=/data \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY man ./man
COPY src ./src
RUN pip install --index-url https://download.pytorch.org/whl/cpu "torch==2.13.0" \
    && pip install -c constraints.txt ".[web]" \
    && useradd --create-home --uid 1000 twinreel \
    && mkdir /data \
    && chown twinreel /data
USER 1000
WORKDIR /videos
VOLUME /data
ENTRYPOINT ["twinreel"]
CMD ["--help"]
