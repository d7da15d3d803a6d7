package openclaw

// MendFirst lets the tests outside, which have the real runtime, try it.
var MendFirst = mendFirst
