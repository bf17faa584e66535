# shipper in a container: as nobody special, on a root file system that is never written to.
#
#   docker build -t shipper .
#   docker run --detach --read-only --cap-drop all --security-opt no-new-privileges --stop-timeout 30 \
#       --group-add "$(getent group adm | cut -d: -f3)" --volume shipper:/var/lib/shipper \
#       --volume /etc/shipper:/etc/shipper:ro --volume /var/log:/var/log:ro shipper
#
# What that needs on EC2, and what it cannot do, is in docs/install.md, "In a container".
#
# BASE is any image with Python >= 3.11 and its venv; pin it for your builds by digest (BASE=python@sha256:...).
ARG BASE=python:3.13-slim-bookworm

FROM ${BASE} AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md CHANGELOG.md LICENSE ./
COPY docs docs
COPY systemd systemd
COPY shipper shipper
# The same environment as on an instance: compiled, pinned, without pip. Of botocore's 400 services
# it keeps the three that are called, and what all of them share; of zstandard the backend that is used.
RUN mkdir /image && systemd/install.sh --root /image \
    && cd /image/opt/shipper/lib/python3.*/site-packages \
    && rm -f zstandard/_cffi.*.so \
    && cd botocore/data \
    && find . -mindepth 1 -maxdepth 1 -type d ! -name s3 ! -name sts ! -name autoscaling -exec rm -r {} +

FROM ${BASE}
# By number, so that volumes keep their owner from one image to the next and Kubernetes sees that it is not root.
RUN groupadd --gid 963 shipper \
    && useradd --uid 963 --gid 963 --home-dir /var/lib/shipper --no-create-home --shell /usr/sbin/nologin shipper \
    && install -d -m 700 -o 963 -g 963 /var/lib/shipper \
    && install -d -m 755 /etc/shipper
COPY --from=build /image/opt/shipper /opt/shipper
ENV PATH=/opt/shipper/bin:$PATH PYTHONFAULTHANDLER=1
USER 963:963
VOLUME /var/lib/shipper
# As process 1 and without an init: it handles its signals itself, waits for each child that it has,
# and nothing here leaves a child to it. Journal, lock and socket are in the volume; nothing else is written.
HEALTHCHECK --interval=1m --timeout=15s --start-period=5m CMD ["shipper", "check", "--health"]
ENTRYPOINT ["shipper"]
CMD ["run"]
