// Command ktgen is what go generate runs: "ktgen all" in the kt repository,
// "ktgen pack" in a module of somebody who compiles a pack of their own.
package main

import (
	"os"

	"github.com/keeptrusts/kt/gen"
)

func main() { os.Exit(gen.Main(os.Args[1:], os.Stdout, os.Stderr)) }
