package browser_test

import (
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/moltworker/moltworker/test/browser"
)

func TestOpen(t *testing.T) {
	ctx := browser.Open(t)
	if err := chromedp.Do(ctx, chromedp.Navigate("data:text/html,<h1>hi</h1>")); err != nil {
		t.Fatal(err)
	}
	got, err := chromedp.Run(ctx, chromedp.Text("h1"))
	if err != nil || got != "hi" {
		t.Fatalf("page says %q, %v", got, err)
	}
}
