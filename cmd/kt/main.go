// Command kt is the LLM policy gateway, with the quick start's policies compiled in.
package main

import (
	"github.com/keeptrusts/kt/cmd"
	"github.com/keeptrusts/kt/pipeline/compiled/quickstart"
)

func main() { cmd.Main(quickstart.Chain) }
