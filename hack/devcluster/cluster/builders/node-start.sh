#!/bin/sh
# Runs an installed Node.js chaincode; arguments go to its own start script.
set -eux
cd /usr/local/src
exec npm start -- "$@"
