# shipper in a container: built from this repository, runs as nobody special.
#
#   docker build -t shipper .
#   docker run --rm -v /var/log:/var/log:ro -v shipper:/var/lib/shipper \
#       -v /etc/shipper:/etc/shipper:ro shipper
#
# On EC2 a container needs a metadata hop limit of 2, and read permission on the logs.
FROM python:3.13-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY shipper shipper
RUN python -m venv /opt/shipper \
    && /opt/shipper/bin/pip install --no-cache-dir --constraint constraints.txt '.[crt]'

FROM python:3.13-slim-bookworm
RUN useradd --system --uid 963 --home-dir /var/lib/shipper --create-home --shell /usr/sbin/nologin shipper
COPY --from=build /opt/shipper /opt/shipper
ENV PATH=/opt/shipper/bin:$PATH PYTHONUNBUFFERED=1
USER shipper
VOLUME /var/lib/shipper
ENTRYPOINT ["shipper"]
CMD ["run"]
