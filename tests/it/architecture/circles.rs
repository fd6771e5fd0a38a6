//! No circles: no file imports, directly or through others, a file that imports it.
//!
//! An item that a module re-exports is imported from the file that defines it. A file may use what its own
//! parent module defines; such an import does not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::source::{SourceFile, paths, source_files};

/// A module of the crate, as the names from the root to it.
type Module = Vec<String>;

/// The modules, and the paths that each imports; of re-exported names, their paths.
struct Crate {
    imports: BTreeMap<Module, Vec<Vec<String>>>,
    reexports: BTreeMap<(Module, String), Vec<String>>,
}

impl Crate {
    fn new(files: &[SourceFile]) -> Crate {
        let mut read = Crate { imports: BTreeMap::new(), reexports: BTreeMap::new() };
        for file in files {
            let module = module_of(&file.path);
            let mut imports = Vec::new();
            for (line, path) in paths(&file.code) {
                let code = file.code[line - 1].trim_start();
                let is_reexport = code.starts_with("pub") && code.contains(" use ");
                if let (true, Some(name)) = (is_reexport, path.last()) {
                    read.reexports.insert((module.clone(), name.clone()), path.clone());
                }
                imports.push(path);
            }
            read.imports.insert(module, imports);
        }
        read
    }

    /// The module that defines what a path names, as seen from `from`; `None` for other crates.
    fn resolve(&self, from: &Module, path: &[String]) -> Option<Module> {
        let mut module = from.clone();
        let mut rest = path.iter().peekable();
        match rest.peek()?.as_str() {
            "crate" => module.clear(),
            "self" | "super" => {}
            child => {
                module.push(child.to_owned());
                if !self.imports.contains_key(&module) {
                    return None;
                }
            }
        }
        if !matches!(path[0].as_str(), "super") {
            rest.next();
        }
        for name in rest {
            match name.as_str() {
                "super" => drop(module.pop()),
                "self" => {}
                name => {
                    module.push(name.to_owned());
                    if self.imports.contains_key(&module) {
                        continue;
                    }
                    module.pop();
                    let reexport = self.reexports.get(&(module.clone(), name.to_owned()));
                    return match reexport.filter(|target| target.as_slice() != path) {
                        Some(target) => self.resolve(&module, target).or(Some(module)),
                        None => Some(module),
                    };
                }
            }
        }
        Some(module)
    }

    /// The modules that a module imports, its own parents aside.
    fn imported_by(&self, module: &Module) -> BTreeSet<Module> {
        let imports = self.imports.get(module).into_iter().flatten();
        imports
            .filter_map(|path| self.resolve(module, path))
            .filter(|imported| !module.starts_with(imported))
            .collect()
    }

    /// Every circle: the largest sets of modules of which each imports, in the end, each other.
    fn circles(&self) -> BTreeSet<BTreeSet<Module>> {
        let direct: BTreeMap<_, _> =
            self.imports.keys().map(|module| (module, self.imported_by(module))).collect();
        let reachable = |start: &Module| {
            let (mut seen, mut next) = (BTreeSet::new(), vec![start.clone()]);
            while let Some(module) = next.pop() {
                let imported = direct.get(&module).into_iter().flatten();
                next.extend(imported.filter(|module| seen.insert((*module).clone())).cloned());
            }
            seen
        };
        let reachable: BTreeMap<_, _> =
            self.imports.keys().map(|module| (module, reachable(module))).collect();
        let circle_of = |(module, reached): (&&Module, &BTreeSet<Module>)| {
            let back = reached.iter().filter(|other| reachable[other].contains(*module));
            back.cloned().collect::<BTreeSet<_>>()
        };
        reachable.iter().map(circle_of).filter(|circle| circle.len() > 1).collect()
    }
}

fn module_of(path: &str) -> Module {
    let path = path.trim_end_matches(".rs").trim_end_matches("/mod");
    if path == "lib" { Vec::new() } else { path.split('/').map(str::to_owned).collect() }
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let found = Crate::new(&source_files()).circles();
    let found: BTreeSet<BTreeSet<_>> =
        found.iter().map(|circle| circle.iter().map(|module| module.join("/")).collect()).collect();
    let mut problems = String::new();
    for circle in found {
        writeln!(problems, "  a circle: {circle:?}").expect("a String takes it");
    }
    assert!(problems.is_empty(), "\n{problems}");
}

#[test]
fn circle_is_found_through_a_reexport() {
    let file = |path: &str, code: &[&str]| SourceFile {
        path: path.to_owned(),
        text: String::new(),
        code: code.iter().map(|line| (*line).to_owned()).collect(),
    };
    let files = [
        file("lib.rs", &["pub mod a;"]),
        file("a/mod.rs", &["pub use one::One;", "pub use two::Two;"]),
        file("a/one.rs", &["use super::Two;", "use super::three::Three;"]),
        file("a/two.rs", &["fn f() -> crate::a::One {"]),
        file("a/three.rs", &["use super::Shared;"]),
    ];
    let circle = ["a/one", "a/two"].map(module_of);
    assert_eq!(Crate::new(&files).circles(), BTreeSet::from([BTreeSet::from(circle)]));
}
