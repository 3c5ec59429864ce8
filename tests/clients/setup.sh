#!/bin/sh
# Installs the programs that the client tests run, into target/venv and target/node; says nothing and is quick when they
# are there.
set -eu
cd "$(dirname "$0")/../.."
python=tests/clients/requirements.txt node=tests/clients/package-lock.json

if ! cmp -s "$python" target/venv/installed.txt; then
    python3 -m venv target/venv
    target/venv/bin/pip install --quiet --requirement "$python"
    cp "$python" target/venv/installed.txt
fi
if ! cmp -s "$node" target/node/installed.json; then
    mkdir -p target/node
    cp tests/clients/package.json "$node" target/node
    npm ci --silent --prefix target/node
    cp "$node" target/node/installed.json
fi
