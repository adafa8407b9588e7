#!/usr/bin/env bash
# Writes the three hashed locks from pyproject.toml, and one for each peer that `keepword bench compare` runs against (in an
# environment of its own). The dev lock is held to the cpu lock's versions.
# Versions already locked stay: delete a lock first to move everything to the newest.
set -euo pipefail
cd "$(dirname "$0")/../.."

uv_version=0.13.9
tools="${XDG_CACHE_HOME:-$HOME/.cache}/keepword/tools/uv-$uv_version"
if [[ ! -x $tools/done/bin/uv ]]; then
    rm -rf "$tools"
    "${PYTHON:-python3.11}" -m venv "$tools/new"
    "$tools/new/bin/python" -m pip install -qq --disable-pip-version-check "uv==$uv_version"
    mv "$tools/new" "$tools/done"
fi

# pip reads PIP_FIND_LINKS from the environment, uv does not. The folders are only looked in, never written down.
find_links=()
for folder in ${PIP_FIND_LINKS:-}; do
    find_links+=(--find-links "$folder")
done

compile() {
    "$tools/done/bin/uv" pip compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links \
        --python-version 3.11 "${find_links[@]}" --custom-compile-command "make lock" "$@"
}
requirements=deploy/requirements
compile pyproject.toml --extra cpu --override $requirements/overrides-cpu.txt -o $requirements/cpu.txt
compile pyproject.toml --extra cpu --group dev --override $requirements/overrides-cpu.txt -c $requirements/cpu.txt -o $requirements/dev.txt
compile pyproject.toml --extra gpu -o $requirements/gpu.txt
for peer in $requirements/peers/*.in; do
    compile "$peer" -o "${peer%.in}.txt"
done
