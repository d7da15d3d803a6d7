package web

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/admin/admintest"
	"github.com/moltworker/moltworker/internal/audit"
	"github.com/moltworker/moltworker/internal/backup"
	"github.com/moltworker/moltworker/internal/backup/safekeeper"
	"github.com/moltworker/moltworker/test/browser"
)

// The whole of it, with the real control plane: an agent works, is backed up, drilled
// and put back, a key is made, and the record says who did that.
func TestABackupsLifeOnThePages(t *testing.T) {
	b := tab{browser.OpenTab(t)}
	kept := admintest.NewBackups(time.Now, "main")
	real := admintest.New(t, func(o *admin.Options) { o.Backups = kept })
	w := serveThe(t, real.Plane, real.Options.Audit)
	b.dress(390, "light")
	b.Do(chromedp.Navigate(w.url + "/_admin/storage"))
	b.Until("the stream", live)
	b.Until("nothing", `document.body.innerText.includes("Nothing is kept of main yet.")`)

	kept.Write("main", "notes/<b>plans.txt", "beans")
	b.Press("#now-main")
	b.Until("it is said", `document.querySelector("#flash").innerText.includes("main is kept as version 1.")`)
	b.Until("it is listed", `document.querySelectorAll(".shelf tbody tr").length === 1`)
	kept.Write("main", "notes/<b>plans.txt", "peas")
	b.Until("the change is seen", `document.querySelector("article .tag").textContent === "changed"`)
	if _, err := kept.Now(t.Context(), "main", "change"); err != nil {
		t.Fatal(err)
	}
	b.Until("it is kept by itself", `document.querySelectorAll(".shelf tbody tr").length === 2`)

	steps := make(chan struct{})
	kept.Step(steps)
	b.Press("#drill-main")
	b.Press("#ask-yes")
	for range 3 {
		steps <- struct{}{}
	}
	b.Until("it runs", `document.querySelector("#flash").innerText.includes("OpenClaw answers after")`)
	kept.Step(nil)
	b.Until("the last drill", `[...document.querySelectorAll("dd")].some(e => e.textContent.startsWith("fine"))`)

	// Version 1 is looked at and put back.
	b.Press(`.shelf tbody tr:last-child a.mono`)
	b.Until("its page", `document.querySelector("h1").textContent.includes("Version 1 of main")`)
	b.Until("its parts", `document.querySelector("#parts") !== null`)
	b.Press(`.files a`)
	b.Until("its directory", `document.body.innerText.includes("<b>plans.txt")`)
	b.Until("it fits", `document.documentElement.scrollWidth <= innerWidth`)
	b.Do(chromedp.Click(chromedp.CSS(`.files a[href*="/file?"]`)))
	for limit := time.Now().Add(time.Minute); !strings.Contains(strings.Join(recordOf(t, real), "\n"), "backup.read"); <-time.After(20 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("the file is not sent to the browser")
		}
	}
	b.Press(`.files a[href*="/restore"]`)
	b.Until("it asks", `document.querySelector("h1").textContent.startsWith("Restore notes/")`)
	b.Do(chromedp.SendKeys(chromedp.CSS("#confirm"), "main"))
	b.Press(`form[action$="/restore"] button`)
	b.Until("it is back", `document.querySelector("#flash").innerText.includes("Version 1 is restored as notes/<b>plans.txt")`)
	if got := kept.Live("main", "notes/<b>plans.txt"); got != "beans" {
		t.Errorf("the file has %q", got)
	}

	// A key is made and seen once.
	b.Until("a warning", `document.body.innerText.includes("No recovery key.")`)
	b.Do(chromedp.SendKeys(chromedp.CSS("#key-name"), "safe"))
	b.Press("#new-key")
	b.Until("the key", `document.querySelector("pre.secret").textContent.startsWith("AGE-SECRET-KEY-1")`)
	b.Until("it fits", `document.documentElement.scrollWidth <= innerWidth`)
	b.Picture("key-phone-light")
	b.Press(`.row.end a`)
	b.Until("no warning", `document.querySelector("#keys") !== null && !document.body.innerText.includes("No recovery key.")`)
	record := strings.Join(recordOf(t, real), "\n")
	for _, want := range []string{"backup.now", "backup.drill", "backup.restore", "backup.key.add"} {
		if !strings.Contains(record, want+" person ann@example.com") {
			t.Errorf("the record does not say %q:\n%s", want, record)
		}
	}
	b.Quiet("all that")
}

// recordOf is what was done, and by whom.
func recordOf(t *testing.T, w *admintest.World) (lines []string) {
	t.Helper()
	list, err := w.Options.Audit.List(t.Context(), audit.Filter{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		lines = append(lines, e.Action+" "+e.Actor)
	}
	return lines
}

// What is wrong is seen at a glance, on a desk and on a phone.
func TestTroubleInABrowser(t *testing.T) {
	b := tab{browser.OpenTab(t)}
	w := serve(t, full(usual))
	kept := w.plane.backups
	kept.Set(func(o *admin.BackupOverview) { o.OffMachine, o.Where = false, "/var/lib/moltworker/backup" })
	kept.Fence("research")
	kept.Damage("second", backup.Damage{Object: "p/0c1f7d", Why: "its end is missing", Versions: []string{"0000000000000001"}})
	_, _ = kept.Verify(t.Context(), "second", true, func(string) {})
	_, _ = kept.Drill(t.Context(), "second", func(string) {})
	for _, look := range []struct {
		name   string
		width  int64
		scheme string
	}{{"desk-light", 1280, "light"}, {"phone-dark", 390, "dark"}} {
		b.dress(look.width, look.scheme)
		b.Do(chromedp.Navigate(w.url + "/_admin/storage"))
		b.Until("the stream", live)
		b.Press("#claim-research summary")
		b.Press("#more-main summary")
		b.Until("it fits", `document.documentElement.scrollWidth <= innerWidth`)
		b.Picture("trouble-" + look.name)
	}
	kept.Write("main", "notes/x", "y")
	b.Until("nothing is lost while a form is open", `document.querySelector("#part").dataset.stale === "yes" && document.querySelector("#claim-research").open`)
	b.Press("#claim-research summary")
	b.Press("#more-main summary")
	b.Until("the change", fmt.Sprintf(`[...document.querySelectorAll("article .tag")].some(e => e.textContent === %q)`, safekeeper.StateChanged))
	b.Quiet("all that")
}
