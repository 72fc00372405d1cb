#!/bin/sh
# A stand-in: there is no Java here. It looks for a project where the published image looks, and leaves a
# chaincode.jar that no Java could run.
set -eu
for dir in /chaincode/input /chaincode/input/src; do
	for project in build.gradle build.gradle.kts pom.xml; do
		if [ -f "$dir/$project" ]; then
			echo "stand-in for fabric-javaenv: taking $dir/$project for built"
			cat "$dir/$project" > /chaincode/output/chaincode.jar
			touch /chaincode/output/.uberjar
			exit 0
		fi
	done
done
echo >&2 "no build.gradle, build.gradle.kts or pom.xml in /chaincode/input or /chaincode/input/src"
exit 255
