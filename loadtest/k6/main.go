// Command k6 is k6 with kt's server-sent-events module (k6/x/ktsse) linked in.
// It lives in its own module because k6 is AGPL-3.0: nothing of it is part of kt.
package main

import (
	"go.k6.io/k6/cmd"

	_ "github.com/keeptrusts/kt/loadtest/k6/ktsse"
)

func main() { cmd.Execute() }
