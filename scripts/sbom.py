#!/usr/bin/env python3
"""What the programs are made of:  scripts/sbom.py FOLDER TRIPLE...

Writes FOLDER/uvale.cdx.json, a CycloneDX 1.5 document of all crates that are linked into uvale, the shim and
libnetmap for each TRIPLE, with the checksums of Cargo.lock, and FOLDER/third-party-licences.txt, their licences. The
same sources give the same bytes; the time in it is SOURCE_DATE_EPOCH. What only runs while they are built is not in it:
build scripts, macros.

A part without a licence's text is an error. A crate that comes without one gets that of dist/licences, if it may be
used under that licence; authors are those that it names.
"""

import datetime
import hashlib
import html
import json
import os
import pathlib
import re
import subprocess
import sys
import tomllib
import uuid

ROOT = pathlib.Path(__file__).resolve().parent.parent
LINKED = ("uvale", "nmshim", "libnetmap")
# What compilers link in: who has the rights, and the licences.
BESIDE = {
    "std": ("The Rust Project Developers", "MIT OR Apache-2.0"),
    "musl": ("2005-2020 Rich Felker, et al.", "MIT"),
    "libunwind": ("The LLVM Project", "Apache-2.0 WITH LLVM-exception"),
    "libgcc_eh": ("Free Software Foundation, Inc.", "GPL-3.0-or-later WITH GCC-exception-3.1"),
}
# In this order: those without conditions about names first.
TEXTS = ("Apache-2.0", "MIT")


def cargo(*words):
    command = [os.environ.get("CARGO", "cargo"), *words]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def linked(metadata):
    """The packages that our programs are linked with, and which each of them needs."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    packages = {package["id"]: package for package in metadata["packages"]}
    is_linked = {i: not any("proc-macro" in t["kind"] for t in p["targets"]) for i, p in packages.items()}
    needs, left = {}, [i for i in metadata["workspace_members"] if packages[i]["name"] in LINKED]
    while left:
        package = left.pop()
        if package in needs:
            continue
        deps = nodes[package]["deps"]
        # neither what builds it nor what tests it
        normal = (d["pkg"] for d in deps if any(k["kind"] is None for k in d["dep_kinds"]))
        needs[package] = sorted(i for i in normal if is_linked[i])
        left += needs[package]
    return {i: (packages[i], of) for i, of in needs.items()}


def all_linked(triples):
    """The same for several targets: a package's id, the package, and the ids that it needs for any of them."""
    found = {}
    for triple in triples:
        words = ("metadata", "--format-version=1", "--locked", "--filter-platform", triple)
        for i, (package, needs) in linked(json.loads(cargo(*words))).items():
            found[i] = (package, sorted({*needs, *found.get(i, (package, []))[1]}))
    return dict(sorted(found.items(), key=lambda f: (f[1][0]["name"], f[1][0]["version"])))


def checksums():
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    return {(p["name"], p["version"]): p.get("checksum") for p in lock["package"]}


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, sums, kind="library"):
    found = {
        "type": kind,
        "bom-ref": purl(package),
        "name": package["name"],
        "version": package["version"],
        "purl": purl(package),
        "licenses": [{"expression": package["license"].replace("/", " OR ")}],
    }
    checksum = sums.get((package["name"], package["version"]))
    if checksum:
        found["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return found


def tool_version(name):
    return subprocess.run([name, "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout.split()[1]


def beside_crates(triples):
    """What the compiler adds, with versions where they are known."""
    parts = {"std": tool_version("rustc")}
    # the first is what the program is for; a shim for musl is linked with the musl of the machine, when it is loaded
    if triples[0].endswith("-musl"):
        parts["musl"] = None
    if any(t.endswith("-musl") for t in triples):
        parts["libunwind"] = None
    if any(t.endswith("-gnu") for t in triples):
        parts["libgcc_eh"] = None
    return parts


def sbom(found, triples):
    sums = checksums()
    main = next(p for p, _ in found.values() if p["name"] == "uvale")
    others = [component(p, sums) for p, _ in found.values() if p is not main]
    beside = []
    for name, version in beside_crates(triples).items():
        part = {"type": "library", "bom-ref": name, "name": name, "version": version}
        part["licenses"] = [{"expression": BESIDE[name][1]}]
        beside.append({key: value for key, value in part.items() if value})
    refs = {i: purl(p) for i, (p, _) in found.items()}
    depends = [{"ref": refs[i], "dependsOn": sorted(refs[n] for n in needs)} for i, (_, needs) in found.items()]
    for entry in depends:
        if entry["ref"] == purl(main):
            entry["dependsOn"] += [part["bom-ref"] for part in beside]
    when = datetime.datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), datetime.timezone.utc)
    tools = [("scripts/sbom.py", main["version"]), ("cargo", tool_version("cargo")), ("rustc", tool_version("rustc"))]
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": when.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "tools": {"components": [{"type": "application", "name": n, "version": v} for n, v in tools]},
            "component": component(main, sums, "application"),
            "properties": [{"name": "cargo:target", "value": triple} for triple in triples],
        },
        "components": others + beside,
        "dependencies": depends,
    }
    # another document has another number, the same one the same
    digest = hashlib.sha256(json.dumps(document).encode()).hexdigest()
    return {"serialNumber": uuid.uuid5(uuid.NAMESPACE_OID, digest).urn} | document


