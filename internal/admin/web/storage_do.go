package web

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/page"
)

func storagePath(agent string) string { return "/_admin/storage?agent=" + url.QueryEscape(agent) }

func (s *site) sync(w http.ResponseWriter, r *http.Request) error {
	err := s.act(r, func(ctx context.Context) error {
		_, err := s.plane.SyncStorage(ctx)
		return err
	})
	return back(w, r, "/_admin/storage", err, "The backup is made.")
}

// keep does to an agent's versions what the last part of the path says.
func (s *site) keep(w http.ResponseWriter, r *http.Request) error {
	name := r.PostFormValue("agent")
	var what string
	var do func(ctx context.Context, tell func(string)) (string, error)
	switch r.PathValue("verb") {
	case "now":
		what, do = "Backing up", func(ctx context.Context, _ func(string)) (string, error) {
			v, err := s.plane.BackupNow(ctx, name)
			return fmt.Sprintf("%s is kept as version %s.", name, admin.ShortVersion(v.ID)), err
		}
	case "verify", "verify-all":
		full := r.PathValue("verb") == "verify-all"
		what, do = "Verifying", func(ctx context.Context, tell func(string)) (string, error) {
			return s.verifyBackup(ctx, name, full, tell)
		}
	case "drill":
		what, do = "Trying a restore", func(ctx context.Context, tell func(string)) (string, error) { return s.drill(ctx, name, tell) }
	case "repair":
		what, do = "Repairing", func(ctx context.Context, tell func(string)) (string, error) {
			came, err := s.plane.BackupRepair(ctx, name, tell)
			if err == nil && len(came.Lost) > 0 {
				err = damaged("%d objects are mended; %d are lost. Versions that need those cannot be restored whole.", len(came.Mended), len(came.Lost))
			}
			return fmt.Sprintf("%d objects are mended; nothing is lost.", len(came.Mended)), err
		}
	case "prune":
		what, do = "Thinning out", func(ctx context.Context, _ func(string)) (string, error) {
			came, err := s.plane.BackupPrune(ctx, name)
			return fmt.Sprintf("%d versions are kept, %d were let go of, %s are free.", came.Kept, came.Removed, page.Bytes(came.Freed)), err
		}
	case "claim":
		if typed := strings.TrimSpace(r.PostFormValue("confirm")); typed != name {
			return back(w, r, storagePath(name), &admin.Error{Status: http.StatusBadRequest, Kind: "invalid",
				Message: "Nothing was claimed: the agent's name has to be typed to confirm."}, "")
		}
		what, do = "Claiming", func(ctx context.Context, _ func(string)) (string, error) {
			return "This machine makes the versions of " + name + " now.", s.plane.BackupClaim(ctx, name)
		}
	default:
		return errNoPage
	}
	said, err := s.long(r, name, what, do)
	return back(w, r, storagePath(name), err, "%s", said)
}

func damaged(format string, args ...any) error {
	return &admin.Error{Status: http.StatusConflict, Kind: "damaged", Message: fmt.Sprintf(format, args...)}
}

func (s *site) verifyBackup(ctx context.Context, name string, full bool, tell func(string)) (string, error) {
	r, err := s.plane.BackupVerify(ctx, name, full, tell)
	if err != nil {
		return "", err
	}
	if !r.OK() {
		d := r.Damage[0]
		return "", damaged("%d objects in the store are damaged. The first: %s: %s", len(r.Damage), page.Plain(d.Object, 100), page.Plain(d.Why, 200))
	}
	if full {
		return fmt.Sprintf("All %d versions can be restored: every byte was read and is right.", r.Versions), nil
	}
	return fmt.Sprintf("All %d versions can be restored, as far as their lists say.", r.Versions), nil
}

func (s *site) drill(ctx context.Context, name string, tell func(string)) (string, error) {
	d, err := s.plane.BackupDrill(ctx, name, tell)
	if err != nil {
		return "", err
	}
	if !d.OK {
		return "", damaged("Version %s was restored for a trial and does not run: %s", admin.ShortVersion(d.Version), page.Plain(d.Error, 300))
	}
	return fmt.Sprintf("Version %s was restored in %s; %d databases are whole, and OpenClaw answers after %s.",
		admin.ShortVersion(d.Version), page.Long(d.Restored), d.Databases, page.Long(d.Booted)), nil
}

