// Print what exifr finds in each file, as Civitai asks it: `parameters` of a PNG, else the UserComment after its character code.
const fs = require("fs");
const zlib = require("zlib");

const [packed, ...files] = process.argv.slice(2);
const program = { exports: {} };
new Function("module", "exports", "require", zlib.gunzipSync(fs.readFileSync(packed)).toString())(program, program.exports, require);

async function main() {
  const found = [];
  for (const file of files) {
    const tags = await program.exports.parse(fs.readFileSync(file), { userComment: true });
    const comment = tags.userComment && new TextDecoder("utf-16be").decode(tags.userComment.slice(8));
    found.push(tags.parameters ?? comment ?? null);
  }
  console.log(JSON.stringify(found));
}

main();
