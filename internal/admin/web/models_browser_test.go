package web

import (
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/moltworker/moltworker/test/browser"
)

const drawnCharts = `document.querySelectorAll(".plot canvas").length === document.querySelectorAll(".plot").length && document.querySelectorAll(".plot").length === 4`

// What models cost, on a desk and on a phone, by day and by night.
func TestModelsInABrowser(t *testing.T) {
	b := tab{browser.OpenTab(t)}
	w, _ := modelsWorld(t)
	for _, look := range []struct {
		name   string
		width  int64
		scheme string
	}{{"desk-light", 1280, "light"}, {"phone-dark", 390, "dark"}, {"phone-light", 390, "light"}, {"desk-dark", 1280, "dark"}} {
		b.dress(look.width, look.scheme)
		b.Do(chromedp.Navigate(w.url + "/_admin/models?by=trigger"))
		b.Until("the stream", live)
		b.Until("the charts", drawnCharts)
		b.Until("it fits", `document.documentElement.scrollWidth <= innerWidth`)
		b.Picture("models-" + look.name)
		b.Quiet("models " + look.name)
		b.Do(chromedp.Navigate(w.url + "/_admin/models/calls"))
		b.Until("the stream", live)
		b.Until("it fits", `document.documentElement.scrollWidth <= innerWidth`)
		b.Picture("calls-" + look.name)
		b.Press(`.calls tbody tr a`)
		b.Until("the call", `document.querySelector("h1").textContent.startsWith("Call of")`)
		b.Until("it fits", `document.documentElement.scrollWidth <= innerWidth`)
		b.Picture("call-" + look.name)
		b.Quiet("calls " + look.name)
	}
}

// A budget is set, calls are stopped and go on, and the charts stay.
func TestABudgetsLifeOnThePages(t *testing.T) {
	b := tab{browser.OpenTab(t)}
	w, _ := modelsWorld(t)
	b.dress(390, "light")
	b.Do(chromedp.Navigate(w.url + "/_admin/models"))
	b.Until("the stream", live)
	b.Until("the charts", drawnCharts)
	b.Do(chromedp.SendKeys(chromedp.CSS("#b-id"), "small"), chromedp.SendKeys(chromedp.CSS("#b-limit"), "0.10"))
	b.Press("#set-budget")
	b.Until("it is said", `document.querySelector("#flash").innerText.includes("The budget small is set.")`)
	b.Until("its bar", `[...document.querySelectorAll(".budget h3")].some(e => e.textContent === "small")`)
	b.Until("the charts again", drawnCharts)

	b.Press("#stop summary")
	b.Do(chromedp.SendKeys(chromedp.CSS("#stop-reason"), "<i>enough</i>"))
	b.Picture("stop-phone-light")
	b.Press("#stop-now")
	b.Until("it is stopped", `document.querySelector("#resume-0") !== null && document.body.innerText.includes("<i>enough</i>")`)
	b.Until("it fits", `document.documentElement.scrollWidth <= innerWidth`)
	b.Press("#resume-0")
	b.Until("it goes on", `document.querySelector("#resume-0") === null && document.querySelector("#flash").innerText.includes("Model calls go on.")`)

	b.Press(`.budget a[aria-label="Change small"]`)
	b.Until("its form", `document.querySelector("#b-id").value === "small" && document.querySelector("#b-id").readOnly`)
	b.Press(`.budget form button[aria-label="Remove small"]`)
	b.Press("#ask-yes")
	b.Until("it is gone", `document.querySelector("#flash").innerText.includes("The budget small is removed.")`)

	// By the keyboard: the table behind a chart.
	b.Do(chromedp.Focus(chromedp.CSS("#t-cost summary")), chromedp.KeyEvent("\r"))
	b.Until("the table", `document.querySelector("#t-cost").open && document.querySelectorAll("#t-cost tbody tr").length === 30`)
	b.Until("it fits", `document.documentElement.scrollWidth <= innerWidth`)
	b.Quiet("all that")
}