// restore wants the agent's name typed where it puts a version in its place.
func (s *site) restore(w http.ResponseWriter, r *http.Request) error {
	name, id, as := r.PostFormValue("agent"), r.PostFormValue("version"), strings.TrimSpace(r.PostFormValue("as"))
	to, words := admin.RestoreTo{As: as}, "a new agent, "+as
	if r.PostFormValue("how") == "in-place" {
		if typed := strings.TrimSpace(r.PostFormValue("confirm")); typed != name {
			return back(w, r, storagePath(name), &admin.Error{Status: http.StatusBadRequest, Kind: "invalid",
				Message: fmt.Sprintf("Nothing was restored: the name %s has to be typed to confirm.", name)}, "")
		}
		to, words = admin.RestoreTo{}, name
		if only := r.PostFormValue("only"); only != "" {
			path, err := admin.Unescaped("", only)
			if err != nil {
				return back(w, r, storagePath(name), err, "")
			}
			to.Only, words = []string{path}, page.Plain(path, 80)
		}
	} else if as == "" {
		return back(w, r, storagePath(name), &admin.Error{Status: http.StatusBadRequest, Kind: "invalid", Message: "A new agent needs a name."}, "")
	}
	said, err := s.long(r, name, "Restoring", func(ctx context.Context, tell func(string)) (string, error) {
		came, err := s.plane.BackupRestore(ctx, name, id, to, tell)
		said := fmt.Sprintf("Version %s is restored as %s.", admin.ShortVersion(came.Version.ID), words)
		if came.Before != "" {
			said += fmt.Sprintf(" What was there is kept as version %s.", admin.ShortVersion(came.Before))
		}
		if n := len(came.Warnings); n > 0 {
			said += fmt.Sprintf(" %d warnings; the first: %s", n, page.Plain(came.Warnings[0], 200))
		}
		return said, err
	})
	return back(w, r, storagePath(name), err, "%s", said)
}

func (s *site) unlock(w http.ResponseWriter, r *http.Request) error {
	key := r.PostFormValue("key")
	if r.PostFormValue("kind") == "passphrase" {
		key = admin.PassphrasePrefix + key
	}
	err := s.act(r, func(ctx context.Context) error { return s.plane.BackupUnlock(ctx, key) })
	return back(w, r, "/_admin/storage", err, "The backup is unlocked.")
}

func (s *site) addKey(w http.ResponseWriter, r *http.Request) error {
	name, recipient := r.PostFormValue("name"), r.PostFormValue("recipient")
	err := s.act(r, func(ctx context.Context) error {
		_, err := s.plane.BackupAddKey(ctx, name, recipient)
		return err
	})
	return back(w, r, "/_admin/storage#keys", err, "%s opens the backup now.", page.Plain(name, 60))
}

func (s *site) removeKey(w http.ResponseWriter, r *http.Request) error {
	id := r.PostFormValue("key")
	err := s.act(r, func(ctx context.Context) error { return s.plane.BackupRemoveKey(ctx, id) })
	return back(w, r, "/_admin/storage#keys", err, "That key opens the backup no longer.")
}

// keyView is a key that was just made.
type keyView struct {
	admin.BackupKey
	Secret string
}

// newKey shows the secret half on the answer itself, this once.
func (s *site) newKey(w http.ResponseWriter, r *http.Request) error {
	name := r.PostFormValue("name")
	var made keyView
	err := s.act(r, func(ctx context.Context) (err error) {
		made.BackupKey, made.Secret, err = s.plane.BackupNewKey(ctx, name)
		return err
	})
	if err != nil {
		return back(w, r, "/_admin/storage#keys", err, "")
	}
	s.pages.Write(w, r, http.StatusOK, "key.html", page.View{Title: "Recovery key", Area: "storage", Data: &made})
	return nil
}
