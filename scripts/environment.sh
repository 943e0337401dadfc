# Sourced by the other scripts. `prepare EXTRAS` sets $python to an interpreter that has the package installed.
#
# An active virtual or conda environment that contains torch is used as it is; otherwise .venv is created in the checkout.
# A stamp file records what was installed, so that later calls take no time and need no network.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

prepare() {
    local extras=$1 constraints=() stamp want
    if [ -n "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] && python -c 'import torch' 2>/dev/null; then
        python=$(python -c 'import sys; print(sys.executable)')
    else
        python="$root/.venv/bin/python"
        [ -x "$python" ] || "$(base_python)" -m venv "$root/.venv"
        constraints=(--constraint "$root/constraints.txt")
    fi
    stamp="$("$python" -c 'import sys; print(sys.prefix)')/energy-profiler-$extras.stamp"
    want="$root $(cat -- "$root/pyproject.toml" "$root/constraints.txt" | cksum)"
    if [ "$(cat -- "$stamp" 2>/dev/null)" = "$want" ] && "$python" -c 'import profiler' 2>/dev/null; then
        return
    fi
    echo "Installing into $("$python" -c 'import sys; print(sys.prefix)') (a few minutes, once) ..." >&2
    "$python" -m pip install -qq --disable-pip-version-check "${constraints[@]}" --editable "$root[$extras]"
    printf '%s\n' "$want" >"$stamp"
}

base_python() {
    local candidate
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    echo "Python 3.11 or newer was not found. On Debian: apt-get install python3 python3-venv" >&2
    exit 1
}
