#!/usr/bin/env bash
# Runs every fuzz target of the main module for a short time, one after the other.
# usage: internal/tools/fuzz.sh [time per target, default 3s]
set -euo pipefail
time=${1:-3s}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
found=$(go env GOCACHE)/fuzz # where go test -fuzz keeps the inputs that it found
# fuzz PACKAGE FOLDER TARGET, with the test binary of the package: go test would link it anew for each target.
fuzz() {
  (cd "$2" && "$tmp/fuzz.test" -test.run '^$' -test.fuzz "^$3\$" -test.fuzztime "$time" -test.fuzzminimizetime 10x \
    -test.fuzzcachedir "$found/$1" </dev/null 2>&1) | tee "$tmp/out"
}
# Targets are read from the sources: go test -list would link a test binary for each package, most without a target.
list='{{.ImportPath}} {{.Dir}}{{range .TestGoFiles}} {{.}}{{end}}{{range .XTestGoFiles}} {{.}}{{end}}'
go list -f "$list" ./... | while read -r pkg dir files; do
  [[ $files ]] || continue
  # shellcheck disable=SC2086
  targets=$(cd "$dir" && sed -nE 's/^func (Fuzz[[:alnum:]_]*)\(.*/\1/p' $files)
  [[ $targets ]] || continue
  go test -c -vet=off -fuzz . -o "$tmp/fuzz.test" "$pkg" </dev/null
  for t in $targets; do
    echo "fuzz $pkg $t $time"
    if ! fuzz "$pkg" "$dir" "$t"; then
      # Where a worker is busy when the time is up, it may fail without an input that fails: once more then.
      if grep -q 'context deadline exceeded' "$tmp/out" && ! grep -q 'Failing input' "$tmp/out"; then
        fuzz "$pkg" "$dir" "$t"
      else
        exit 1
      fi
    fi
  done
done
