#!/usr/bin/env bash
# Runs every fuzz target of the main module for a short time, one after the other.
# usage: internal/tools/fuzz.sh [time per target, default 3s]
set -euo pipefail
time=${1:-3s}
for pkg in $(go list ./...); do
  targets=$(go test -list '^Fuzz' "$pkg" | grep '^Fuzz' || true)
  for t in $targets; do
    echo "fuzz $pkg $t $time"
    go test -run '^$' -fuzz "^$t\$" -fuzztime "$time" -fuzzminimizetime 10x "$pkg"
  done
done
