// Runs the cells of a notebook in Pyodide: node in_node.mjs PYODIDE PACKAGES CELLS OUTPUTS
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const [pyodideFolder, packages, cells, outputs] = process.argv.slice(2).map((path) => resolve(path));
const here = dirname(fileURLToPath(import.meta.url));
const { loadPyodide } = await import(pathToFileURL(`${pyodideFolder}/pyodide.mjs`).href);

const pyodide = await loadPyodide({
  indexURL: pyodideFolder,
  env: { HOME: "/home/pyodide", MPLBACKEND: "module://matplotlib_inline.backend_inline" },
});
await pyodide.loadPackage(["ipython", "matplotlib", "numpy"], { messageCallback: () => {} });
pyodide.FS.mkdir("/packages");
pyodide.FS.mount(pyodide.FS.filesystems.NODEFS, { root: packages }, "/packages");
pyodide.runPython("import sys; sys.path.insert(0, '/packages')");
pyodide.runPython(readFileSync(`${here}/in_pyodide.py`, "utf8"), { filename: "in_pyodide.py" });
try {
  writeFileSync(outputs, pyodide.globals.get("run")(readFileSync(cells, "utf8")));
} catch (error) {
  // Node would show the line, which is all of Pyodide.
  console.error(error.message);
  process.exit(1);
}
