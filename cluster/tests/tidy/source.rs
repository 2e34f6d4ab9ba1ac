//! The tree as the rules see it: Rust files with their production part told from their tests.

use std::fs;
use std::path::{Path, PathBuf};

/// A Rust file of the workspace.
pub struct Source {
    /// Its path from the root of the repository, with forward slashes.
    pub path: String,
    /// All of its text.
    pub text: String,
    /// Whether it is compiled for tests alone, as the file that names it as a module says.
    pub for_tests: bool,
}

impl Source {
    /// Whether the whole file is test or benchmark code.
    pub fn is_test(&self) -> bool {
        self.path.contains("/tests/")
            || self.path.contains("/benches/")
            || self.path.ends_with("/tests.rs")
            || self.path.ends_with("_test.rs")
    }

    /// The lines before the inline tests; none for a test file.
    pub fn production(&self) -> Vec<&str> {
        if self.is_test() {
            return Vec::new();
        }
        let lines: Vec<&str> = self.text.lines().collect();
        let inline_tests =
            |pair: &[&str]| pair[0].trim() == "#[cfg(test)]" && pair[1].trim() == "mod tests {";
        let end = lines.windows(2).position(inline_tests).unwrap_or(lines.len());
        lines[..end].to_vec()
    }

    /// The lines that only tests run, numbered from 1: all of a test file, or what stands behind the production lines.
    pub fn tests(&self) -> Vec<(usize, &str)> {
        let before = if self.for_tests { 0 } else { self.production().len() };
        let numbered = self.text.lines().enumerate().map(|(index, line)| (index + 1, line));
        numbered.skip(before).filter(|(_, line)| !line.trim_start().starts_with("//")).collect()
    }

    /// Paths of the modules that this file has for tests alone.
    fn test_modules(&self) -> Vec<String> {
        let stem = self.path.trim_end_matches(".rs");
        let folder = match stem.rsplit_once('/') {
            Some((folder, "lib" | "main")) => folder,
            _ => stem,
        };
        let lines: Vec<&str> = self.text.lines().map(str::trim).collect();
        let named = lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]").filter_map(|pair| {
            let (_, module) = pair[1].split_once("mod ")?;
            module.strip_suffix(';')
        });
        named.map(|module| format!("{folder}/{module}.rs")).collect()
    }

    /// The production lines without comments, numbered from 1.
    pub fn code(&self) -> Vec<(usize, &str)> {
        let numbered = self.production().into_iter().enumerate().map(|(index, line)| (index + 1, line));
        numbered.filter(|(_, line)| !line.trim_start().starts_with("//")).collect()
    }
}

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the repository").to_path_buf()
}

/// Every Rust file of the workspace, by path.
pub fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    for folder in ["cluster", "coordinator", "loadtest", "node"] {
        walk(&root().join(folder), &mut found);
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    let for_tests: Vec<String> = found.iter().flat_map(Source::test_modules).collect();
    for source in &mut found {
        source.for_tests = for_tests.contains(&source.path);
    }
    assert!(found.len() > 10, "the rules see the tree");
    found
}

fn walk(folder: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).expect("a folder of the repository can be read") {
        let path = entry.expect("an entry can be read").path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            walk(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let relative = path.strip_prefix(root()).expect("the file lies in the repository");
            let text = fs::read_to_string(&path).expect("a source file is text");
            let path = relative.to_string_lossy().replace('\\', "/");
            found.push(Source { path, text, for_tests: false });
        }
    }
}

/// Fails with every offence on a line of its own.
pub fn no_offences(rule: &str, offences: &[String]) {
    assert!(offences.is_empty(), "{rule}:\n  {}", offences.join("\n  "));
}
