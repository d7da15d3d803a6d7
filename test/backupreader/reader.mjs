// Restores a version from a repository in a directory. Written from
// docs/backup-format.md only, to prove that the page is enough.
//
//   node reader.mjs STORE KEY-FILE AGENT OUT [VERSION]
//
// The key file has an age identity, or "passphrase " and a passphrase. OUT must not
// exist. What is wrong with the repository ends the program with an error.
import fs from 'node:fs';
import path from 'node:path';
import { Decrypter } from 'age-encryption';
import { blake3 } from '@noble/hashes/blake3.js';
import { xchacha20poly1305 } from '@noble/ciphers/chacha.js';
import * as fzstd from 'fzstd';

const FORMAT = 'moltworker-backup/1';
const MAX_PACK = 16 << 20, MAX_RAW = 4 << 20, MAX_MANIFEST = 8 << 20;

const text = (s) => new TextEncoder().encode(s);
const hex = (b) => Buffer.from(b).toString('hex');
const same = (a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)) === 0;
const check = (ok, what) => {
  if (!ok) throw new Error(what);
};

const derive = (context, ...material) => blake3(Buffer.concat(material), { context: text(context) });
const keyed = (key, ...parts) => blake3(Buffer.concat(parts), { key });

// Store is a directory whose files are the objects.
class Store {
  constructor(dir) {
    this.dir = dir;
  }
  get(name) {
    return new Uint8Array(fs.readFileSync(path.join(this.dir, name)));
  }
  list(prefix) {
    const dir = path.join(this.dir, prefix);
    return fs.existsSync(dir) ? fs.readdirSync(dir).sort() : [];
  }
}

// Input reads a byte string from its beginning.
class Input {
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
  }
  take(n) {
    check(n >= 0 && this.at + n <= this.bytes.length, 'it ends too early');
    this.at += n;
    return this.bytes.subarray(this.at - n, this.at);
  }
  byte() {
    return this.take(1)[0];
  }
  big() {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const b = this.byte();
      value |= BigInt(b & 0x7f) << shift;
      if (b < 0x80) {
        check(value < 1n << 64n, 'a number is too large');
        return value;
      }
    }
    throw new Error('a number is too long');
  }
  uvarint(limit = Number.MAX_SAFE_INTEGER) {
    const value = this.big();
    check(value <= BigInt(limit), 'a number is too large');
    return Number(value);
  }
  varint() {
    const value = this.big();
    return value & 1n ? -Number((value + 1n) / 2n) : Number(value / 2n);
  }
  string(limit) {
    return Buffer.from(this.take(this.uvarint(limit)));
  }
  end() {
    check(this.at === this.bytes.length, 'there is more than there should be');
  }
}

function unseal(key, sealed, kind, object, ordinal) {
  check(sealed.length >= 40, `${object}: too short`);
  const bound = text(`${FORMAT} ${kind} ${object}` + (ordinal === undefined ? '' : ` ${ordinal}`));
  try {
    return xchacha20poly1305(key, sealed.subarray(0, 24), bound).decrypt(sealed.subarray(24));
  } catch {
    throw new Error(`${object}: was changed, or belongs elsewhere`);
  }
}

function unpress(bytes, limit) {
  check(bytes.length > 0 && bytes[0] <= 1, 'it is not pressed');
  const rest = bytes.subarray(1);
  const raw = bytes[0] === 0 ? rest : fzstd.decompress(rest);
  check(raw.length <= limit, 'it is too long');
  return raw;
}

const json = (bytes) => JSON.parse(Buffer.from(bytes).toString('utf8'));

// masterKey finds the master key in a slot.
async function masterKey(store, secret) {
  const root = json(store.get('moltworker-backup'));
  check(root.format === FORMAT, `the format is ${root.format}`);
  const decrypter = new Decrypter();
  if (secret.startsWith('passphrase ')) decrypter.addPassphrase(secret.slice('passphrase '.length));
  else decrypter.addIdentity(secret);
  for (const slot of store.list('keys')) {
    let payload;
    try {
      payload = json(await decrypter.decrypt(store.get(`keys/${slot}`)));
    } catch {
      continue; // for another recipient
    }
    const key = new Uint8Array(Buffer.from(payload.key, 'base64'));
    const id = hex(derive('moltworker backup 1 repository id', key).subarray(0, 16));
    if (payload.format === FORMAT && key.length === 32 && payload.repository === root.repository && id === root.repository) return key;
  }
  throw new Error('the key opens no slot');
}

// Vault is what the repository has of one agent.
class Vault {
  constructor(store, master, agent) {
    this.store = store;
    const id = keyed(derive('moltworker backup 1 vault name', master), text(agent)).subarray(0, 16);
    const key = derive('moltworker backup 1 vault', master, id);
    this.id = hex(id);
    this.prefix = `v/${this.id}/`;
    this.seal = derive('moltworker backup 1 seal', key);
    this.chunkKey = derive('moltworker backup 1 chunk id', key);
    this.contentKey = derive('moltworker backup 1 content', key);
    this.packs = new Map();
    const name = this.prefix + 'about';
    const about = json(unseal(this.seal, store.get(name), 'about', name));
    check(about.agent === agent, 'the vault is another agent’s');
  }

