// Command eval runs the detectors over labelled sets and prints what they find and what they miss.
//
//	go run ./bench/eval -data DIR        or KT_EVAL_DATA=DIR
//
// The sets are files of JSON lines: {"id", "text", "label", "spans", "tags", "source"}; label 1 means that a
// policy ought to act. They are not part of the repository. Without them the command says so and exits 0.
//
// The detectors are the policy kinds at their documented defaults, run through the real chain as one request
// text; where a kind has modes or levels, the table names the one that was used. Every set that is there is
// reported, with totals over all sets of a family.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	data := flag.String("data", os.Getenv("KT_EVAL_DATA"), "directory of the labelled sets (default $KT_EVAL_DATA)")
	only := flag.String("set", "", "only sets whose name holds this text")
	misses := flag.Bool("misses", false, "print the ids of rows that were decided wrongly, with entities; never their text")
	flag.Parse()
	if *data == "" {
		fmt.Println("eval: no data: give -data DIR or KT_EVAL_DATA; skipped")
		return
	}
	if _, err := os.Stat(*data); err != nil {
		fmt.Printf("eval: no data in %s; skipped\n", *data)
		return
	}
	e := &evaluation{dir: *data, only: *only, out: os.Stdout, misses: *misses}
	if err := e.run(); err != nil {
		fmt.Fprintln(os.Stderr, "eval:", err)
		os.Exit(2)
	}
}
