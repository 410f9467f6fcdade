#!/usr/bin/env python3
"""What the programs are made of:  scripts/sbom.py TRIPLE FOLDER

Writes FOLDER/uvale.cdx.json, a CycloneDX 1.5 document of all crates that are linked into uvale, the shim and
libnetmap for TRIPLE, with the checksums of Cargo.lock, and FOLDER/third-party-licences.txt, their licences. The same
sources give the same bytes; the time in it is SOURCE_DATE_EPOCH.
"""

import datetime
import json
import os
import pathlib
import re
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
LINKED = ("uvale", "nmshim", "libnetmap")


def cargo(*words):
    command = [os.environ.get("CARGO", "cargo"), *words]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def linked(metadata):
    """The packages that our programs are linked with, and which each of them needs."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    names = {package["id"]: package["name"] for package in metadata["packages"]}
    members = set(metadata["workspace_members"])
    needs, left = {}, [i for i in members if names[i] in LINKED]
    while left:
        package = left.pop()
        if package in needs:
            continue
        deps = nodes[package]["deps"]
        # neither what builds it nor what tests it
        needs[package] = sorted(d["pkg"] for d in deps if any(k["kind"] is None for k in d["dep_kinds"]))
        left += needs[package]
    return needs


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


def beside_crates(triple):
    """What the compiler adds, under its licences."""
    version = subprocess.run(["rustc", "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout.split()[1]
    parts = [("std", version, "MIT OR Apache-2.0")]
    if triple.endswith("-musl"):
        parts += [("musl", None, "MIT"), ("libunwind", None, "Apache-2.0 WITH LLVM-exception")]
    parts.append(("libgcc_eh", None, "GPL-3.0-or-later WITH GCC-exception-3.1"))
    return parts


def sbom(packages, needs, triple):
    sums = checksums()
    main = next(p for p in packages if p["name"] == "uvale")
    others = [component(p, sums) for p in packages if p is not main]
    for name, version, licence in beside_crates(triple):
        part = {"type": "library", "name": name, "version": version, "licenses": [{"expression": licence}]}
        others.append({key: value for key, value in part.items() if value})
    refs = {p["id"]: purl(p) for p in packages}
    when = datetime.datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), datetime.UTC)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": when.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": component(main, sums, "application"),
            "properties": [{"name": "cargo:target", "value": triple}],
        },
        "components": others,
        "dependencies": [{"ref": refs[p["id"]], "dependsOn": [refs[i] for i in needs[p["id"]]]} for p in packages],
    }


def licences(packages, triple):
    """Each text once, below the crates that it comes with."""
    texts = {}
    for package in packages:
        if package["source"] is None:
            continue
        folder = pathlib.Path(package["manifest_path"]).parent
        files = [f for f in sorted(folder.iterdir()) if re.match(r"(?i)(un)?licen[sc]e|copying|notice", f.name)]
        found = [f.read_text(errors="replace").strip() for f in files if f.is_file()]
        for text in found or ["(The crate comes without the text.)"]:
            texts.setdefault(text, []).append(f"{package['name']} {package['version']}: {package['license']}")
    more = ", ".join(f"{name} ({licence})" for name, _, licence in beside_crates(triple))
    parts = [f"uvale is linked with these crates, and with what compilers add: {more}."]
    parts += ["\n".join(names) + "\n\n" + text for text, names in texts.items()]
    return ("\n\n" + "-" * 72 + "\n\n").join(parts) + "\n"


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: scripts/sbom.py TRIPLE FOLDER")
    triple, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    metadata = json.loads(cargo("metadata", "--format-version=1", "--locked", "--filter-platform", triple))
    needs = linked(metadata)
    packages = [p for p in metadata["packages"] if p["id"] in needs]
    packages.sort(key=lambda p: (p["name"], p["version"]))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "uvale.cdx.json").write_text(json.dumps(sbom(packages, needs, triple), indent=1) + "\n")
    (folder / "third-party-licences.txt").write_text(licences(packages, triple))


main()