def standard(name, holders):
    """A licence's text of dist/licences."""
    text = (ROOT / "dist/licences" / f"{name}.txt").read_text().strip()
    return text.replace("@holders@", holders)


def texts_of(package):
    """The texts that a crate comes with, or that of a licence under which it may be used."""
    folder = pathlib.Path(package["manifest_path"]).parent
    files = [f for f in sorted(folder.iterdir()) if re.match(r"(?i)(un)?licen[sc]e|copying|notice", f.name)]
    texts = [f.read_text(errors="replace").strip() for f in files if f.is_file()]
    if any(texts):
        return [text for text in texts if text]
    name, licence = f"{package['name']} {package['version']}", package["license"] or "no licence"
    offered = re.split(r" OR |/", licence)
    for text in TEXTS:
        if text in offered and package["authors"]:
            return [standard(text, ", ".join(package["authors"]))]
    sys.exit(f"sbom: {name} ({licence}) comes without the text of a licence: put that of one into dist/licences, and "
             "its name into TEXTS of scripts/sbom.py")


def beside_texts(name):
    """The texts of what the compiler adds."""
    holders, licence = BESIDE[name]
    texts = []
    for word in re.split(r" OR | WITH ", licence):
        # the exception is what lets others have it
        if word != "GPL-3.0-or-later":
            texts.append(standard(word, holders))
    if name == "std":
        root = subprocess.run(["rustc", "--print", "sysroot"], check=True, stdout=subprocess.PIPE, text=True).stdout
        notices = pathlib.Path(root.strip()) / "share/doc/rust/COPYRIGHT-library.html"
        if notices.is_file():
            plain = html.unescape(re.sub(r"<[^>]*>", "", notices.read_text()))
            texts.append(re.sub(r"\n\s*\n", "\n\n", "\n".join(l.strip() for l in plain.splitlines())).strip())
    return texts


def licences(packages, triples):
    """Each text once, below the parts that it comes with."""
    texts = {}
    for package in packages:
        if package["source"] is not None:
            for text in texts_of(package):
                texts.setdefault(text, []).append(f"{package['name']} {package['version']}: {package['license']}")
    beside = beside_crates(triples)
    for name in beside:
        for text in beside_texts(name):
            texts.setdefault(text, []).append(f"{name}: {BESIDE[name][1]}")
    more = ", ".join(f"{name} ({BESIDE[name][1]})" for name in beside)
    parts = [f"uvale is linked with these crates, and with what compilers add: {more}."]
    parts += ["\n".join(names) + "\n\n" + text for text, names in texts.items()]
    return ("\n\n" + "-" * 72 + "\n\n").join(parts) + "\n"


def main():
    if len(sys.argv) < 3:
        sys.exit("usage: scripts/sbom.py FOLDER TRIPLE...")
    folder, triples = pathlib.Path(sys.argv[1]), sys.argv[2:]
    found = all_linked(triples)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "uvale.cdx.json").write_text(json.dumps(sbom(found, triples), indent=1) + "\n")
    packages = [package for package, _ in found.values()]
    (folder / "third-party-licences.txt").write_text(licences(packages, triples))


if __name__ == "__main__":
    main()
