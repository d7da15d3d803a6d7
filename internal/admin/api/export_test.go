package api

// For the tests that speak through this package's client, which imports it.
var (
	ServeControl = serveControl
	Raw          = (*control).raw
)

type Control = control

func (c *control) Data() string           { return c.data }
func (c *control) Changed() <-chan string { return c.changed }