  version(id) {
    const name = `${this.prefix}s/${id}`;
    const m = json(unpress(unseal(this.seal, this.store.get(name), 'manifest', name), MAX_MANIFEST));
    check(m.format === FORMAT && m.vault === this.id && m.id === id, `${name}: belongs elsewhere`);
    return m;
  }

  newest() {
    for (const id of this.store.list(this.prefix + 's').reverse()) {
      if (!this.version(id).removed) return id;
    }
    throw new Error('there is no version');
  }

  // pack returns a pack's bytes and the table of its chunks; the last few are kept.
  pack(id) {
    if (this.packs.has(id)) return this.packs.get(id);
    const name = `${this.prefix}p/${id}`;
    const bytes = this.store.get(name);
    check(bytes.length >= 44 && bytes.length <= MAX_PACK, `${name}: ${bytes.length} bytes`);
    const length = new DataView(bytes.buffer, bytes.byteOffset + bytes.length - 4, 4).getUint32(0, true);
    check(length + 4 <= bytes.length, `${name}: no footer`);
    const at = bytes.length - 4 - length;
    const input = new Input(unseal(this.seal, bytes.subarray(at, at + length), 'footer', name));
    check(input.byte() === 1, `${name}: another footer`);
    const chunks = [];
    let offset = 0;
    for (let n = input.uvarint(65536); n > 0; n--) {
      const chunk = { kind: String.fromCharCode(input.byte()), id: input.take(32), offset, size: input.uvarint(), raw: input.uvarint(MAX_RAW) };
      check('dsDS'.includes(chunk.kind), `${name}: another kind of chunk`);
      offset += chunk.size;
      chunks.push(chunk);
    }
    input.end();
    check(offset === at, `${name}: its size is not what its footer says`);
    const pack = { name, bytes, chunks };
    this.packs.set(id, pack);
    if (this.packs.size > 8) this.packs.delete(this.packs.keys().next().value);
    return pack;
  }

  chunk(packID, ordinal, kind) {
    const pack = this.pack(packID);
    const chunk = pack.chunks[ordinal];
    check(chunk && chunk.kind === kind, `${pack.name}: no such chunk as ${ordinal}`);
    const sealed = pack.bytes.subarray(chunk.offset, chunk.offset + chunk.size);
    const raw = unpress(unseal(this.seal, sealed, 'chunk', pack.name, ordinal), MAX_RAW);
    check(raw.length === chunk.raw, `${pack.name}: chunk ${ordinal} has another size`);
    check(same(keyed(this.chunkKey, text(kind), raw), chunk.id), `${pack.name}: chunk ${ordinal} is another`);
    return { raw, id: chunk.id };
  }

  // files lists what is in a version.
  files(m) {
    const ids = [], records = [];
    const packs = Buffer.from(m.packs ?? '', 'base64');
    for (const [pack, ordinal] of m.segments ?? []) {
      const chunk = this.chunk(hex(packs.subarray(pack * 16, pack * 16 + 16)), ordinal, 's');
      ids.push(chunk.id);
      segment(chunk.raw, records);
    }
    check(hex(blake3(Buffer.concat(ids))) === m.root, 'the list of files is another one');
    checkTree(records);
    return records;
  }
}

// segment appends the records of one segment.
function segment(raw, records) {
  const input = new Input(raw);
  check(input.byte() === 1, 'another segment');
  const packs = [];
  for (let n = input.uvarint(MAX_RAW); n > 0; n--) packs.push(hex(input.take(16)));
  let last = Buffer.alloc(0);
  for (let n = input.uvarint(1024); n > 0; n--) {
    const shared = input.uvarint(last.length);
    const r = { path: Buffer.concat([last.subarray(0, shared), input.string(32 << 10)]), kind: String.fromCharCode(input.byte()), runs: [] };
    last = r.path;
    if (r.kind === 'm') {
      const file = records.at(-1);
      check(file?.kind === 'f' && same(file.path, r.path), 'more of no file');
      runs(input, packs, file.runs);
      continue;
    }
    if (r.kind === 'h') r.target = input.string(32 << 10);
    else attributes(input, r);
    if (r.kind === 'l') r.target = input.string(8 << 10);
    if (r.kind === 'f') {
      r.size = input.uvarint();
      r.hash = input.take(16);
      runs(input, packs, r.runs);
    }
    records.push(r);
  }
  input.end();
}

