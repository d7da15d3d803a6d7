package openclaw

import (
	"encoding/json"
	"fmt"
	"path"
	"strings"

	"github.com/moltworker/moltworker/internal/openclaw/runtime"
)

// CheckDatabases is a command for inside an agent that has SQLite check every
// database in its state. [ReadCheck] reads what it prints.
func CheckDatabases(rt runtime.Runtime) []string {
	return []string{path.Join(RuntimeDir, rt.Node), "-e", checkScript, StateDir}
}

const checkScript = `const fs = require("node:fs"), path = require("node:path");
const { DatabaseSync } = require("node:sqlite");
const out = { checked: 0, bad: [] };
const isDatabase = (file) => {
	const fd = fs.openSync(file, "r"), head = Buffer.alloc(16);
	try { return fs.readSync(fd, head, 0, 16, 0) === 16 && head.toString("latin1") === "SQLite format 3\0"; } finally { fs.closeSync(fd); }
};
const check = (file) => {
	const db = new DatabaseSync(file);
	try {
		db.exec("PRAGMA busy_timeout = 10000");
		const rows = db.prepare("PRAGMA integrity_check(3)").all().map((row) => Object.values(row)[0]);
		if (rows.join() !== "ok") throw new Error(rows.join("; "));
		out.checked++;
	} finally { db.close(); }
};
const walk = (dir) => {
	for (const entry of fs.readdirSync(dir, { withFileTypes: true })) {
		const file = path.join(dir, entry.name);
		if (entry.isDirectory() && entry.name !== "node_modules") walk(file);
		if (!entry.isFile()) continue;
		try { if (isDatabase(file)) check(file); } catch (err) { out.bad.push(path.relative(process.argv[1], file) + ": " + err.message); }
	}
};
walk(process.argv[1]);
console.log(JSON.stringify({ checked: out.checked, bad: out.bad.slice(0, 10) }));`

// ReadCheck reads what [CheckDatabases] printed: how many databases are good, and an
// error that names those that are not. What it reads comes from inside.
func ReadCheck(out []byte) (good int, err error) {
	var said struct {
		Checked int      `json:"checked"`
		Bad     []string `json:"bad"`
	}
	if err := json.Unmarshal(out, &said); err != nil {
		return 0, fmt.Errorf("read what the check of the databases said: %w", err)
	}
	switch {
	case len(said.Bad) > 0:
		return said.Checked, fmt.Errorf("%d databases are damaged: %.2000q", len(said.Bad), strings.Join(said.Bad, "; "))
	case said.Checked < 1:
		return 0, fmt.Errorf("there is no database in the state")
	}
	return said.Checked, nil
}
