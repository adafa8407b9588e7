#!/usr/bin/env bash
# The programs the tests drive and pip cannot bring: a browser, a Chinese font, a database server.
set -euo pipefail

missing=()
command -v chromium >/dev/null || missing+=(chromium)
[[ -e /usr/share/fonts/truetype/wqy/wqy-zenhei.ttc ]] || missing+=(fonts-wqy-zenhei)
command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || missing+=(postgresql)
[[ ${#missing[@]} -eq 0 ]] && exit 0

if ! command -v apt-get >/dev/null; then
    echo "set-up: the tests need these Debian packages, or what your system calls them: ${missing[*]}" >&2
    exit 1
fi
install="apt-get install --yes --no-install-recommends ${missing[*]}"
if [[ $EUID -ne 0 ]]; then
    echo "set-up: the tests need ${missing[*]}; run: sudo apt-get update && sudo $install" >&2
    exit 1
fi
echo "set-up: installing ${missing[*]} (Debian; about 150 MB)" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get -o DPkg::Lock::Timeout=300 update && $install -o DPkg::Lock::Timeout=300; } </dev/null >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "set-up: apt-get failed; run: apt-get update && $install" >&2
    exit 1
fi
