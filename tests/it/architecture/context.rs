//! Files that the sources include are in the build context of the images: `.dockerignore` lists it, and a
//! file that it leaves out breaks the build in containers only.

use std::path::{Component, Path, PathBuf};

use super::source::collect;

#[test]
fn included_files_are_in_the_build_context() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rules = include_str!("../../../.dockerignore");
    let kept: Vec<_> = rules.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let mut files = Vec::new();
    for folder in ["src", "tests"] {
        collect(&root.join(folder), &mut files);
    }
    let mut included = 0;
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a source file");
        for rest in text.split("include_str!(\"").skip(1) {
            let (path, _) = rest.split_once('"').expect("the end of a path");
            let path = resolved(&file.parent().expect("its folder").join(path));
            let path = path.strip_prefix(root).expect("a path of this package");
            let is_kept = kept.iter().any(|kept| path.starts_with(kept));
            assert!(is_kept, "{} includes {}", file.display(), path.display());
            included += 1;
        }
    }
    assert!(included > 5, "only {included} are included");
}

/// The path without its `..`.
fn resolved(path: &Path) -> PathBuf {
    let mut resolved = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            resolved.pop();
        } else {
            resolved.push(part);
        }
    }
    resolved
}
