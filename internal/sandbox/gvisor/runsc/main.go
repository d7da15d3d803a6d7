// Command runsc is gVisor's own program and nothing else. It is not part of a
// released moltworker: package gvisor builds it, without cgo, where moltworker
// itself was built with cgo and is therefore a program that cannot start inside
// gVisor's empty root.
package main

import "gvisor.dev/gvisor/runsc/cli/maincli"

func main() { maincli.Main() }
