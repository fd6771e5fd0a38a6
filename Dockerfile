# The worker's image: built on Rust's image, run on Debian's, as a user without rights.
#
#   docker build --tag throughline .
#   docker run --env THROUGHLINE_AMQP__URL=amqp://… throughline
#
# It needs no BuildKit. The image of the tests is another file (tests/Dockerfile), since a builder
# without BuildKit builds every stage of a file. Names of images are arguments for places that have a
# registry of their own.
ARG RUST_IMAGE=rust:1.95-slim-trixie
ARG RUNTIME_IMAGE=debian:trixie-slim

FROM ${RUST_IMAGE} AS build
WORKDIR /build
# Dependencies first, with an empty program: this layer is built anew only when Cargo.lock changes.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src \
    && echo 'fn main() {}' >src/main.rs \
    && touch src/lib.rs \
    && cargo build --release --locked --bin throughline \
    && rm -r src
COPY config config
COPY src src
# The files' times may be older than that build; cargo goes by them.
RUN find src -name '*.rs' -exec touch {} + \
    && cargo build --release --locked --bin throughline

FROM ${RUNTIME_IMAGE}
# The authorities to trust, for amqps, postgres over TLS and https.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
# A number that no other user of a host is likely to have. Its home is the one place the worker writes
# to, and only with SQLite: the image runs with a read-only root.
RUN groupadd --gid 10001 throughline \
    && useradd --uid 10001 --gid 10001 --no-log-init --shell /usr/sbin/nologin \
        --home-dir /var/lib/throughline --create-home throughline
COPY config/rules.toml config/production.toml /config/
COPY --from=build /build/target/release/throughline /usr/local/bin/throughline

LABEL org.opencontainers.image.title="Throughline" \
      org.opencontainers.image.description="Carries user data from one customer interaction to the next" \
      org.opencontainers.image.licenses="Apache-2.0"

# Named, so that a deployment that mounts /config without rules is told so instead of running without.
ENV THROUGHLINE_RULES__FILE=/config/rules.toml
USER 10001:10001
WORKDIR /var/lib/throughline
VOLUME ["/var/lib/throughline"]
# The default, spelled out: the worker finishes its batches on SIGTERM (shutdown.drain_secs).
STOPSIGNAL SIGTERM
ENTRYPOINT ["throughline"]
CMD ["run"]
