#!/usr/bin/env bash
# Runs every fuzz target of the main module for a short time, one after the other.
# usage: internal/tools/fuzz.sh [time per target, default 3s]
set -euo pipefail
time=${1:-3s}
out=$(mktemp)
trap 'rm -f "$out"' EXIT
fuzz() { go test -run '^$' -fuzz "^$2\$" -fuzztime "$time" -fuzzminimizetime 10x "$1" </dev/null 2>&1 | tee "$out"; }
# Targets are read from the sources: go test -list would link a test binary for each package, most without a target.
list='{{.ImportPath}} {{.Dir}}{{range .TestGoFiles}} {{.}}{{end}}{{range .XTestGoFiles}} {{.}}{{end}}'
go list -f "$list" ./... | while read -r pkg dir files; do
  [[ $files ]] || continue
  # shellcheck disable=SC2086
  targets=$(cd "$dir" && sed -nE 's/^func (Fuzz[[:alnum:]_]*)\(.*/\1/p' $files)
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
