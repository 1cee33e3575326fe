#!/bin/sh
# Shows that the gate fails on a planted slowdown and on a planted allocation,
# one for each event of a stream, and passes without. Nothing in the tree is
# changed: the planted file is laid over the build (go build -overlay).
set -eu
cd "$(dirname "$0")/../.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
hot=stream/window.go
line='^func (w \*Window) event(ev sse.Event) {$'
grep -q "$line" "$hot" || { echo "selftest: $hot has no line that matches $line" >&2; exit 2; }
printf '{"Replace":{"%s":"%s"}}' "$PWD/$hot" "$dir/planted.go" >"$dir/overlay.json"
go build -o "$dir/gate" ./bench/gate

plant() { # statement, declaration
	sed "s|$line|&\n\t$1|" "$hot" >"$dir/planted.go"
	printf '\n%s\n' "$2" >>"$dir/planted.go"
}

expect() { # name, wanted exit status, wanted words, gate flags
	name=$1 status=$2 words=$3
	shift 3
	got=0
	"$dir/gate" "$@" >"$dir/out.txt" 2>&1 || got=$?
	if [ "$got" -ne "$status" ] || ! grep -q "$words" "$dir/out.txt"; then
		cat "$dir/out.txt"
		echo "selftest: $name: exit status $got, want $status with \"$words\"" >&2
		exit 1
	fi
	echo "selftest: $name: exit status $got: $(grep -c '^FAIL' "$dir/out.txt" || true) failures"
}

expect "nothing planted" 0 "allocations of" -allocs
plant 'planted = new([48]byte)' 'var planted *[48]byte'
expect "an allocation planted" 1 "allocations per operation, table says" -allocs -overlay "$dir/overlay.json"
plant 'for i := range 1500 { planted += i * planted }' 'var planted = 1'
expect "a slowdown planted" 1 "slower than the base" -base HEAD -rounds 6 -overlay "$dir/overlay.json"
echo OK
