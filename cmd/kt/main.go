// Command kt is the LLM policy gateway.
package main

import "github.com/keeptrusts/kt/cmd"

func main() { cmd.Main() }
