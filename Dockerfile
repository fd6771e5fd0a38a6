# The worker's image: the program, the libraries it is linked to, the authorities to trust, and nothing
# else: no shell, no package manager, a user without rights.
#
#   docker build --tag throughline .
#   docker run --env THROUGHLINE_AMQP__URL=amqp://… throughline
#
# It needs no BuildKit. The image of the tests is another file (tests/Dockerfile), since a builder
# without BuildKit builds every stage of a file. The name of the image to build on is an argument for
# places that have a registry of their own.
ARG RUST_IMAGE=rust:1.95-slim-trixie

FROM ${RUST_IMAGE} AS build
WORKDIR /build
# Dependencies first, with an empty program: this layer is built anew only when Cargo.lock changes.
COPY .cargo .cargo
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
# The root file system of the worker. Its libraries are those of the C library, as the linker finds
# them; with them names are resolved as everywhere, by /etc/hosts and DNS.
WORKDIR /rootfs
RUN mkdir -p etc/ssl/certs tmp usr/local/bin var/lib/throughline \
    && chmod 1777 tmp \
    && cp /build/target/release/throughline usr/local/bin/ \
    && ldd usr/local/bin/throughline | grep -o '/[^ ]*' | xargs cp --parents --dereference --target-directory . \
    && cp /etc/ssl/certs/ca-certificates.crt etc/ssl/certs/ \
    && echo 'hosts: files dns' >etc/nsswitch.conf \
    && echo 'throughline:x:10001:10001::/var/lib/throughline:/usr/sbin/nologin' >etc/passwd \
    && echo 'throughline:x:10001:' >etc/group

FROM scratch
COPY --from=build /rootfs /
# A number that no other user of a host is likely to have. Its home is the one place the worker writes
# to, and only with SQLite: the image runs with a read-only root.
COPY --from=build --chown=10001:10001 /rootfs/var/lib/throughline /var/lib/throughline
COPY config/rules.toml config/production.toml /config/

LABEL org.opencontainers.image.title="Throughline" \
      org.opencontainers.image.description="Carries user data from one customer interaction to the next" \
      org.opencontainers.image.licenses="Apache-2.0"

# Named, so that a deployment that mounts /config without rules fails to start instead of running without.
ENV PATH=/usr/local/bin \
    THROUGHLINE_RULES__FILE=/config/rules.toml
# Inside the container only, for the health check and `throughline status`. To have metrics read from
# outside: 0.0.0.0:9464 and THROUGHLINE_HTTP__ALLOW_REMOTE=true, in a private network.
ENV THROUGHLINE_HTTP__LISTEN=127.0.0.1:9464
# For the worker; other commands of this image end before the first check.
HEALTHCHECK --interval=30s --timeout=6s --start-period=30s --retries=3 \
    CMD ["throughline", "healthcheck"]
USER 10001:10001
WORKDIR /var/lib/throughline
VOLUME ["/var/lib/throughline"]
# The default, spelled out: the worker finishes its batches on SIGTERM (shutdown.drain_secs).
STOPSIGNAL SIGTERM
ENTRYPOINT ["throughline"]
CMD ["run"]
