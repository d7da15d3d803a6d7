// Package e2e tells, as tests, the stories of people who use moltworker: the
// real program, the real OpenClaw, the real sandbox and a real browser. It holds
// nothing but tests, and knows the program only by its command line and its
// pages.
package e2e
