#!/bin/sh
# Installs the programs that the client tests run, into target/venv; says nothing and is quick when they are there.
set -eu
cd "$(dirname "$0")/../.."
wanted=tests/clients/requirements.txt

cmp -s "$wanted" target/venv/installed.txt && exit
python3 -m venv target/venv
target/venv/bin/pip install --quiet --requirement "$wanted"
cp "$wanted" target/venv/installed.txt
