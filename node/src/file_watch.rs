//! Tells when the contents of files change, however that happens: written in place, renamed over, or behind a symbolic
//! link that now leads elsewhere, as Kubernetes mounts secrets.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

/// How often files are looked at without being told: the system tells nothing of a folder's link that is moved, nor of what other
/// machines write on a network's disk.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Events that wait to be looked into. Full means: one that waits already leads to the same look.
const EVENTS_CAPACITY: usize = 1;

/// Watches until it is dropped.
#[derive(Debug)]
pub struct FileWatch {
    _watcher: RecommendedWatcher,
}

impl FileWatch {
    /// Calls `changed` on a thread of its own after each change of one of `files`.
    ///
    /// # Errors
    ///
    /// The system's limit of watches is reached, or a folder is not there.
    pub fn start(files: &[PathBuf], changed: impl FnMut() + Send + 'static) -> Result<Self, notify::Error> {
        Self::looking(LOOK_EVERY, files, changed)
    }

    fn looking(
        every: Duration,
        files: &[PathBuf],
        mut changed: impl FnMut() + Send + 'static,
    ) -> Result<Self, notify::Error> {
        let watched = files.to_vec();
        let mut known = contents(&watched);
        let (tell, told) = sync_channel(EVENTS_CAPACITY);
        let on_event = move |event: notify::Result<Event>| {
            // Reading the files is an event, too.
            if !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
                let _ = tell.try_send(());
            }
        };
        let look = move || {
            // The watcher has the other end: with it this ends.
            while told.recv_timeout(every) != Err(RecvTimeoutError::Disconnected) {
                let now = contents(&watched);
                if now != known {
                    known = now;
                    changed();
                }
            }
        };
        std::thread::Builder::new().name("file-watch".to_owned()).spawn(look).map_err(notify::Error::io)?;
        let mut watcher = notify::recommended_watcher(on_event)?;
        // Folders, since a watch of a file ends with the file that a new one replaces.
        let folders: BTreeSet<PathBuf> = files.iter().map(|file| folder(file)).collect();
        for folder in folders {
            watcher.watch(&folder, RecursiveMode::NonRecursive)?;
        }
        Ok(Self { _watcher: watcher })
    }
}

fn folder(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// What is in the files, as digests: most of them are secret. A file that cannot be read is `None`.
fn contents(files: &[PathBuf]) -> Vec<Option<Vec<u8>>> {
    let one = |file: &PathBuf| Some(digest(&SHA256, &std::fs::read(file).ok()?).as_ref().to_vec());
    files.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use std::sync::mpsc;

    use super::*;

    /// Far longer than the kernel takes to tell of a change.
    const DEADLINE: Duration = Duration::from_secs(20);

    #[test]
    fn a_file_in_a_folder_that_is_linked_elsewhere_is_found_by_looking() {
        let folder = std::env::temp_dir().join(format!("aforo-folder-watch-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        for release in ["one", "two"] {
            std::fs::create_dir_all(folder.join(release)).unwrap();
            std::fs::write(folder.join(release).join("keys"), release).unwrap();
        }
        std::os::unix::fs::symlink("one", folder.join("current")).unwrap();
        let file = folder.join("current/keys");
        let (tell, told) = mpsc::channel();
        let every = Duration::from_millis(20);
        let read = file.clone();
        let watch = FileWatch::looking(every, &[file], move || {
            tell.send(std::fs::read_to_string(&read).unwrap()).unwrap();
        });
        std::os::unix::fs::symlink("two", folder.join("next")).unwrap();
        std::fs::rename(folder.join("next"), folder.join("current")).unwrap();
        assert_eq!(told.recv_timeout(DEADLINE).as_deref(), Ok("two"));
        drop(watch);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_file_is_followed_when_written_renamed_over_and_linked_elsewhere() {
        let folder = std::env::temp_dir().join(format!("aforo-file-watch-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).unwrap();
        let (plain, link) = (folder.join("plain"), folder.join("link"));
        std::fs::write(&plain, "1").unwrap();
        std::fs::write(folder.join("behind"), "1").unwrap();
        std::os::unix::fs::symlink("behind", &link).unwrap();
        let (tell, told) = mpsc::channel();
        let files = [plain.clone(), link.clone()];
        let watch = FileWatch::start(&files, {
            let files = files.clone();
            move || {
                tell.send(files.clone().map(|file| std::fs::read_to_string(file).unwrap_or_default()))
                    .unwrap()
            }
        })
        .unwrap();
        let wait_for = |plain: &str, link: &str| {
            while told.recv_timeout(DEADLINE).expect("a change that is told") != [plain, link] {}
        };
        std::fs::write(&plain, "2").unwrap();
        wait_for("2", "1");
        std::fs::write(folder.join("new"), "3").unwrap();
        std::fs::rename(folder.join("new"), &plain).unwrap();
        wait_for("3", "1");
        std::fs::write(folder.join("next"), "4").unwrap();
        std::os::unix::fs::symlink("next", folder.join("link-to-be")).unwrap();
        std::fs::rename(folder.join("link-to-be"), &link).unwrap();
        wait_for("3", "4");
        drop(watch);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