function attributes(input, r) {
  check('dfl'.includes(r.kind), `a record of kind ${r.kind}`);
  r.mode = input.uvarint(0o7777);
  r.uid = input.uvarint(0xffffffff);
  r.gid = input.uvarint(0xffffffff);
  r.seconds = input.varint();
  r.nanoseconds = input.uvarint(999999999);
  r.xattrs = {};
  for (let n = input.uvarint(256); n > 0; n--) {
    const name = input.string(65536).toString('latin1');
    r.xattrs[name] = input.string(65536).toString('latin1');
  }
}

function runs(input, packs, out) {
  for (let n = input.uvarint(16384); n > 0; n--) {
    const p = input.uvarint(packs.length);
    if (p === 0) out.push({ hole: input.uvarint() });
    else out.push({ pack: packs[p - 1], first: input.uvarint(65536), count: input.uvarint(65536) });
  }
}

// checkTree makes sure that the records can be made below a directory.
function checkTree(records) {
  const dirs = new Set();
  records.forEach((r, i) => {
    const key = r.path.toString('latin1');
    if (i === 0) check(key === '' && r.kind === 'd', 'there is no root');
    else {
      check(Buffer.compare(r.path, records[i - 1].path) > 0, 'paths are not in order');
      const names = key.split('/');
      check(names.length <= 512 && names.every((n) => n !== '' && n !== '.' && n !== '..' && !n.includes('\0') && n.length <= 255), 'a path leads out');
      check(dirs.has(names.slice(0, -1).join('/')), 'a path is in no directory');
    }
    if (r.kind === 'd') dirs.add(key);
  });
}

// at is where a path is put.
function at(out, p) {
  return p.length === 0 ? Buffer.from(out) : Buffer.concat([Buffer.from(out + '/'), p]);
}

function restore(vault, records, out) {
  const files = new Map();
  for (const r of records) {
    const name = at(out, r.path);
    if (r.kind === 'd') fs.mkdirSync(name, { mode: 0o700 });
    if (r.kind === 'l') fs.symlinkSync(r.target, name);
    if (r.kind === 'f') {
      writeFile(vault, r, name);
      files.set(r.path.toString('latin1'), name);
    }
    if (r.kind === 'h') {
      const first = files.get(r.target.toString('latin1'));
      check(first, 'a hard link to no file');
      fs.linkSync(first, name);
    }
  }
  for (const r of records.toReversed?.() ?? [...records].reverse()) {
    if (r.kind !== 'd' && r.kind !== 'f') continue;
    fs.chmodSync(at(out, r.path), r.mode);
    const time = new Date(r.seconds * 1000 + r.nanoseconds / 1e6); // Node takes no negative number
    fs.utimesSync(at(out, r.path), time, time);
  }
}

// writeFile writes a file's content and checks it.
function writeFile(vault, r, name) {
  const fd = fs.openSync(name, 'wx', 0o600);
  const hasher = blake3.create({ key: vault.contentKey });
  let size = 0, block = [], filled = 0, number = 0n;
  const end = () => {
    const bytes = Buffer.concat(block);
    if (bytes.some((b) => b !== 0)) hasher.update(little(number)).update(bytes);
    number++;
    [block, filled] = [[], 0];
  };
  const put = (bytes) => {
    size += bytes.length;
    for (let i = 0; i < bytes.length; ) {
      const n = Math.min(65536 - filled, bytes.length - i);
      block.push(bytes.subarray(i, i + n));
      filled += n;
      i += n;
      if (filled === 65536) end();
    }
  };
  const zeros = new Uint8Array(65536);
  for (const run of r.runs) {
    if (run.hole !== undefined) {
      for (let n = run.hole; n > 0; n -= zeros.length) put(zeros.subarray(0, Math.min(n, zeros.length)));
      continue;
    }
    for (let i = 0; i < run.count; i++) {
      const { raw } = vault.chunk(run.pack, run.first + i, 'd');
      fs.writeSync(fd, raw, 0, raw.length, size);
      put(raw);
    }
  }
  if (filled > 0) end();
  hasher.update(little(BigInt(size)));
  check(size === r.size && same(hasher.digest().subarray(0, 16), r.hash), `${r.path}: not what the version says`);
  fs.ftruncateSync(fd, size);
  fs.closeSync(fd);
}

function little(n) {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(n);
  return bytes;
}

const [dir, keyFile, agent, out, wanted] = process.argv.slice(2);
const store = new Store(dir);
const master = await masterKey(store, fs.readFileSync(keyFile, 'utf8').trim());
const vault = new Vault(store, master, agent);
const manifest = vault.version(wanted ?? vault.newest());
check(!manifest.removed, 'there is no such version any more');
const records = vault.files(manifest);
restore(vault, records, out);
// Who called compares what a file system of theirs may not keep.
const list = records.map((r) => ({ path: hex(r.path), kind: r.kind, uid: r.uid, gid: r.gid, mode: r.mode, xattrs: r.xattrs }));
console.log(JSON.stringify({ version: manifest.id, reason: manifest.reason, files: list }));
