# Sidegate in a container: non-root, read-only root; only /run/sidegate (the socket) and /var/lib/sidegate (the journal) are written.
#
#   docker run --read-only -v ./sidegate.yaml:/etc/sidegate/sidegate.yaml:ro -v journal:/var/lib/sidegate -v socket:/run/sidegate sidegate
#
# Secrets come as mounted files that the configuration names; none is built in.

FROM node:24-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json LICENSE ./
COPY scripts ./scripts
COPY proto ./proto
COPY src ./src
RUN node scripts/build.mjs \
    && npm prune --omit=dev --ignore-scripts --no-audit --no-fund \
    && mkdir empty

FROM node:24-slim
ENV NODE_ENV=production
WORKDIR /app
COPY --from=build /app/package.json /app/LICENSE ./
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/proto ./proto
COPY --from=build /app/dist ./dist
# Made by COPY, which can set the owner; 10001 is nobody's number on the host.
COPY --from=build --chown=10001:10001 /app/empty /run/sidegate
COPY --from=build --chown=10001:10001 /app/empty /var/lib/sidegate
USER 10001:10001
VOLUME ["/run/sidegate", "/var/lib/sidegate"]
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["node", "dist/cli.js", "status", "--quiet"]
ENTRYPOINT ["node", "dist/cli.js"]
CMD ["serve", "--config", "/etc/sidegate/sidegate.yaml"]
