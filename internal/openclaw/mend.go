package openclaw

// mendFirst is a command that finishes what a gateway left behind that was killed in
// the middle of a database transaction, and then becomes the given command, with the
// same process number.
//
// SQLite takes such a transaction back when the database is next opened for
// writing, by the journal beside it. OpenClaw first opens its databases for reading
// only, where that is impossible, takes the failure for a broken installation and
// refuses to start from then on ("attempt to write a readonly database", 2026.9.6).
// Where there is no journal, which is nearly always, this costs a shell's start.
func mendFirst(node string, args []string) []string {
	return append([]string{"/bin/sh", "-c", mend, node, mendScript}, args...)
}

// mend runs with the node program as $0 and mendScript as $1. Nothing that it does
// may keep the gateway from starting.
const mend = `script=$1; shift
for j in "$HOME"/.openclaw/state/*.sqlite-journal "$HOME"/.openclaw/memory/*.sqlite-journal "$HOME"/.openclaw/agents/*/*/*.sqlite-journal; do
	if [ -f "$j" ] && [ -s "$j" ]; then "$0" -e "$script" "${j%-journal}"; fi
done
exec "$@"`

const mendScript = `const { DatabaseSync } = require("node:sqlite");
const file = process.argv[1];
try {
	const db = new DatabaseSync(file);
	db.exec("PRAGMA busy_timeout = 2000");
	db.prepare("SELECT count(*) FROM sqlite_schema").get();
	db.close();
	console.error("moltworker: took an unfinished transaction of " + file + " back");
} catch (err) {
	console.error("moltworker: could not take an unfinished transaction of " + file + " back: " + err.message);
}`
