// Package house holds the rules of the house as tests, and nothing else: which
// package may import which, that every package says what it is, what nothing may
// be called, that no download address of a package registry is built in, and how
// long a file and a function may be.
//
// A rule that is in the way is changed here, in the open, with its reason.
package house
