#!/bin/sh
# install.sh NAME DIRECTORY: the Java service NAME is in DIRECTORY, every file of it as SHA256SUMS says, and nothing else.
set -eu
source=$(cd "$(dirname "$0")/$1" && pwd)
mkdir -p "$2"
target=$(cd "$2" && pwd)
rm -rf "${target:?}"/*
mvn --batch-mode --quiet -Dstyle.color=never --strict-checksums --file "$source/pom.xml" \
    org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
    -DoutputDirectory="$target" -DincludeScope=runtime
(cd "$target" && sha256sum -- *) | diff "$source/SHA256SUMS" - > /dev/null \
    || { echo "what Maven gave for $1 isn't what $source/SHA256SUMS pins" >&2; exit 1; }
touch "$target/.installed"
