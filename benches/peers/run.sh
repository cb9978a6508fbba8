#!/usr/bin/env bash
# Ours beside PyTorch in one sitting, on the CPU. Takes peers.py's options: run.sh --help.
#
# PEERS_VENV names a virtual environment to use instead of the one that this makes under target/.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
mkdir -p "$target/peers"

venv=${PEERS_VENV:-$target/peers/venv}
if [ -z "${PEERS_VENV:-}" ]; then
    [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt"
fi

cargo build --release --manifest-path "$root/Cargo.toml" --package octo --example peer
# The floors are the machine's, so they are compiled for it; the engine chooses its instructions as it runs.
rustc --edition 2024 -C opt-level=3 -C target-cpu=native -o "$target/peers/floor" "$here/floor.rs"

exec "$venv/bin/python" "$here/peers.py" \
    --peer "$target/release/examples/peer" --floor "$target/peers/floor" --scratch "$target/peers" "$@"
