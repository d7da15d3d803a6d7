//go:build race

package calllog

const manyRows = 5000 // the race detector makes SQLite slow
