#!/bin/sh
# Installs a Node.js chaincode: the tree with its dependencies is what runs.
set -eux
cp -R /chaincode/input/src/. /chaincode/output
cd /chaincode/output
if [ -f package-lock.json ] || [ -f npm-shrinkwrap.json ]; then
	npm ci --omit=dev
else
	npm install --omit=dev
fi
