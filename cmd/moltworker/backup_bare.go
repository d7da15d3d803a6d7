package main

import "github.com/moltworker/moltworker/internal/server"

// restoreBare restores from a store on a machine where nothing runs.
var restoreBare = server.RestoreBare
