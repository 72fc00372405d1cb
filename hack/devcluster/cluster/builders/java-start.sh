#!/bin/sh
# A stand-in: there is no Java here. Where a chaincode.jar was built it runs a chaincode written in Go, the
# project's sample "basic".
set -eu
jar=/root/chaincode-java/chaincode/chaincode.jar
if [ "${1-}" != --peerAddress ] || [ -z "${2-}" ]; then
	echo >&2 "usage: start --peerAddress HOST:PORT"
	exit 2
fi
if [ ! -s "$jar" ]; then
	echo >&2 "$jar is missing"
	exit 1
fi
echo "stand-in for fabric-javaenv: $jar is there, running the Go sample in its place"
exec /usr/local/bin/sample-chaincode -peer.address="$2"
