//go:build !race

package calllog

const manyRows = 200_000
