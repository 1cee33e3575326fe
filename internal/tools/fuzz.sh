#!/usr/bin/env bash
# Runs every fuzz target of the main module for a short time, one after the other.
# usage: internal/tools/fuzz.sh [time per target, default 3s]
set -euo pipefail
time=${1:-3s}
out=$(mktemp)
trap 'rm -f "$out"' EXIT
fuzz() { go test -run '^$' -fuzz "^$2\$" -fuzztime "$time" -fuzzminimizetime 10x "$1" 2>&1 | tee "$out"; }
for pkg in $(go list ./...); do
  targets=$(go test -list '^Fuzz' "$pkg" | grep '^Fuzz' || true)
  for t in $targets; do
    echo "fuzz $pkg $t $time"
    if ! fuzz "$pkg" "$t"; then
      # Where a worker is busy when the time is up, go test may fail without an input that fails: once more then.
      if grep -q 'context deadline exceeded' "$out" && ! grep -q 'Failing input' "$out"; then
        fuzz "$pkg" "$t"
      else
        exit 1
      fi
    fi
  done
done
